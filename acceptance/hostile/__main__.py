"""The hostile suite: every attack against a server process of its own, honest calls beside each, and a table.

    python -m acceptance.hostile [--project PATH] [--only NAME]… [--factor 1] [--loaded]

`--project` is the checkout whose server is attacked (with its `.venv`). On a machine that has other work: `--factor`
stretches the bounds of time, and with `--loaded` the waits of honest calls are judged by the processor time that the
server used meanwhile (`busy`), which other programs do not lengthen, and by the clock with twenty times the bound only.
Exit code 0 when no row fails.

Thousands of calls in one moment wait for gRPC itself: where the wait is all that a row fails with, the same storm is
sent to a bare grpc.aio server, and the row says GRPC where an honest call waits there as long, or nearly.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from acceptance.hostile import answers, clients, connections, strangers, surroundings
from acceptance.hostile.rows import GREEDY, HONEST, MIB, Bounds, Honest, Row, World
from acceptance.hostile.server import Server, start
from bench.processes import ROOT, raise_descriptor_limit

ROWS: Sequence[Row] = (*answers.ROWS, *connections.ROWS, *clients.ROWS, *strangers.ROWS, *surroundings.ROWS)
_LOADED = 20
_WAITED, _WORKED = "an honest call waited", "the server worked beside one honest call"
_AS_LONG = 1.25
_NICE = 5  # attackers come after the server and the honest client
_COLUMNS = "{:18} {:>5}  {:58} {:>8} {:>8} {:>8} {:>6} {:>10} {:>11} {:>6}  {:4}  {}"


@dataclass(frozen=True)
class Measured:
    """What one attack cost. Memory in MiB above what was before."""

    honest: Honest
    cpu: float
    peak: float
    after: float
    descriptors: int
    stop: float
    code: int | None
    ended: str
    faults: Sequence[str]

    @property
    def waited(self) -> float:
        """The longest wait of an honest call that the server can be blamed for. What the honest process was away itself
        may all be in its longest call."""
        return self.honest.longest - self.honest.own

    def judged(self, bounds: Bounds, factor: float, *, loaded: bool) -> list[str]:
        """Everything that is not as it must be."""
        honest = self.honest
        most = bounds.wait * (_LOADED if loaded else 1) * factor
        found = [
            *self.faults,
            *(f"honest: {failure}" for failure in honest.failures[:2]),
            *_above(_WAITED, self.waited, most, "ms"),
            *(_above(_WORKED, honest.busy, bounds.wait, "ms") if loaded else ()),
            *_above("CPU", self.cpu, bounds.cpu * factor, "s"),
            *_above("peak", self.peak, bounds.peak, "MiB"),
            *_above("memory that stays", self.after, bounds.after, "MiB"),
            *_above("descriptors that stay", self.descriptors, bounds.descriptors, ""),
            *_above("SIGTERM to the end", self.stop, bounds.stop * factor, "s"),
        ]
        if not honest.calls:
            found.append("no honest call ended")
        if self.code != 0:
            found.append("had to be killed" if self.code is None else f"exit code {self.code}")
        return found


def _above(what: str, found: float, most: float, unit: str) -> list[str]:
    return [f"{what} {found:.3g} {unit} > {most:g}"] if found > most else []


class HonestClient:
    """The honest client's process."""

    def __init__(self, process: asyncio.subprocess.Process, endpoint: int) -> None:
        self._process = process
        self._seen: Honest | None = None
        self.endpoint = endpoint

    @classmethod
    async def start(cls, server: Server, row: Row) -> "HonestClient":
        """Start it; its calls run when this returns."""
        command = [sys.executable, "-m", "acceptance.hostile.honest", "--port", str(server.port)]
        command += ["--pid", str(server.pid)]
        command += ["--token", HONEST] if row.auth else []
        command += ["--host", surroundings.GOOD_NAME] if row.names else []
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(40):
            first = await process.stdout.readline()
        return cls(process, int(json.loads(first)["endpoint"]))

    async def finish(self) -> Honest:
        """End it, and hear what it saw. Asked twice it says the same."""
        if self._seen is None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            async with asyncio.timeout(40):
                self._seen = Honest(**json.loads(await self._process.stdout.readline()))
                await self._process.wait()
        return self._seen

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


def _flags(row: Row, folder: Path) -> list[str]:
    flags = list(row.flags)
    if row.auth:
        tokens = folder / "tokens"
        named = (("honest", HONEST), ("greedy", GREEDY))
        lines = (f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n" for name, token in named)
        tokens.write_text("".join(lines), "ascii")
        flags += ["--auth-tokens-file", str(tokens)]
    if row.certificate:
        flags += ["--endpoint-ca-file", str(connections.make_certificate(folder))]
    return flags


@asynccontextmanager
async def _started(row: Row, project: Path, *, bare: bool = False) -> AsyncIterator[tuple[Server, HonestClient]]:
    folder = Path(tempfile.mkdtemp(prefix=f"hostile-{row.name}-"))
    async with AsyncExitStack() as stack:
        if row.names:
            await stack.enter_async_context(surroundings.name_server())
        resolver = surroundings.RESOLVER if row.names else ""
        flags = _flags(row, folder)
        server = await start(project, folder, flags, pipe=row.pipe, resolver=resolver, bare=bare)
        stack.callback(server.kill)
        honest = await HonestClient.start(server, row)
        stack.callback(honest.kill)
        yield server, honest


async def run(row: Row, project: Path, *, bare: bool = False) -> Measured:
    """One row: start, attack, look, stop. `bare`: against gRPC's server alone, whose answers are no answers."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", -1),
    ]
    async with _started(row, project, bare=bare) as (server, honest):
        server.reset_peak()
        cpu, resident, descriptors = server.cpu, server.resident, server.descriptors
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            world = World(server, channel, f"http://127.0.0.1:{honest.endpoint}", honest.finish)
            try:
                async with asyncio.timeout(row.longest):
                    ended = await row.attack(world)
            except TimeoutError:
                ended = "did not end"
                world.faults.append(f"the attack did not end within {row.longest:g} s")
        if server.process.returncode is not None:  # an attack that ends the server itself
            seen = await honest.finish()
            return Measured(seen, 0, 0, 0, 0, server.ended, server.process.returncode, ended, world.faults)
        used, peak = server.cpu - cpu, server.peak - resident
        await asyncio.sleep(row.settle)
        after, left = server.resident - resident, server.descriptors - descriptors
        try:
            seen = await honest.finish()
        except TimeoutError:
            seen = Honest(0, 0, 0, 0, 0, ["the honest client did not come back"])
        code = await server.stop(15.0)
        return Measured(seen, used, peak / MIB, after / MIB, left, server.ended, code, ended, world.faults)


async def main(project: Path, rows: Sequence[Row], factor: float, *, loaded: bool) -> int:
    """Print the table; the exit code."""
    raise_descriptor_limit()
    os.nice(_NICE)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # endpoints here break every rule
    began, failed, skipped, as_grpc = time.monotonic(), 0, 0, 0
    heads = (
        "row",
        "fault",
        "what was sent",
        "wait ms",
        "busy ms",
        "own ms",
        "CPU s",
        "peak MiB",
        "after MiB",
        "stop s",
    )
    print(_COLUMNS.format(*heads, "", "how it ended"), flush=True)
    for row in rows:
        try:
            measured = await run(row, project)
        except (OSError, TimeoutError, ValueError) as error:
            not_here = row.names and isinstance(error, PermissionError)  # the port of names is not for everybody
            skipped, failed = skipped + not_here, failed + (not not_here)
            print(f"{row.name:18} {'SKIP' if not_here else 'FAIL'}: {error.__class__.__name__} {error}", flush=True)
            continue
        faults = measured.judged(row.bounds, factor, loaded=loaded)
        verdict = "FAIL" if faults else "PASS"
        if row.storm and faults and all(fault.startswith((_WAITED, _WORKED)) for fault in faults):
            floor = await run(row, ROOT, bare=True)
            found, alone = (each.honest.busy if loaded else each.waited for each in (measured, floor))
            faults.append(f"beside a bare grpc.aio server it is {alone:.0f} ms")
            verdict = "GRPC" if found <= _AS_LONG * alone else "FAIL"
        failed, as_grpc = failed + (verdict == "FAIL"), as_grpc + (verdict == "GRPC")
        numbers = (
            f"{measured.honest.longest:.0f}",
            f"{measured.honest.busy:.0f}",
            f"{measured.honest.own:.0f}",
            f"{measured.cpu:.1f}",
            f"{measured.peak:+.0f}",
            f"{measured.after:+.0f}",
            f"{measured.stop:.1f}",
        )
        print(_COLUMNS.format(row.name, row.fault, row.sent, *numbers, verdict, measured.ended), flush=True)
        for fault in faults:
            print(f"{'':25}- {fault}", flush=True)
    missing = f", {skipped} SKIPPED" if skipped else ""
    missing += f", {as_grpc} wait as long as for gRPC alone" if as_grpc else ""
    passed = len(rows) - failed - skipped - as_grpc
    print(f"{passed} of {len(rows)} rows pass{missing}, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m acceptance.hostile")
    parser.add_argument("--project", type=Path, default=ROOT)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", choices=[row.name for row in ROWS])
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--loaded", action="store_true")
    given = parser.parse_args()
    chosen = [row for row in ROWS if not given.only or row.name in given.only]
    sys.exit(asyncio.run(main(given.project.resolve(), chosen, given.factor, loaded=given.loaded)))
