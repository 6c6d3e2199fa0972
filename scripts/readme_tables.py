"""Writes the generated tables into README.md: between `<!-- table: name -->` and `<!-- /table -->`.

Rule: says nothing of its own. Each table is made from the one place that decides it: parameters from the table that
requests are built from, settings from the class that the command line is made of.

    readme_tables.py            update README.md; without one, print the tables
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from caller.credentials import ApiCompatibility
from caller.custom_llm.parameter_table import TABLE
from integration_api import settings

README = Path(__file__).parent.parent / "README.md"
REFUSED = "refused"
_SECTION = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def parameters() -> str:
    """Where each known parameter stands on the wire of each API shape. Shapes that never differ share a column."""
    columns: dict[tuple[str, ...], list[ApiCompatibility]] = {}
    for api in ApiCompatibility:
        columns.setdefault(tuple(row.get(api, "") for row in TABLE.values()), []).append(api)
    head = ["parameter", *(", ".join(_code(api.value) for api in shapes) for shapes in columns.values())]
    rows = (
        [_code(name), *(_code(cells[at]) if cells[at] else REFUSED for cells in columns)]
        for at, name in enumerate(TABLE)
    )
    return _markdown(head, rows)


def setting_rows() -> str:
    """Every setting: flag, environment name, default, meaning."""
    rows = (
        [_code(flag), _code(env), _code(default) if default else "", _plain(meaning)]
        for flag, env, default, meaning in settings.table()
    )
    return _markdown(["flag", "environment", "default", "meaning"], rows)


TABLES: Mapping[str, Callable[[], str]] = MappingProxyType({"parameters": parameters, "settings": setting_rows})


def updated(text: str) -> str:
    """The text with its tables made anew.

    Raises:
        ValueError: a table without its section, a section without its table, or one that is there twice.
    """
    found = [name for _, name, _, _ in _SECTION.findall(text)]
    if sorted(found) != sorted(TABLES):
        raise ValueError(f"the sections are {found}; they must be {list(TABLES)}, each once")
    return _SECTION.sub(lambda section: f"{section[1]}{TABLES[section[2]]()}{section[4]}", text)


def _code(text: str) -> str:
    return f"`{text}`"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\<*])", r"\\\1", text)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def main() -> None:
    """Updates the README, or prints the tables where there is none."""
    if not README.exists():
        sys.stdout.write("\n".join(table() for table in TABLES.values()))
        return
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
