"""Every link on the site of the documentation leads somewhere; the build itself is `make docs`."""

from pathlib import Path

import pytest

from scripts import documentation
from scripts.markdown import links

SETTINGS = documentation.project()
PAGES = [page for _, _, page in documentation.sections(SETTINGS["nav"])]


def test_staged_pages_lead_to_each_other(tmp_path: Path) -> None:
    """Links between pages lead to pages of the site, links to other files to copies of them."""
    staging = documentation.Staging(PAGES, tmp_path)
    for page in PAGES:
        staging.stage(page)
    found = [(page, link) for page in PAGES for link in links((tmp_path / page).read_text("utf-8")) if ":" not in link]
    paths = [((tmp_path / page).parent, link.partition("#")[0]) for page, link in found]

    assert [(folder, path) for folder, path in paths if path and not (folder / path).is_file()] == []
    assert ("index.md", "getting-started.md") in found
    assert ("benchmarks.md", "files/docs/bench/cpu.svg") in found


@pytest.mark.parametrize(("link", "fault"), [("b.txt", "which is no file"), ("c.md", "which is no page")])
def test_a_link_that_leads_nowhere_is_an_error(link: str, fault: str, tmp_path: Path) -> None:
    """The build fails instead of publishing it; Markdown that is no page would be one without a place."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(f"# A\n[b]({link})\n", "utf-8")
    (tmp_path / "docs" / "c.md").write_text("# C\n", "utf-8")
    with pytest.raises(ValueError, match=f"docs/a.md links to {link}, {fault}"):
        documentation.Staging(["a.md"], tmp_path / "out", tmp_path).stage("a.md")


def test_what_language_models_read_names_every_page(tmp_path: Path) -> None:
    """llms.txt has each page of the navigation with a sentence of it."""
    staging = documentation.Staging(PAGES, tmp_path)
    for page in PAGES:
        staging.stage(page)
    lines = documentation.index(SETTINGS, tmp_path).splitlines()
    listed = [line for line in lines if line.startswith("- [")]

    assert lines[0] == "# integration-api"
    assert [line.partition("](")[2].partition(")")[0] for line in listed] == PAGES
    assert all(line.partition("): ")[2] for line in listed)
