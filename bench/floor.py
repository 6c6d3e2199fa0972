"""How much does our service cost above the bare pipe? CPU per call and per token, calls per second, latency.

The bare pipe and our service do the same work against the same raw endpoint, round by round in turn. CPU is the
server process's own time (user and system, all threads) from /proc, so other load disturbs it little. Frames per token
of both sides are printed and must be alike, or the round is void: who writes fewer frames does less.

    python bench/floor.py                 the whole measurement, about five minutes
    python bench/floor.py --quick         a look, under a minute
    python bench/floor.py --only paced    one case: unary, burst or paced
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import uvloop

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
UNARY = "/integration_api.v1.ChatService/Chat"
STREAM = "/integration_api.v1.ChatService/StreamChat"
ALIKE = 0.95


@dataclass
class Round:
    """What one round of one side gave."""

    cpu: float
    wall: float
    calls: int
    tokens: int = 0
    frames: int = 0
    latencies: list[float] = field(default_factory=list)


@contextmanager
def program(name: str) -> Iterator[tuple[int, int]]:
    """Run one of the programs beside this one; gives its process id and port."""
    process = subprocess.Popen([sys.executable, HERE / name], stdout=subprocess.PIPE, text=True, cwd=HERE.parent)  # noqa: S603 -- our own programs
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def cpu_of(pid: int) -> float:
    """User and system seconds of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def request(endpoint: int, model: str) -> bytes:
    """What is asked, as bytes: the client must not be the limit."""
    asked = pb.ChatRequest(
        provider_id="custom-llm", messages=[msg.Message(user=msg.UserMessage(content=[msg.ContentPart(text="Hello")]))]
    )
    asked.credential.value["apiCompatibility"] = "openai_compatible"
    asked.credential.value["baseUrl"] = f"http://127.0.0.1:{endpoint}/v1"
    asked.model_parameters["model.name"] = model
    return asked.SerializeToString()


async def unary(channel: grpc.aio.Channel, endpoint: int, calls: int, at_once: int) -> Round:
    """`calls` Chat calls, `at_once` of them at a time."""
    call = channel.unary_unary(UNARY)
    asked = request(endpoint, "unary")
    latencies: list[float] = []

    async def worker(share: int) -> None:
        for _ in range(share):
            started = time.perf_counter()
            await call(asked)
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(worker(calls // at_once) for _ in range(at_once)))
    return Round(0, 0, len(latencies), latencies=latencies)


async def streams(
    channels: list[grpc.aio.Channel], endpoint: int, model: str, count: int, tokens: int, at_once: int
) -> Round:
    """`count` StreamChat calls of `tokens` tokens, `at_once` at a time."""
    asked = request(endpoint, model)
    result = Round(0, 0, 0)

    async def worker(number: int, share: int) -> None:
        call = channels[number % len(channels)].unary_stream(STREAM)
        for _ in range(share):
            started = time.perf_counter()
            frames = 0
            async for _ in call(asked):
                frames += 1
                if frames == 1:
                    result.latencies.append(time.perf_counter() - started)
            result.calls += 1
            result.tokens += tokens
            result.frames += frames

    await asyncio.gather(*(worker(number, count // at_once) for number in range(at_once)))
    return result


async def measured(pid: int, work: Callable[[], Awaitable[Round]]) -> Round:
    """The round with the server's CPU and the time it took."""
    cpu, wall = cpu_of(pid), time.perf_counter()
    result = await work()
    result.wall = time.perf_counter() - wall
    result.cpu = cpu_of(pid) - cpu
    return result


def percentile(values: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def show(case: str, bare: list[Round], ours: list[Round], aim: float) -> bool:
    """Print one case; False when it is void."""
    per_token = bool(bare[0].tokens)
    unit = "token" if per_token else "call"
    print(f"\n{case}: {len(bare)} rounds each, in turn")
    rows = {}
    for name, rounds in (("bare", bare), ("ours", ours)):
        costs = [1e6 * r.cpu / (r.tokens or r.calls) for r in rounds]
        rate = statistics.median((r.tokens or r.calls) / r.wall for r in rounds)
        latencies = [value for r in rounds for value in r.latencies]
        frames = sum(r.frames for r in rounds) / (sum(r.tokens for r in rounds) or 1)
        rows[name] = (statistics.median(costs), frames)
        what = "first frame" if per_token else "latency"
        print(
            f"  {name}  CPU {statistics.median(costs):7.1f} us/{unit} (min {min(costs):.1f}, max {max(costs):.1f})"
            f"  {rate:8.0f} {unit}s/s"
            f"  {what} p50 {percentile(latencies, 0.5):.2f} ms p99 {percentile(latencies, 0.99):.2f} ms"
            + (f"  frames/token {frames:.3f}" if per_token else "")
        )
    ratios = [
        (o.cpu / (o.tokens or o.calls)) / (b.cpu / (b.tokens or b.calls))
        for b, o in zip(bare, ours, strict=True)
        if b.cpu
    ]
    print(
        f"  ours / bare: {statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f}); aim {aim:.2f}"
    )
    if not per_token:
        return True
    alike = min(rows["bare"][1], rows["ours"][1]) / max(rows["bare"][1], rows["ours"][1])
    if alike < ALIKE or ("paced" in case and min(rows["bare"][1], rows["ours"][1]) < ALIKE):
        print(f"  VOID: frames per token differ or are too few ({alike:.3f}); the machine was too busy")
        return False
    return True


async def main(only: str, quick: bool, at_once: int) -> int:
    """Every case, both sides in turn."""
    good = True
    rounds = 2 if quick else 5
    paced = 80 if quick else 200  # tokens of a paced stream
    with program("endpoint.py") as (_, endpoint), program("bare.py") as bare, program("ours.py") as ours:
        sides = []
        for pid, port in (bare, ours):
            options = [("grpc.use_local_subchannel_pool", 1)]
            sides.append((pid, [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(4)]))
        cases: dict[str, tuple[str, float, Callable[[list[grpc.aio.Channel]], Awaitable[Round]]]] = {
            "unary": ("Chat calls, 32 at a time", 1.5, lambda c: unary(c[0], endpoint, 640 if quick else 3200, 32)),
            "burst": (
                "burst streams of 1000 tokens, 8 at a time",
                1.25,
                lambda c: streams(c, endpoint, "burst-1000", 80 if quick else 240, 1000, 8),
            ),
            "paced": (
                f"paced streams: {at_once} at once, 20 tokens/s",
                1.25,
                lambda c: streams(c, endpoint, f"paced-{paced}-20", at_once, paced, at_once),
            ),
        }
        for name, (case, aim, work) in cases.items():
            if only not in ("", name):
                continue
            for _, channels in sides:
                await unary(channels[0], endpoint, 320, 32)  # warm
            results: tuple[list[Round], list[Round]] = ([], [])
            for _ in range(rounds if name != "paced" or quick else 3):
                for result, (pid, channels) in zip(results, sides, strict=True):
                    result.append(await measured(pid, lambda c=channels, w=work: w(c)))  # type: ignore[misc]
            good = show(case, *results, aim) and good
        for _, channels in sides:
            for channel in channels:
                await channel.close()
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("unary", "burst", "paced"), default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--streams", type=int, default=500, help="paced streams at once (default 500)")
    arguments = parser.parse_args()
    sys.exit(uvloop.run(main(arguments.only, arguments.quick, arguments.streams)))
