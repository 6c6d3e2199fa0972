"""The service behind nginx, HAProxy, Envoy and Caddy, set up as docs/proxies.md says; prints a measured table.

    python -m acceptance.proxies [--only nginx,envoy] [--idle 5] [--require nginx] [--bin FOLDER]

A proxy that is not on this machine (on the path, or in `--bin`) is skipped with a line that says so, or fails where it
is required. `--idle` is how long the bidirectional stream is silent: 130 shows what cuts at two minutes. Exit code 1: a
check failed.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from acceptance.proxies.checks import CHECKS, World
from acceptance.proxies.configurations import PROXIES, Proxy
from acceptance.proxies.rollout import rollout
from bench.processes import Process, free_port, started
from integration_api import log
from integration_api.sandbox import Sandbox

_ROLLOUT = "SIGTERM to one of two instances"
# Health checks of proxies come every second: those who watch them have gone by then.
_SERVE = ("serve", "--port", "0", "--log-format", "json", "--drain-delay", "3", "--shutdown-grace", "10")
# Cut whatever we set: docs/proxies.md tells of it.
_KNOWN_LIMITS = {("caddy", "idle bidirectional stream"): 60.0}


def _write(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text, "utf-8")


def _end_of(file: Path) -> str:
    return file.read_text("utf-8", "replace")[-1000:]


@asynccontextmanager
async def _running(proxy: Proxy, program: str, folder: Path, behind: Sequence[int]) -> AsyncIterator[str]:
    """A proxy in front of some ports; its address."""
    port = free_port()
    _write(folder / proxy.file, proxy.configuration(port, behind))
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program, *proxy.command(folder), cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            await _listening(port, process, folder / "output.log")
            yield f"127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listening(port: int, process: asyncio.subprocess.Process, output: Path) -> None:
    for _ in range(200):
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await asyncio.sleep(2.0)  # the first health checks of those that make some
        return
    raise RuntimeError(f"it does not listen: {_end_of(output)}")


def _program(proxy: Proxy, folder: str) -> str | None:
    folders = [str(Path(folder).absolute())] if folder else []  # the proxy runs in a folder of its own
    return shutil.which(proxy.name, path=os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin"]))


def _version(proxy: Proxy, program: str) -> str:
    told = subprocess.run([program, *proxy.version], capture_output=True, text=True, check=False, timeout=20)
    words = (told.stdout + told.stderr).replace("/", " ").split()
    return next((word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit() and "." in word), "?")


async def _judged(work: Awaitable[str]) -> str:
    try:
        return await work
    except Exception as error:  # noqa: BLE001 -- whatever went wrong is what the table says
        return f"FAIL: {type(error).__name__} {error}"


async def _column(proxy: Proxy, program: str, folder: Path, sandbox: Sandbox, idle: float) -> dict[str, str]:
    """What each check said through one proxy."""
    found: dict[str, str] = {}
    async with (
        started(folder / f"{proxy.name}-1.log", "integration_api", *_SERVE) as first,
        started(folder / f"{proxy.name}-2.log", "integration_api", *_SERVE) as second,
    ):
        async with _running(proxy, program, folder / f"{proxy.name}-one", [first.port]) as address:
            world = World(address, f"127.0.0.1:{first.port}", sandbox, idle)
            for check in CHECKS:
                found[check.name] = await _judged(check.run(world))
                limit = _KNOWN_LIMITS.get((proxy.name, check.name), idle)
                if idle > limit and found[check.name].startswith("FAIL"):
                    found[check.name] = f"**cut** (known: at {limit:g} s)"
                print(f"  {proxy.name:8} {check.name:40} {found[check.name]}", flush=True)
        both: list[Process] = [first, second]
        async with _running(proxy, program, folder / f"{proxy.name}-two", [each.port for each in both]) as address:
            found[_ROLLOUT] = await _judged(rollout(address, sandbox.port, first))
            print(f"  {proxy.name:8} {_ROLLOUT:40} {found[_ROLLOUT]}", flush=True)
    return found


def _table(columns: dict[str, dict[str, str]]) -> str:
    rows = [check.name for check in CHECKS] + [_ROLLOUT]
    lines = ["| check | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row} | " + " | ".join(found[row] for found in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


async def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma-separated proxies; all without it")
    parser.add_argument("--require", default="", help="comma-separated proxies that must not be skipped")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds of silence of the bidirectional stream")
    parser.add_argument("--bin", default="", help="a folder of programs, beside those on the path")
    given = parser.parse_args()
    log.configure("error", "console")
    columns: dict[str, dict[str, str]] = {}
    missing: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="proxies-"))
    async with Sandbox() as sandbox:
        for proxy in PROXIES:
            if given.only and proxy.name not in given.only.split(","):
                continue
            program = _program(proxy, given.bin)
            if program is None:
                required = proxy.name in given.require.split(",")
                print(f"{'FAIL' if required else 'SKIP'} {proxy.name}: not on this machine", flush=True)
                missing += [proxy.name] if required else []
                continue
            title = f"{proxy.name} {_version(proxy, program)}"
            columns[title] = await _column(proxy, program, folder, sandbox, given.idle)
    if not columns:
        print("nothing was run", flush=True)
        return 1
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, {len(columns)} proxies, logs in {folder}\n\n{_table(columns)}")
    failed = [cell for found in columns.values() for cell in found.values() if cell.startswith("FAIL")]
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
