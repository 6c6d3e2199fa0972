"""Server-sent events: bytes in, frames out. No I/O, no JSON.

A line ends at CR, LF or CRLF and nowhere else (`str.splitlines` also cuts at U+2028, which stands raw in JSON
strings), however the network cut the bytes up. Bytes stay bytes: a frame's data is decoded by whoever parses it.

What differs from the HTML standard, because endpoints do:

* An event is dispatched at its blank line with whatever `event:` it had, before or after its `data:`.
* At the end of the body a pending event is dispatched too: some servers forget the last blank line.
* A line `error: {…}` is an event named `error` (llama.cpp before September 2025).
* A block that starts with `{` or `[` is a raw JSON text, an event without a name (Gemini's errors inside a stream).
* Data that ends with `}` followed by data that begins with `{` or `[` are two events: no JSON text has the one behind
  the other, and some servers (DeepInfra, SambaNova) end events with a single newline.
* Events without data, and `data: null`, are dropped.
"""

import msgspec

from caller.custom_llm.adapter import Frame
from caller.errors import ResponseTooLarge
from caller.printing import Unprinted

_BOM = b"\xef\xbb\xbf"
# What a line costs beside its bytes, so that many short lines are bounded as well as one long one.
_LINE = 64
_MAX_NAME = 256
_FIELDS = (b"data", b"event", b"id", b"retry", b"error", b":", b"{", b"[")


class SseDecoder(Unprinted, msgspec.Struct, eq=False):
    """Decodes one stream. Never raises but for `ResponseTooLarge`, and holds at most `max_event_bytes` of it.

    `foreign` is True when the body began with something that is no line of an event stream, and no event came.
    """

    _limit: int  # `max_event_bytes`
    foreign: bool = False
    _partial: bytearray = msgspec.field(default_factory=bytearray)  # an unfinished line
    _size: int = 0  # of the pending event
    _after_cr: bool = False
    _start: bool = True
    _event: str = ""
    _data: list[bytes] = msgspec.field(default_factory=list)
    _raw: bool = False

    @property
    def between_events(self) -> bool:
        """True if nothing of a further event has come."""
        return not (self._partial or self._data or self._event or self._raw or self._start or self._after_cr)

    @property
    def pending(self) -> int:
        """How many bytes are held of an event that is not complete."""
        return self._size + len(self._partial)

    @property
    def pending_lines(self) -> int:
        """How many lines it has so far."""
        return len(self._data)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Decode bytes as they came; returns the frames that are complete.

        Raises:
            ResponseTooLarge: an event is larger than the bound.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if chunk.find(b"\r") >= 0:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        frames: list[Frame] = []
        *lines, tail = chunk.split(b"\n")
        if lines and self._partial:
            lines[0] = self._unfinished(lines[0])
        for line in lines:
            self._line(line, frames)
        if tail:
            self._partial += tail
            self._check(len(self._partial))
        return frames

    def close(self) -> list[Frame]:
        """The body ended: whatever is pending is dispatched."""
        frames: list[Frame] = []
        if self._partial:
            self._line(self._unfinished(b""), frames)
        self._dispatch(frames)
        return frames

    def _unfinished(self, rest: bytes) -> bytes:
        line = bytes(self._partial) + rest
        self._partial = bytearray()
        return line

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            raise ResponseTooLarge(f"an event of the endpoint's stream is larger than {self._limit} bytes")

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if self._start and line:
            self._start = False
            line = line.removeprefix(_BOM)
            self.foreign = bool(line) and not line.startswith(_FIELDS)
        if not line:
            self._dispatch(frames)
        elif line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            if self._data and (self._raw or _cannot_follow(self._data[-1], value)):
                self._dispatch(frames)
            self._add(value)
        else:
            self._other_line(line)

    def _other_line(self, line: bytes) -> None:
        if self._raw or (line[0] in b"{[" and not self._data):
            self._raw = True
            self._add(line)
            return
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value[:_MAX_NAME].removeprefix(b" ").decode("utf-8", "replace")
        elif name == b"error":
            self._event = "error"
            self._add(value.strip())

    def _add(self, value: bytes) -> None:
        if self._size + len(value) > self._limit:
            self._check(len(value))
        self._size += len(value) + _LINE
        self._data.append(value)

    def _dispatch(self, frames: list[Frame]) -> None:
        data = self._data
        if data:
            joined = data[0] if len(data) == 1 else b"\n".join(data)
            if joined and joined != b"null":
                self.foreign = False
                frames.append(Frame(self._event, joined))
            self._data = []
            self._size = 0
        self._event = ""
        self._raw = False


def _cannot_follow(data: bytes, value: bytes) -> bool:
    return value[:1] in (b"{", b"[") and data.rstrip().endswith(b"}")
