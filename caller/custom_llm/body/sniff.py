"""The kind of a body, sniffed from its bytes: frames or a whole document come out. No I/O, no JSON.

The content type is a hint only: endpoints send SSE as JSON, JSON errors as `application/octet-stream`, JSON answers
to streaming requests, NDJSON (Ollama's native routes) and JSON arrays (Gemini without `alt=sse`). The first byte that
is not blank decides.
"""

import re
from enum import Enum

import msgspec

from caller.custom_llm.adapter import Frame
from caller.custom_llm.body.sse import SseDecoder
from caller.errors import ProtocolError, ResponseTooLarge
from caller.printing import Unprinted

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
# No JSON text has one object behind another: these are two texts.
_TWO_OBJECTS = re.compile(rb"\}[ \t]*\r?\n\s*\{")
_LOOK_BACK = 64
_PAGE = 0x3C  # `<`
_PAGE_END = b"</html"
_MAX_BEGIN = 2048  # of what turns out to be neither JSON nor an event stream
_NDJSON = (
    "the endpoint answered with lines of JSON instead of server-sent events: that is Ollama's native API. Set baseUrl"
    " to its OpenAI-compatible root, for example http://localhost:11434/v1"
)
_HTML = "the endpoint answered with an HTML page instead of a chat answer; check that baseUrl is the API's root"
_FOREIGN = (
    "the endpoint's answer is neither JSON nor an event stream; check that baseUrl is the root of an API of the chosen"
    " apiCompatibility"
)


# What matters in an array outside of a string, and inside of one.
_OUTSIDE = re.compile(rb'["{}]')
_IN_STRING = re.compile(rb'["\\]')


class BodyKind(Enum):
    """What the first byte says."""

    UNKNOWN = 0
    SSE = 1
    JSON = 2  # an object: a whole answer
    ARRAY = 3


class BodyDecoder:
    """Decodes one streamed body. Holds at most `max_event_bytes`.

    `document` is the whole body once `close` was called on one that is a single JSON object: the endpoint answered
    a streaming request in one piece.
    """

    __slots__ = ("_array", "_begin", "_early", "_held", "_limit", "_sse", "document", "kind")

    def __init__(self, max_event_bytes: int) -> None:
        self.kind = BodyKind.UNKNOWN
        self.document = b""
        self._limit = max_event_bytes
        self._sse = SseDecoder(max_event_bytes)
        self._begin = b""
        self._early = False  # no event came yet: what did is kept for the error, if none comes
        self._array = _ArrayDecoder(max_event_bytes)
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Decode bytes as they came.

        Raises:
            ProtocolError: it is an HTML page, or lines of JSON.
            ResponseTooLarge: past the bound.
        """
        if self.kind is BodyKind.SSE:
            frames = self._sse.feed(chunk)
            if self._early:
                self._begin = (self._begin + chunk)[:_MAX_BEGIN]
                self._early = not frames and len(self._begin) < _MAX_BEGIN
            return frames
        if self.kind is BodyKind.UNKNOWN:
            if not self._held and chunk[:1] == b"{":  # nearly every whole answer
                self.kind = BodyKind.JSON
                self._begin = chunk[:_MAX_BEGIN]
                return self._feed_known(chunk)
            self._held += chunk
            begun = self._held.lstrip(_BLANK)
            first = begun.removeprefix(_BOM).lstrip(_BLANK)
            if not first or (len(begun) < len(_BOM) and _BOM.startswith(begun)):
                self._held = begun[: len(_BOM)]  # blank keep-alives; a mark may be incomplete
                return []
            if first[0] == _PAGE and len(first) < _MAX_BEGIN and _PAGE_END not in first.lower():
                self._held = first  # a page is known by its words, which come in pieces
                return []
            self._begin = bytes(first[:_MAX_BEGIN])
            self.kind = _kind(self._begin)
            chunk, self._held = bytes(first), bytearray()
            frames = self._feed_known(chunk)
            self._early = not frames
            return frames
        return self._feed_known(chunk)

    @property
    def between_events(self) -> bool:
        """True in an event stream of which every event that began is complete."""
        return self.kind is BodyKind.SSE and self._sse.between_events

    @property
    def pending(self) -> int:
        """How many bytes of an event, or of a whole answer, are held because its end has not come."""
        if self.kind is BodyKind.SSE:
            return self._sse.pending
        return self._array.pending if self.kind is BodyKind.ARRAY else len(self._held)

    @property
    def pending_lines(self) -> int:
        """How many lines an event has that is not complete."""
        return self._sse.pending_lines

    def lines(self, chunk: bytes) -> int:
        """How many lines ended in a chunk, where a line costs something: in an event stream."""
        return max(chunk.count(b"\n"), chunk.count(b"\r")) if self.kind is BodyKind.SSE else 0

    def _feed_known(self, chunk: bytes) -> list[Frame]:
        if self.kind is BodyKind.SSE:
            return self._sse.feed(chunk)
        if self.kind is BodyKind.ARRAY:
            return self._array.feed(chunk)
        seam = max(len(self._held) - _LOOK_BACK, 0) if self._held else 0
        self._held += chunk
        if len(self._held) > self._limit:
            raise ResponseTooLarge(f"the endpoint's answer is larger than {self._limit} bytes")
        if _TWO_OBJECTS.search(self._held, seam):
            raise ProtocolError(_NDJSON)
        return []

    def close(self) -> list[Frame]:
        """The body ended.

        Raises:
            ProtocolError: it was neither JSON nor an event stream.
        """
        if self.kind is BodyKind.UNKNOWN and self._held[:1] == bytes((_PAGE,)):
            raise ProtocolError.not_json(_HTML, bytes(self._held))
        if self.kind is BodyKind.JSON:
            self.document = bytes(self._held)
            return []
        if self.kind is BodyKind.ARRAY and self._array.empty:
            raise ProtocolError(_FOREIGN)
        if self.kind is not BodyKind.SSE:
            return []
        frames = self._sse.close()
        if self._sse.foreign:
            raise ProtocolError.not_json(_FOREIGN, self._begin)
        return frames


class _ArrayDecoder(Unprinted, msgspec.Struct, eq=False):
    """A JSON array that is streamed: each object in it is a frame. Cuts between objects by counting braces.

    `empty` is True until an object began. An array of anything but objects is none of ours.
    """

    _limit: int
    empty: bool = True
    _held: bytearray = msgspec.field(default_factory=bytearray)
    _depth: int = 0
    _string: bool = False
    _skip: int = 0  # 1: the chunk ended behind a backslash

    @property
    def pending(self) -> int:
        return len(self._held)

    def feed(self, chunk: bytes) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        at = self._skip
        self._skip = 0
        while (found := (_IN_STRING if self._string else _OUTSIDE).search(chunk, at)) is not None:
            at = found.end()
            mark = found[0]
            if mark == b"\\":
                at += 1
                self._skip = 1 if at > len(chunk) else 0
            elif mark == b"{":
                if self._depth == 0:
                    start = at - 1
                    self.empty = False
                self._depth += 1
            elif self._depth == 0:
                raise ProtocolError(_FOREIGN)
            elif mark == b'"':
                self._string = not self._string
            else:
                self._depth -= 1
                if self._depth == 0:
                    self._hold(chunk[start:at])
                    frames.append(Frame("", bytes(self._held)))
                    self._held = bytearray()
        if self._depth:
            self._hold(chunk[start:])
        return frames

    def _hold(self, piece: bytes) -> None:
        self._held += piece
        if len(self._held) > self._limit:
            raise ResponseTooLarge(f"an event of the endpoint's stream is larger than {self._limit} bytes")


def _kind(body: bytes) -> BodyKind:
    first = body[0]
    if first == 0x7B:
        return BodyKind.JSON
    if first == 0x5B:
        return BodyKind.ARRAY
    if first == _PAGE:
        raise ProtocolError.not_json(_HTML, body)
    return BodyKind.SSE
