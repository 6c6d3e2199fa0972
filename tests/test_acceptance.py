"""`make acceptance`: what it says of its parts."""

import sys

import pytest

from acceptance.__main__ import main, run, table


def part(name: str, printed: str, code: int = 0) -> tuple[str, tuple[str, ...]]:
    return name, (sys.executable, "-c", f"print({printed!r}); raise SystemExit({code})")


def test_what_was_skipped_has_not_passed_in_silence() -> None:
    """The table names it, beside parts that passed and parts that failed."""
    ended = [
        run(*part("examples", "PASS python\nSKIP java: mvn not on this machine")),
        run(*part("container", "*** SKIPPED: no container engine answers here ***")),
        run(*part("chaos", "2000 calls")),
        run(*part("drain", "exit code 1", 1)),
    ]

    rows = [line.split() for line in table(ended).splitlines()]
    assert [row[3:] for row in rows if row[0] in {"examples", "container", "chaos", "drain"}] == [
        ["passed,", "1", "skipped"],
        ["passed,", "1", "skipped"],
        ["passed"],
        ["FAILED"],
    ]
    assert ["SKIP", "java:", "mvn", "not", "on", "this", "machine"] in rows


def test_a_part_that_there_is_not_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """As does a run of none."""
    assert main(["no-such-part"]) == 1
    assert main([]) == 1
    assert "FAILED" in capsys.readouterr().out
