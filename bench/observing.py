"""What does it cost to be seen? CPU per call and per token with log lines and metrics, and with traces, against none.

Three services do the same work against the same raw endpoint, round by round in turn, each time in a new process: one
process differs from the next by up to a tenth, whatever it does. CPU is the server process's own, all threads, so what
writes the log and sends the spans is in it.

    python -m bench.observing [--rounds 7] [--only call] [--json FILE]
"""

import argparse
import os
import statistics
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop
from aiohttp import web

from bench.work import Round, measured, program, request, streams, unary, write

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


async def main(rounds: int, only: str, file: str) -> None:
    """Measure, print, keep."""
    collector, url = await _collector()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
    with program("endpoint.py") as endpoint:
        short, slow = [request(endpoint.port, "unary")], request(endpoint.port, f"paced-{_TOKENS}-{_RATE}")
        works: dict[str, Work] = {
            "call": lambda channels: unary(channels[0], short, _CALLS, 16),
            "token": lambda channels: streams(channels, slow, _STREAMS, _TOKENS, _STREAMS),
        }
        costs: dict[str, dict[str, list[float]]] = {
            unit: {how: [] for how in ("off", *AIMS)} for unit in works if only in ("", unit)
        }
        for _ in range(rounds):
            for how in ("off", *AIMS):
                os.environ["BENCH_OBSERVED"] = how
                with program("observed.py") as side:
                    channels = side.channels(4)
                    await unary(channels[0], short, _CALLS // 4, 16)  # warm
                    for unit, found in costs.items():
                        result = await measured(side, lambda w=works[unit], c=channels: w(c))  # type: ignore[misc]
                        found[how].append(1e6 * result.cpu / result.units)
                    for channel in channels:
                        await channel.close()
    await collector.cleanup()
    write(file, {unit: _shown(unit, found) for unit, found in costs.items()})


def _shown(unit: str, costs: dict[str, list[float]]) -> dict[str, Any]:
    """Print one unit of work; what is kept of it."""
    print(f"\nper {unit}: {len(costs['off'])} rounds each, in turn")
    kept: dict[str, Any] = {}
    for how, found in costs.items():
        ratio = statistics.mean(found) / statistics.mean(costs["off"])
        kept[how] = {"cpu_us": [round(cost, 1) for cost in found], "ratio": round(ratio, 3)}
        aim = f"; aim {AIMS[how][unit]}" if how in AIMS else ""
        print(
            f"  {how:7} CPU {statistics.mean(found):7.1f} us (min {min(found):.1f}, max {max(found):.1f})"
            f"  ratio {ratio:.3f}{aim}"
        )
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("call", "token"), default="")
    parser.add_argument("--json", default="", help="a file for the result")
    asked = parser.parse_args()
    uvloop.run(main(asked.rounds, asked.only, asked.json))
