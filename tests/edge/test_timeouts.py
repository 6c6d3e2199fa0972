"""The four timeouts, each with its own reason; output counts, bytes do not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import (
    NARROW,
    STREAM_END,
    STREAM_HEAD,
    FloodEndpoint,
    ScriptedServer,
    answer,
    deaf,
    token,
    until,
)
from tests.edge.program import Program
from tests.edge.raw_http2 import RawConnection, message
from tests.edge.reading import Received, fail, listen
from tests.patience import within

# A busy machine is late, never early.
SLACK = 1.0
EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED


@asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[tuple[Server, ChatServiceStub]]:
    """A server with these settings, and a client that takes a kilobyte at a time."""
    async with (
        Server(Settings(port=0, shutdown_grace=0.1, **changes)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=NARROW) as channel,
    ):
        yield server, ChatServiceStub(channel)


async def timed(call: grpc.aio.UnaryStreamCall, least: float) -> Received:
    """Listen to a stream that must end no earlier than `least` seconds from now, and not much later."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    outcome = await listen(call)
    took = loop.time() - began
    assert least * 0.95 <= took < least + within(SLACK), took
    return outcome


async def undisturbed(ask: Callable[[], Awaitable[Received]]) -> Received:
    """Ask; and again, a few times, when the machine took the process away just then: the service blames itself for
    that, rightly, and not the timeout."""
    outcome = await ask()
    for _ in range(10):
        if outcome.failure is None or "did not run for" not in outcome.failure.message:
            break
        outcome = await ask()
    return outcome


# Window, the timeout that guards it (setting, JSON name), and what the client must see.
LIMITS = [
    ("silent-headers", "first_output_timeout", "firstOutput", "FIRST_OUTPUT_TIMEOUT"),
    ("silence", "first_output_timeout", "firstOutput", "FIRST_OUTPUT_TIMEOUT"),
    ("keepalive:gap=20ms", "first_output_timeout", "firstOutput", "FIRST_OUTPUT_TIMEOUT"),
    ("opening", "first_output_timeout", "firstOutput", "FIRST_OUTPUT_TIMEOUT"),
    ("stall:after=1", "between_outputs_timeout", "betweenOutputs", "BETWEEN_OUTPUTS_TIMEOUT"),
    ("tokens:n=1000,gap=20ms", "total_timeout", "total", "TOTAL_TIMEOUT"),
    ("silence", "total_timeout", "total", "TOTAL_TIMEOUT"),
    ("stall:after=1", "total_timeout", "total", "TOTAL_TIMEOUT"),
]


@pytest.mark.parametrize("source", ["settings", "request", "capped"])
@pytest.mark.parametrize("limit", LIMITS, ids="-".join)
async def test_each_timeout_has_its_reason_and_closes_the_connection(
    sandbox: Sandbox, limit: tuple[str, str, str, str], source: str
) -> None:
    """From the settings, per request, and never longer than the settings say."""
    script, setting, field, reason = limit
    settings = {} if source == "request" else {setting: 0.3}
    asked: dict[str, str] | None = {"settings": None, "request": {field: "0.3s"}, "capped": {field: "50s"}}[source]
    async with serving(**settings) as (_, stub):
        changes: dict[str, Any] = {} if asked is None else {"timeouts": asked}
        request = chat_request(sandbox.url, script, **changes)
        outcome = await undisturbed(lambda: timed(stub.StreamChat(request), 0.3))

        assert outcome.failure is not None
        assert outcome.failure.said == (EXCEEDED, reason)
        assert "0.3 s" in outcome.failure.message
        assert outcome.failure.trailers["grpc-retry-pushback-ms"] == "-1"
        assert bool(outcome.text) is script.startswith(("stall", "tokens"))
        await until(lambda: sandbox.connections == 0, 1.0, "the endpoint's connection is closed")


@pytest.mark.parametrize("source", ["settings", "request", "capped"])
async def test_the_connect_timeout(source: str) -> None:
    """An endpoint that does not take the connection is given up on, for both RPCs."""
    settings = {} if source == "request" else {"connect_timeout": 0.2}
    asked: dict[str, str] = {"settings": {}, "request": {"connect": "0.2s"}, "capped": {"connect": "50s"}}[source]
    async with deaf() as port, serving(max_attempts=1, **settings) as (_, stub):
        request = chat_request(f"http://127.0.0.1:{port.port}", "any", timeouts=asked)
        streamed = (await timed(stub.StreamChat(request), 0.2)).failure
        unary = await fail(stub.Chat(request))

    assert streamed is not None
    assert streamed.said == unary.said == (grpc.StatusCode.UNAVAILABLE, "CONNECT_TIMEOUT")


async def test_a_timeout_never_outlasts_the_clients_deadline(sandbox: Sandbox) -> None:
    """With a minute allowed and a deadline of 0.3 s, the endpoint is left after 0.3 s."""
    async with serving() as (server, stub):
        began = asyncio.get_running_loop().time()
        for method in (stub.Chat, stub.StreamChat):
            call = method(chat_request(sandbox.url, "silence"), timeout=0.3)
            await until(call.done, 0.3 + SLACK)
            assert await call.code() is EXCEEDED
            await until(lambda: sandbox.connections == 0 and server.guard.running == 0, 1.0)
        assert asyncio.get_running_loop().time() - began >= 0.55


async def test_a_request_that_arrives_late_has_the_rest_of_its_deadline(sandbox: Sandbox) -> None:
    """What the request took to arrive is taken off the client's deadline once, not twice."""
    async with serving() as (server, _), RawConnection(server.port) as client:
        stream = client.open("/integration_api.v1.ChatService/StreamChat", [("grpc-timeout", "3000m")])
        await asyncio.sleep(1.4)  # the request is slow on purpose
        raw = chat_request(sandbox.url, "silence:for=400ms").SerializeToString()
        await client.send(stream, message(raw), end=True)
        await client.until_ended(1, 5)

        assert client.received[stream] > 0, client.headers[stream]


async def test_signs_of_life_between_outputs_are_not_output() -> None:
    """Comments, role-only, empty and usage-only chunks do not put the between-outputs timeout off."""
    idle = [
        b": keep-alive\n\n",
        b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
        b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":""}}]}\n\n',
        b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n',
    ]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(STREAM_HEAD + token("one "))
        for turn in range(500):
            writer.write(idle[turn % len(idle)])
            await writer.drain()
            await asyncio.sleep(0.02)

    async with ScriptedServer(talk) as endpoint, serving(between_outputs_timeout=0.4) as (_, stub):
        outcome = await timed(stub.StreamChat(chat_request(endpoint.url, "any")), 0.4)

        assert outcome.text == "one "
        assert outcome.failure is not None
        assert outcome.failure.said == (EXCEEDED, "BETWEEN_OUTPUTS_TIMEOUT")
        assert outcome.failure.details["PartialUsage"].usage.input_tokens == 3  # type: ignore[attr-defined]
        await until(lambda: endpoint.connections == 0, 1.0)


@pytest.mark.parametrize("script", ["reasoning:gap=100ms", "tool-call:gap=100ms", "echo:gap=100ms"])
async def test_every_kind_of_output_puts_the_timeouts_off(sandbox: Sandbox, script: str) -> None:
    """Reasoning, tool calls and text are output: a stream that goes on slowly is not cut."""
    tools = [{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    async with serving(first_output_timeout=1.0, between_outputs_timeout=0.5) as (_, stub):
        request = chat_request(sandbox.url, script, text="a b c d e f g h i j", tools=tools)
        assert (await listen(stub.StreamChat(request))).completed.choices


async def test_a_whole_answer_has_the_total_time(sandbox: Sandbox) -> None:
    """Chat waits longer than the timeouts between outputs, and no longer than the total."""
    async with serving(first_output_timeout=0.1, between_outputs_timeout=0.1) as (_, stub):
        assert (await stub.Chat(chat_request(sandbox.url, "silence:for=500ms"))).choices[0].message.text

        for script in ("silence", "silent-headers"):
            failure = await fail(stub.Chat(chat_request(sandbox.url, script, timeouts={"total": "0.3s"})))
            assert failure.said == (EXCEEDED, "TOTAL_TIMEOUT")
            await until(lambda: sandbox.open_requests == 0, 1.0)


async def test_a_slow_reader_is_no_slow_endpoint() -> None:
    """While the client takes its time, the endpoint is not blamed for silence, and every word arrives."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(STREAM_HEAD)
        for _ in range(100):
            writer.write(token("x" * 10_000))
            await writer.drain()
        writer.write(STREAM_END)
        await writer.drain()
        await reader.read()

    async with ScriptedServer(talk) as endpoint, serving(between_outputs_timeout=0.3) as (_, stub):
        call = stub.StreamChat(chat_request(endpoint.url, "any"))
        reading = aiter(call)
        frames = [await anext(reading), await anext(reading)]
        await asyncio.sleep(1.0)  # longer than the timeout: the reader is slow on purpose
        frames += [frame async for frame in reading]

    assert sum(len(frame.text_delta.text) for frame in frames) == 1_000_000
    assert frames[-1].WhichOneof("event") == "completed"


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"write_timeout": 0.4}, "the client read nothing for 0.4 s"), ({"total_timeout": 0.4}, "total timeout")],
)
async def test_a_reader_that_stopped_reading_is_given_up_on(settings: dict[str, float], text: str) -> None:
    """The endpoint's connection is closed after the write timeout, or the total time; the status follows the bytes."""
    async with FloodEndpoint() as torrent, serving(**settings) as (server, stub):
        call = stub.StreamChat(chat_request(torrent.url, "any"))
        await until(lambda: torrent.accepted == 1, what="the endpoint is called")
        await until(lambda: torrent.connections == 0, 0.4 + 2 * SLACK, "the endpoint is left")
        await until(lambda: server.guard.running == 0, 1.0 + SLACK, "the call has ended here")
        outcome = await listen(call)

    assert outcome.text
    assert outcome.failure is not None
    assert outcome.failure.said == (EXCEEDED, "TOTAL_TIMEOUT")
    assert text in outcome.failure.message


async def test_memory_stays_flat_behind_readers_that_stopped_reading() -> None:
    """Thirty of them, and an endpoint that never stops talking: the process stops asking it for more."""
    readers = 30
    async with (
        Program() as program,
        FloodEndpoint(patience=1.0) as torrent,
        grpc.aio.insecure_channel(f"127.0.0.1:{program.port}", options=NARROW) as channel,
    ):
        stub = ChatServiceStub(channel)
        await listen(stub.StreamChat(chat_request("http://127.0.0.1:1", "any", options={"maxAttempts": 1})))
        empty = program.resident
        calls = [stub.StreamChat(chat_request(torrent.url, "any")) for _ in range(readers)]
        await until(lambda: torrent.connections == readers)
        async with asyncio.timeout(within(10)):
            await torrent.stuck.wait()
        full = program.resident
        await asyncio.sleep(1.0)  # in which hundreds of megabytes could flow

        assert full - empty < readers * 1.5 * 2**20
        assert program.resident - full < 8 * 2**20
        for call in calls:
            call.cancel()
        await until(lambda: torrent.connections == 0, 2.0)


async def test_a_pause_before_a_retry_does_not_outlast_the_first_output_timeout(sandbox: Sandbox) -> None:
    """An endpoint that asks for a second is not waited for when half a second is left: the client is told."""
    async with serving(first_output_timeout=0.5) as (_, stub):
        outcome = await timed(stub.StreamChat(chat_request(sandbox.url, "http-error:status=503,retry=1")), 0.0)

    assert outcome.failure is not None
    assert outcome.failure.said == (grpc.StatusCode.UNAVAILABLE, "ENDPOINT_OVERLOADED")
    assert outcome.failure.trailers["grpc-retry-pushback-ms"] == "1000"
    assert len(sandbox.requests) == 1


async def test_the_body_of_an_error_is_not_waited_for_long() -> None:
    """An endpoint that says 401 and then nothing is told of as what it said."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(answer('{"error":{"message":"no such key"' + " " * 100, "401 Unauthorized")[:-50])
        await reader.read()

    async with ScriptedServer(talk) as endpoint, serving() as (_, stub):
        outcome = await timed(stub.StreamChat(chat_request(endpoint.url, "any")), 2.0)
        await until(lambda: endpoint.connections == 0, 1.0)

    assert outcome.failure is not None
    assert outcome.failure.said == (grpc.StatusCode.UNAUTHENTICATED, "ENDPOINT_UNAUTHENTICATED")
