"""THREAT_MODEL.md names tests; they exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_the_threat_model_names_exists() -> None:
    """A promise without its test is found here."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "THREAT_MODEL.md").read_text("utf-8")))
    written = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    existing = set(re.findall(r"^\s*(?:async )?def (test_\w+)\(", written, re.MULTILINE))

    assert len(named) > 40
    assert named - existing == set()
