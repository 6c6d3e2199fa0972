"""What is deployed, judged by the tools of its field: every kustomization of deploy/kubernetes is built by kubectl and
held against the schemas of two releases of Kubernetes, and Envoy itself reads deploy/envoy/envoy.yaml.

    python -m acceptance.deploy [--require kubectl,kubernetes-validate,envoy] [--bin FOLDER ...]

No cluster and no network is asked. A tool that is not on this machine (on the path, or in a `--bin`) is skipped with a
line that says so, or fails where it is required. Each tool has to refuse a broken file, too, or its word counts for
nothing. Exit code 1: something failed. What needs no tool is in tests/test_deploy.py.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEPLOYED = tuple(f"deploy/kubernetes/{each}" for each in ("base", "overlays/phone-calls"))
ENVOY = "deploy/envoy/envoy.yaml"
# The first release that has everything that is used here (unhealthyPodEvictionPolicy), and the newest that is known.
RELEASES = ("1.31.0", "1.37.0")
TOOLS = ("kubectl", "kubernetes-validate", "envoy")
_SECONDS = 120


@dataclass
class Judge:
    """Runs the tools that are here, and keeps what failed."""

    folders: Sequence[str]
    required: Sequence[str]
    failed: list[str] = field(default_factory=list)

    def program(self, name: str) -> str | None:
        """Where a tool is; None, said aloud, where it is not."""
        path = os.pathsep.join([*self.folders, os.environ.get("PATH", "")])
        found = shutil.which(name, path=path)
        if found is None:
            self.say(name, ok=name not in self.required, text="not on this machine", word="SKIP")
        return found

    def say(self, what: str, *, ok: bool, text: str = "", word: str = "PASS") -> None:
        """Print a line of the report."""
        print(f"{word if ok else 'FAIL'} {what}{': ' * bool(text)}{text}", flush=True)
        if not ok:
            self.failed.append(what)

    def judged(self, what: str, command: Sequence[str], *, refuses: bool = False) -> str:
        """What a program printed; it must succeed, or fail where it `refuses`."""
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS)
        ok = (done.returncode != 0) == refuses
        self.say(what, ok=ok, text="" if ok else (done.stdout + done.stderr).strip()[-1500:] or "it was taken")
        return done.stdout


def _broken(text: str, good: str, bad: str) -> str:
    assert good in text, good
    return text.replace(good, bad)


def kubernetes(judge: Judge, folder: Path) -> None:
    """Build every kustomization, and hold each against the schemas."""
    kubectl, validate = judge.program("kubectl"), judge.program("kubernetes-validate")
    if kubectl is None:
        return
    for at, place in enumerate(DEPLOYED):
        built = judge.judged(f"kubectl kustomize {place}", (kubectl, "kustomize", place))
        if validate is None or not built:
            continue
        file = folder / f"{at}.yaml"
        file.write_text(built, "utf-8")
        for release in RELEASES:
            command = (validate, "--strict", "--quiet", "-k", release, str(file))
            judge.judged(f"{place} by the schemas of Kubernetes {release}", command)
        file.write_text(_broken(built, "readinessProbe:", "readinesProbe:"), "utf-8")
        judge.judged(f"{place} with a misspelled field is refused", (validate, "--strict", str(file)), refuses=True)


def envoy(judge: Judge, folder: Path) -> None:
    """Let Envoy read its configuration."""
    program = judge.program("envoy")
    if program is None:
        return
    command = (program, "--mode", "validate", "--use-dynamic-base-id", "-l", "warning", "-c")
    judge.judged(f"envoy reads {ENVOY}", (*command, ENVOY))
    broken = folder / "envoy.yaml"
    broken.write_text(_broken((ROOT / ENVOY).read_text("utf-8"), "lb_policy:", "lb_polici:"), "utf-8")
    judge.judged("envoy refuses a misspelled field", (*command, str(broken)), refuses=True)


CHECKS: Sequence[Callable[[Judge, Path], None]] = (kubernetes, envoy)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--require", default="", help="comma-separated tools that must not be skipped")
    parser.add_argument("--bin", action="append", default=[], help="a folder of programs, before those on the path")
    given = parser.parse_args()
    unknown = set(filter(None, given.require.split(","))) - set(TOOLS)
    if unknown:
        parser.error(f"no such tools: {', '.join(sorted(unknown))}")
    judge = Judge([str(Path(each).resolve()) for each in given.bin], given.require.split(","))
    with tempfile.TemporaryDirectory(prefix="deploy-") as folder:
        for check in CHECKS:
            check(judge, Path(folder))
    return 1 if judge.failed else 0


if __name__ == "__main__":
    sys.exit(main())
