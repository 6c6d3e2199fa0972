"""What a voice agent waits for: the first token, through the service and without it, and the end of a call it cancels.

    python -m bench.voice [--rounds 300] [--json FILE]

First tokens: a raw endpoint that answers at once, asked directly with aiohttp and through the service with the typed
client, in turn, on warm connections; a short request, and a real turn of 42 messages and twelve tools. Barge-in: a
stream that talks is left in the middle; how long until the endpoint's connection is closed, and until the next turn's
first token is there. Service and endpoint are programs of their own, but for barge-in's endpoint, whose clock is ours.
"""

import argparse
import asyncio
import statistics
import sys
import time

import aiohttp

from bench.work import percentile, program, real_turns, request, write
from integration_api.client import ChatRequest, Client, TextDelta, chat_request, endpoint
from integration_api.sandbox import Sandbox

_MODEL = "paced-3-1000"
_TALKS = "tokens:n=1400,gap=20ms"
_WARM_UP = 20


async def direct(session: aiohttp.ClientSession, url: str, body: dict[str, object]) -> float:
    """Seconds to the first token without the service."""
    started = time.perf_counter()
    async with session.post(url, json=body) as response:
        first = 0.0
        async for line in response.content:
            if not first and b'"content":" token"' in line:
                first = time.perf_counter() - started
    return first


async def through(client: Client, asked: ChatRequest) -> float:
    """Seconds to the first token through it."""
    started = time.perf_counter()
    first = 0.0
    async for event in client.stream_chat(asked):
        if not first and isinstance(event, TextDelta):
            first = time.perf_counter() - started
    return first


async def first_tokens(client: Client, port: int, asked: ChatRequest, rounds: int) -> dict[str, float]:
    """Both ways in turn; milliseconds."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    filler = "x" * max(1, asked.ByteSize() - 200)
    body = {"model": _MODEL, "stream": True, "messages": [{"role": "user", "content": filler}]}
    without: list[float] = []
    with_it: list[float] = []
    async with aiohttp.ClientSession() as session:
        for number in range(rounds + _WARM_UP):
            times = await direct(session, url, body), await through(client, asked)
            if number >= _WARM_UP:
                without.append(times[0])
                with_it.append(times[1])
    result = {
        "direct_p50_ms": percentile(without, 0.5),
        "direct_p99_ms": percentile(without, 0.99),
        "through_p50_ms": percentile(with_it, 0.5),
        "through_p99_ms": percentile(with_it, 0.99),
    }
    return {**result, "added_p50_ms": result["through_p50_ms"] - result["direct_p50_ms"]}


async def spoken(client: Client, asked: ChatRequest) -> tuple[float, float]:
    """The loop's time at the first token, and at the moment in which the stream is left."""
    loop = asyncio.get_running_loop()
    async with client.stream_chat(asked) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                first = loop.time()
                await asyncio.sleep(0.03)  # somewhere between two tokens
                return first, loop.time()
    raise AssertionError("it said nothing")


async def barge_in(client: Client, rounds: int) -> dict[str, float]:
    """Milliseconds from leaving a stream to the closed connection, and to the next turn's first token."""
    closed: list[float] = []
    again: list[float] = []
    async with Sandbox() as sandbox:
        asked = chat_request("Talk to me", model=_TALKS, credential=endpoint(f"{sandbox.url}/v1"))
        _, left = await spoken(client, asked)
        for _ in range(rounds):
            hangup = asyncio.create_task(sandbox.wait_for_hangup(5))
            first, next_left = await spoken(client, asked)
            closed.append(await hangup - left)
            again.append(first - left)
            left = next_left
        await sandbox.wait_for_hangup(5)
    return {
        "closed_p50_ms": statistics.median(closed) * 1000,
        "closed_worst_ms": max(closed) * 1000,
        "next_token_p50_ms": statistics.median(again) * 1000,
        "next_token_worst_ms": max(again) * 1000,
    }


async def measure(rounds: int) -> dict[str, dict[str, float]]:
    """All of it."""
    with program("ours.py") as ours, program("endpoint.py") as raw:
        async with Client(f"127.0.0.1:{ours.port}") as client:
            short = ChatRequest.FromString(request(raw.port, _MODEL))
            turn = ChatRequest.FromString(real_turns(raw.port, 1)[0])
            turn.model_parameters["model.name"] = _MODEL
            return {
                "short request": await first_tokens(client, raw.port, short, rounds),
                "real turn": await first_tokens(client, raw.port, turn, rounds),
                "barge-in": await barge_in(client, max(10, rounds // 3)),
            }


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", default="", help="a file to keep the result in")
    given = parser.parse_args()
    result = asyncio.run(measure(given.rounds))
    for name, numbers in result.items():
        print(f"{name:14}", "  ".join(f"{word} {value:.2f}" for word, value in numbers.items()))
    write(given.json, dict(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
