"""HTTP/2 by hand, for clients that no library would make: halves of messages, windows of zero, resets at once.

Headers are sent as literals, and those that come are kept as bytes: gRPC's server writes status texts readably.
"""

import asyncio
import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from tests.patience import within

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW = 4
_FRAME = 16_384


def message(raw: bytes, length: int | None = None) -> bytes:
    """A gRPC message; with a `length` of its own it may never end."""
    return struct.pack(">BI", 0, len(raw) if length is None else length) + raw


class RawConnection:
    """One connection. `window`: what its streams may be sent; nothing is ever given back but by `read_on`."""

    def __init__(self, port: int, window: int = 65_535) -> None:
        self._port = port
        self._window = window
        self._next = 1
        self._changed = asyncio.Condition()
        self._allowed = 65_535
        self._initial = 65_535
        self._stream_allowed: dict[int, int] = {}
        self._reading: asyncio.Task[None] | None = None
        self.headers: dict[int, bytes] = defaultdict(bytes)
        self.received: dict[int, int] = defaultdict(int)
        self.ended: set[int] = set()
        self.pings = 0  # of the server
        self.answered_pings = 0  # of ours
        self.sent_away = False
        self.lost = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, self._window))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.transport.abort()

    def open(self, path: str, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """Send the headers of a call; returns its stream."""
        stream, self._next = self._next, self._next + 2
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        ]
        block = b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in fields
        )
        self._stream_allowed[stream] = self._initial
        self._send(_HEADERS, _END_HEADERS, stream, block)
        return stream

    async def send(self, stream: int, raw: bytes, *, end: bool = False) -> None:
        """Send data as fast as the server takes it, until the stream or the connection is over."""
        at = 0
        while at < len(raw) and stream not in self.ended and not self.lost:
            size = min(_FRAME, len(raw) - at, self._allowed, self._stream_allowed[stream])
            if size <= 0:
                async with self._changed:
                    await self._changed.wait()
                continue
            self._allowed -= size
            self._stream_allowed[stream] -= size
            self._send(_DATA, 0, stream, raw[at : at + size])
            at += size
            with suppress(ConnectionError):
                await self._writer.drain()
        if end:
            self._send(_DATA, _END_STREAM, stream, b"")

    def reset(self, stream: int) -> None:
        """Give a call up."""
        self._send(_RST_STREAM, 0, stream, struct.pack(">I", 8))

    def ping(self) -> None:
        """Ask the server for a sign of life."""
        self._send(_PING, 0, 0, bytes(8))

    async def until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until something holds that changes with a frame."""
        async with asyncio.timeout(within(seconds)), self._changed:
            await self._changed.wait_for(holds)

    def read_on(self, stream: int, size: int) -> None:
        """Let the server send so much more, of this stream and of the connection."""
        for number in (0, stream):
            self._send(_WINDOW_UPDATE, 0, number, struct.pack(">I", size))

    async def flush(self) -> None:
        """Wait until what was sent has left, or the connection is lost."""
        with suppress(ConnectionError):
            await self._writer.drain()

    async def until_ended(self, streams: int, seconds: float) -> None:
        """Wait until so many streams are over; all of them, when the connection is."""
        await self.until(lambda: self.lost or len(self.ended) >= streams, seconds)

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._writer.write(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(kind, flags, stream, payload)
                async with self._changed:
                    self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost = True
            async with self._changed:
                self._changed.notify_all()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _PING and flags & _ACK:
            self.answered_pings += 1
        elif kind == _PING:
            self.pings += 1
            self._send(_PING, _ACK, 0, payload)
        elif kind == _GOAWAY:
            self.sent_away = True
        elif kind == _WINDOW_UPDATE:
            (size,) = struct.unpack(">I", payload)
            if stream:
                self._stream_allowed[stream] += size
            else:
                self._allowed += size
        elif kind == _DATA:
            self.received[stream] += len(payload)
        elif kind == _HEADERS:
            self.headers[stream] += payload
        if kind == _RST_STREAM or (kind in {_DATA, _HEADERS} and flags & _END_STREAM):
            self.ended.add(stream)

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[at : at + 6])
            if name == _INITIAL_WINDOW:
                for stream in self._stream_allowed:
                    self._stream_allowed[stream] += value - self._initial
                self._initial = value
        self._send(_SETTINGS, _ACK, 0, b"")
