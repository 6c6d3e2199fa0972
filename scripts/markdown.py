"""Markdown from values: what every generated page is made of.

Rule: knows nothing of what it writes.
"""

import re
from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """The text as code."""
    return f"`{text}`"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\<*])", r"\\\1", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def anchor(heading: str) -> str:
    """The anchor of a heading, as code hosts and the site make it: small letters, hyphens for spaces, no other sign."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
