"""Shutdown: who is told what, in which order, and how long anything may take."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import NARROW, FloodEndpoint, LeakCheck, until
from tests.edge.program import Program
from tests.edge.reading import Received, fail, listen
from tests.patience import within

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
CHAT = "integration_api.v1.ChatService"
DRAINING = (grpc.StatusCode.UNAVAILABLE, "SERVICE_DRAINING")


@asynccontextmanager
async def opened(port: int, *options: tuple[str, Any]) -> AsyncIterator[tuple[grpc.aio.Channel, ChatServiceStub]]:
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0), *options]
    ) as channel:
        yield channel, ChatServiceStub(channel)


async def status(channel: grpc.aio.Channel, service: str = "") -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=2)
    return int(answer.status)


async def test_the_way_down_in_its_order(sandbox: Sandbox) -> None:
    """NOT_SERVING first, new calls still answered; then the connection is sent away; then running calls end well."""
    settings = Settings(port=0, drain_delay=0.5, shutdown_grace=10.0)
    async with Server(settings) as server, opened(server.port) as (channel, stub):
        running = asyncio.ensure_future(listen(stub.StreamChat(chat_request(sandbox.url, "stall:after=2,for=1500ms"))))
        await sandbox.wait_for_request()
        assert await status(channel) == SERVING
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)

        assert await status(channel) == await status(channel, CHAT) == NOT_SERVING
        assert (await stub.Chat(chat_request(sandbox.url, "echo"))).choices[0].message.text == "Hello there"

        async def refused() -> grpc.StatusCode:
            return await stub.Chat(chat_request(sandbox.url, "echo")).code()

        async with asyncio.timeout(within(3)):
            # That draining begins tells nobody. A call in the very instant of the GOAWAY can end as cancelled; then the
            # connection is gone, the listener is closed, and there is no other instance to go to.
            while await refused() is not grpc.StatusCode.UNAVAILABLE:  # noqa: ASYNC110 -- nothing tells of it
                await asyncio.sleep(0.02)
        assert not running.done()
        assert (await running).completed.choices[0].message.text
        async with asyncio.timeout(within(1.0)):  # nothing runs any more: the rest of the grace is not waited for
            await stopping


async def test_what_does_not_end_within_the_grace_is_cut_with_its_status() -> None:
    """UNAVAILABLE where a retry is safe, ABORTED where output was seen; the endpoint's connections are closed."""
    async with (
        Sandbox() as sandbox,
        Server(Settings(port=0, shutdown_grace=0.3)) as server,
        opened(server.port) as (_, stub),
    ):
        silent = [asyncio.ensure_future(listen(stub.StreamChat(chat_request(sandbox.url, "silence"))))]
        speaking = [asyncio.ensure_future(listen(stub.StreamChat(chat_request(sandbox.url, "stall:after=2"))))]
        whole = asyncio.ensure_future(fail(stub.Chat(chat_request(sandbox.url, "silence"))))
        for _ in range(3):
            await sandbox.wait_for_request()
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await server.stop()

        assert 0.3 <= loop.time() - began < within(1.5)
        assert sandbox.connections == 0
        assert server.guard.running == 0
        for answer, code in (
            (await silent[0], grpc.StatusCode.UNAVAILABLE),
            (await speaking[0], grpc.StatusCode.ABORTED),
        ):
            assert answer.failure is not None
            assert answer.failure.said == (code, "SERVICE_DRAINING")
        assert (await whole).said == DRAINING


async def whole_life(sandbox: Sandbox) -> set[str]:
    """A server with a kept connection, a health watcher and twenty calls that are cut; their reasons."""
    server = Server(Settings(port=0, shutdown_grace=0.1))
    await server.start()
    async with opened(server.port) as (channel, stub):
        await stub.Chat(chat_request(sandbox.url, "echo"))
        request = chat_request(sandbox.url, "stall")
        hearing = [asyncio.ensure_future(listen(stub.StreamChat(request))) for _ in range(20)]
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        await until(lambda: server.guard.running == 20)
        await server.stop()
        endings = await asyncio.gather(*hearing)
    return {answer.failure.reason if answer.failure else "ended well" for answer in endings}


async def test_nothing_is_left_after_the_end(sandbox: Sandbox) -> None:
    """Tasks are awaited and descriptors closed, with calls cut, a watcher watching and connections kept."""
    await whole_life(sandbox)  # grpc keeps some descriptors of its own from now on
    await until(lambda: sandbox.connections == 0)
    before = LeakCheck()
    assert await whole_life(sandbox) == {"SERVICE_DRAINING"}
    await before.gone()


async def test_a_health_watcher_hears_of_it_and_holds_nobody_up(sandbox: Sandbox) -> None:
    """SERVING, NOT_SERVING, and the stream ends; an unknown name is unknown, to Check NOT_FOUND."""
    async with (
        Server(Settings(port=0, drain_delay=0.1, shutdown_grace=30)) as server,
        opened(server.port) as (channel, _),
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        watches = {
            name: stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", CHAT, "no.such.Service")
        }
        for name, watch in watches.items():
            assert (await watch.read()).status == (UNKNOWN if name.startswith("no") else SERVING)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await status(channel, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        async with asyncio.timeout(within(3)):
            await server.stop()
        for name, watch in watches.items():
            rest = [await watch.read(), await watch.read()]
            told = [frame.status for frame in rest if frame is not grpc.aio.EOF]
            assert told == ([] if name.startswith("no") else [NOT_SERVING])


# HTTP/2 by hand: a client whose window is closed, which grpc's own client cannot be.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA = 4, 1, 0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header(name: str, value: str) -> bytes:
    """A header in HPACK, literal and without indexing."""
    return b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def deaf_watch() -> bytes:
    """The bytes of a health Watch whose answers may not be sent: an initial window of zero."""
    head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Watch"),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    return (
        PREFACE
        + frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00")
        + frame(SETTINGS, 1, 0, b"")
        + frame(HEADERS, 0x4, 1, b"".join(header(*pair) for pair in head))
        + frame(DATA, 0x1, 1, b"\x00\x00\x00\x00\x00")
    )


async def test_a_health_watcher_that_does_not_read_hides_nothing(sandbox: Sandbox) -> None:
    """Its window is closed; everybody else hears NOT_SERVING at once, and the shutdown is not held up."""
    async with (
        Server(Settings(port=0, drain_delay=0.3, shutdown_grace=30)) as server,
        opened(server.port) as (channel, _),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(deaf_watch())
        received = b""
        async with asyncio.timeout(within(5)):
            while b"application/grpc" not in received and b"\x88" not in received:  # the response's headers
                received += await reader.read(65536)
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0.05)
        assert await status(channel) == NOT_SERVING
        async with asyncio.timeout(within(3)):
            await stopping
        writer.close()


async def test_a_client_that_does_not_read_does_not_hold_the_shutdown_up() -> None:
    """Every wait has a bound: the stream is cut, its endpoint is left, the server ends."""
    async with (
        FloodEndpoint() as torrent,
        Server(Settings(port=0, shutdown_grace=0.1)) as server,
        opened(server.port, *NARROW) as (_, stub),
    ):
        call = stub.StreamChat(chat_request(torrent.url, "any"))
        await torrent.stuck.wait()
        async with asyncio.timeout(within(4)):
            await server.stop()
        assert torrent.connections == 0
        assert server.guard.running == 0
        call.cancel()


async def begun(sandbox: Sandbox, stub: ChatServiceStub, script: str) -> "asyncio.Future[Received]":
    """A stream whose request has reached the endpoint."""
    hearing = asyncio.ensure_future(listen(stub.StreamChat(chat_request(sandbox.url, script))))
    await sandbox.wait_for_request()
    return hearing


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_ends_well_on_a_signal(sandbox: Sandbox, number: signal.Signals) -> None:
    """What can end ends, the rest is cut, and the exit code is 0."""
    async with Program("--shutdown-grace", "1.5") as program, opened(program.port) as (_, stub):
        ending = await begun(sandbox, stub, "stall:after=2,for=600ms")
        cut = await begun(sandbox, stub, "stall:after=2,for=30s")
        await asyncio.sleep(0.1)
        program.send(number)
        assert (await ending).completed.choices
        failure = (await cut).failure
        assert failure is not None
        assert failure.said == (grpc.StatusCode.ABORTED, "SERVICE_DRAINING")
        assert await program.ended(5) == 0
        assert program.said("server.stopped")
        assert b"Traceback" not in program.printed


async def test_an_idle_program_ends_at_once(sandbox: Sandbox) -> None:
    """Nothing runs: the grace is not waited for."""
    async with Program() as program, opened(program.port) as (channel, stub):
        await stub.Chat(chat_request(sandbox.url, "echo"))
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        program.send(signal.SIGTERM)
        assert await program.ended(3) == 0
        assert (await watch.read()).status == NOT_SERVING


async def test_a_second_signal_ends_the_program_at_once(sandbox: Sandbox) -> None:
    """No grace any more: the process ends, not with 0, and the endpoint's connection with it."""
    async with Program("--shutdown-grace", "60") as program, opened(program.port) as (_, stub):
        hearing = await begun(sandbox, stub, "stall:after=2,for=60s")
        program.send(signal.SIGTERM)
        await until(lambda: bool(program.said("server.draining")))
        loop = asyncio.get_running_loop()
        began = loop.time()
        program.send(signal.SIGTERM)
        code = await program.ended(3)

        assert code != 0
        assert loop.time() - began < within(2.0)
        assert b"Traceback" not in program.printed
        await sandbox.wait_for_hangup(within(1.0))
        assert (await hearing).failure is not None
