"""Builds what a release publishes, into dist/: `make release`.

    python -m scripts.release [--out DIRECTORY] [--unfinished]

sdist and wheel of the service and of its client, the descriptor set of the protos and the protos themselves, an SBOM of
what the image runs, and the checksums of all. The same commit and the same Python give the same bytes: times are the
release's date, owners and modes are left out, and the tools are those of requirements-release.lock.

Rule: it runs the tools of its own environment and the standard library, and knows nothing of what it builds but names.
What it built is judged by acceptance/packages.py.
"""

import argparse
import ast
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = (ROOT, ROOT / "clients" / "python")
CHECKSUMS = "SHA256SUMS"
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)  # the time in archives that are no release
_HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE)
_IMAGE_VERSION = re.compile(r"^ARG VERSION=(\S+)$", re.MULTILINE)


class NotReadyError(Exception):
    """The tree is not what can be released; the text says why."""


def version(root: Path = ROOT) -> str:
    """The version, where it is written: `integration_api.__version__`."""
    for node in ast.parse((root / "integration_api" / "__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise NotReadyError("integration_api/__init__.py has no __version__")


def release_date(changelog: str, released: str) -> datetime:
    """The day on which CHANGELOG.md says that a version was released.

    Raises:
        NotReadyError: it says nothing of it, or has changes above it that are in no release.
    """
    headings = list(_HEADING.finditer(changelog))
    for at, heading in enumerate(headings):
        if heading["version"] == released and heading["date"]:
            above = changelog[headings[0].end() : heading.start()] if at else ""
            if above.strip():
                raise NotReadyError(f"CHANGELOG.md has changes above {released}: a release has no unreleased ones")
            return datetime.fromisoformat(heading["date"]).replace(tzinfo=UTC)
    raise NotReadyError(f"CHANGELOG.md has no line `## [{released}] - YYYY-MM-DD`")


def image_version(dockerfile: str) -> str:
    """The version of the image's label: a Dockerfile cannot read it from elsewhere, so it stands there, too."""
    found = _IMAGE_VERSION.search(dockerfile)
    if found is None:
        raise NotReadyError("the Dockerfile has no line `ARG VERSION=…`")
    return found[1]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--unfinished", action="store_true", help="build what is not ready to be released, to try it")
    given = parser.parse_args()
    out: Path = given.out.resolve()
    try:
        released, date = (version(), _SOME_DAY) if given.unfinished else ready()
        build_all(out, released, int(date.timestamp()))
    except (NotReadyError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"no release: {error}\n")
        return 1
    for path in sorted(out.iterdir()):
        sys.stdout.write(f"{path.stat().st_size:>9}  {path.name}\n")
    return 0


def ready() -> tuple[str, datetime]:
    """The version and the date of the release.

    Raises:
        NotReadyError: the places that name the version disagree, or the checkout has changes that are not committed.
    """
    released = version()
    date = release_date((ROOT / "CHANGELOG.md").read_text("utf-8"), released)
    labelled = image_version((ROOT / "Dockerfile").read_text("utf-8"))
    if labelled != released:
        raise NotReadyError(f"the Dockerfile says VERSION={labelled}, the package {released}")
    if (ROOT / ".git").exists() and (changes := _git("status", "--porcelain")):
        raise NotReadyError(
            f"there are changes that are not committed, so that nobody could build it again:\n{changes}"
        )
    return released, date


def build_all(out: Path, released: str, epoch: int) -> None:
    """Everything, into a folder that is emptied.

    Raises:
        NotReadyError: it holds something that this did not make.
    """
    foreign = sorted(path.name for path in out.iterdir() if not _is_ours(path)) if out.exists() else []
    if foreign:
        raise NotReadyError(f"{out} is not emptied: it holds {foreign[0]}, which no release made")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for package in PACKAGES:
        build(package, out, epoch)
    packages = sorted([*out.glob("*.tar.gz"), *out.glob("*.whl")])
    _run("twine", "check", "--strict", *packages)
    _run("buf", "build", "--as-file-descriptor-set", "--output", out / f"integration_api-{released}.binpb")
    protos = [path for top in ("protos", "third_party") for path in (ROOT / top).rglob("*") if path.is_file()]
    members = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in [*protos, ROOT / "LICENSE"]}
    (out / f"integration_api-protos-{released}.tar.gz").write_bytes(
        archive({f"integration_api-protos-{released}/{name}": content for name, content in members.items()}, epoch)
    )
    write_sbom(next(out.glob("integration_api-*.whl")), released, out / f"integration_api-{released}.cdx.json")
    checksums = "".join(f"{_digest(path)}  {path.name}\n" for path in sorted(out.iterdir()))
    (out / CHECKSUMS).write_text(checksums, encoding="utf-8")


def _is_ours(path: Path) -> bool:
    return path.is_file() and (path.name == CHECKSUMS or path.name.startswith("integration_api"))


def build(package: Path, out: Path, epoch: int) -> None:
    """The sdist of a folder and the wheel that is made from it.

    Each is made a second time, in another folder, the wheel from the second sdist.

    Raises:
        NotReadyError: the second is not the first, byte for byte.
    """
    with tempfile.TemporaryDirectory() as scratch:
        first = Path(scratch) / "first"
        second = Path(scratch) / "elsewhere" / "second"
        sdist = _sdist(package, first / "sdist", epoch)
        again = _sdist(package, second / "sdist", epoch)
        wheel = _wheel(_unpacked(sdist, first / "tree"), first / "wheel", epoch)
        wheel_again = _wheel(_unpacked(again, second / "tree"), second / "wheel", epoch)
        for made, remade in ((sdist, again), (wheel, wheel_again)):
            if made.read_bytes() != remade.read_bytes():
                raise NotReadyError(f"{made.name} is not reproducible: two builds differ")
            shutil.copy2(made, out / made.name)


def write_sbom(wheel: Path, released: str, out: Path) -> None:
    """What an environment holds in which a wheel and all of requirements.lock are installed: a CycloneDX document."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = Path(scratch) / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        python = environment / "bin" / "python"
        pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-warn-script-location")
        subprocess.run([*pip, "--require-hashes", "--requirement", ROOT / "requirements.lock"], check=True)
        # By name: a wheel that is installed by its path leaves this machine's path in what is written.
        subprocess.run([*pip, "--no-deps", "--no-index", "--find-links", wheel.parent, "integration-api"], check=True)
        options = ("--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--output-format", "JSON")
        _run("cyclonedx-py", "environment", *options, "--output-file", out, python)
    document = json.loads(out.read_text("utf-8"))
    document["metadata"]["component"]["version"] = released  # pyproject.toml, which is read for it, has none
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def archive(members: Mapping[str, bytes], epoch: int) -> bytes:
    """A tar.gz of files that tells nothing of the machine that made it: names in order, one time, no owner."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), epoch, 0o644
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=epoch)


def _sdist(package: Path, out: Path, epoch: int) -> Path:
    """Made from a copy without what lies in the folder and is not part of it, then packed again by `archive`."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        for path in _tracked(package):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(package / path, source / path)
        made = _built("--sdist", source, out, epoch)
    with tarfile.open(made) as tar:
        members = {member.name: _content(tar, member) for member in tar.getmembers() if not member.isdir()}
    made.write_bytes(archive(members, epoch))
    return made


def _tracked(package: Path) -> Iterator[Path]:
    """The files that git knows, links followed; all where there is no git."""
    if not (ROOT / ".git").exists():
        yield from (path.relative_to(package) for path in package.rglob("*") if path.is_file())
        return
    for name in filter(None, _git("ls-files", "-z", folder=package).split("\0")):
        path = package / name
        if path.is_dir():
            yield from (each.relative_to(package) for each in path.rglob("*.py*") if each.suffix in (".py", ".pyi"))
        else:
            yield Path(name)


def _git(*arguments: str, folder: Path = ROOT) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def _wheel(source: Path, out: Path, epoch: int) -> Path:
    return _built("--wheel", source, out, epoch)


def _built(kind: str, source: Path, out: Path, epoch: int) -> Path:
    """By the backend of this environment, which is locked: isolation would fetch today's."""
    command = [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(out), str(source)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONPATH", None)
    # The backend's own files have the modes that the umask leaves them, and a wheel keeps modes.
    done = subprocess.run(command, env=environment, umask=0o022, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReadyError(f"{source.name} could not be built:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (made,) = out.iterdir()
    return made


def _unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise NotReadyError(f"{member.name} in the sdist is no file")
    return file.read()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(tool: str, *arguments: str | Path) -> None:
    """A program of this environment."""
    command: Iterable[str | Path] = (Path(sys.executable).parent / tool, *arguments)
    subprocess.run([*command], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
