"""Markdown from values: what every generated page is made of.

Rule: knows nothing of what it writes.
"""

import re
from collections.abc import Callable, Iterable, Sequence


def code(text: str) -> str:
    """The text as code."""
    return f"`{text}`"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\*])", r"\\\1", text).replace("<", "&lt;")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def anchor(heading: str) -> str:
    """The anchor of a heading, as code hosts and the site make it: small letters, hyphens for spaces, no other sign."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$\n?", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"(\]\()([^()\s]+)(\))")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def prose(text: str) -> str:
    """The text without its blocks of code."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Where its links and pictures lead, in their order; what only looks like a link in code is none."""
    return [link for _, link, _ in _LINK.findall(_CODE.sub("", prose(text)))]


def links_replaced(text: str, new: Callable[[str], str]) -> str:
    """The text with its links and pictures leading elsewhere."""
    kept = [*_FENCE.finditer(text)]
    kept += [found for found in _CODE.finditer(text) if not any(_inside(found, block) for block in kept)]

    def replaced(found: re.Match[str]) -> str:
        if any(_inside(found, block) for block in kept):
            return found[0]
        return f"{found[1]}{new(found[2])}{found[3]}"

    return _LINK.sub(replaced, text)


def _inside(found: re.Match[str], block: re.Match[str]) -> bool:
    return block.start() <= found.start() < block.end()


def anchors(text: str) -> set[str]:
    """Where links into a page can lead: its headings; one that comes again has a number behind it."""
    found = [anchor(heading) for heading in _HEADING.findall(prose(text))]
    return {name if not (before := found[:at].count(name)) else f"{name}-{before}" for at, name in enumerate(found)}


def heading_of(text: str) -> str:
    """A page's title; empty where it does not begin with one."""
    found = re.match(r"# +(.+)", text)
    return found[1] if found else ""
