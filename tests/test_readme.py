"""The tables of docs/ are those that the code makes, and every link between the pages leads somewhere."""

import re

import pytest

from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.parameter_table import TABLE
from integration_api import settings
from scripts import api_reference
from scripts.error_sections import reasons
from scripts.markdown import anchor
from scripts.readme_tables import DOCS, PAGES, REFUSED, parameters, setting_rows, updated

ROOT = DOCS.parent
_EMPTY = "# x\n\n<!-- table: parameters -->\nSTALE\n<!-- /table -->\ny\n"
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_are_up_to_date(name: str) -> None:
    """`make readme` would change nothing."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")

    assert updated(name, text) == text, "run `make readme`"


def test_the_reference_is_up_to_date() -> None:
    """docs/api.md says what the comments of the protos say."""
    assert api_reference.page(api_reference.read_protos()) == api_reference.PAGE.read_text("utf-8"), "run `make readme`"


def test_every_link_leads_somewhere() -> None:
    """A link to a file of the project names one that is there."""
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    links = [(page, target) for page in pages for target in _LINK.findall(page.read_text(encoding="utf-8"))]
    ours = [(page, target) for page, target in links if "://" not in target]

    assert len(ours) > 8
    assert [(page.name, target) for page, target in ours if not (page.parent / target).exists()] == []


def test_every_reason_is_explained() -> None:
    """The page that errors link to has a heading for each word of the contract, and advice beyond its remedy."""
    sections = (DOCS / "errors.md").read_text(encoding="utf-8").split("\n### ")[1:]
    explained = {anchor(section.partition("\n")[0]): section.partition("<!-- /table -->")[2] for section in sections}

    assert sorted(explained) == [reason.lower() for reason in reasons()]
    assert all(advice.partition("\n## ")[0].strip() for advice in explained.values())


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


def test_only_the_section_changes() -> None:
    """What stands around a table is left alone, and doing it again changes nothing."""
    once = updated("parameters", _EMPTY)

    assert once.startswith("# x\n\n<!-- table: parameters -->\n\n| parameter |")
    assert "STALE" not in once
    assert once.endswith("|\n\n<!-- /table -->\ny\n")
    assert updated("parameters", once) == once
    assert updated("parameters", once.replace("`seed`", "`sead`")) == once


@pytest.mark.parametrize(
    "text",
    [
        _EMPTY.replace("table: parameters", "table: other"),
        _EMPTY.replace("<!-- table: parameters -->", ""),
        _EMPTY.replace("<!-- /table -->", "", 1),
        _EMPTY + _EMPTY,
    ],
)
def test_a_missing_section_is_an_error(text: str) -> None:
    """A table cannot get lost with its marks, nor stand twice."""
    with pytest.raises(ValueError, match="sections"):
        updated("parameters", text)
