"""Runs a program of this folder under cProfile; at SIGUSR1 it writes to the file $COUNT_FILE how many calls were made.

    COUNT_FILE=file python bench/counted.py bench/ours.py

Builtins count. What compiled code calls inside of itself is not seen, so the numbers tell where a change went, and CPU
tells what it is worth.
"""

import cProfile
import os
import runpy
import signal
import sys
from pathlib import Path

_profile = cProfile.Profile()


def _tell(*_: object) -> None:
    _profile.disable()
    calls = sum(entry.callcount for entry in _profile.getstats())
    file = Path(os.environ["COUNT_FILE"])
    part = file.with_suffix(".part")
    part.write_text(str(calls), "ascii")
    part.rename(file)  # whoever waits for it reads it whole
    _profile.enable()


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    signal.signal(signal.SIGUSR1, _tell)
    _profile.enable()
    runpy.run_path(sys.argv[0], run_name="__main__")
