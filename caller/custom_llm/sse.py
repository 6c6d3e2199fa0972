"""Server-sent events: bytes in, frames out. No I/O, no JSON.

A line ends at CR, LF or CRLF and nowhere else (`str.splitlines` also cuts at U+2028, which stands raw in JSON
strings), however the network cut the bytes up. Bytes stay bytes: a frame's data is decoded by whoever parses it.

What differs from the HTML standard, because endpoints do:

* An event is dispatched at its blank line with whatever `event:` it had, before or after its `data:`.
* At the end of the body a pending event is dispatched too: some servers forget the last blank line.
* A line `error: {…}` is an event named `error` (llama.cpp before September 2025).
* A block that starts with `{` or `[` is a raw JSON text, an event without a name (Gemini's errors inside a stream).
* Events without data, and `data: null`, are dropped.
"""

from typing import NamedTuple

from caller.errors import ResponseTooLarge

_BOM = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """One event: its name (empty when it has none) and its data."""

    event: str
    data: bytes


class SseDecoder:
    """Decodes one stream. Never raises but for `ResponseTooLarge`, and holds at most `max_event_bytes`."""

    __slots__ = ("_after_cr", "_data", "_event", "_fragments", "_limit", "_raw", "_size", "_start")

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._fragments: list[bytes] = []  # an unfinished line, in pieces: joining at every read is quadratic
        self._size = 0  # bytes held in fragments and in the pending event
        self._after_cr = False
        self._start = True
        self._event = ""
        self._data: list[bytes] = []
        self._raw = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take bytes as they came; returns the frames that are complete.

        Raises:
            ResponseTooLarge: an event is larger than the bound.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        frames: list[Frame] = []
        head, newline, rest = chunk.partition(b"\n")
        self._hold(head)
        if newline:
            self._line(self._unfinished(), frames)
            *lines, tail = rest.split(b"\n")
            for line in lines:
                self._line(line, frames)
            self._hold(tail)
        return frames

    def close(self) -> list[Frame]:
        """The body ended: whatever is pending is dispatched."""
        frames: list[Frame] = []
        last = self._unfinished()
        if last:
            self._line(last, frames)
        self._dispatch(frames)
        return frames

    def _hold(self, fragment: bytes) -> None:
        if fragment:
            self._fragments.append(fragment)
            self._grow(len(fragment))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise ResponseTooLarge(f"an event of the endpoint's stream is larger than {self._limit} bytes")

    def _unfinished(self) -> bytes:
        fragments = self._fragments
        if not fragments:
            return b""
        line = fragments[0] if len(fragments) == 1 else b"".join(fragments)
        self._size -= len(line)
        self._fragments = []
        return line

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if self._start:
            self._start = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(frames)
        elif line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._data.append(value)
            self._grow(len(value) + 1)
        else:
            self._other_line(line)

    def _other_line(self, line: bytes) -> None:
        if self._raw or (line[0] in b"{[" and not self._data):
            self._raw = True
            self._data.append(line)
            self._grow(len(line) + 1)
            return
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace")
        elif name == b"error":
            self._event = "error"
            self._data.append(value.strip())
            self._grow(len(value) + 1)

    def _dispatch(self, frames: list[Frame]) -> None:
        data = self._data
        if data:
            joined = data[0] if len(data) == 1 else b"\n".join(data)
            if joined and joined != b"null":
                frames.append(Frame(self._event, joined))
            self._data = []
            self._size = 0
        self._event = ""
        self._raw = False
