"""Writes the generated parts into the pages of docs/: between `<!-- table: name -->` and `<!-- /table -->`.

Rule: says nothing of its own. Each part is made from the one place that decides it: parameters from the tables that
requests are built from, settings from the class that the command line is made of.

    python -m scripts.readme_tables       update the pages
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from caller.credentials import ApiCompatibility
from caller.custom_llm.apis import ADAPTERS
from caller.parameters import KNOWN
from caller.provider_table import PROVIDERS
from integration_api import settings
from scripts import error_sections
from scripts.markdown import code, plain, table

DOCS = Path(__file__).parent.parent / "docs"
REFUSED = "refused"
# The settings that begin a group; the page has a heading for each. Others stand in the group of the one before them.
SETTING_GROUPS = (
    "host",
    "audit_file",
    "allow_anonymous",
    "credentials_dir",
    "rapida_jwt_secret",
    "egress_policy",
    "connect_timeout",
    "max_attempts",
    "max_running_calls",
    "max_request_bytes",
    "max_event_bytes",
    "endpoint_ca_file",
    "drain_delay",
    "reflection",
)
_SECTION = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def parameters() -> str:
    """Where each known parameter stands on the wire of each API shape. Shapes that never differ share a column."""
    columns: dict[tuple[str, ...], list[ApiCompatibility]] = {}
    for api, adapter in ADAPTERS.items():
        columns.setdefault(tuple(adapter.parameters.get(name, "") for name in KNOWN), []).append(api)
    head = ["parameter", *(", ".join(code(api.value) for api in shapes) for shapes in columns.values())]
    rows = (
        [code(name), *(code(cells[at]) if cells[at] else REFUSED for cells in columns)] for at, name in enumerate(KNOWN)
    )
    return table(head, rows)


def setting_rows(first: str) -> str:
    """The settings from one that begins a group up to the next group: flag and environment name, default, meaning."""
    every = settings.table()
    flags = [row[0] for row in every]
    begins = [flags.index(settings.flag(name)) for name in SETTING_GROUPS]
    begin = flags.index(settings.flag(first))
    end = min((other for other in begins if other > begin), default=len(every))
    rows = (
        [f"{code(flag)}<br>{code(env)}", code(default) if default else "", plain(meaning)]
        for flag, env, default, meaning in every[begin:end]
    )
    return table(["flag, variable", "default", "meaning"], rows)


def provider_rows() -> str:
    """Every provider that is known by name."""
    rows = (
        [
            f"[{code(row.id)}]({row.documentation_url})",
            code(row.defaults.base_url) if row.defaults.base_url else "the credential's `baseUrl`",
            code(row.defaults.api.value),
            code(f"{row.defaults.key_header}: {f'{row.defaults.key_scheme} …'.strip()}"),
            ", ".join(code(f"{point}: {form or 'left out'}") for point, form in row.demands.items()),
        ]
        for row in sorted(PROVIDERS.values(), key=lambda row: row.id)
    )
    return table(["provider", "base URL", "compatibility", "its key goes into", "known to want"], rows)


# The sections of each page, by their names.
PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "parameters": {"parameters": parameters},
        "settings": {name: partial(setting_rows, name) for name in SETTING_GROUPS},
        "providers": {"providers": provider_rows},
        "errors": {
            "errors": error_sections.summary,
            **{reason: partial(error_sections.section, reason) for reason in error_sections.reasons()},
        },
    }
)


def updated(page: str, text: str) -> str:
    """The page, with its sections made anew.

    Raises:
        ValueError: the page has not just its own sections, each once.
    """
    found = [name for _, name, _, _ in _SECTION.findall(text)]
    if sorted(found) != sorted(PAGES[page]):
        raise ValueError(f"the sections are {found}; there must be {', '.join(PAGES[page])}, each once")
    return _SECTION.sub(lambda section: f"{section[1]}\n{PAGES[page][section[2]]()}\n{section[4]}", text)


def main() -> None:
    """Updates the pages."""
    for name in PAGES:
        page = DOCS / f"{name}.md"
        page.write_text(updated(name, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
