"""How much longer than promised a wait may last in a test: this machine may be slow, and busy with other tests.

The bounds in the tests are the service's promises, on two quiet cores. `make test TEST_PATIENCE=1` asks for exactly
those; by default, and in CI, they are stretched, and still far below what happens when a promise is broken.
"""

import os

PATIENCE = float(os.environ.get("TEST_PATIENCE", "4"))


def within(seconds: float) -> float:
    """The longest time for what the service promises within so many seconds."""
    return seconds * PATIENCE
