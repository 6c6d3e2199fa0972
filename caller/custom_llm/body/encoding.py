"""Content encodings, bounded. We ask for `identity`; some proxies compress all the same. No I/O."""

import zlib
from collections.abc import Iterator

from caller.custom_llm.body.turn import TurnBudget
from caller.errors import ProtocolError, ResponseTooLarge, StreamInterrupted

_GZIP = zlib.MAX_WBITS | 16
_GZIP_MAGIC = 0x1F
_WINDOW = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
# Honest streams of tokens reach 330 : 1, a bomb 1,000 : 1. What is small harms nobody.
_MAX_RATIO = 500
_SMALL = 8 * 1024 * 1024
_MAX_NAME = 20


class Inflater:
    """Inflates one body in pieces of what a turn of the loop may have; the total is bounded by `max_bytes`."""

    __slots__ = ("_came", "_decoder", "_limit", "_made", "_started", "_turn", "_window")

    def __init__(self, encoding: str, max_bytes: int, turn: TurnBudget) -> None:
        """Raises ProtocolError for an encoding that we did not ask for and cannot read in bounds."""
        window = _WINDOW.get(encoding.strip().lower())
        if window is None:
            name = "".join(filter(str.isalnum, encoding))[:_MAX_NAME]
            raise ProtocolError(f"the endpoint compressed its answer in a way that was not asked for: {name}")
        self._window = window
        self._started = False
        self._decoder = zlib.decompressobj(window)
        self._turn = turn
        self._limit = max_bytes
        self._came = 0
        self._made = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The plain bytes, one piece at a time: what is not asked for is not inflated yet.

        Raises:
            StreamInterrupted: the data is corrupt.
            ResponseTooLarge: past the bound, or of a size that only a bomb has.
        """
        self._came += len(chunk)
        if chunk and not self._started:
            self._started = True
            # Some servers leave out zlib's header, whose first byte ends with 8.
            if self._window == zlib.MAX_WBITS and chunk[0] & 0x0F != 8:
                self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        while chunk:
            if self._decoder.eof:
                if self._window != _GZIP or chunk[0] != _GZIP_MAGIC:
                    return  # padding behind the end
                self._decoder = zlib.decompressobj(_GZIP)  # gzip may come in several members
            try:
                piece = self._decoder.decompress(chunk, self._turn.size)
            except zlib.error:
                raise StreamInterrupted("the endpoint's compressed answer is corrupt") from None
            self._made += len(piece)
            if self._made > self._limit or self._made > max(_SMALL, _MAX_RATIO * self._came):
                raise ResponseTooLarge("the endpoint's compressed answer is larger than our bounds")
            if piece:
                yield piece
            chunk = self._decoder.unconsumed_tail or self._decoder.unused_data

    def close(self) -> None:
        """The body ended.

        Raises:
            StreamInterrupted: the compressed data did not.
        """
        if not self._decoder.eof:
            raise StreamInterrupted("the endpoint's compressed answer ended too early")
