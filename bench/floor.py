"""How much does our service cost above the bare pipe? CPU and Python calls per call and per token, latency.

The bare pipe and our service do the same work against the same raw endpoint, round by round in turn. CPU is the
server process's own time (user and system, all threads) from /proc, so other load disturbs it little. Frames per token
of both sides are printed and must be alike, or the round is void: who writes fewer frames does less. A real turn is
compared with our own short Chat: no bare pipe speaks of tools. Python calls are counted in processes of their own,
exactly, but for paced tokens, which join where the machine is busy.

    python -m bench.floor                 the whole measurement, about six minutes
    python -m bench.floor --quick         a look, about a minute
    python -m bench.floor --only paced    one case: unary, turn, burst or paced
    python -m bench.floor --json FILE     keeps the result
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop

from bench.work import Program, Round, measured, percentile, program, real_turns, request, streams, unary, write

ALIKE = 0.95
CASES = ("unary", "turn", "burst", "paced")
# The turns of a conversation that are asked ahead of those that are measured.
_FIRST_TURNS = 20


@dataclass(frozen=True)
class Case:
    """One kind of work, for the base that it is compared with and for ours: `aim` is the ratio of CPU, `most` how many
    Python calls ours may take."""

    name: str
    aim: float
    most: int
    base: Callable[[list[grpc.aio.Channel]], Awaitable[Round]]
    ours: Callable[[list[grpc.aio.Channel]], Awaitable[Round]]
    against_ours: bool = False


def cases(endpoint: int, size: int, at_once: int, paced: int) -> dict[str, Case]:
    """The four works; `size` multiplies the calls."""
    short, turns = [request(endpoint, "unary")], real_turns(endpoint, _FIRST_TURNS + 100)
    burst, slow = request(endpoint, "burst-1000"), request(endpoint, f"paced-{paced}-20")

    def chat(channels: list[grpc.aio.Channel]) -> Awaitable[Round]:
        return unary(channels[0], short, 640 * size, 32)

    def turn(channels: list[grpc.aio.Channel]) -> Awaitable[Round]:
        return unary(channels[0], turns[_FIRST_TURNS:], 320 * size, 32)

    def bursts(channels: list[grpc.aio.Channel]) -> Awaitable[Round]:
        return streams(channels, burst, 80 * size, 1000, 8)

    def tokens(channels: list[grpc.aio.Channel]) -> Awaitable[Round]:
        return streams(channels, slow, at_once, paced, at_once)

    return {
        "unary": Case("Chat, one short message", 1.5, 620, chat, chat),
        "turn": Case("a real turn, against our own short Chat", 1.4, 1200, chat, turn, against_ours=True),
        "burst": Case("burst token: streams of 1000, 8 at a time", 1.0, 10, bursts, bursts),
        "paced": Case(f"paced token: {at_once} streams, 20 tokens/s", 1.2, 100, tokens, tokens),
    }


def shown(case: Case, base: list[Round], ours: list[Round]) -> dict[str, Any]:
    """Print one case; what is kept of it."""
    per_token = bool(base[0].tokens)
    unit = "token" if per_token else "call"
    print(f"\n{case.name}: {len(base)} rounds each, in turn")
    kept: dict[str, Any] = {"name": case.name, "unit": unit, "aim": case.aim}
    for side, rounds in (("base", base), ("ours", ours)):
        costs = [1e6 * each.cpu / each.units for each in rounds]
        rate = statistics.median(each.units / each.wall for each in rounds)
        waits = [value for each in rounds for value in each.latencies]
        kept[side] = {
            "cpu_us": [round(cost, 2) for cost in costs],
            "per_second": round(rate),
            "p50_ms": round(percentile(waits, 0.5), 2),
            "p99_ms": round(percentile(waits, 0.99), 2),
            "frames_per_token": round(
                sum(each.frames for each in rounds) / (sum(each.tokens for each in rounds) or 1), 3
            ),
        }
        print(
            f"  {side}  CPU {statistics.median(costs):7.1f} us/{unit} (min {min(costs):.1f}, max {max(costs):.1f})"
            f"  {rate:8.0f} {unit}s/s  {'first frame' if per_token else 'latency'} p50 {kept[side]['p50_ms']} ms"
            f" p99 {kept[side]['p99_ms']} ms"
            + (f"  frames/token {kept[side]['frames_per_token']}" if per_token else "")
        )
    ratios = [(o.cpu / o.units) / (b.cpu / b.units) for b, o in zip(base, ours, strict=True) if b.cpu]
    kept["ratios"] = [round(ratio, 3) for ratio in ratios]
    print(
        f"  ours / base: {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f}); aim {case.aim}"
    )
    frames = sorted(kept[side]["frames_per_token"] for side in ("base", "ours"))
    kept["void"] = per_token and (frames[0] < ALIKE * frames[1] or ("paced" in case.name and frames[0] < ALIKE))
    if kept["void"]:
        print(f"  VOID: frames per token differ or are too few ({frames}); the machine was too busy")
    return kept


async def timed(endpoint: int, only: str, quick: bool, at_once: int) -> dict[str, Any]:
    """CPU and latency of every case, both sides in turn."""
    kept = {}
    with program("bare.py") as bare, program("ours.py") as ours:
        pipes, service = bare.channels(4), ours.channels(4)
        works = cases(endpoint, 1 if quick else 5, at_once, 80 if quick else 200)
        for name, case in works.items():
            if only not in ("", name):
                continue
            base, channels = (ours, service) if case.against_ours else (bare, pipes)
            warm = works["turn" if case.against_ours else "unary"]
            await warm.ours(service)
            await warm.base(channels)
            results: tuple[list[Round], list[Round]] = ([], [])
            for _ in range(2 if quick else 5):
                results[0].append(await measured(base, lambda c=channels, w=case.base: w(c)))  # type: ignore[misc]
                results[1].append(await measured(ours, lambda w=case.ours: w(service)))  # type: ignore[misc]
            kept[name] = shown(case, *results)
        for channel in (*pipes, *service):
            await channel.close()
    return kept


async def counted(endpoint: int, name: str) -> dict[str, float]:
    """Python calls per call and per token of one side."""
    short, turns = [request(endpoint, "unary")], real_turns(endpoint, _FIRST_TURNS + 100)
    burst, slow = request(endpoint, "burst-1000"), request(endpoint, "paced-40-20")
    found = {}
    with program(name, counted=True) as server:
        channels = server.channels(2)
        await unary(channels[0], short, 64, 4)
        found["unary"] = await _calls(server, lambda: unary(channels[0], short, 400, 4))
        if name == "ours.py":
            await unary(channels[0], turns, _FIRST_TURNS, 1)
            found["turn"] = await _calls(server, lambda: unary(channels[0], turns[_FIRST_TURNS:], 100, 1))
        found["burst"] = await _calls(server, lambda: streams(channels, burst, 20, 1000, 4))
        found["paced"] = await _calls(server, lambda: streams(channels, slow, 40, 40, 40))
        for channel in channels:
            await channel.close()
    return found


async def _calls(server: Program, work: Callable[[], Awaitable[Round]]) -> float:
    before = await server.calls()
    result = await work()
    await asyncio.sleep(0.4)  # what ends behind the last answer counts, too
    return round((await server.calls() - before) / result.units, 1)


async def main(only: str, quick: bool, at_once: int, file: str) -> int:
    """Everything; 1 where a case is void."""
    with program("endpoint.py") as endpoint:
        kept = await timed(endpoint.port, only, quick, at_once)
        names = {} if only else {"base": "bare.py", "ours": "ours.py"}
        calls = {side: await counted(endpoint.port, name) for side, name in names.items()}
        most = {name: case.most for name, case in cases(endpoint.port, 1, 1, 1).items()}
    for name in CASES if calls else ():
        base, ours = calls["base"].get(name, "-"), calls["ours"][name]
        print(f"Python calls, {name}: {base} in the base, {ours} in ours; aim {most[name]}")
    write(file, {"cases": kept, "python_calls": {**calls, "aim": most} if calls else {}})
    return any(case["void"] for case in kept.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--streams", type=int, default=500, help="paced streams at once (default 500)")
    parser.add_argument("--json", default="", help="a file for the result")
    arguments = parser.parse_args()
    sys.exit(uvloop.run(main(arguments.only, arguments.quick, arguments.streams, arguments.json)))
