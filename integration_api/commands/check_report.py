"""The findings of a check at a terminal, one line as each is found, or as one JSON object at the end.

Rule: checks in, text out. It knows no network.
"""

import json
import shutil
import sys
import textwrap
import time
import unicodedata
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import click

from caller.verification import Check
from integration_api.commands.printing import visible

_STYLES: Final = MappingProxyType(
    {"PASS": ("✓", "green"), "WARN": ("!", "yellow"), "FAIL": ("✗", "red"), "SKIP": ("·", "bright_black")}
)
_PLURALS: Final = MappingProxyType({"PASS": "passed", "WARN": "warned", "FAIL": "failed", "SKIP": "skipped"})
_MOST_COLUMNS: Final = 140
_TIME: Final = 9
_CLEAR: Final = "\r\x1b[2K"


class Report:
    """Prints one check of an endpoint: `begin`, a `check` for each, `end`."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._found: list[Check] = []
        self._skipped: list[Check] = []
        self._started = time.monotonic()
        self._api = ""
        self._names: list[str] = []
        self._live = not raw and sys.stdout.isatty()
        self._columns = min(shutil.get_terminal_size((100, 24)).columns, _MOST_COLUMNS)

    def begin(self, api: str, url: str, names: Collection[str]) -> None:
        """What is checked, and which checks come."""
        self._api, self._names = api, [*names]
        if not self._raw:
            click.secho(f"\n{url}", bold=True, nl=False)
            click.secho(f"  {api}\n", dim=True)
            self._waiting()

    def check(self, check: Check) -> None:
        """One more is found."""
        self._found.append(check)
        if self._raw:
            return
        check = replace(check, observed=visible(check.observed), remedy=visible(check.remedy))
        if self._live:
            click.echo(_CLEAR, nl=False)
        if check.status != "SKIP" or any(each.observed != check.observed for each in self._skipped):
            self._print_skipped()
        if check.status == "SKIP":
            self._skipped.append(check)
        else:
            self._print(check)
        self._waiting()

    def _print_skipped(self) -> None:
        """Those that were skipped for one reason are one line."""
        if self._skipped:
            first, *others = self._skipped
            also = f" (also: {', '.join(each.id for each in others)})" if others else ""
            self._print(replace(first, observed=first.observed + also))
            self._skipped = []

    def _print(self, check: Check) -> None:
        for line in lines(check, self._width, self._columns):
            click.echo(line)

    def end(self, url: str, requests: int | None = None) -> bool:
        """The sum; whether none failed. `requests`: how many were made, where that is known."""
        good = not any(check.status == "FAIL" for check in self._found)
        if self._raw:
            click.echo(json.dumps(self._json(good, url, requests), indent=2, ensure_ascii=False))
            return good
        if self._live:
            click.echo(_CLEAR, nl=False)
        self._print_skipped()
        counts = Counter(check.status for check in self._found)
        said = [
            click.style(f"{counts[status]} {_PLURALS[status]}", fg=color)
            for status, (_, color) in _STYLES.items()
            if counts[status]
        ]
        made = "" if requests is None else f"{requests} request{'' if requests == 1 else 's'} in "
        took = click.style(f"{made}{time.monotonic() - self._started:.1f} s", dim=True)
        click.echo(f"\n{', '.join(said)}  {took}\n")
        return good

    @property
    def _width(self) -> int:
        return max(map(len, self._names), default=0)

    def _waiting(self) -> None:
        """The name of a check that is being made, until it is found."""
        left = len(self._names) - len(self._found)
        if self._live and left > 0:
            click.secho(f"  … {left} to go", dim=True, nl=False)

    def _json(self, good: bool, url: str, requests: int | None) -> dict[str, object]:
        return {
            "ok": good,
            "compatibility": self._api,
            "endpoint_url": url,
            **({} if requests is None else {"requests": requests}),
            "checks": [
                {
                    "id": check.id,
                    "status": check.status,
                    "observed": check.observed,
                    "remedy": check.remedy,
                    "took_ms": round(check.took * 1000, 1),
                }
                for check in self._found
            ],
        }


def lines(check: Check, width: int, columns: int) -> list[str]:
    """One check as lines of text: its mark, status, id, what was seen, how long it took; below, what to do."""
    mark, color = _STYLES[check.status]
    margin = len(f"  {mark} {check.status} ") + width + 2
    space = max(columns - margin - _TIME, 20)
    observed = textwrap.wrap(check.observed, space, max_lines=4, placeholder=" …") or [""]
    took = f"{_duration(check.took):>{_TIME}}" if check.took >= _WORTH_TELLING else ""
    filler = " " * max(space - _columns_of(observed[0]), 0) if took else ""
    head = f"  {click.style(f'{mark} {check.status}', fg=color)} {click.style(check.id.ljust(width), bold=True)}  "
    dim = check.status == "SKIP"
    first = f"{head}{click.style(observed[0], dim=dim)}{filler}{click.style(took, dim=True)}"
    below = [f"{' ' * margin}{click.style(line, dim=dim)}" for line in observed[1:]]
    remedy = textwrap.wrap(check.remedy, space - 2, initial_indent="→ ", subsequent_indent="  ")
    return [first, *below, *(f"{' ' * margin}{click.style(line, fg=color)}" for line in remedy)]


def _columns_of(text: str) -> int:
    """How wide a terminal shows a text: wide letters take two columns, marks and joiners none."""
    visible = (letter for letter in text if unicodedata.category(letter) not in ("Mn", "Me", "Cf"))
    return sum(2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1 for letter in visible)


# What is shorter was made of no request of its own, in seconds.
_WORTH_TELLING: Final = 0.0005


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
