"""Content encodings, bounded. We ask for `identity`; some proxies compress all the same. No I/O."""

import zlib

from caller.errors import ProtocolError, ResponseTooLarge, StreamInterrupted

_WINDOW = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_PIECE = 256 * 1024


class Inflater:
    """Inflates one body in bounded pieces; the total is bounded by `max_bytes`."""

    __slots__ = ("_decoder", "_room")

    def __init__(self, encoding: str, max_bytes: int) -> None:
        """Raises ProtocolError for an encoding that we did not ask for and cannot read in bounds."""
        window = _WINDOW.get(encoding.strip().lower())
        if window is None:
            raise ProtocolError("the endpoint compressed its answer in a way that was not asked for")
        self._decoder = zlib.decompressobj(window)
        self._room = max_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The plain bytes, in pieces.

        Raises:
            StreamInterrupted: the data is corrupt.
            ResponseTooLarge: past the bound.
        """
        pieces: list[bytes] = []
        try:
            while chunk:
                piece = self._decoder.decompress(chunk, _PIECE)
                self._room -= len(piece)
                if self._room < 0:
                    raise ResponseTooLarge("the endpoint's compressed answer is larger than our bounds")
                if piece:
                    pieces.append(piece)
                chunk = self._decoder.unconsumed_tail
        except zlib.error:
            raise StreamInterrupted("the endpoint's compressed answer is corrupt") from None
        return pieces

    def close(self) -> None:
        """The body ended.

        Raises:
            StreamInterrupted: the compressed data did not.
        """
        if not self._decoder.eof:
            raise StreamInterrupted("the endpoint's compressed answer ended too early")
