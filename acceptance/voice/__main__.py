"""Pipecat's and LiveKit's newest beside us in one environment, each speaking through the service in a real pipeline.

    python -m acceptance.voice [--only pipecat-ai,livekit-agents]

`make voice` makes the environment. The service is a process of its own, the endpoint its sandbox in this one. Exit code
1: a check failed, or an installed framework is not the newest that pip knows.
"""

import argparse
import asyncio
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from acceptance.voice.checks import CHECKS, Check, World
from acceptance.voice.conversation import PATIENCE, Framework, Wrong
from acceptance.voice.with_livekit import LIVEKIT
from acceptance.voice.with_pipecat import PIPECAT
from bench.processes import started
from integration_api import log
from integration_api.sandbox import Sandbox

_FRAMEWORKS = (PIPECAT, LIVEKIT)
_SERVE = ("serve", "--host", "127.0.0.1", "--port", "0", "--log-format", "json")


def newest(package: str) -> str:
    """The newest version that pip knows; empty where no index answers."""
    command = [sys.executable, "-m", "pip", "index", "versions", package]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"\(([^)]+)\)", answer.stdout)
    return found[1] if found and answer.returncode == 0 else ""


def environment(frameworks: tuple[Framework, ...]) -> list[str]:
    """What is wrong with what is installed; it is printed, too."""
    wrong = []
    for package in [framework.package for framework in frameworks]:
        installed, known = importlib.metadata.version(package), newest(package)
        print(f"{package} {installed} (newest: {known or 'not known here'})")
        if known not in {"", installed}:
            wrong.append(f"{package} {installed} is installed, {known} is the newest")
    beside = ("integration-api", "grpcio", "protobuf", "aiohttp")
    print("beside", ", ".join(f"{package} {importlib.metadata.version(package)}" for package in beside))
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False, timeout=120
    )
    return [*wrong, *([checked.stdout.strip()] if checked.returncode else [])]


async def judged(check: Check, framework: Framework, address: str) -> tuple[bool, str]:
    """Whether a check was passed, and what was seen."""
    try:
        async with asyncio.timeout(3 * PATIENCE), Sandbox() as sandbox:
            return True, await check(framework, World(address, sandbox))
    except Wrong as wrong:
        return False, str(wrong)
    except TimeoutError:
        return False, "took too long"


async def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="packages, with commas between; all without it")
    given = parser.parse_args()
    frameworks = tuple(each for each in _FRAMEWORKS if not given.only or each.package in given.only.split(","))
    log.configure("error", "console")
    failed = 0
    for wrong in environment(frameworks):
        print(f"FAIL {wrong}")
        failed += 1
    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder) / "serve.log", "integration_api", *_SERVE) as service:
            for framework in frameworks:
                for name, check in CHECKS.items():
                    good, seen = await judged(check, framework, f"127.0.0.1:{service.port}")
                    failed += not good
                    print(f"{'PASS' if good else 'FAIL'} {framework.package:15} {name:16} {seen}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
