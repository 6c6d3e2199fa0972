"""What do workers give? Calls per second of `serve` with several workers against one, over many channels, and which
process was the limit.

Service, endpoint and client are processes of this machine and share its cores: of each is printed how much of a core it
used. A process that used a whole one was the limit; where none did and the machine had nothing left, the machine was:
then the ratio says little of the service, and calls per second of its own processor time say what a worker costs.

    python -m bench.workers [--workers 2] [--rounds 3] [--channels 16] [--json FILE]
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.processes import started
from bench.work import program, request, unary, write

_CALLS, _AT_ONCE = 240, 4  # of each channel
_ALONE = [("grpc.use_local_subchannel_pool", 1)]
_TICKS = os.sysconf("SC_CLK_TCK")
# A process that used so much of a core used it up.
_FULL = 0.85
# What service, endpoint and client may leave unused of a machine that is used up.
_SPARE = 0.25


def _cpu(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


async def _measured(workers: int, channels: int) -> dict[str, Any]:
    """Calls per second, the processor time of the service per call, and the cores that each process used."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoint = stack.enter_context(program("endpoint.py"))
        flags = ("--port", "0", "--workers", str(workers), "--log-format", "json", "--no-reflection")
        serving = await stack.enter_async_context(started(folder / "log", "integration_api", "serve", *flags))
        pid = serving.process.pid
        while workers > 1 and len(_children(pid)) <= workers:  # noqa: ASYNC110 -- nobody tells of the one that stands ready
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)  # until that one has loaded its modules
        processes = {"endpoint": endpoint.process.pid, "client": os.getpid()}
        if workers == 1:
            processes["service"] = pid
        else:
            processes |= {f"worker {number}": child for number, child in enumerate(_children(pid)[:workers], 1)}
            processes["supervisor"] = pid
        asked = [request(endpoint.port, "unary")]
        opened = [grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}", options=_ALONE) for _ in range(channels)]
        await asyncio.gather(*(unary(channel, asked, _CALLS // 4, _AT_ONCE) for channel in opened))  # warm

        before, begun = {name: _cpu(each) for name, each in processes.items()}, time.perf_counter()
        await asyncio.gather(*(unary(channel, asked, _CALLS, _AT_ONCE) for channel in opened))
        took = time.perf_counter() - begun
        cores = {name: (_cpu(each) - before[name]) / took for name, each in processes.items()}
        await asyncio.gather(*(channel.close() for channel in opened))
    own = sum(used for name, used in cores.items() if name not in ("endpoint", "client"))
    rate = channels * _CALLS / took
    return {"rate": rate, "cpu_us": 1e6 * own / rate, "cores": cores}


def limit(cores: dict[str, float], available: int) -> str:
    """Which process, or what, kept the calls from being more."""
    full = [name for name, used in cores.items() if used >= _FULL]
    if full:
        return " and ".join(full)
    used = sum(cores.values())
    if used >= available - _SPARE:
        return f"the machine: its {available} cores are used up"
    return f"what else runs here, or waiting: they had {used:.2f} of {available} cores, none of them a whole one"


async def main(workers: int, rounds: int, channels: int, file: str) -> None:
    """Measure in turn, print, keep."""
    found: dict[int, list[dict[str, Any]]] = {1: [], workers: []}
    for _ in range(rounds):
        for number, kept in found.items():
            kept.append(await _measured(number, channels))
    available = len(os.sched_getaffinity(0))
    for number, kept in found.items():
        for each in kept:
            used = ", ".join(f"{name} {share:.2f}" for name, share in sorted(each["cores"].items()))
            print(
                f"{number} worker(s): {each['rate']:7.0f} calls/s, {each['cpu_us']:5.0f} us of the service each; {used}"
            )
            print(f"    the limit: {limit(each['cores'], available)}")
    rates = {number: statistics.median(each["rate"] for each in kept) for number, kept in found.items()}
    print(f"{workers} workers against 1: {rates[workers] / rates[1]:.2f} x; load {os.getloadavg()[0]:.1f}")
    write(file, json.loads(json.dumps({"ratio": rates[workers] / rates[1], "rounds": found})))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--json", default="", help="a file for the result")
    asked = parser.parse_args()
    uvloop.run(main(asked.workers, asked.rounds, asked.channels, asked.json))
