"""Every window of a call, ended by every cause: nothing of it stays behind, here or at the endpoint."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver
from structlog.testing import capture_logs

from caller.custom_llm.http.egress import open_socket
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import (
    NARROW,
    STREAM_HEAD,
    CuttableProxy,
    FloodEndpoint,
    LeakCheck,
    ScriptedServer,
    SilentNames,
    answer,
    deaf,
    server_with,
    token,
    until,
)
from tests.edge.reading import Failure, failure_of
from tests.patience import within

DEADLINE = 0.8
CLOSED_WITHIN = 1.0

Call = Any  # grpc's own calls carry no types


@dataclass
class Place:
    """A window: where the call is sent, how it is known that it got there, and when nothing of it is left there."""

    base_url: str
    model: str
    reached: Callable[[Call], Awaitable[object]]
    left: Callable[[], bool]
    spoke: bool = False
    deadline: float = DEADLINE
    unread: bool = False  # the client does not read
    resolver: AbstractResolver | None = None
    factory: Callable[[AddrInfoType], Any] = open_socket
    ends_by_itself: tuple[grpc.StatusCode, str] | None = None  # before a deadline could pass
    also: tuple[grpc.StatusCode, ...] = ()  # what a deadline may end with as well
    settings: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Server], Awaitable[None]] | None = None  # runs before the call
    others: int = 0  # calls that run already


Window = Callable[[AsyncExitStack], Awaitable[Place]]


async def queued(stack: AsyncExitStack) -> Place:
    sandbox = await stack.enter_async_context(Sandbox())
    servers: list[Server] = []

    async def prepare(server: Server) -> None:
        """One call of another client takes the only place."""
        servers.append(server)
        other = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        first = ChatServiceStub(other).StreamChat(chat_request(sandbox.url, "stall:after=1"))
        stack.callback(first.cancel)
        assert (await first.read()).WhichOneof("event") == "started"
        assert (await first.read()).WhichOneof("event") == "text_delta"

    async def reached(_: Call) -> None:
        await until(lambda: servers[0].admission.queued == 1)

    return Place(
        sandbox.url,
        "echo",
        reached,
        lambda: servers[0].admission.queued == 0 and len(sandbox.requests) == 1,
        settings={"max_running_calls": 1, "max_queued_calls": 5, "max_queue_time": 30.0},
        prepare=prepare,
        others=1,
        also=(grpc.StatusCode.RESOURCE_EXHAUSTED,),  # our own wait ends in the same moment
    )


async def resolving(stack: AsyncExitStack) -> Place:
    names = SilentNames()
    stack.callback(names.release.set)

    def left() -> bool:
        names.release.set()  # aiohttp lets a lookup end for others who may wait for it; the call itself is gone
        return True

    return Place("http://a.test:1", "echo", lambda _: names.asked.wait(), left, resolver=names)


async def connecting(stack: AsyncExitStack) -> Place:
    port = await stack.enter_async_context(deaf())
    return Place(
        f"http://127.0.0.1:{port.port}", "echo", lambda _: port.tried.wait(), lambda: True, factory=port.open_socket
    )


def at_sandbox(script: str, *, settle: float = 0.0) -> Window:
    """Wait for the request; `settle` lets what the endpoint sends at once arrive."""

    async def window(stack: AsyncExitStack) -> Place:
        sandbox = await stack.enter_async_context(Sandbox())

        async def reached(_: Call) -> None:
            await sandbox.wait_for_request()
            await asyncio.sleep(settle)

        return Place(sandbox.url, script, reached, _all_gone(sandbox))

    return window


async def between_outputs(stack: AsyncExitStack) -> Place:
    sandbox = await stack.enter_async_context(Sandbox())

    async def reached(call: Call) -> None:
        for kind in ("started", "text_delta"):
            assert (await call.read()).WhichOneof("event") == kind

    return Place(sandbox.url, "stall:after=1", reached, _all_gone(sandbox), spoke=True)


async def retry_pause(stack: AsyncExitStack) -> Place:
    busy = answer("{}", "503 Service Unavailable", more="Retry-After: 3\r\nConnection: close\r\n")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(busy)
        await reader.read()  # the client closes when it has read the error

    endpoint = await stack.enter_async_context(ScriptedServer(talk))

    async def reached(_: Call) -> None:
        await until(lambda: endpoint.accepted == 1 and not endpoint.connections, what="the first attempt has failed")

    def left() -> bool:
        return endpoint.connections == 0 and endpoint.accepted == 1

    at_once = (grpc.StatusCode.UNAVAILABLE, "ENDPOINT_OVERLOADED")  # a pause beyond the deadline is not begun
    return Place(endpoint.url, "any", reached, left, ends_by_itself=at_once)


async def blocked_write(stack: AsyncExitStack) -> Place:
    torrent = await stack.enter_async_context(FloodEndpoint())
    return Place(
        torrent.url,
        "any",
        lambda _: torrent.stuck.wait(),
        lambda: torrent.connections == 0,
        spoke=True,
        unread=True,
        deadline=2.0,  # it takes some time to fill every buffer on the way
    )


def _all_gone(sandbox: Sandbox) -> Callable[[], bool]:
    return lambda: sandbox.connections == 0 and sandbox.open_requests == 0


STREAM_WINDOWS: dict[str, Window] = {
    "queued": queued,
    "resolving": resolving,
    "connecting": connecting,
    "headers": at_sandbox("silent-headers"),
    "headers-in-pieces": at_sandbox("slow-headers:gap=100ms", settle=0.1),
    "first-output-silence": at_sandbox("silence", settle=0.05),
    "first-output-keepalive": at_sandbox("keepalive:gap=20ms", settle=0.1),
    "first-output-opening": at_sandbox("opening", settle=0.05),
    "between-outputs": between_outputs,
    "retry-pause": retry_pause,
    "blocked-write": blocked_write,
}
UNARY_WINDOWS: dict[str, Window] = {
    "queued": queued,
    "resolving": resolving,
    "connecting": connecting,
    "headers": at_sandbox("silent-headers"),
    "body": at_sandbox("silence", settle=0.05),
    "body-keepalive": at_sandbox("keepalive:gap=20ms", settle=0.1),
    "retry-pause": retry_pause,
}
CAUSES = ("cancel", "deadline", "hang-up", "shutdown")


@dataclass
class World:
    """One server of ours, and a client whose connection can be cut."""

    server: Server
    cable: CuttableProxy
    stub: ChatServiceStub


@asynccontextmanager
async def world(place: Place) -> AsyncIterator[World]:
    settings = Settings(port=0, shutdown_grace=0.05, **place.settings)
    async with server_with(settings, place.resolver, place.factory) as server, CuttableProxy(server.port) as cable:
        options = (*NARROW, ("grpc.enable_retries", 0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{cable.port}", options=options) as channel:
            async with asyncio.timeout(within(5)):
                await channel.channel_ready()
            yield World(server, cable, ChatServiceStub(channel))


async def ended(call: Call, *, stream: bool) -> Failure:
    """How the call ended for its client, who reads on."""
    try:
        async with asyncio.timeout(within(5)):
            if stream:
                while await call.read() is not grpc.aio.EOF:
                    pass
            await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    except asyncio.CancelledError:
        return Failure(grpc.StatusCode.CANCELLED, "", {}, {})
    except TypeError:  # a stream is not awaitable: it ended well
        pass
    raise AssertionError("the call ended well")


async def happen(cause: str, call: Call, made: World) -> None:
    match cause:
        case "cancel":
            call.cancel()
        case "hang-up":
            made.cable.cut()
        case "shutdown":
            await made.server.stop()
        case _:
            await until(call.done, 4.0, "the deadline passes")


def expected(cause: str, place: Place) -> tuple[grpc.StatusCode, str]:
    """The status and reason that the client must see; no reason where it was not ours to say."""
    if cause == "deadline" and place.ends_by_itself is not None:
        return place.ends_by_itself
    return {
        "cancel": (grpc.StatusCode.CANCELLED, ""),
        "deadline": (grpc.StatusCode.DEADLINE_EXCEEDED, ""),
        "hang-up": (grpc.StatusCode.UNAVAILABLE, ""),
        "shutdown": (
            grpc.StatusCode.ABORTED if place.spoke else grpc.StatusCode.UNAVAILABLE,
            "SERVICE_DRAINING",
        ),
    }[cause]


async def play(window: Window, cause: str, *, stream: bool) -> None:
    async with AsyncExitStack() as stack:
        place = await window(stack)
        made = await stack.enter_async_context(world(place))
        if place.prepare is not None:
            await place.prepare(made.server)
        before = LeakCheck()
        request = chat_request(place.base_url, place.model)
        method = made.stub.StreamChat if stream else made.stub.Chat
        call = method(request, timeout=place.deadline if cause == "deadline" else None)
        async with asyncio.timeout(within(5)):
            await place.reached(call)
        if cause != "deadline" or place.ends_by_itself is None:
            assert made.server.guard.running == 1 + place.others
            assert not call.done()

        loop = asyncio.get_running_loop()
        happening = asyncio.ensure_future(happen(cause, call, made))
        if cause == "deadline":
            await happening
        began = loop.time()
        await until(place.left, CLOSED_WITHIN, "the endpoint is left")
        # What waits behind a message that the client does not read has a second more.
        await until(
            lambda: made.server.guard.running <= place.others,
            CLOSED_WITHIN + place.spoke,
            "the call has ended here",
        )
        assert loop.time() - began < within(CLOSED_WITHIN) + place.spoke
        failure = await ended(call, stream=stream)
        await happening
        del call
        await before.gone()

        code, reason = expected(cause, place)
        if cause == "shutdown" and place.unread:  # the status lies behind bytes that nobody takes
            assert failure.code in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE)
            return
        assert failure.code is code or (cause == "deadline" and failure.code in place.also), failure
        if reason:
            assert failure.reason == reason


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("window", STREAM_WINDOWS)
async def test_a_stream_ends_in_every_window_by_every_cause(window: str, cause: str) -> None:
    """The endpoint is left within a second, the client sees the documented status, and nothing stays behind."""
    await play(STREAM_WINDOWS[window], cause, stream=True)


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("window", UNARY_WINDOWS)
async def test_a_whole_answer_ends_in_every_window_by_every_cause(window: str, cause: str) -> None:
    """The same for Chat, in the windows that it has."""
    await play(UNARY_WINDOWS[window], cause, stream=False)


@pytest.mark.parametrize("cause", ["cancel", "hang-up", "shutdown"])
async def test_what_was_used_until_then_is_told(cause: str) -> None:
    """The endpoint has counted tokens when the call ends: the log says how many, and so does the error of ours."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        counted = b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":31,"completion_tokens":1}}\n\n'
        writer.write(STREAM_HEAD + counted + token("one "))
        await reader.read()

    async with ScriptedServer(talk) as endpoint, world(Place(endpoint.url, "any", _nothing, lambda: True)) as made:
        with capture_logs() as logs:
            call = made.stub.StreamChat(chat_request(endpoint.url, "any"))
            assert (await call.read()).WhichOneof("event") == "started"
            assert (await call.read()).text_delta.text == "one "
            happening = asyncio.ensure_future(happen(cause, call, made))
            await until(lambda: made.server.guard.running == 0)
            failure = await ended(call, stream=True)
            await happening

    if cause == "shutdown":
        assert failure.details["PartialUsage"].usage.input_tokens == 31  # type: ignore[attr-defined]
        assert failure.trailers["x-attempts"] == "1"
        return
    line = next(line for line in logs if line["event"] == "call.finished")
    assert line["status"] == "CANCELLED"
    assert (line["tokens_in"], line["tokens_out"]) == (31, 1)
    assert line["usage_source"] == "PARTIAL"
    assert line["attempts"] == 1


async def _nothing(_: Call) -> None:
    return
