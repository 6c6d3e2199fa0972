"""Who calls is asked at the headers: what strangers and greedy clients send costs next to nothing, and ends at once.

Against the real program, whose memory is read from outside; by hand-made HTTP/2, which no library would send.
"""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration_api.rpc.health import SERVING, Health
from integration_api.rpc.strangers import Strangers
from integration_api.sandbox import Sandbox
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.access_world import FULL, bearer, serving, token_line
from tests.edge.loopback import until
from tests.edge.program import Program
from tests.edge.raw_http2 import RawConnection, message
from tests.edge.reading import fail
from tests.patience import within

pytestmark = pytest.mark.usefixtures("watched_loop")

MIB = 1024 * 1024
CHAT = "/integration_api.v1.ChatService/Chat"
STREAM_CHAT = "/integration_api.v1.ChatService/StreamChat"
RAPIDA_CHAT = "/integration_api.UnifiedProviderService/Chat"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
ENDLESS = message(b"x" * (15 * MIB), length=16 * MIB - 5)
STREAMS = 40


async def healthy(port: int) -> float:
    """How long a health check takes on a connection of its own."""
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        return loop.time() - begun


@pytest.mark.parametrize("path", [CHAT, STREAM_CHAT, RAPIDA_CHAT, HEALTH, REFLECTION])
async def test_messages_of_strangers_that_never_end_are_not_kept(path: str, tmp_path: Path) -> None:
    """Forty times fifteen megabytes from nobody on one connection: less than sixty are held at any time, each call
    ends, and a health check beside them is answered."""
    (tmp_path / "tokens").write_text(token_line("billing", "b"))
    async with Program("--auth-tokens-file", str(tmp_path / "tokens")) as program:
        await healthy(program.port)
        before = peak = program.resident
        async with RawConnection(program.port) as client:
            streams = [client.open(path) for _ in range(STREAMS)]
            sending = [asyncio.create_task(client.send(stream, ENDLESS)) for stream in streams]
            ended = asyncio.create_task(client.until_ended(STREAMS, 15))
            checked = asyncio.create_task(healthy(program.port))
            while not ended.done():
                peak = max(peak, program.resident)
                await asyncio.wait({ended}, timeout=0.02)
            await ended
            await checked
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            assert not client.lost

            assert peak - before < 120 * MIB  # a fifth of what is sent: two connections' buffers are in it
            if path in {CHAT, STREAM_CHAT}:
                assert all(b"this server must know who calls" in client.headers[stream] for stream in streams)


async def test_headers_without_a_message_are_refused_or_run_out_of_time() -> None:
    """3,900 calls of headers only: those above the bound are refused at once, the others after the time of a request,
    and then calls go through again."""
    async with (
        Sandbox() as sandbox,
        Program("--request-timeout", "2") as program,
        RawConnection(program.port) as client,
    ):
        streams = [client.open(CHAT) for _ in range(3_900)]
        await client.until_ended(3_900, 30)
        refused = sum(b"too many requests are on their way" in client.headers[stream] for stream in streams)
        late = sum(b"did not arrive within 2 s" in client.headers[stream] for stream in streams)
        assert (refused + late, refused > late) == (3_900, True)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{program.port}") as channel:
            answer = await ChatServiceStub(channel).Chat(chat_request(sandbox.url, "echo", "here"), timeout=10)
            assert answer.choices[0].message.text == "here"


async def test_a_slow_request_of_one_client_stands_before_nobody_elses(tmp_path: Path, sandbox: Sandbox) -> None:
    """One client sends as many halves of requests as it may; it is refused more, and another client is answered."""
    (tmp_path / "tokens").write_text(token_line("billing", "b") + token_line("voice", "v"))
    async with (
        serving(auth_tokens_file=str(tmp_path / "tokens"), max_receiving_bytes=8 * 16 * MIB) as (server, stub),
        RawConnection(server.port) as client,
    ):
        half = message(b"x" * 1000, length=2000)
        for _ in range(8):
            stream = client.open(CHAT, bearer("b"))
            await client.send(stream, half)
        await until(lambda: server.guard.reading == 7)
        await client.until_ended(1, 5)
        assert (await fail(stub.Chat(chat_request(sandbox.url, "echo"), metadata=bearer("b"), timeout=10))).said == FULL
        answer = await stub.Chat(chat_request(sandbox.url, "echo", "here"), metadata=bearer("v"), timeout=10)
        assert answer.choices[0].message.text == "here"


async def test_a_call_that_ends_without_a_request_gets_a_status() -> None:
    """The client ends its side and sent nothing: it hears why."""
    async with serving() as (server, _), RawConnection(server.port) as client:
        for path in (CHAT, STREAM_CHAT, HEALTH):
            stream = client.open(path)
            await client.send(stream, b"", end=True)
            await client.until_ended((stream + 1) // 2, 5)
            assert b"ended without a request" in client.headers[stream]


async def test_what_is_arriving_when_the_server_drains_is_told_so() -> None:
    """Half a request at the shutdown: SERVICE_DRAINING at once, not after its time."""
    async with serving(shutdown_grace=20.0) as (server, _), RawConnection(server.port) as client:
        stream = client.open(CHAT)
        await until(lambda: server.guard.reading == 1)
        server.guard.drain()
        await client.until_ended(1, 5)
        assert b"this instance is stopping" in client.headers[stream]


async def test_a_connection_without_a_handshake_is_closed() -> None:
    """Who connects and says nothing keeps a descriptor for the handshake's time only."""
    async with serving(handshake_timeout=0.5) as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(within(10)):
            while await reader.read(1024):  # what the server says first
                pass
        writer.close()


async def test_an_idle_connection_is_closed_and_one_with_a_call_is_not() -> None:
    """A stream that is quiet keeps its connection; one without calls goes after its time."""
    async with (
        Sandbox() as sandbox,
        serving(max_connection_idle=0.5) as (server, stub),
        RawConnection(server.port) as idle,
    ):
        call = stub.StreamChat(chat_request(sandbox.url, "tokens:n=2,gap=2s"), timeout=20)
        await idle.until_ended(1, 10)
        assert idle.lost
        frames = [frame async for frame in call]
        assert frames[-1].HasField("completed")


async def test_watchers_of_the_health_are_bounded() -> None:
    """One that is too many is told so; when another one goes, the next is served. Checks go on beside them."""
    health = Health(most_watchers=8)
    server = grpc.aio.server()
    health.add_to(server, Strangers())
    health.set(SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await _watch_the_health(port)
    finally:
        await server.stop(0)


async def _watch_the_health(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watchers = []
        for _ in range(7):  # one in eight stays free; one after the other, since few messages are read at once
            watchers.append(stub.Watch(health_pb2.HealthCheckRequest()))
            assert (await watchers[-1].read()).status == SERVING
        assert await stub.Watch(health_pb2.HealthCheckRequest()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING

        watchers[0].cancel()
        async with asyncio.timeout(within(5)):
            while not await _watches(stub):
                await stub.Check(health_pb2.HealthCheckRequest())


async def _watches(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        return bool((await stub.Watch(health_pb2.HealthCheckRequest()).read()).status == SERVING)
    except grpc.aio.AioRpcError:
        return False
