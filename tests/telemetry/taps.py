"""Taps: they pass bytes on and note when, so that a service between two of them is measured from outside.

They run on the event loop of what they measure, so a busy machine delays the taps as it delays the service.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Self, cast

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEADER = 9
_DATA, _HEADERS = 0, 1
_END_STREAM = 1

Note = Callable[[bytes], None]


class _Half(asyncio.Protocol):
    """One side of a passed-on connection: tells of what comes, and gives it to the other side."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._waiting: list[bytes] = []
        self._other: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by behaviour

    def join(self, other: asyncio.Transport) -> None:
        self._other = other
        for data in self._waiting:
            other.write(data)

    def data_received(self, data: bytes) -> None:
        self._note(data)
        if self._other is None:
            self._waiting.append(data)
        else:
            self._other.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self._other is not None:
            self._other.close()


class Tap:
    """Listens, and passes each connection on to `target`. `notes` makes what is told of the two directions, there and
    back, of one connection."""

    def __init__(self, target: int, notes: Callable[[], tuple[Note, Note]]) -> None:
        self._target = target
        self._notes = notes
        self._server: asyncio.Server | None = None
        self._joining: set[asyncio.Task[None]] = set()
        self._halves: list[_Half] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._joining)
        for half in self._halves:
            if half.transport is not None:
                half.transport.abort()

    def _accepted(self) -> _Half:
        there, back = self._notes()
        half = _Half(there)
        self._halves.append(half)
        self._joining.add(asyncio.ensure_future(self._join(half, back)))
        return half

    async def _join(self, half: _Half, back: Note) -> None:
        _, other = await asyncio.get_running_loop().create_connection(lambda: _Half(back), "127.0.0.1", self._target)
        assert half.transport is not None
        assert isinstance(other, _Half)
        other.join(half.transport)
        assert other.transport is not None
        half.join(other.transport)


@dataclass
class Stream:
    """One call as it is seen from its client's side: when its request came, and each frame of its answer, with its
    bytes. `word`: the one in its request."""

    begun: float
    word: str = ""
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    ended: float = 0.0


class GrpcTap:
    """What passes between clients and a gRPC server, one call at a time on a connection. `mark` finds the word in a
    request."""

    def __init__(self, mark: Callable[[bytes], str]) -> None:
        self._mark = mark
        self.streams: list[Stream] = []

    def notes(self) -> tuple[Note, Note]:
        current = Stream(0.0)

        def began(kind: int, _flags: int, _payload: bytes) -> None:
            nonlocal current
            if kind == _HEADERS:
                current = Stream(monotonic())
                self.streams.append(current)

        def answered(kind: int, flags: int, payload: bytes) -> None:
            if kind == _DATA:
                current.frames.append((monotonic(), payload))
            elif kind == _HEADERS and flags & _END_STREAM:
                current.ended = monotonic()

        requests = _Frames(began, _PREFACE)

        def there(data: bytes) -> None:
            requests.feed(data)
            current.word = self._mark(data) or current.word

        return there, _Frames(answered).feed


class _Frames:
    """The frames of HTTP/2 in a stream of bytes: tells each one's type, flags and payload once it is whole."""

    def __init__(self, tell: Callable[[int, int, bytes], None], skip: int = 0) -> None:
        self._tell = tell
        self._skip = skip
        self._held = b""

    def feed(self, data: bytes) -> None:
        held = self._held + data
        if self._skip:
            passed = min(self._skip, len(held))
            held, self._skip = held[passed:], self._skip - passed
        while len(held) >= _HEADER and len(held) >= (end := _HEADER + int.from_bytes(held[:3], "big")):
            self._tell(held[3], held[4], held[_HEADER:end])
            held = held[end:]
        self._held = held


@dataclass
class Exchange:
    """One HTTP exchange as it is seen from its endpoint's side: when the request was whole, and each piece of the
    answer."""

    asked: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)


class HttpTap:
    """What passes between the service and an endpoint, by a word that the request holds (`mark`)."""

    def __init__(self, mark: Callable[[bytes], str]) -> None:
        self._mark = mark
        self.exchanges: dict[str, Exchange] = {}

    def notes(self) -> tuple[Note, Note]:
        current: list[Exchange] = []

        def there(data: bytes) -> None:
            word = self._mark(data)
            if word:
                current[:] = [Exchange(monotonic())]
                self.exchanges[word] = current[0]
            elif current:
                current[0].asked = monotonic()

        def back(data: bytes) -> None:
            current[0].pieces.append((monotonic(), data))

        return there, back
