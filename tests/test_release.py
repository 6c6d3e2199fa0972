"""A release: one version in every place that names one, and archives that tell nothing of the machine."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from integration_api import __version__
from integration_api.cli import main
from scripts.release import NotReadyError, archive, build_all, image_version, release_date, version
from tests.patience import within

ROOT = Path(__file__).parent.parent
_DIGEST = "sha256:" + "0123456789abcdef" * 4
_CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n## [1.1.0] - 2026-11-26\n\n### Added\n\n- This.\n\n## [1.0.0] - 2026-01-02\n"
)
_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}  # Keep a Changelog 1.1.0


def test_one_version_everywhere() -> None:
    """The command, both packages and the image name the one that is written in the package; /version has its test in
    tests/telemetry."""
    printed = CliRunner().invoke(main, ["--version"]).output
    assert printed == f"integration-api, version {__version__}\n"
    assert version() == __version__
    assert image_version((ROOT / "Dockerfile").read_text("utf-8")) == __version__
    for folder in (ROOT, ROOT / "clients" / "python"):
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        assert project["project"]["dynamic"] == ["version"]
        assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "integration_api.__version__"}


def test_the_changelog_keeps_its_form() -> None:
    """Unreleased changes first, then the versions with their days, newest first; sections are of the six kinds."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    days = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    assert all(days), headings
    assert (written := [day[1] for day in days if day]) == sorted(written, reverse=True)
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= _KINDS


def test_the_day_of_a_release() -> None:
    """It is the one that the changelog gives."""
    assert release_date(_CHANGELOG, "1.1.0").isoformat() == "2026-11-26T00:00:00+00:00"


@pytest.mark.parametrize(
    ("changelog", "released", "why"),
    [
        (_CHANGELOG, "1.2.0", "no line"),
        (_CHANGELOG.replace("[Unreleased]", "[Unreleased]\n\n- That."), "1.1.0", "above"),
        (_CHANGELOG, "1.0.0", "above"),
        (_CHANGELOG.replace(" - 2026-11-26", ""), "1.1.0", "no line"),
    ],
)
def test_what_is_not_ready_is_not_released(changelog: str, released: str, why: str) -> None:
    """A version without its day, or with changes above it, is refused."""
    with pytest.raises(NotReadyError, match=why):
        release_date(changelog, released)


def test_only_a_folder_of_releases_is_emptied(tmp_path: Path) -> None:
    """Whoever names another one keeps what is in it."""
    kept = tmp_path / "notes.md"
    kept.write_text("mine", "utf-8")
    (tmp_path / "integration_api-0.9.0.tar.gz").write_bytes(b"")

    with pytest.raises(NotReadyError, match=r"holds notes\.md, which no release made"):
        build_all(tmp_path, "1.0.0", 0)
    assert kept.read_text("utf-8") == "mine"


def test_archives_are_the_same_bytes() -> None:
    """Whatever the order in which files were found."""
    members = {"a/b": b"1", "a/a": b"2" * 1000}
    assert archive(members, 1_800_000_000) == archive(dict(reversed(members.items())), 1_800_000_000)
    assert archive(members, 1_800_000_000) != archive({**members, "a/b": b"3"}, 1_800_000_000)


def _pin(folder: Path, docker: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """`make pin-image` with a registry client that does as told: how it ended, and the Dockerfile's first line."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{docker}\n")
    program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "scripts" / "pin-image"],
        env={**os.environ, "PATH": path, "DOCKERFILE": str(folder / "Dockerfile"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=within(20),
    )
    return done, (folder / "Dockerfile").read_text().partition("\n")[0]


def test_an_image_is_pinned_by_what_the_registry_says(tmp_path: Path) -> None:
    """The digest stands behind the tag, is asked for by the tag the next time, and can be taken out again."""
    (tmp_path / "Dockerfile").write_text("ARG PYTHON_IMAGE=python:3.13-slim\nFROM ${PYTHON_IMAGE}\n")
    asked = f'echo "$@" >> {tmp_path}/asked; echo {_DIGEST}'
    pinned = f"ARG PYTHON_IMAGE=python:3.13-slim@{_DIGEST}"
    for _ in range(2):
        done, line = _pin(tmp_path, asked)
        assert (done.returncode, line) == (0, pinned)
    assert {words.split()[-1] for words in (tmp_path / "asked").read_text().splitlines()} == {"python:3.13-slim"}
    assert _pin(tmp_path, "exit 1", UNPIN="1")[1] == "ARG PYTHON_IMAGE=python:3.13-slim"


@pytest.mark.parametrize("docker", ["echo no such host >&2; exit 1", "echo sha256:abc", "echo", "true"])
def test_no_digest_is_made_up(tmp_path: Path, docker: str) -> None:
    """Where no registry gives one, the Dockerfile stays as it is, and the text says so."""
    before = "ARG PYTHON_IMAGE=python:3.13-slim"
    (tmp_path / "Dockerfile").write_text(f"{before}\n")
    done, line = _pin(tmp_path, docker)
    assert (done.returncode, line) == (1, before)
    assert "python:3.13-slim" in done.stderr
    assert "stays as it is" in done.stderr
