"""Connections over time: pings of both sides, a middle that forgets, and an age at which clients move on."""

import asyncio
import time
from collections import Counter

import grpc
import pytest

from integration_api.rpc.channel_options import channel_options
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import CuttableProxy
from tests.edge.raw_http2 import RawConnection, message
from tests.patience import within

STREAM_CHAT = "/integration_api.v1.ChatService/StreamChat"
# Thirty seconds of a strict NAT, fifty times as fast; the pings and the wait the same.
FORGETS_AFTER = 0.6
IDLE = 0.9
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


class ForgetfulMiddle(CuttableProxy):
    """A NAT that drops, without a word, all bytes of a connection on which none came for a while."""

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        last = [time.monotonic()]
        await asyncio.gather(self._forward(reader, back, last), self._forward(there, writer, last))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: list[float]) -> None:
        while chunk := await reader.read(65536):
            if time.monotonic() - last[0] < FORGETS_AFTER:
                last[0] = time.monotonic()
                writer.write(chunk)


async def call_after_idling(sandbox: Sandbox, keepalive_time: float) -> float:
    """How long a call takes on a connection that was idle behind such a middle.

    Raises:
        grpc.aio.AioRpcError: it failed.
    """
    settings = Settings(port=0, shutdown_grace=0.1, keepalive_time=keepalive_time)
    async with Server(settings) as server, ForgetfulMiddle(server.port) as middle:
        target = f"127.0.0.1:{middle.port}"
        async with grpc.aio.insecure_channel(target, options=[OWN_CONNECTION]) as channel:
            stub = ChatServiceStub(channel)
            await stub.Chat(chat_request(sandbox.url, "echo"), timeout=10)
            await asyncio.sleep(IDLE)  # in which nothing is asked
            begun = time.monotonic()
            await stub.Chat(chat_request(sandbox.url, "echo"), timeout=3)
            return time.monotonic() - begun


async def test_a_call_after_idling_behind_a_forgetful_middle_is_answered_at_once(sandbox: Sandbox) -> None:
    """The server's pings keep the connection in the middle's memory."""
    assert await call_after_idling(sandbox, keepalive_time=0.1) < within(1.5)


async def test_without_pings_such_a_call_hangs(sandbox: Sandbox) -> None:
    """What the pings are for: without them the call ends at its deadline, unanswered."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call_after_idling(sandbox, keepalive_time=0)

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_server_pings_with_and_without_calls(sandbox: Sandbox) -> None:
    """An idle connection gets pings, and so does a stream whose model is silent."""
    async with (
        Server(Settings(port=0, shutdown_grace=0.1, keepalive_time=0.1)) as server,
        RawConnection(server.port) as client,
    ):
        await client.until(lambda: client.pings >= 3, 10)
        stream = client.open(STREAM_CHAT)
        await client.send(stream, message(chat_request(sandbox.url, "stall:after=1").SerializeToString()), end=True)
        await client.until(lambda: client.received[stream] > 0, 10)
        seen = client.pings
        await client.until(lambda: client.pings >= seen + 3, 10)

        assert stream not in client.ended


async def test_a_client_that_pings_too_often_keeps_its_stream(sandbox: Sandbox) -> None:
    """Two hundred early pings after output, while the model is silent: the stream goes on. A flood ends it all."""
    async with Server(Settings(port=0, shutdown_grace=0.1)) as server, RawConnection(server.port) as client:
        stream = client.open(STREAM_CHAT)
        await client.send(stream, message(chat_request(sandbox.url, "stall:after=1").SerializeToString()), end=True)
        await client.until(lambda: client.received[stream] > 0, 10)
        for count in range(1, 201):
            client.ping()
            await client.until(lambda count=count: client.lost or client.answered_pings >= count, 10)  # type: ignore[misc] # mypy cannot infer a lambda with defaults
        assert not client.sent_away
        assert not client.lost
        assert stream not in client.ended

        for _ in range(1_000):
            client.ping()
        await client.until(lambda: client.lost or client.sent_away, 10)


async def test_a_client_whose_connection_has_its_age_moves_on_without_a_failed_call(sandbox: Sandbox) -> None:
    """Connections of 0.3 s: calls and streams all end well, also one that is older than its connection may be, and
    the client has made several."""
    ends: Counter[str] = Counter()
    settings = Settings(port=0, shutdown_grace=2.0, max_connection_age=0.3)
    async with Server(settings) as server, CountingCable(server.port) as cable:
        plain = (OWN_CONNECTION, ("grpc.enable_retries", 0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{cable.port}", options=plain) as channel:
            stub = ChatServiceStub(channel)
            long = stub.StreamChat(chat_request(sandbox.url, "tokens:n=30,gap=50ms"), timeout=30)
            until_moved = asyncio.get_running_loop().time() + 10
            while cable.connections < 4 and asyncio.get_running_loop().time() < until_moved:
                try:
                    await stub.Chat(chat_request(sandbox.url, "echo"), timeout=10)
                except grpc.aio.AioRpcError as error:
                    ends[f"{error.code().name} {error.details()}"] += 1
                else:
                    ends["OK"] += 1
            frames = [frame async for frame in long]

    assert cable.connections >= 4
    assert frames[-1].HasField("completed")
    # A call that was on its way when the connection was sent away is made again by gRPC itself.
    assert set(ends) == {"OK"}, ends


class CountingCable(CuttableProxy):
    """A cable that counts its connections."""

    connections = 0

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await super()._carry(reader, writer)


def test_what_grpc_is_set_to_by_default() -> None:
    """Pings every 20 s, clients' every 10 s welcome, no age: no default ends an open stream."""
    options = dict(channel_options(Settings()))

    assert options["grpc.keepalive_time_ms"] == 20_000
    assert options["grpc.http2.min_recv_ping_interval_without_data_ms"] < 10_000
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.max_connection_age_ms"] == options["grpc.max_connection_age_grace_ms"] == 2**31 - 1
