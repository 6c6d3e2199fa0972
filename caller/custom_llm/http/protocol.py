"""One connection to an endpoint, as aiohttp's protocol, and what aiohttp's own lacks.

* Closing aborts: a transport that waits for its buffer keeps socket and request for as long as the endpoint likes,
  and over TLS a close waits for the endpoint's.
* The head of an answer is bounded: its bytes, and the interim answers (1xx) before it.
* What stands behind an answer in one read with it does not spoil it: its connection is not used again.
* An idle connection is watched: whatever comes ends it. Nothing that came before a request was written is taken for
  its answer.

What is read behind a head goes straight to aiohttp's parser: nothing of this costs a token anything.
"""

import asyncio
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from caller.custom_llm.http.content import Content
from caller.custom_llm.http.exchange import Exchange
from caller.printing import Unprinted

MAX_HEADER_LINE: Final = 64 * 1024
# All lines together; the rest is for a status line and the small lines beside a longest one.
_MAX_HEAD: Final = MAX_HEADER_LINE + 4 * 1024
MAX_HEADERS: Final = 512
MAX_INTERIM_ANSWERS: Final = 16

_Message = tuple[RawResponseMessage, StreamReader]
_Parsed = tuple[Sequence[_Message], bool, bytes]
_NOTHING: Final[_Parsed] = ((), False, b"")
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
# The first two bytes of a TLS record: an alert or a handshake, SSL 3 to TLS 1.3.
_TLS_RECORD: Final = (b"\x15\x03", b"\x16\x03")
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
# Seconds of silence before the first probe, seconds between probes, and how many stay unanswered; where the system has
# the options.
_PROBES: Final = tuple(
    (getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
)


class UnacceptableAnswer(aiohttp.ClientError):
    """What came is no answer that we read on; the text says why."""


class SpeaksTls(aiohttp.ClientError):
    """The answer to plain HTTP is a TLS record."""


class _Parser(Protocol):
    """What aiohttp's protocol wants of its parser. It names a class, of which there are two, and a cast would be a call
    for each request."""

    def feed_data(self, data: bytes) -> _Parsed: ...

    def feed_eof(self) -> RawResponseMessage | None: ...

    def pause_reading(self) -> None: ...


class EndpointProtocol(ResponseHandler):
    """One connection. `reused`: it was kept idle before the running request; `idled`: for how long, in seconds;
    `keep_alive`: what the last answer's header of that name says; `connected_at` and `made_at`: when TCP stood and when
    it could be used, in `time.monotonic()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.reused = False
        self.idled = 0.0
        self.keep_alive = ""
        self.connected_at = self.made_at = (
            time.monotonic()
        )  # asyncio asks for its protocol when the socket is connected
        self._exchange = Exchange()
        self._written = False
        self._answered = False
        self._on_gone: Callable[[], None] | None = None
        self._finished: _Parser | None = None
        self._body: _Parser | None = None  # reads the body, once the head is read
        self._socket: socket.socket | None = None
        self._poll: select.poll | None = None

    # -- one request -----------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange) -> None:
        """A request is about to be sent: what comes next is a head. `exchange` is noted when what left and came."""
        self._exchange = exchange
        self._written = self._answered = False
        self._body = None
        self._parser = _Head(self, self._parser)  # type: ignore[assignment, arg-type] # see `_Parser`

    def note_written(self, blocked: float = 0.0) -> None:
        """The request has left us. Its answer's first packet shall not wait for our delayed ACK: an endpoint with
        Nagle's algorithm on writes the second behind it. The option does not stick, so it is set each time.
        `blocked`: seconds in which the endpoint did not take it."""
        self._written = True
        self._exchange.blocked += blocked
        self._exchange.written = time.monotonic()
        if self._socket is None or _QUICKACK is None:
            return
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except OSError:
            self._socket = None  # it is closed

    @property
    def premature(self) -> bool:
        """Whether what comes now cannot be the answer to the request that is about to leave on a kept connection."""
        return self.reused and not self._written

    @property
    def hung_up(self) -> bool:
        """Whether a kept connection was lost before a byte of its answer: others of its kind may be lost, too."""
        return self.reused and not self._answered and not self.is_connected()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: this one has left in whole, and its answer is all that came."""
        transport = self.transport
        return (
            self._written
            and not self.should_close
            and not self._reading_paused
            and not self._paused
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def head_is_read(self, message: _Message, parser: _Parser) -> None:
        """What follows is the body."""
        head, body = message
        Content.of(body)
        self._answered = True
        self.keep_alive = head.headers.get("Keep-Alive", "")
        self._body = parser
        self._parser = parser  # type: ignore[assignment] # see `_Parser`

    def refuse(self, error: Exception) -> None:
        """End the connection: what came is not taken."""
        self._buffer.clear()
        self.set_exception(error)

    def stray(self) -> None:
        """Bytes came that nobody asked for."""
        self._should_close = True
        if self._on_gone is not None:
            self._gone()
            self.close()
        elif self.premature:
            self.refuse(aiohttp.ServerDisconnectedError())

    # -- idle ------------------------------------------------------------------------------------------------------

    def park(self, on_gone: Callable[[], None]) -> None:
        """Nothing may come until `wake`; `on_gone` is called when something does, or when the connection ends."""
        self._on_gone = on_gone
        self._body = None
        self._finished = self._parser
        self._parser = _Nothing(self)  # type: ignore[assignment] # see `_Parser`

    def wake(self) -> bool:
        """Stop watching; whether the connection is clean: open, and nothing came behind the last answer.

        What is in the socket and was not read yet counts: a request that is written at once (Python 3.12 and newer)
        would take it for its answer.
        """
        self._on_gone = None
        finished, self._finished = self._finished, None
        transport = self.transport
        if transport is None or transport.is_closing() or self.should_close or _begun(finished):
            return False
        self.reused = True
        return not self._is_readable()

    def _is_readable(self) -> bool:
        """Whether the socket holds bytes or an end that nobody has read."""
        if self._socket is None:
            return True
        try:
            if sys.platform == "win32":
                return bool(select.select([self._socket], (), (), 0)[0])
            if self._poll is None:
                self._poll = select.poll()
                self._poll.register(self._socket.fileno(), select.POLLIN)
            return bool(self._poll.poll(0))
        except (OSError, ValueError):
            return True

    def _gone(self) -> None:
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()

    # -- aiohttp's -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the connection up at once, whatever waits to be sent; an answer that nobody took holds it otherwise."""
        self._buffer.clear()
        self.abort()

    def feed_data(self, data: _Message, size: int = 0) -> None:
        """An answer's head. One that comes in the same read as the end of the answer before is nobody's."""
        if self._on_gone is not None:
            self.stray()
        else:
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """The connection is broken: whoever waits for a head or a body is told, and nothing more is sent."""
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError("the answer is broken"))
        if self.transport is not None:
            self.transport.abort()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The reader of aiohttp asks for it at every read. Where nothing was paused, nothing waits anywhere."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.made_at = time.monotonic()
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None:
            _probe(self._socket)

    def data_received(self, data: bytes) -> None:
        if data:  # aiohttp calls it with nothing where a reader has taken what there was
            self._exchange.arrived = time.monotonic()
        if self._body is None:
            super().data_received(data)
            return
        # Once a token: what aiohttp does for a body, and nothing of what it does for heads, timeouts and upgrades.
        try:
            messages, upgraded, behind = self._body.feed_data(data)
        except Exception as error:  # noqa: BLE001 -- whatever its parser says: the body cannot be read on
            self.set_exception(HttpProcessingError(), error)
            return
        if messages or upgraded or behind:  # nobody asked for it
            self._should_close = True
            for message in messages:
                self.feed_data(message)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._exchange.arrived = time.monotonic()
        self._body = None
        self._gone()
        self._socket = self._poll = None
        super().connection_lost(exc)


class _Head(Unprinted, msgspec.Struct, eq=False):
    """Stands before aiohttp's parser until the head of the answer is read."""

    _protocol: EndpointProtocol
    _parser: _Parser
    _left: int = _MAX_HEAD
    _heads: int = 0
    _tail: bytes = b""  # of what came, as far as an end of the head may have begun in it
    _first: bool = True

    def feed_data(self, data: bytes) -> _Parsed:
        """Parse what belongs to heads, each by itself; hand over behind the last one."""
        protocol = self._protocol
        if protocol.premature:
            protocol.stray()
            return _NOTHING
        if self._first and data:
            self._first = False
            if data[:2] in _TLS_RECORD:
                protocol.refuse(SpeaksTls())
                return _NOTHING
        while data:
            tail = self._tail
            end = _head_end(tail + data[: self._left])
            if end is not None:
                cut, self._tail = end - len(tail), b""
                self._heads += 1
            else:
                cut = min(len(data), self._left)
                self._tail = (tail + data[:cut])[-3:]
            piece, data = data[:cut], data[cut:]
            self._left -= cut
            messages, upgraded, behind = self._parser.feed_data(piece)
            if messages and ((code := messages[-1][0].code) >= 200 or code == 101 or code < 100):
                return self._handed_over(messages[-1], upgraded, behind + data)
            fault = self._fault(data)
            if fault:
                protocol.refuse(UnacceptableAnswer(fault))
                return _NOTHING
        return _NOTHING

    def feed_eof(self) -> RawResponseMessage | None:
        return self._parser.feed_eof()

    def pause_reading(self) -> None:
        self._parser.pause_reading()

    def _fault(self, unread: bytes) -> str:
        if self._heads > MAX_INTERIM_ANSWERS:
            return f"the endpoint sent more than {MAX_INTERIM_ANSWERS} interim answers (1xx)"
        if unread and self._left <= 0:
            return f"the headers of the endpoint's answer are larger than {MAX_HEADER_LINE // 1024} KiB"
        return ""

    def _handed_over(self, message: _Message, upgraded: bool, rest: bytes) -> _Parsed:
        """The head, and what of the body came with it. A fault behind the head is the body's."""
        self._protocol.head_is_read(message, self._parser)
        if upgraded or not rest:
            return (message,), upgraded, rest
        try:
            more, upgraded, behind = self._parser.feed_data(rest)
        except HttpProcessingError as error:
            self._protocol.force_close()
            payload = message[1]
            if not payload.is_eof():
                payload.set_exception(aiohttp.ClientPayloadError("the answer is broken"), error)
            return (message,), False, b""
        return (message, *more), upgraded, behind


class _Nothing:
    """Stands in for the parser of an idle connection: nothing may come."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: EndpointProtocol) -> None:
        self._protocol = protocol

    def feed_data(self, data: bytes) -> _Parsed:
        if data:
            self._protocol.stray()
        return _NOTHING

    def feed_eof(self) -> None:
        return None

    def pause_reading(self) -> None:
        return None


def _head_end(data: bytes) -> int | None:
    """Where the first head in the data ends, if it does. Lines of heads end as they should, nearly all."""
    at = data.find(b"\r\n\r\n")
    if at >= 0 and data.find(b"\n\n", 0, at + 1) < 0 and data.find(b"\n\r\n", 0, at + 2) < 0:
        return at + 4
    found = _HEAD_END.search(data)
    return None if found is None else found.end()


def _probe(connection: socket.socket) -> None:
    """Let the kernel ask a silent other side whether it is there: what stands between does not forget the connection,
    and one whose endpoint is gone ends within half a minute, idle ones before they are used again."""
    with suppress(OSError):  # it is closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _PROBES:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _begun(parser: _Parser | None) -> bool:
    """Whether something stood behind the last answer that is not a whole message yet."""
    if parser is None:
        return False
    try:
        return parser.feed_eof() is not None
    except Exception:  # noqa: BLE001 -- whatever a parser thinks of half a message: it is one
        return True
