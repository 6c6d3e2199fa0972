"""A gRPC client that keeps to no rule: HTTP/2 frames written by hand (RFC 9113), headers without compression."""

import asyncio
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
_DEFAULT_WINDOW = 65_535
_FRAME = 16_384
_CANCEL = 8


class RawClient:
    """One connection. `ended` are the streams that the server has ended, `wrote` the bytes of messages sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 1
        self._window = _DEFAULT_WINDOW
        self._initial = _DEFAULT_WINDOW
        self._windows: dict[int, int] = {}
        self._more = asyncio.Event()
        self.ended: set[int] = set()
        self.well: set[int] = set()
        self.read: dict[int, int] = {}
        self.wrote = 0
        self.goaway = False
        self.closed = False
        self._reading = asyncio.ensure_future(self._read_frames())

    @classmethod
    async def connect(cls, port: int, window: int = _DEFAULT_WINDOW) -> "RawClient":
        """Connect; `window` is what the server may send on each stream."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = cls(reader, writer)
        writer.write(_PREFACE)
        client._frame(_SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW_SIZE, window))
        client._frame(_WINDOW_UPDATE, 0, 0, struct.pack("!I", 2**30))
        await writer.drain()
        return client

    def open(self, path: str, headers: Mapping[str, str] | None = None) -> int:
        """Send the headers of a call; its stream."""
        stream, self._next = self._next, self._next + 2
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "127.0.0.1",
            "te": "trailers",
            "content-type": "application/grpc",
            **(headers or {}),
        }
        self._frame(_HEADERS, _END_HEADERS, stream, b"".join(_literal(*field) for field in fields.items()))
        self._windows[stream] = self._initial
        return stream

    async def send(self, stream: int, payload: bytes, *, end: bool = False) -> None:
        """Send bytes as fast as the server takes them; it stops where the stream or the connection has ended."""
        view = memoryview(payload)
        while view and stream not in self.ended and not self.closed:
            size = min(len(view), _FRAME, self._window, self._windows[stream])
            if size <= 0:
                self._more.clear()
                await self._more.wait()
                continue
            self._frame(_DATA, _END_STREAM if end and size == len(view) else 0, stream, bytes(view[:size]))
            view = view[size:]
            self._window -= size
            self._windows[stream] -= size
            self.wrote += size
            await self.flush()

    def call(self, path: str, message: bytes, headers: Mapping[str, str] | None = None) -> "asyncio.Future[None]":
        """A whole unary call: its message is sent beside others. The stream is the newest."""
        return asyncio.ensure_future(self.send(self.open(path, headers), prefix(len(message)) + message, end=True))

    def reset(self, stream: int) -> None:
        self._frame(_RST_STREAM, 0, stream, struct.pack("!I", _CANCEL))

    def allow(self, stream: int, size: int) -> None:
        """Let the server send more on a stream."""
        self._frame(_WINDOW_UPDATE, 0, stream, struct.pack("!I", size))

    async def until(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so, the connection has ended, or time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.closed and not done():
                    self._more.clear()
                    await self._more.wait()

    async def flush(self) -> None:
        with suppress(ConnectionError):
            await self._writer.drain()

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.transport.abort()
        await asyncio.wait([self._reading])

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if not self.closed:
            self._writer.write(struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload)

    async def _read_frames(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                self._on_frame(head[3], head[4], int.from_bytes(head[5:]) & 0x7FFF_FFFF, payload)
                self._more.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed = True
        finally:
            self._more.set()

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case 0:
                self.read[stream] = self.read.get(stream, 0) + len(payload)
            case 1 if b"grpc-status\x010" in payload:
                self.well.add(stream)
            case 4 if not flags & _ACK:
                self._on_settings(payload)
            case 6 if not flags & _ACK:
                self._frame(_PING, _ACK, 0, payload)
            case 7:
                self.goaway = True
            case 8:
                self._on_window(stream, int.from_bytes(payload))
            case _:
                pass
        if kind == _RST_STREAM or (kind in {_DATA, _HEADERS} and flags & _END_STREAM):
            self.ended.add(stream)

    def _on_settings(self, payload: bytes) -> None:
        for number, value in struct.iter_unpack("!HI", payload):
            if number == _INITIAL_WINDOW_SIZE:
                change, self._initial = value - self._initial, value
                self._windows = {stream: window + change for stream, window in self._windows.items()}
        self._frame(_SETTINGS, _ACK, 0, b"")

    def _on_window(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        elif stream in self._windows:
            self._windows[stream] += size


def prefix(size: int) -> bytes:
    """What stands before a gRPC message of so many bytes."""
    return struct.pack("!BI", 0, size)


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing, name and value as they are (RFC 7541, 6.2.2)."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: str) -> bytes:
    raw = text.encode("ascii")
    size = len(raw)
    if size < 127:
        return bytes([size]) + raw
    head, size = b"\x7f", size - 127
    while size >= 128:
        head += bytes([size % 128 + 128])
        size //= 128
    return head + bytes([size]) + raw
