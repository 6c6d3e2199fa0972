"""Writes the generated tables into the pages of docs/: between `<!-- table: name -->` and `<!-- /table -->`.

Rule: says nothing of its own. Each table is made from the one place that decides it: parameters from the table that
requests are built from, settings from the class that the command line is made of.

    python -m scripts.readme_tables       update the pages
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from grpc import StatusCode

from caller.credentials import ApiCompatibility
from caller.custom_llm.parameter_table import TABLE
from caller.errors import CallerError
from caller.provider_table import PROVIDERS
from caller.remedies import REMEDIES, remedy_for
from integration_api import settings
from integration_api.rpc.status import TABLE as STATUSES

DOCS = Path(__file__).parent.parent / "docs"
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


def error_rows() -> str:
    """Every error: its reason, its status, who must act, what it means, what to do."""
    rows = [
        [_code(reason), _code(code.name), kind.fault.value, _plain(_first_sentence(kind)), _plain(remedy_for(kind))]
        for kind in _kinds(CallerError)
        if (kind in STATUSES or kind in REMEDIES) and any(parent in STATUSES for parent in kind.__mro__)
        for code, reason in [_status(kind)]
    ]
    return _markdown(["reason", "status", "fault", "what happened", "what to do"], sorted(rows))


def _kinds(kind: type[CallerError]) -> list[type[CallerError]]:
    """The class and all below it: one with a remedy of its own shares its parent's reason, not always its fault."""
    return [kind, *(below for child in kind.__subclasses__() for below in _kinds(child))]


def _status(kind: type[CallerError]) -> tuple[StatusCode, str]:
    return next(STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES)


def _first_sentence(kind: type[CallerError]) -> str:
    """What the class's docstring says first."""
    text = " ".join((kind.__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".")


def provider_rows() -> str:
    """Every provider that is known by name."""
    rows = (
        [
            f"[{_code(row.id)}]({row.documentation_url})",
            _code(row.defaults.base_url) if row.defaults.base_url else "the credential's `baseUrl`",
            _code(row.defaults.api.value),
            _code(f"{row.defaults.key_header}: {f'{row.defaults.key_scheme} …'.strip()}"),
            ", ".join(_code(f"{point}: {form or 'left out'}") for point, form in row.demands.items()),
        ]
        for row in sorted(PROVIDERS.values(), key=lambda row: row.id)
    )
    return _markdown(["provider", "base URL", "compatibility", "its key goes into", "known to want"], rows)


# Each table stands on the page of its name.
TABLES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"parameters": parameters, "settings": setting_rows, "errors": error_rows, "providers": provider_rows}
)


def updated(name: str, text: str) -> str:
    """The page of the table `name`, with the table made anew.

    Raises:
        ValueError: the page has not just this table, once.
    """
    found = [section for _, section, _, _ in _SECTION.findall(text)]
    if found != [name]:
        raise ValueError(f"the sections are {found}; there must be {name}, once")
    return _SECTION.sub(lambda section: f"{section[1]}{TABLES[name]()}{section[4]}", text)


def _code(text: str) -> str:
    return f"`{text}`"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\<*])", r"\\\1", text)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def main() -> None:
    """Updates the pages."""
    for name in TABLES:
        page = DOCS / f"{name}.md"
        page.write_text(updated(name, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
