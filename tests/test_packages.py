"""What the packages hold and need: the client alone, and the locks.

The client's package is made of links to the service's files; the locks are written by `make lock`.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_imports import imported

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "clients" / "python"
# Which package brings a module that the client may import.
_BROUGHT_BY = {
    "grpc": "grpcio",
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
}


def _project(folder: Path) -> Any:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


def _client_modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(_linked(CLIENT)):
        parts = path.relative_to(CLIENT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _linked(folder: Path) -> Iterator[Path]:
    """Every Python file of a folder, links followed."""
    for path in folder.iterdir():
        if path.is_dir():
            yield from _linked(path)
        elif path.suffix == ".py":
            yield path


def test_the_client_is_whole_and_alone() -> None:
    """Each of its modules imports the standard library, its own modules and what its dependencies bring; each of these
    is used, and has the bounds that the service gives it."""
    modules = dict(_client_modules())
    assert {"integration_api", "integration_api.client.client", "integration_api.v1.messages_pb2"} <= modules.keys()
    needed = set()
    for module, path in modules.items():
        for line, name in imported(path.read_text("utf-8"), module, package=path.stem == "__init__"):
            root = name.partition(".")[0]
            if root in sys.stdlib_module_names:
                continue
            if root == "integration_api":
                assert name in modules or name.rpartition(".")[0] in modules, f"{path}:{line} imports {name}"
                continue
            brought = [package for top, package in _BROUGHT_BY.items() if f"{name}.".startswith(f"{top}.")]
            assert brought, f"{path}:{line} imports {name}, which none of the client's dependencies brings"
            needed.update(brought)

    client = _project(CLIENT)["project"]
    assert {Requirement(text).name for text in client["dependencies"]} == needed
    assert set(client["dependencies"]) <= set(_project(ROOT)["project"]["dependencies"])
    assert client["requires-python"] == _project(ROOT)["project"]["requires-python"]


def test_the_client_holds_the_services_own_files() -> None:
    """Nothing is written twice: what its folder has is the service's file of the same name."""
    for module, path in _client_modules():
        assert path.resolve() == (ROOT / path.relative_to(CLIENT)).resolve(), module
    assert (CLIENT / "LICENSE").resolve() == ROOT / "LICENSE"


@dataclass(frozen=True)
class Pin:
    """A line of a lock: what is pinned, by which hashes, and who asked for it."""

    requirement: Requirement
    hashes: tuple[str, ...]
    wanted_by: frozenset[str]

    @property
    def version(self) -> str:
        """The one version."""
        (only,) = self.requirement.specifier
        assert only.operator == "=="
        return only.version


def pins(text: str) -> list[Pin]:
    """The lines of a lock."""
    made = []
    for block in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        if block.startswith("#") or not block.strip():
            continue
        head = block.splitlines()[0].removesuffix(" \\")
        hashes = re.findall(r"--hash=(sha256:[0-9a-f]{64})\b", block)
        comments = [line.strip(" #") for line in block.splitlines() if line.startswith("    #")]
        via = {comment.removeprefix("via ") for comment in comments} - {"via"}
        made.append(Pin(Requirement(head), tuple(hashes), frozenset(via)))
    return made


def _wanted(project: Any, lock: str) -> list[Requirement]:
    """What a lock has to satisfy, of pyproject.toml."""
    groups = project["dependency-groups"]
    if lock == "requirements.lock":
        return [
            Requirement(text)
            for text in (*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["otel"])
        ]
    group = groups["release" if "release" in lock else "build"]
    plain = [
        text for entry in group for text in ([entry] if isinstance(entry, str) else groups[entry["include-group"]])
    ]
    return [Requirement(text) for text in plain]


def unsatisfied(wanted: list[Requirement], locked: list[Pin]) -> list[str]:
    """What a lock lacks, and what it has too much, one line of text each."""
    by_name: dict[str, list[Pin]] = {}
    for pin in locked:
        by_name.setdefault(canonicalize_name(pin.requirement.name), []).append(pin)
    wrong = []
    for requirement in wanted:
        found = by_name.get(canonicalize_name(requirement.name), [])
        wrong += [] if found else [f"{requirement} is not locked"]
        wrong += [
            f"{requirement} is locked as {pin.version}"
            for pin in found
            if not requirement.specifier.contains(pin.version, prereleases=True)
        ]
    asked = {canonicalize_name(requirement.name) for requirement in wanted}
    for name, found in by_name.items():
        from_us = any("pyproject.toml" in who for pin in found for who in pin.wanted_by)
        if from_us != (name in asked):
            wrong.append(f"{name} is locked, and pyproject.toml {'no longer asks' if from_us else 'asks'} for it")
        wrong += [f"{name} has no hash" for pin in found if not pin.hashes]
        wrong += [
            f"{name} is locked for {who}, which is not"
            for pin in found
            for who in pin.wanted_by
            if "pyproject.toml" not in who and canonicalize_name(who) not in by_name
        ]
    return wrong


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock", "requirements-release.lock"])
def test_the_locks_satisfy_pyproject(lock: str) -> None:
    """Every dependency is pinned within its bounds and hashed, nothing else is, and no index is named."""
    text = (ROOT / lock).read_text("utf-8")
    assert not unsatisfied(_wanted(_project(ROOT), lock), pins(text)), "run `make lock`"
    assert "://" not in text


_LOCK = f"""\
# written
one==1.5 ; sys_platform != 'win32' \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via integration-api (pyproject.toml)
two-more==2 \\
    --hash=sha256:{"c" * 64}
    # via
    #   integration-api (pyproject.toml)
    #   one
"""


@pytest.mark.parametrize(
    ("wanted", "lock", "wrong"),
    [
        (["one>=1.5", "two_more<3"], _LOCK, []),
        (["one>=1.6", "two-more"], _LOCK, ["one>=1.6 is locked as 1.5"]),
        (["one", "two-more", "three"], _LOCK, ["three is not locked"]),
        (["one"], _LOCK, ["two-more is locked, and pyproject.toml no longer asks for it"]),
        (["one", "two-more"], _LOCK.replace("#   one", "#   four"), ["two-more is locked for four, which is not"]),
        (["one", "two-more"], re.sub(r" \\\n    --hash=sha256:c+", "", _LOCK), ["two-more has no hash"]),
    ],
)
def test_a_stale_lock_is_found(wanted: list[str], lock: str, wrong: list[str]) -> None:
    """The judge of the locks fails where one no longer fits."""
    assert unsatisfied([Requirement(text) for text in wanted], pins(lock)) == wrong
