"""No ending of a call or turn leaves a cycle: what it held goes with it, and does not wait for the collector.

The collector comes seldom in a server (`tune_process`), and a cycle that holds a conversation stays until then.
"""

import asyncio
import gc
import types
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from caller.fold import Folder
from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from integration_api.v1.messages_pb2 import Target
from tests.asking import chat_request
from tests.edge.loopback import free_port, until
from tests.edge.scripted import target
from tests.edge.test_prewarm import silent_tls
from tests.edge.test_prewarm import target as prewarm_target
from tests.rapida import talk as rapida

_CONVERSATION = "x" * 300_000
_OURS = ("/caller/", "/integration_api/")
# aiohttp's protocols and their parsers hold each other, and nothing of a conversation (see the row `barge-in` of the
# hostile suite, which looks at memory); one that was closed in the middle of its exchange holds the exchange's numbers.
_ALLOWED = {"caller.custom_llm.http.protocol.EndpointProtocol", "caller.custom_llm.http.exchange.Exchange"}
_SLOW = "tokens:n=1000,gap=20ms"
# Every way that a call can end, as the script of its endpoint.
_ENDINGS = {
    "good": "tokens:n=3",
    "failed": "http-error:status=400",
    "retried": "http-error:status=503",
    "cut": "cut",
    "broken": "garbage",
    "without an end": "no-end",
    "not a chat endpoint": "html",
}


@pytest.fixture
def cycles() -> Iterator[Callable[[], Awaitable[list[str]]]]:
    """Finds what of ours only the collector would free; the collector does not run by itself meanwhile."""
    gc.collect()
    gc.disable()

    async def found() -> list[str]:
        for _ in range(20):  # ends that are still on their way
            await asyncio.sleep(0.01)
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            return sorted({name for item in gc.garbage if (name := _of_ours(item))} - _ALLOWED)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    yield found
    gc.enable()


def _of_ours(item: object) -> str:
    """What an object is, if it is one of ours: an instance, or a frame or coroutine that runs our code."""
    code = getattr(item, "f_code", None) or getattr(item, "cr_code", None) or getattr(item, "ag_code", None)
    if isinstance(code, types.CodeType):
        path = code.co_filename
        return code.co_qualname if any(part in path for part in _OURS) and "/sandbox/" not in path else ""
    modules = [kind.__module__ for kind in type(item).__mro__]
    ours = [name for name in modules if name.startswith(("caller.", "integration_api.")) and "sandbox" not in name]
    return f"{ours[0]}.{type(item).__qualname__}" if ours else ""


def _request(sandbox: Sandbox, script: str) -> pb.ChatRequest:
    return chat_request(sandbox.url, script, _CONVERSATION)


async def _ended(call: Awaitable[object]) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call


async def _read_all(call: Any) -> None:
    async for _ in call:
        pass


async def _cancelled(call: Any, sandbox: Sandbox, asked: int) -> None:
    while len(sandbox.requests) <= asked:  # noqa: ASYNC110 -- the sandbox tells nobody of a request
        await asyncio.sleep(0.005)
    call.cancel()
    await _ended(call.code())


async def test_the_cycle_is_found_where_there_is_one(cycles: Callable[[], Awaitable[list[str]]]) -> None:
    """A judge that can say no."""

    class Held(Folder):
        itself: "Held"

    held = Held(10)
    held.itself = held
    del held

    assert [name.rpartition(".")[2] for name in await cycles()] == ["Held"]


@pytest.mark.parametrize("script", _ENDINGS.values(), ids=_ENDINGS)
async def test_an_ending_of_a_native_call_leaves_no_cycle(
    sandbox: Sandbox, stub: ChatServiceStub, cycles: Callable[[], Awaitable[list[str]]], script: str
) -> None:
    """Chat and StreamChat."""
    request = _request(sandbox, script)
    for _ in range(3):
        await _ended(stub.Chat(request))
        await _ended(_read_all(stub.StreamChat(request)))

    assert await cycles() == []


async def test_a_refused_connection_leaves_no_cycle(
    stub: ChatServiceStub, cycles: Callable[[], Awaitable[list[str]]]
) -> None:
    """What connects keeps the errors of its tries in a list of its frame: request and body would stay with them."""
    port = free_port()
    for host in ("127.0.0.1", "localhost"):
        for _ in range(3):
            await _ended(stub.Chat(chat_request(f"http://{host}:{port}", "m", _CONVERSATION)))

    assert await cycles() == []


async def test_a_native_call_that_is_cancelled_or_timed_out_leaves_no_cycle(
    sandbox: Sandbox, stub: ChatServiceStub, cycles: Callable[[], Awaitable[list[str]]]
) -> None:
    """By the client, by its deadline, by our timeouts."""
    request = _request(sandbox, _SLOW)
    for method in (stub.Chat, stub.StreamChat):
        asked = len(sandbox.requests)
        await _cancelled(method(request), sandbox, asked)
        await _ended(method(request, timeout=0.1).code())
        late = _request(sandbox, "silence:for=60s")
        late.timeouts.first_output.FromMilliseconds(100)
        late.timeouts.total.FromMilliseconds(200)
        await _ended(method(late).code())

    assert await cycles() == []


@pytest.mark.parametrize("spare", ["echo", "http-error:status=503", "silence:for=60s"])
async def test_a_call_with_fallbacks_leaves_no_cycle(
    sandbox: Sandbox, stub: ChatServiceStub, cycles: Callable[[], Awaitable[list[str]]], spare: str
) -> None:
    """After a failure and after a race: answered, failed, and timed out."""
    for script in ("http-error:status=500", "silence:for=60s"):
        request = _request(sandbox, script)
        request.fallbacks.add().CopyFrom(ParseDict(target(sandbox.url, spare), Target()))
        request.options.hedge_after.FromMilliseconds(20)
        request.options.max_attempts = 1
        request.timeouts.total.FromMilliseconds(500)
        await _ended(stub.Chat(request))
        await _ended(_read_all(stub.StreamChat(request)))

    assert await cycles() == []


@pytest.mark.parametrize("script", _ENDINGS.values(), ids=_ENDINGS)
async def test_an_ending_of_a_turn_leaves_no_cycle(
    sandbox: Sandbox, channel: grpc.aio.Channel, cycles: Callable[[], Awaitable[list[str]]], script: str
) -> None:
    """Rapida's Chat, and turns of its StreamChat, while the stream stays open."""
    request = rapida.chat_request(sandbox.url, script, _CONVERSATION)
    await rapida.ask(channel, "Chat", request)
    async with rapida.talk(channel) as stream:
        await stream.configure(sandbox.url)
        for number in range(3):
            await stream.chat(f"t{number}", script, _CONVERSATION)
            await stream.turn(f"t{number}")

        assert await cycles() == []


async def test_a_turn_that_is_superseded_leaves_no_cycle(
    sandbox: Sandbox, channel: grpc.aio.Channel, cycles: Callable[[], Awaitable[list[str]]]
) -> None:
    """Barge-in, before and after the first token, and the end of the stream in the middle of a turn."""
    async with rapida.talk(channel) as stream:
        await stream.configure(sandbox.url)
        for number in range(4):
            await stream.chat(f"t{number}", _SLOW, _CONVERSATION)
            if number % 2:
                await stream.read()
        await stream.chat("last", "echo", "well")
        while not (frame := await stream.output()).metrics or frame.requestId != "last":
            pass

        assert await cycles() == []
        await stream.chat("open", _SLOW, _CONVERSATION)
        await stream.read()

    assert await cycles() == []


async def test_an_opening_ahead_that_is_given_up_leaves_no_cycle(
    stub: ChatServiceStub, channel: grpc.aio.Channel, cycles: Callable[[], Awaitable[list[str]]]
) -> None:
    """By the client of Prewarm, by a newer configuration of a stream, and with the stream."""
    async with silent_tls() as endpoint:
        silent = prewarm_target(endpoint.url.replace("http:", "https:"))
        call = stub.Prewarm(pb.PrewarmRequest(targets=[silent], connections=2))
        await until(lambda: endpoint.connections == 2)
        call.cancel()
        await _ended(call)
        del call
        await until(lambda: endpoint.connections == 0)
        async with rapida.talk(channel) as stream:
            for number in range(3):
                await stream.configure(f"{endpoint.url.replace('http:', 'https:')}/{number}")
            await until(lambda: endpoint.connections == 1)
        await until(lambda: endpoint.connections == 0)

        assert await cycles() == []
