"""Thousands of slow streams at once: memory and CPU of each, and how evenly tokens come.

    python -m bench.streams [--streams 1000 5000 10000] [--seconds 10] [--json FILE]

Each stream gets a token every two seconds from the raw endpoint, and lives as long as is measured. Jitter is how far
the gap between two frames of a stream is from those two seconds. The client is a process of this kind, too, on the same
machine: where it is the limit, jitter says so, memory does not.
"""

import argparse
import asyncio
import resource
import sys
import time
from typing import Any

import grpc
import uvloop

from bench.work import STREAM, percentile, program, request, unary, write

MOST_BYTES = 60 * 1024
_GAP = 2.0
# Streams of one connection, below what the service allows.
_PER_CHANNEL = 1_000
_OPENING = 0.002  # seconds between two streams that open, so that they do not all speak at once


async def reader(call: grpc.aio.UnaryStreamCall, opened: asyncio.Event, gaps: list[float]) -> None:
    """One stream, as long as it lives."""
    last = 0.0
    async for _ in call:
        now = time.perf_counter()
        if last and opened.is_set():
            gaps.append(abs(now - last - _GAP))
        last = now


async def measure(count: int, seconds: float) -> dict[str, Any]:
    """One number of streams, against a service of its own."""
    with program("endpoint.py") as endpoint, program("ours.py") as ours:
        channels = ours.channels(-(-count // _PER_CHANNEL))
        for channel in channels:
            await unary(channel, [request(endpoint.port, "unary")], 50, 5)
        before = ours.resident
        life = int((count * _OPENING + seconds) / _GAP) + 60  # more tokens than are waited for
        asked = request(endpoint.port, f"paced-{life}-{1 / _GAP}")
        opened, gaps = asyncio.Event(), list[float]()
        calls, readers = [], []
        for number in range(count):
            call = channels[number % len(channels)].unary_stream(STREAM)(asked)
            calls.append(call)
            readers.append(asyncio.ensure_future(reader(call, opened, gaps)))
            await asyncio.sleep(_OPENING)
        await asyncio.sleep(2 * _GAP)
        opened.set()
        cpu = ours.cpu
        await asyncio.sleep(seconds)
        used, resident = ours.cpu - cpu, ours.resident
        lost = sum(each.done() for each in readers)
        for call in calls:
            call.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for channel in channels:
            await channel.close()
    return {
        "streams": count,
        "lost": lost,
        "bytes_each": round((resident - before) / count),
        "cpu_ms_per_stream_second": round(1000 * used / count / seconds, 3),
        "cores": round(used / seconds, 3),
        "jitter_p50_ms": round(percentile(gaps, 0.5), 2),
        "jitter_p99_ms": round(percentile(gaps, 0.99), 2),
    }


async def main(counts: list[int], seconds: float, file: str) -> int:
    """Every number in turn; 1 where streams were lost or are too large."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the programs inherit it
    found = []
    for count in counts:
        one = await measure(count, seconds)
        print("  ".join(f"{name} {value}" for name, value in one.items()), flush=True)
        found.append(one)
    write(file, {"rows": found, "aim": {"bytes_each": MOST_BYTES}})
    return any(one["lost"] or (one["streams"] == 5_000 and one["bytes_each"] > MOST_BYTES) for one in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1_000, 5_000, 10_000])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", default="", help="a file for the result")
    arguments = parser.parse_args()
    sys.exit(uvloop.run(main(arguments.streams, arguments.seconds, arguments.json)))
