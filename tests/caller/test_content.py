"""The body of an answer: read as it comes, and bounded where nobody reads it."""

import asyncio

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from caller.custom_llm.http.content import Content
from tests.patience import within

LIMIT = 1024


class Connection(BaseProtocol):
    """Counts how often reading was paused and resumed."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.paused = self.resumed = 0

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self, resume_parser: bool = True) -> None:
        self.resumed += resume_parser


def made(connection: Connection) -> StreamReader:
    return Content.of(StreamReader(connection, LIMIT, loop=asyncio.get_running_loop()))


async def test_what_the_parser_made_becomes_one_of_ours() -> None:
    content = made(Connection())
    assert type(content) is Content
    assert Content.of(content) is content
    assert type(Content.of(EMPTY_PAYLOAD)) is not Content


async def test_a_read_has_all_that_came_and_the_end_is_empty() -> None:
    content = made(Connection())
    for piece in (b"a", b"bc", b"d"):
        content.begin_http_chunk_receiving()
        content.feed_data(piece)
        content.end_http_chunk_receiving()
    assert await content.readany() == b"abcd"
    reading = asyncio.ensure_future(content.readany())
    await asyncio.sleep(0)
    content.feed_data(b"e")
    assert await asyncio.wait_for(reading, within(1.0)) == b"e"
    content.feed_data(b"f")
    content.feed_eof()
    assert not content.at_eof()
    assert await content.readany() == b"f"
    assert content.at_eof()
    assert await content.readany() == b""


@pytest.mark.parametrize("size", [1, LIMIT])
async def test_a_body_that_nobody_reads_pauses_its_connection(size: int) -> None:
    """By its bytes, and by the number of its pieces: each of those costs more than the byte in it."""
    connection = Connection()
    content = made(connection)
    fed = 0
    while not connection.paused:
        content.feed_data(b"x" * size)
        fed += size
        assert fed <= 2 * LIMIT + size
    assert len(await content.readany()) == fed
    assert connection.resumed == 1
    content.feed_data(b"y")
    assert await content.readany() == b"y"
    assert (connection.paused, connection.resumed) == (1, 1)


async def test_a_lost_connection_ends_a_read_that_waits_and_every_later_one() -> None:
    content = made(Connection())
    reading = asyncio.ensure_future(content.readany())
    await asyncio.sleep(0)
    content.set_exception(aiohttp.ClientPayloadError("lost"))
    with pytest.raises(aiohttp.ClientPayloadError):
        await asyncio.wait_for(reading, within(1.0))
    with pytest.raises(aiohttp.ClientPayloadError):
        await content.readany()


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    content = made(Connection())
    reading = asyncio.ensure_future(content.readany())
    await asyncio.sleep(0)
    reading.cancel()
    content.feed_data(b"kept")
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await content.readany() == b"kept"
