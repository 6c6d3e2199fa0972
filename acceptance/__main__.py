"""The programs that judge the service, one after the other, and a table of how each ended: `make acceptance`.

    python -m acceptance PART…          each part is a target of the Makefile

What a part skips, since a tool is not on this machine, is listed at the end: it has not been judged. Exit code 1: a
part failed.
"""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_SKIPPED = re.compile(r"\bSKIP(PED)?\b")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a part ended: its exit code, and the lines that say what it skipped."""

    part: str
    seconds: float
    code: int
    skipped: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One word, and how much was skipped."""
        word = "FAILED" if self.code else "passed"
        return f"{word}, {len(self.skipped)} skipped" if self.skipped else word


def run(part: str, command: Sequence[str]) -> Ended:
    """Run a part to its end; what it prints is printed as it comes."""
    print(f"\n=== {part}", flush=True)
    began = time.monotonic()
    skipped: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if _SKIPPED.search(line):
                skipped.append(line.strip())
    return Ended(part, time.monotonic() - began, process.returncode, tuple(skipped))


def table(ended: Sequence[Ended]) -> str:
    """A line for each part, with what it skipped below it."""
    lines = []
    for each in ended:
        lines.append(f"{each.part:14} {each.seconds:6.0f} s  {each.verdict}")
        lines += [f"{'':25}{line[:150]}" for line in each.skipped]
    return "\n".join(lines)


def main(parts: Sequence[str]) -> int:
    """The exit code."""
    ended = [run(part, ("make", "--no-print-directory", part, "ARGS=")) for part in parts]
    print(f"\n{table(ended)}")
    return 1 if not ended or any(each.code for each in ended) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
