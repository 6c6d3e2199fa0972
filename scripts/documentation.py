"""Builds the documentation into a site: pages staged from where they are, `zensical`, and what language models read.

Rule: writes no text. Links between pages lead to pages, links to other files of the project to copies of them in the
site; one that leads nowhere is an error. `llms.txt` and `llms-full.txt` have the pages of the same navigation.

    python -m scripts.documentation       build/docs/site; needs the extra `docs`
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from scripts.markdown import links_replaced, prose

ROOT = Path(__file__).parent.parent
CONFIGURATION = ROOT / "docs" / "zensical.toml"
# Everything happens here: zensical keeps, and deletes, a `.cache` beside its configuration; the root has one of ours.
WORK = ROOT / "build" / "docs"
# Pages that are no files of docs/ under their own name.
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "index.md": "README.md",
        "benchmarks.md": "docs/bench/README.md",
        "changelog.md": "CHANGELOG.md",
        "contributing.md": "CONTRIBUTING.md",
        "examples.md": "examples/README.md",
        "examples-voice.md": "examples/voice/README.md",
        "protos.md": "protos/README.md",
        "reporting.md": "SECURITY.md",
        "threat-model.md": "THREAT_MODEL.md",
    }
)
# Where files that are no pages are copied to.
_FILES = "files"
_STYLE = "docs/site.css"
# What tells a page in a list of them: no more of its first paragraph.
_LONGEST_SUMMARY = 300


def project() -> dict[str, Any]:
    """The site's configuration."""
    found: dict[str, Any] = tomllib.loads(CONFIGURATION.read_text("utf-8"))["project"]
    return found


def sections(nav: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Every page of the navigation in its order: its section (empty: none), its title, its name."""
    for entry in nav:
        for title, under in entry.items():
            if isinstance(under, str):
                yield "", title, under
            else:
                yield from ((title, name, page) for each in under for name, page in each.items())


def source(page: str) -> str:
    """Where a page's text is, from the project's root."""
    return ELSEWHERE.get(page, f"docs/{page}")


class Staging:
    """Copies pages, and the files that they link to, into one folder, so that every link leads somewhere there."""

    def __init__(self, pages: Sequence[str], target: Path, root: Path = ROOT) -> None:
        self._pages = {source(page): page for page in pages}
        self._target = target
        self._root = root

    def stage(self, page: str) -> None:
        """Copy a page.

        Raises:
            ValueError: a link leads nowhere, or to Markdown that is no page.
        """
        here = source(page)
        text = links_replaced((self._root / here).read_text("utf-8"), lambda link: self._moved(link, here))
        self._write(page, text.encode())

    def _moved(self, link: str, here: str) -> str:
        """The link as it is on the staged page."""
        path, hash_sign, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return link
        wanted = os.path.normpath(PurePosixPath(here).parent / path)
        if wanted in self._pages:
            staged = self._pages[wanted]
        elif wanted.endswith(".md"):
            raise ValueError(f"{here} links to {link}, which is no page: enter it into `nav` of docs/zensical.toml")
        elif (self._root / wanted).is_file():
            staged = f"{_FILES}/{wanted}"
            self._write(staged, (self._root / wanted).read_bytes())
        else:
            raise ValueError(f"{here} links to {link}, which is no file")
        start = PurePosixPath(self._pages[here]).parent
        return f"{os.path.relpath(staged, start)}{hash_sign}{anchor}"

    def _write(self, name: str, content: bytes) -> None:
        file = self._target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def summary(text: str) -> str:
    """The first sentence of a page's first paragraph."""
    paragraphs = (" ".join(part.split()) for part in prose(text).split("\n\n"))
    first = next((part for part in paragraphs if part and part[0] not in "#|<!*-"), "")
    sentence = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", first).partition(". ")[0].rstrip(".:")
    return sentence[:_LONGEST_SUMMARY]


def index(settings: Mapping[str, Any], folder: Path) -> str:
    """`llms.txt`: what there is to read, each page with its first sentence."""
    lines = [f"# {settings['site_name']}", "", f"> {settings['site_description']}"]
    last = None
    for section, title, page in sections(settings["nav"]):
        if section != last:
            lines += ["", f"## {section}", ""] if section else [""]
            last = section
        lines.append(f"- [{title}]({page}): {summary((folder / page).read_text('utf-8'))}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Builds the site; the exit status is zensical's, which fails on warnings."""
    settings = project()
    pages = [page for _, _, page in sections(settings["nav"])]
    folder, site = WORK / settings["docs_dir"], WORK / settings["site_dir"]
    if WORK.exists():
        shutil.rmtree(WORK)
    staging = Staging(pages, folder)
    for page in pages:
        staging.stage(page)
    shutil.copy(ROOT / _STYLE, folder)
    shutil.copy(CONFIGURATION, WORK)
    program = Path(sys.executable).parent / "zensical"
    built = subprocess.run([program, "build", "--strict"], cwd=WORK, check=False)
    if built.returncode:
        return built.returncode
    texts = {page: (folder / page).read_text("utf-8") for page in pages}
    for page, text in texts.items():
        (site / page).write_text(text, "utf-8")
    (site / "llms.txt").write_text(index(settings, folder), "utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(texts.values()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
