"""Whole answers are written inside the call: what a client does not read is bounded, ends, and is waited for."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from integration_api.v1 import chat_service_pb2 as pb
from tests.asking import chat_request
from tests.edge.access_world import serving
from tests.edge.loopback import ScriptedServer, chat_answer, until
from tests.edge.program import Program
from tests.edge.raw_http2 import RawConnection, message
from tests.edge.reading import fail
from tests.patience import within

pytestmark = pytest.mark.usefixtures("watched_loop")

MIB = 1024 * 1024
CHAT = "/integration_api.v1.ChatService/Chat"
SIZE = 3_400_000
LARGE = chat_answer("x" * SIZE)


class Large(ScriptedServer):
    """An endpoint that answers every request with 3.4 MB."""

    def __init__(self) -> None:
        super().__init__(self._answer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await self.request(reader)
            writer.write(LARGE)
            await writer.drain()


async def ask(client: RawConnection, endpoint: Large) -> int:
    """One call of Chat; returns its stream."""
    stream = client.open(CHAT)
    await client.send(stream, message(chat_request(endpoint.url, "m").SerializeToString()), end=True)
    return stream


async def test_answers_that_nobody_reads_are_bounded_and_end() -> None:
    """150 answers of 3.4 MB and a window of zero: those above the bound end at once, the others after the write
    timeout, with the connection that holds them."""
    async with Large() as endpoint, Program("--write-timeout", "2", "--max-unread-bytes", str(32 * MIB)) as program:
        before = peak = program.resident
        async with RawConnection(program.port, window=0) as client:
            for _ in range(150):
                await ask(client, endpoint)
            lost = asyncio.create_task(client.until_ended(151, 30))
            while not lost.done():
                peak = max(peak, program.resident)
                await asyncio.wait({lost}, timeout=0.05)
            await lost
            assert client.lost
            assert all(b"max_unread_bytes" in client.headers[stream] for stream in client.ended)
            await until(lambda: bool(program.said("connection.closed")))
        assert peak - before < 300 * MIB


async def test_one_answer_that_nobody_reads_costs_no_connection() -> None:
    """Nobody waits for it after the write timeout, and its bytes count until it is read: then it is there, in whole and
    with its status. The connection goes on."""
    async with (
        Large() as endpoint,
        serving(write_timeout=0.3) as (server, _),
        RawConnection(server.port, window=0) as client,
    ):
        await ask(client, endpoint)
        await until(lambda: server.guard.unread_bytes > SIZE)
        async with asyncio.timeout(within(10)):
            await server.guard.idle()
        assert server.guard.unread_bytes > SIZE
        client.read_on(1, 8 * MIB)
        await client.until_ended(1, 10)
        assert client.received[1] > SIZE
        assert b"grpc-status\x010" in client.headers[1]
        await until(lambda: server.guard.unread_bytes == 0)


async def test_a_slow_reader_has_its_answer_and_status_when_the_server_stops() -> None:
    """A shutdown waits for the answer that is on its way, within the grace."""
    async with (
        Large() as endpoint,
        serving(shutdown_grace=30.0) as (server, _),
        RawConnection(server.port) as client,
    ):
        stream = await ask(client, endpoint)
        await until(lambda: client.received[stream] > 0)
        stopping = asyncio.create_task(server.stop())
        while not client.ended and not client.lost:
            client.read_on(stream, 100_000)
            await asyncio.sleep(0.02)
        await client.until_ended(1, 10)
        await stopping
        assert client.received[stream] > SIZE
        assert stream in client.ended


class Broken:
    """A log whose file is gone."""

    def msg(self, *_: Any, **__: Any) -> None:
        raise BrokenPipeError("nobody reads")

    debug = info = warning = error = critical = msg


@pytest.fixture
def log_breaks() -> Iterator[Callable[[], None]]:
    before = structlog.get_config()
    yield lambda: structlog.configure(
        logger_factory=lambda *_: Broken(), processors=[lambda _, __, fields: str(fields)]
    )
    structlog.configure(**before)


async def test_a_log_that_raises_changes_no_status(log_breaks: Callable[[], None]) -> None:
    """A failing call ends as it would with a log that works."""
    async with serving() as (_, stub):
        log_breaks()
        failure = await fail(stub.Chat(pb.ChatRequest(provider_id="nobody"), timeout=5))
        structlog.reset_defaults()
        assert failure.info.reason == "UNKNOWN_PROVIDER"


async def test_a_client_that_resets_every_call_loses_its_connection() -> None:
    """After some hundred calls reset in the moment in which they were made, within seconds, it is closed."""
    async with serving() as (server, _), RawConnection(server.port) as client:
        for _ in range(1_500):
            client.reset(client.open(CHAT))
            await client.flush()
            if client.lost:
                break
            await asyncio.sleep(0)
        await client.until_ended(10_000, 10)
        assert client.lost
        await until(lambda: server.guard.running == 0)
