"""What one endpoint's bytes may cost the others: the loop is never away for long, and what makes no answer ends."""

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import STREAM_END, STREAM_HEAD, ScriptedServer, token
from tests.edge.reading import Failure, fail, listen
from tests.loop_watch import loop_watch
from tests.patience import within

TOO_LARGE = (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE")
GZIP_HEAD = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
MIB = 1024 * 1024
LONGEST = within(0.1)
_ARGUMENTS = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":'
    b'{"arguments":"%s"}}]}}]}\n\n'
)


@pytest.fixture
def settings() -> Settings:
    return Settings(port=0, shutdown_grace=2.0, total_timeout=within(20.0))


@asynccontextmanager
async def endless(piece: bytes, head: bytes = STREAM_HEAD, times: int | None = None) -> AsyncIterator[ScriptedServer]:
    """An endpoint that answers with a piece again and again, as fast as it is read."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await handmade.request(reader)
        writer.write(head)
        sent = 0
        while times is None or sent < times:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
            sent += 1

    async with ScriptedServer(talk) as handmade:
        yield handmade


def bomb(piece: bytes, size: int) -> bytes:
    """So many bytes of one piece repeated, as one gzip member."""
    compressor = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    block = piece * (MIB // len(piece))
    return b"".join([compressor.compress(block) for _ in range(size // len(block))] + [compressor.flush()])


NOTHING = {
    "comments": b":\n" * 32_768,
    "comments of one letter after a carriage return": b":\r" * 32_768,
    "blank lines": b"\n" * 65_536,
    "empty events": b"data: {}\n\n" * 6_500,
    "pings": b'event: ping\ndata: {"type": "ping"}\n\n' * 1_700,
    "blanks": b" " * 65_536,
    "one field of no meaning per line": b"retry: 1\n" * 7_000,
    "roles": b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n' * 1_000,
}


@pytest.mark.parametrize("method", ["Chat", "StreamChat"])
@pytest.mark.parametrize("name", NOTHING)
async def test_an_endless_stream_of_nothing_ends(stub: ChatServiceStub, name: str, method: str) -> None:
    """It is refused once, as too large, before its timeout, and the loop was never away."""
    async with endless(NOTHING[name]) as handmade, loop_watch() as watch:
        request = chat_request(handmade.url, "m")
        failure: Failure | None
        if method == "Chat":
            failure = await fail(stub.Chat(request, timeout=within(20)))
        else:
            failure = (await listen(stub.StreamChat(request, timeout=within(20)))).failure

    assert failure is not None
    assert failure.said == TOO_LARGE
    assert handmade.accepted == 1
    assert watch.longest < LONGEST


@pytest.mark.parametrize("piece", [b":\n", b"data: {}\n\n", b"\n", b" "])
async def test_a_bomb_costs_little(stub: ChatServiceStub, sandbox: Sandbox, piece: bytes) -> None:
    """130 KB of gzip over 128 MB: refused once, after little work, while honest calls go on."""
    packed = bomb(piece, 128 * MIB)
    async with endless(packed, GZIP_HEAD, 1) as handmade, loop_watch() as watch:
        hostile = asyncio.ensure_future(listen(stub.StreamChat(chat_request(handmade.url, "m"), timeout=within(20))))
        waits = []
        while not hostile.done():
            begun = time.perf_counter()
            await stub.Chat(chat_request(sandbox.url, "echo", "hi"), timeout=within(10))
            waits.append(time.perf_counter() - begun)
        failure = (await hostile).failure

    assert failure is not None
    assert failure.said == TOO_LARGE
    assert handmade.accepted < 3  # not tried again for its size; a machine that was away may have cost the first
    assert watch.longest < LONGEST
    assert watch.cpu < within(2)
    assert max(waits) < within(1)


async def test_endless_arguments_leave_turns_for_others(stub: ChatServiceStub) -> None:
    """Output in small pieces is an answer until it is too large; the loop is never away for long."""
    async with endless(_ARGUMENTS % (b"x" * 40) * 400) as handmade, loop_watch() as watch:
        failure = (await listen(stub.StreamChat(chat_request(handmade.url, "m"), timeout=60))).failure

    assert failure is not None
    assert failure.said in (TOO_LARGE, (grpc.StatusCode.DEADLINE_EXCEEDED, "TOTAL_TIMEOUT"))
    assert watch.longest < LONGEST


def tokens(count: int) -> bytes:
    return token("a") * count + STREAM_END


HONEST = {
    "plain": (STREAM_HEAD, tokens(4_000), 4_000),
    "ten minutes of comments": (STREAM_HEAD, b": keep-alive\n\n" * 12_000 + tokens(10), 10),
    "compressed nearly 300 : 1": (GZIP_HEAD, gzip.compress(tokens(120_000)), 120_000),
}


@pytest.mark.parametrize("name", HONEST)
async def test_honest_streams_pass(stub: ChatServiceStub, name: str) -> None:
    """Long answers, compressed well, or behind many comments, arrive whole."""
    head, body, count = HONEST[name]
    async with endless(body, head, 1) as handmade:
        answer = await stub.Chat(chat_request(handmade.url, "m"), timeout=within(20))

    assert answer.choices[0].message.text == "a" * count
