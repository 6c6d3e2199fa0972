"""What has to work through a proxy: each check makes calls and returns what it measured, or fails with AssertionError.

Rule: a check knows addresses and a sandbox, and neither which proxy it is nor how it is set up.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import grpc

from bench.barge_in import chat, configuration, open_stream
from bench.processes import chat_request, raise_descriptor_limit, reason_of
from integration_api.client.errors import status_of
from integration_api.sandbox import Sandbox
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

_MIB = 1024 * 1024
_DEADLINE = 60.0
_MANY = 1_100
_MANY_CONNECTIONS = 16
# How soon an endpoint is left when its client is gone: three hops on a machine that has other work.
_LEFT_WITHIN = 1.0
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
ERRORS = (
    "http-error:status=400,message=no",
    "http-error:status=429,retry=30",
    "http-error:status=503,retry=1",
    "http-error:status=401,message=" + "错" * 340,  # a kilobyte, three times that when percent-encoded
    "unknown-script",
    "drop",
    "cut:after=3",
)


@dataclass(frozen=True, slots=True)
class World:
    """A proxy's address, the service's own behind it, the endpoint, and how long an idle stream stays open."""

    address: str
    direct: str
    sandbox: Sandbox
    idle: float


def _channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=OPTIONS)


async def unary(world: World) -> str:
    """Fifty short answers."""
    took: list[float] = []
    async with _channel(world.address) as channel:
        stub = ChatServiceStub(channel)
        for _ in range(50):
            begun = time.perf_counter()
            await stub.Chat(chat_request(world.sandbox.port, "tokens:n=3"), timeout=_DEADLINE)
            took.append((time.perf_counter() - begun) * 1000)
    return f"p50 {statistics.median(took):.1f} ms"


async def token_by_token(world: World) -> str:
    """Forty tokens, one every 50 ms: each arrives by itself."""
    async with _channel(world.address) as channel:
        call = ChatServiceStub(channel).StreamChat(
            chat_request(world.sandbox.port, "tokens:n=40,gap=50ms"), timeout=_DEADLINE
        )
        arrived = [time.perf_counter() async for frame in call if frame.HasField("text_delta")]
    gaps = [later - earlier for earlier, later in pairwise(arrived)]
    assert len(arrived) == 40, f"{len(arrived)} frames for 40 tokens"
    together = sum(gap < 0.01 for gap in gaps)
    assert together <= 4, f"{together} tokens came together with the one before"
    return f"gaps p50 {statistics.median(gaps) * 1000:.1f}, max {max(gaps) * 1000:.0f} ms"


async def _ending(address: str, port: int, script: str, *, stream: bool) -> tuple[object, ...]:
    """All that a client can tell of an error, but what differs from call to call."""
    async with _channel(address) as channel:
        stub, request = ChatServiceStub(channel), chat_request(port, script)
        request.request_id = "the-same"
        try:
            if stream:
                async for _ in stub.StreamChat(request, timeout=_DEADLINE):
                    pass
            else:
                await stub.Chat(request, timeout=_DEADLINE)
        except grpc.aio.AioRpcError as error:
            trailers = dict(tuple(error.trailing_metadata() or ()))
            kinds = [detail.type_url for detail in status_of(trailers).details]
            told = [trailers.get(name) for name in ("grpc-retry-pushback-ms", "x-request-id", "x-attempts")]
            return error.code().name, error.details(), reason_of(error), *kinds, *told
    return ("OK",)


async def errors(world: World) -> str:
    """Each error reads through the proxy as it does without: status, text, details, trailers."""
    for script in ERRORS:
        for stream in (False, True):
            expected = await _ending(world.direct, world.sandbox.port, script, stream=stream)
            found = await _ending(world.address, world.sandbox.port, script, stream=stream)
            assert expected[0] != "OK", script
            assert found == expected, f"{script[:40]}: {found} instead of {expected}"
    return f"{2 * len(ERRORS)} the same"


async def _until_left(sandbox: Sandbox) -> float:
    begun = time.perf_counter()
    while sandbox.open_requests:
        await asyncio.sleep(0.001)
        assert time.perf_counter() - begun < _LEFT_WITHIN, "the endpoint was not left"
    return (time.perf_counter() - begun) * 1000


async def cancel(world: World) -> str:
    """A client that gives up, in mid-stream and before output."""
    took: list[float] = []
    async with _channel(world.address) as channel:
        stub = ChatServiceStub(channel)
        for script, frames in (("tokens:n=2000,gap=20ms", 3), ("silence", 0)):
            call = stub.StreamChat(chat_request(world.sandbox.port, script), timeout=_DEADLINE)
            reading = asyncio.ensure_future(call.read())
            if frames:
                await reading
            async with asyncio.timeout(10):
                while not world.sandbox.open_requests:  # noqa: ASYNC110 -- a number tells nobody
                    await asyncio.sleep(0.005)
            call.cancel()
            took.append(await _until_left(world.sandbox))
            await asyncio.gather(reading, return_exceptions=True)
    return f"endpoint left after {max(took):.0f} ms"


async def deadline(world: World) -> str:
    """A client whose deadline passes while the model is silent."""
    async with _channel(world.address) as channel:
        call = ChatServiceStub(channel).Chat(chat_request(world.sandbox.port, "silence"), timeout=0.5)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return f"endpoint left after {await _until_left(world.sandbox):.0f} ms"


async def idle_stream(world: World) -> str:
    """A bidirectional stream with a turn, a long silence, and a turn."""
    async with _channel(world.address) as channel:
        call = open_stream(channel)
        await call.write(configuration(world.sandbox.url))
        for number in range(2):
            if number:
                await asyncio.sleep(world.idle)
            await call.write(chat(f"turn-{number}", "tokens:n=3"))
            async with asyncio.timeout(_DEADLINE):
                while True:
                    frame = await call.read()
                    assert frame is not grpc.aio.EOF, f"ended: {await call.code()} {await call.details()}"
                    if frame.chat.requestId == f"turn-{number}" and frame.chat.metrics:
                        break
        await call.done_writing()
    return f"open after {world.idle:g} s"


async def many_streams(world: World) -> str:
    """More streams at once than proxies carry by default, on sixteen connections: each has its first output."""
    raise_descriptor_limit()
    request = chat_request(world.sandbox.port, "stall:after=1,for=60s")
    channels = [_channel(world.address) for _ in range(_MANY_CONNECTIONS)]
    calls = [ChatServiceStub(channels[at % len(channels)]).StreamChat(request) for at in range(_MANY)]
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(_DEADLINE):
            await asyncio.gather(*(call.read() for call in calls))
        return f"all there after {time.perf_counter() - begun:.1f} s"
    finally:
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()


async def large_request(world: World) -> str:
    """Five megabytes of conversation."""
    async with _channel(world.address) as channel:
        request = chat_request(world.sandbox.port, "tokens:n=3", "x" * (5 * _MIB))
        begun = time.perf_counter()
        await ChatServiceStub(channel).Chat(request, timeout=_DEADLINE)
        return f"{(time.perf_counter() - begun) * 1000:.0f} ms"


async def large_answer(world: World) -> str:
    """An answer just below what gRPC's clients take by default."""
    text = "y" * int(3.4 * _MIB)
    async with _channel(world.address) as channel:
        begun = time.perf_counter()
        answer = await ChatServiceStub(channel).Chat(chat_request(world.sandbox.port, "echo", text), timeout=_DEADLINE)
        assert len(answer.choices[0].message.text) >= len(text)
        return f"{(time.perf_counter() - begun) * 1000:.0f} ms"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    name: str
    run: Callable[[World], Awaitable[str]]


CHECKS: Sequence[Check] = (
    Check("unary", unary),
    Check("stream, token by token", token_by_token),
    Check("errors: status, text, details, trailers", errors),
    Check("cancel reaches the endpoint", cancel),
    Check("deadline reaches the endpoint", deadline),
    Check("idle bidirectional stream", idle_stream),
    Check(f"{_MANY:,} streams at once", many_streams),
    Check("5 MB request", large_request),
    Check("3.4 MB answer", large_answer),
)
