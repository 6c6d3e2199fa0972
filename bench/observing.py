"""What does it cost to be seen? CPU per call and per token with log lines and metrics, and with traces, against none.

Three services do the same work against the same raw endpoint, round by round in turn; the ratios are of rounds beside
each other. CPU is the server process's own, all threads, so what writes the log and sends the spans is in it.

    python bench/observing.py [--rounds 7] [--json FILE]
"""

import argparse
import os
import statistics
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import grpc
import uvloop
from aiohttp import web
from work import Program, Round, measured, program, request, streams, unary, write

# The most that CPU may be multiplied by, per call and per token.
AIMS = {"seen": {"call": 1.05, "token": 1.05}, "traced": {"call": 1.15, "token": 1.15}}
_CALLS, _STREAMS, _TOKENS, _RATE = 1600, 100, 60, 20

Work = Callable[[list[grpc.aio.Channel]], Awaitable[Round]]


async def _accepted(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(content_type="application/x-protobuf")


async def _collector() -> tuple[web.AppRunner, str]:
    application = web.Application(client_max_size=2**26)
    application.add_routes([web.post("/{any:.*}", _accepted)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, "http://{}:{}".format(*runner.addresses[0][:2])


async def main(rounds: int, file: str) -> None:
    """Measure, print, keep."""
    collector, url = await _collector()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
    with ExitStack() as stack:
        endpoint = stack.enter_context(program("endpoint.py")).port
        sides: dict[str, tuple[Program, list[grpc.aio.Channel]]] = {}
        for how in ("off", *AIMS):
            os.environ["BENCH_OBSERVED"] = how
            side = stack.enter_context(program("observed.py"))
            sides[how] = side, side.channels(4)
        short, slow = [request(endpoint, "unary")], request(endpoint, f"paced-{_TOKENS}-{_RATE}")
        works: dict[str, Work] = {
            "call": lambda channels: unary(channels[0], short, _CALLS, 16),
            "token": lambda channels: streams(channels, slow, _STREAMS, _TOKENS, _STREAMS),
        }
        kept: dict[str, Any] = {}
        for unit, work in works.items():
            kept[unit] = await _compared(sides, unit, work, rounds)
        for _, channels in sides.values():
            for channel in channels:
                await channel.close()
    await collector.cleanup()
    write(file, kept)


async def _compared(
    sides: dict[str, tuple[Program, list[grpc.aio.Channel]]], unit: str, work: Work, rounds: int
) -> dict[str, Any]:
    costs: dict[str, list[float]] = {how: [] for how in sides}
    for number in range(rounds + 1):
        for how, (side, channels) in sides.items():
            result = await measured(side, lambda c=channels: work(c))  # type: ignore[misc]
            if number:  # the first one warms up
                costs[how].append(1e6 * result.cpu / result.units)
    print(f"\nper {unit}: {rounds} rounds each, in turn")
    kept: dict[str, Any] = {}
    for how, found in costs.items():
        ratios = [mine / base for mine, base in zip(found, costs["off"], strict=True)]
        kept[how] = {"cpu_us": [round(cost, 1) for cost in found], "ratios": [round(ratio, 3) for ratio in ratios]}
        aim = f"; aim {AIMS[how][unit]}" if how in AIMS else ""
        print(
            f"  {how:7} CPU {statistics.median(found):7.1f} us"
            f"  ratio {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}){aim}"
        )
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", default="", help="a file for the result")
    asked = parser.parse_args()
    uvloop.run(main(asked.rounds, asked.json))
