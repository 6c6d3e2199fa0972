"""What kind of body is it? Bytes in, frames or a whole document out. No I/O, no JSON.

The content type is a hint only: endpoints send SSE as JSON, JSON errors as `application/octet-stream`, JSON answers
to streaming requests, NDJSON (Ollama's native routes) and JSON arrays (Gemini without `alt=sse`). The first byte that
is not blank decides.
"""

from enum import Enum

from caller.custom_llm.sse import Frame, SseDecoder
from caller.errors import ProtocolError, ResponseTooLarge

_BLANK = b" \t\r\n"


class BodyKind(Enum):
    """What the first byte says."""

    UNKNOWN = 0
    SSE = 1
    JSON = 2  # an object: a whole answer, or the first line of NDJSON
    ARRAY = 3
    HTML = 4


class BodyDecoder:
    """Decodes one streamed body. Holds at most `max_event_bytes`.

    `document` is the whole body once `close` was called on one that is a single JSON object: the endpoint answered
    a streaming request in one piece.
    """

    __slots__ = ("_array", "_held", "_limit", "_sse", "document", "kind")

    def __init__(self, max_event_bytes: int) -> None:
        self.kind = BodyKind.UNKNOWN
        self.document = b""
        self._limit = max_event_bytes
        self._sse = SseDecoder(max_event_bytes)
        self._held = bytearray()
        self._array = _ArrayDecoder(max_event_bytes)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take bytes as they came.

        Raises:
            ResponseTooLarge: past the bound.
        """
        if self.kind is BodyKind.SSE:
            return self._sse.feed(chunk)
        if self.kind is BodyKind.UNKNOWN:
            self._held += chunk
            first = self._held.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
            if not first:
                self._held = bytearray(self._held[:3])  # blank keep-alives; a byte order mark may be incomplete
                return []
            if len(self._held) < 3 and self._held[0] == 0xEF:
                return []
            self.kind = _kind(first[0])
            chunk, self._held = bytes(first), bytearray()
        return self._feed_known(chunk)

    def _feed_known(self, chunk: bytes) -> list[Frame]:
        if self.kind is BodyKind.SSE:
            return self._sse.feed(chunk)
        if self.kind is BodyKind.ARRAY:
            return self._array.feed(chunk)
        self._held += chunk
        if len(self._held) > self._limit:
            raise ResponseTooLarge(f"the endpoint's answer is larger than {self._limit} bytes")
        return []

    def close(self) -> list[Frame]:
        """The body ended.

        Raises:
            ProtocolError: the body is an HTML page.
        """
        if self.kind is BodyKind.SSE:
            return self._sse.close()
        if self.kind is BodyKind.HTML:
            raise ProtocolError(
                "the endpoint answered with an HTML page instead of a chat answer; check that baseUrl is the API's root"
            )
        if self.kind is BodyKind.JSON:
            self.document = bytes(self._held)
        return []


class _ArrayDecoder:
    """A JSON array that is streamed: each object in it is a frame. Cuts between objects by counting braces."""

    __slots__ = ("_depth", "_escaped", "_held", "_limit", "_string")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._depth = 0
        self._string = False
        self._escaped = False

    def feed(self, chunk: bytes) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        for at, byte in enumerate(chunk):
            if self._string:
                self._in_string(byte)
            elif byte == 0x22:
                self._string = self._depth > 0
            elif byte == 0x7B:
                if self._depth == 0:
                    start = at
                self._depth += 1
            elif byte == 0x7D and self._depth:
                self._depth -= 1
                if self._depth == 0:
                    self._held += chunk[start : at + 1]
                    frames.append(Frame("", bytes(self._held)))
                    self._held = bytearray()
        if self._depth:
            self._held += chunk[start:]
            if len(self._held) > self._limit:
                raise ResponseTooLarge(f"an event of the endpoint's stream is larger than {self._limit} bytes")
        return frames

    def _in_string(self, byte: int) -> None:
        if self._escaped:
            self._escaped = False
        elif byte == 0x5C:
            self._escaped = True
        elif byte == 0x22:
            self._string = False


def _kind(first: int) -> BodyKind:
    if first == 0x7B:
        return BodyKind.JSON
    if first == 0x5B:
        return BodyKind.ARRAY
    if first == 0x3C:
        return BodyKind.HTML
    return BodyKind.SSE
