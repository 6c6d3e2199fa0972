"""The tables of docs/ are those that the code makes, and every link between the pages leads somewhere."""

import re

import pytest

from caller.custom_llm.apis import ADAPTERS
from caller.parameters import KNOWN
from integration_api import settings
from scripts import api_reference, documentation
from scripts.error_sections import reasons
from scripts.markdown import anchor, anchors, heading_of, links, links_replaced
from scripts.readme_tables import DOCS, PAGES, REFUSED, SETTING_GROUPS, parameters, setting_rows, updated

ROOT = DOCS.parent
_EMPTY = "# x\n\n<!-- table: parameters -->\nSTALE\n<!-- /table -->\ny\n"


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_are_up_to_date(name: str) -> None:
    """`make readme` would change nothing."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")

    assert updated(name, text) == text, "run `make readme`"


def test_the_reference_is_up_to_date() -> None:
    """docs/api.md says what the comments of the protos say."""
    assert api_reference.page(api_reference.read_protos()) == api_reference.PAGE.read_text("utf-8"), "run `make readme`"


def test_every_link_leads_somewhere() -> None:
    """A link to a file of the project names one that is there, and one into a page names a heading of it."""
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("acceptance/*/*.md")]
    texts = {page.resolve(): page.read_text("utf-8") for page in pages}
    ours = [(page, link) for page, text in texts.items() for link in links(text) if "://" not in link]
    lost = []
    for page, link in ours:
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (heading and heading not in anchors(texts.get(target, ""))):
            lost.append(f"{page.name}: {link}")

    assert len(ours) > 100
    assert lost == []


def test_every_page_is_in_the_navigation_once() -> None:
    """A page that is written can be found, and an entry has a page."""
    pages = [page for _, _, page in documentation.sections(documentation.project()["nav"])]
    written = {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md")}
    sources = [documentation.source(page) for page in pages]

    assert sorted(sources) == sorted({*written, *documentation.ELSEWHERE.values()}), (
        "enter it into `nav` of docs/zensical.toml"
    )
    assert [page for page in sources if not heading_of((ROOT / page).read_text("utf-8"))] == []


def test_links_are_found_as_they_are_read() -> None:
    """Pictures and links, and nothing that stands in code; headings that come again have a number."""
    text = "# A `b_c`: d!\n[x](y.md#z) `[no](no)`\n![p](q.png)\n```sh\n# no [n](n)\n```\n## Again\n## Again\n"

    assert links(text) == ["y.md#z", "q.png"]
    assert anchors(text) == {"a-b_c-d", "again", "again-1"}
    assert links_replaced(text, lambda link: f"{link}!") == text.replace("#z)", "#z!)").replace("q.png", "q.png!")


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
    assert [row[0] for row in rows] == [f"`{name}`" for name in KNOWN]
    for row in rows:
        for api, at in columns.items():
            field = ADAPTERS[api].parameters.get(row[0].strip("`"))
            assert row[at] == (f"`{field}`" if field else REFUSED)


def test_every_setting_is_told() -> None:
    """Each setting has its flag, its name in the environment and its meaning."""
    rows = [row for name in SETTING_GROUPS for row in _cells(setting_rows(name))[2:]]

    assert [row[0] for row in rows] == [f"`{flag}`<br>`{env}`" for flag, env, _, _ in settings.table()]
    assert all(row[2] for row in rows)
    assert not any(re.search(r"(?<!\\)[<*]", row[2]) for row in rows), "Markdown would take it for its own"


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
