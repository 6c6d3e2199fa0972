"""The answer to one request: its status and headers, and its body as it comes. Knows nothing of chat.

* Bytes are read as they come (`readany`): aiohttp's line reader has limits that single events exceed.
* One read is at most what one turn of the event loop may have, see `body.turn`.
* Leaving an answer early closes its connection at once. One that was read to its end, or nearly, is kept.
"""

import asyncio
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

import aiohttp
from multidict import CIMultiDictProxy

from caller.call import Waits
from caller.custom_llm.body.encoding import Inflater
from caller.custom_llm.body.turn import TurnBudget
from caller.custom_llm.http.answer import Answer
from caller.custom_llm.http.exchange import Exchange
from caller.custom_llm.http.faults import THEIRS, without_frames
from caller.deadline import DeadlineTimer
from caller.errors import ProtocolError, ResponseTooLarge, ServiceOverloaded, StreamInterrupted
from caller.heavy import HeavyWork

# How long the last bytes behind an answer's end are waited for, so that its connection can be used again.
_DRAIN_SECONDS: Final = 0.25
# How long the body of an error is waited for: its status says most of it.
_ERROR_BODY_SECONDS: Final = 2.0
_MAX_ERROR_BODY: Final = 64 * 1024
# No encoding, and what servers write there by mistake: a charset, a framing. `none` is no word of RFC 9110.
_PLAIN_ENCODINGS: Final = frozenset(
    {"", "identity", "none", "utf-8", "utf8", "chunked", "plain", "text", "binary", "7bit", "8bit"}
)


class Drains:
    """Answers that are complete, but for the last bytes of their framing. One per transport; close it with that."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def release(self, response: Answer | aiohttp.ClientResponse) -> None:
        """Give an answer's connection back, reading the few bytes behind its end where they have not come yet."""
        if response.content.at_eof():
            response.release()
            return
        task = asyncio.get_running_loop().create_task(_drained(response))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for no further bytes: their connections are closed."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Response:
    """An answer whose headers are here. An async context manager: leaving it releases the connection.

    `turn` says how many bytes may be worked on before others run; who reads reports what they took. `first`: it is
    kept in memory until its end is there, so it is read to its end before others of the same client.
    """

    __slots__ = (
        "_budget",
        "_complete",
        "_drains",
        "_exchange",
        "_heavy",
        "_inflater",
        "_pieces",
        "_response",
        "_waits",
        "first",
        "turn",
    )

    def __init__(
        self,
        response: Answer | aiohttp.ClientResponse,
        exchange: Exchange,
        shared: tuple[Drains, HeavyWork],
        max_bytes: int,
        waits: Waits,
    ) -> None:
        """`shared` are the transport's; `max_bytes` bounds the body, as it comes and inflated; `waits` counts what is
        waited for it."""
        self._drains, self._heavy = shared
        self.first = False
        self._waits = waits
        self._exchange = exchange
        self._response = response
        self._complete = False
        self._budget = max_bytes  # of bytes that may still come
        self._pieces: Iterator[bytes] | None = None  # of what was read and is more than one turn's
        self.turn = TurnBudget()
        self._inflater: Inflater | None = None
        encoding = response.headers.get("Content-Encoding")
        encoding = encoding.strip().lower() if encoding else ""
        if encoding not in _PLAIN_ENCODINGS:
            try:
                self._inflater = Inflater(encoding, max_bytes, self.turn)
            except ProtocolError as error:
                self._pieces = _unreadable(error)  # once it is read: the status may say enough

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers; names are found in any case."""
        return self._response.headers

    async def read(self) -> bytes:
        """The next bytes, as they came, at most what one turn of the loop may have; empty at the end.

        Raises:
            StreamInterrupted: the connection was lost.
            ProtocolError: it is compressed in a way that was not asked for.
            ResponseTooLarge: past the bound.
        """
        while True:
            if self._pieces is not None and (piece := await self._piece(self._pieces)):
                return piece
            asked = time.monotonic()
            try:
                chunk = await self._response.content.readany()
            except THEIRS as error:
                chunk = self._before_loss(error)
            except asyncio.CancelledError:
                self._waits.seconds += time.monotonic() - asked
                raise
            arrived = self._exchange.arrived
            if arrived > asked:  # else it was here before it was asked for
                self._waits.seconds += arrived - asked
            if not chunk:
                return self._ended()
            size = len(chunk)
            self._budget -= size
            if self._budget < 0:
                raise ResponseTooLarge("the endpoint's answer is larger than our bounds")
            if self._inflater is not None:
                self._pieces = self._inflater.feed(chunk)
            elif size > self.turn.size:
                self._pieces = self.turn.pieces(chunk)
            else:
                self.turn.given = size
                return chunk

    async def _piece(self, pieces: Iterator[bytes]) -> bytes:
        """The next piece of what was read already; empty when there is none left."""
        # What waits for no socket would run for as long as there is something.
        await self._heavy.turn(self._exchange.client, further=self.first)
        piece = next(pieces, b"")
        if piece:
            self.turn.given = len(piece)
        else:
            self._pieces = None
        return piece

    def at_end(self) -> bool:
        """Whether nothing more comes, known without a wait; False where that is not certain yet."""
        if self._inflater is not None or self._pieces is not None or not self._response.content.at_eof():
            return False
        self._complete = True
        return True

    def _ended(self) -> bytes:
        if self._inflater is not None and not self._complete:
            self._inflater.close()
        self._complete = True
        return b""

    def _before_loss(self, error: BaseException) -> bytes:
        """What came before the connection was lost counts. aiohttp raises first and keeps it, and there is no public
        way to it."""
        content = self._response.content
        if content._buffer:  # noqa: SLF001 -- see above
            return content._read_nowait(-1)  # noqa: SLF001 -- see above
        lost = "the connection to the endpoint was lost inside its answer"
        raise StreamInterrupted(lost) from without_frames(error)  # aiohttp keeps this error

    async def read_error(self) -> bytes:
        """The body of an error, cut at 64 KiB and two seconds; what came of it if the rest is lost."""
        body = bytearray()
        try:
            with DeadlineTimer() as timer:
                timer.arm(asyncio.get_running_loop().time() + _ERROR_BODY_SECONDS, _no_further)
                while len(body) < _MAX_ERROR_BODY:
                    chunk = await self.read()
                    if not chunk:
                        break
                    body += chunk
        except (StreamInterrupted, ResponseTooLarge, ProtocolError, ServiceOverloaded):
            pass  # the status is known; half a message is better than none
        return bytes(body[:_MAX_ERROR_BODY])

    def finish(self) -> None:
        """Nothing more is wanted of a good answer: its last bytes may be read so that the connection can be kept."""
        self._complete = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._complete:
            self._drains.release(self._response)
        else:
            self._response.close()


def _no_further() -> StreamInterrupted:
    return StreamInterrupted("the rest of an error's body did not come in time")


def _unreadable(error: ProtocolError) -> Iterator[bytes]:
    raise error
    yield b""


async def _drained(response: Answer | aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await response.content.readany():
                pass
        response.release()
    except THEIRS:
        response.close()
    finally:
        if not response.closed:
            response.close()
