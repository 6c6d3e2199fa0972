"""The README's tables are those that the code makes."""

import re

import pytest

from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.parameter_table import TABLE
from integration_api import settings
from scripts.readme_tables import README, REFUSED, TABLES, parameters, setting_rows, updated

_EMPTY = "# x\n\n<!-- table: parameters -->\nSTALE\n<!-- /table -->\ny\n<!-- table: settings -->\n<!-- /table -->\n"


@pytest.mark.skipif(not README.exists(), reason="there is no README")
def test_the_tables_are_up_to_date() -> None:
    """`make readme` would change nothing."""
    text = README.read_text(encoding="utf-8")

    assert updated(text) == text, "run `make readme`"


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_every_parameter_has_a_word_for_every_shape() -> None:
    """Each row says for each shape where the parameter goes, or that it is refused."""
    head, _, *rows = _cells(parameters())
    columns = {api: at for api in ADAPTERS for at, cell in enumerate(head) if f"`{api.value}`" in cell}

    assert columns.keys() == ADAPTERS.keys()
    assert [row[0] for row in rows] == [f"`{name}`" for name in TABLE]
    for row in rows:
        places = TABLE[row[0].strip("`")]
        for api, at in columns.items():
            assert row[at] == (f"`{places[api]}`" if api in places else REFUSED)


def test_every_setting_is_told() -> None:
    """Each setting has its flag, its name in the environment and its meaning."""
    _, _, *rows = _cells(setting_rows())

    assert [row[0].strip("`") for row in rows] == [row[0] for row in settings.table()]
    assert all(row[1] and row[3] for row in rows)
    assert not re.search(r"(?<!\\)[<*]", setting_rows()), "Markdown would take it for its own"


def test_only_the_sections_change() -> None:
    """What stands around the tables is left alone, and doing it again changes nothing."""
    once = updated(_EMPTY)

    assert once.startswith("# x\n\n<!-- table: parameters -->\n| parameter |")
    assert "STALE" not in once
    assert "<!-- /table -->\ny\n<!-- table: settings -->\n" in once
    assert updated(once) == once
    assert updated(once.replace("`seed`", "`sead`")) == once


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_section_is_an_error(name: str) -> None:
    """A table cannot get lost with its marks."""
    renamed = _EMPTY.replace(f"table: {name}", "table: other")
    for text in (renamed, _EMPTY.replace(f"<!-- table: {name} -->", ""), _EMPTY.replace("<!-- /table -->", "", 1)):
        with pytest.raises(ValueError, match="sections"):
            updated(text)
