"""Attacks by an endpoint's answer: bytes that cost more than they look like."""

import asyncio
import gzip
import json
from collections import Counter
from itertools import repeat

from acceptance.hostile.endpoints import STREAM, Connection, Handler, completion, delta, response, serve
from acceptance.hostile.requests import chat
from acceptance.hostile.rows import MIB, Attack, Bounds, Row, World, told

_INFLATED = 128 * MIB
_ONCE = 5.0  # the deadline of calls that an endpoint would keep for ever


def _stream(attack: Handler, *, calls: int = 1, seconds: float = 30.0) -> Attack:
    """Streams from an endpoint of this kind."""

    async def run(world: World) -> str:
        async with serve(attack) as port:
            requests = repeat(chat(f"http://127.0.0.1:{port}"), calls)
            endings = await world.streams(requests, seconds=seconds)
        world.expect("OK" not in endings, "a stream without an answer ended well")
        return told(endings)

    return run


def _bomb(unit: bytes) -> Handler:
    whole = gzip.compress(unit * (_INFLATED // len(unit)), 9)
    head = STREAM.replace(b"\r\n\r\n", f"\r\nContent-Encoding: gzip\r\nContent-Length: {len(whole)}\r\n\r\n".encode())

    async def handle(connection: Connection) -> None:
        while await connection.request():
            await connection.send(head + whole)

    return handle


def _endless(head: bytes, unit: bytes) -> Handler:
    piece = unit * (65_536 // len(unit))

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(head)
        while True:
            await connection.send(piece)

    return handle


def _arguments(text: str) -> bytes:
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": text}}
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode() + b"\n\n"


async def _json_answer(world: World) -> str:
    """16 MB of `{}` in a field that nobody knows."""
    values = b",".join(repeat(b"{}", 5_300_000))
    whole = response(completion("hi")[:-1] + b',"x":[' + values + b"]}")

    async def handle(connection: Connection) -> None:
        while await connection.request():
            await connection.send(whole)

    async with serve(handle) as port:
        return told(await world.chats([chat(f"http://127.0.0.1:{port}")], seconds=30))


def logprobs_answer(tokens: int, alternatives: int) -> bytes:
    """An honest answer with log probabilities: some 170 values a token with 20 alternatives."""
    other = {"token": "a", "logprob": -1.5, "bytes": [97]}
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [other] * alternatives}
    body = json.loads(completion("a" * tokens))
    body["choices"][0]["logprobs"] = {"content": [token] * tokens}
    return json.dumps(body, separators=(",", ":")).encode()


async def _many_logprobs(world: World) -> str:
    """What is large and honest must pass."""
    whole = response(logprobs_answer(4096, 20))

    async def handle(connection: Connection) -> None:
        while await connection.request():
            await connection.send(whole)

    endings: Counter[str] = Counter()
    async with serve(handle) as port:
        for _ in range(3):
            endings += await world.chats([chat(f"http://127.0.0.1:{port}")], seconds=30)
    world.expect(endings["OK"] == 3, f"an honest answer did not pass: {told(endings)}")
    return told(endings)


async def _square(world: World) -> str:
    """A model's name that an expression may try to split in every way, and a 404."""
    name = "x/v1/v" + "1" * 12_000
    whole = response(b'{"error":{"message":"not found"}}', "404 Not Found")

    async def handle(connection: Connection) -> None:
        while await connection.request():
            await connection.send(whole)

    async with serve(handle) as port:
        base = f"http://127.0.0.1:{port}"
        endings = await world.chats([chat(base, model=name, api="gemini_generate_content")], seconds=60)
        endings += await world.chats([chat(base + "/v1/v" + "1" * 1_900)] * 10, seconds=60)
    return told(endings)


async def _good_beside(world: World) -> str:
    """Nothing is attacked: what this machine and this measurement cost by themselves."""
    async with serve(_endless(STREAM, delta("")), None):
        await asyncio.sleep(2)
    return f"server {world.server.pid} lived"


_TURN = Bounds(cpu=3.0, peak=64)
ROWS = (
    Row(name="calm", fault="-", sent="nothing, for two seconds", attack=_good_beside, bounds=Bounds(peak=20)),
    *(
        Row(
            name=f"gzip-{name}",
            fault="1",
            sent=f"a gzip stream of 128 MB of `{shown}`",
            attack=_stream(_bomb(unit)),
            bounds=_TURN,
        )
        for name, shown, unit in (("comments", ":\\n", b":\n"), ("events", "data: {}", b"data: {}\n\n"))
    ),
    Row(
        name="json-answer",
        fault="4",
        sent="an answer of 16 MB of `{}` in an unknown field",
        attack=_json_answer,
        bounds=Bounds(peak=120),
    ),
    Row(
        name="many-logprobs",
        fault="4",
        sent="3 honest answers with 690,000 values each",
        attack=_many_logprobs,
        bounds=Bounds(cpu=6, peak=250),
    ),
    *(
        Row(
            name=f"endless-{name}",
            fault="6",
            sent=f"endless {what}",
            attack=_stream(_endless(head, unit), calls=calls, seconds=_ONCE),
            bounds=Bounds(cpu=cpu),
        )
        for name, what, head, unit, calls, cpu in (
            ("100", "100 Continue for 5 s", b"", b"HTTP/1.1 100 Continue\r\n\r\n", 1, 2),
            ("comments", "comment lines for 5 s", STREAM, b":\n", 1, 3),
            ("events", "`data: {}` for 5 s", STREAM, b"data: {}\n\n", 1, 3),
            # They are an answer that grows; what counts is that others run beside it.
            ("arguments", "tool arguments, 2 calls, 5 s", STREAM, _arguments("x"), 2, 6),
        )
    ),
    Row(
        name="square-of-a-name",
        fault="10",
        sent="a Gemini model of 12 KB, and 404; base URLs of 2 KB",
        attack=_square,
        bounds=Bounds(cpu=1.5),
    ),
)
