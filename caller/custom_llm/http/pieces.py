"""A large request body, given to the socket piece by piece as it leaves, and never copied.

Handed over at once all of it would be copied into the socket's buffer, and stay there for an endpoint that does not
read; aiohttp's own way for a `BytesIO` copies it as well, to learn its size.
"""

from typing import Final

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

_PIECE: Final = 64 * 1024


class Pieces(payload.Payload):
    """The bytes of one body."""

    _value: bytes

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text: for aiohttp's own messages."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write it; each piece waits until the one before has left."""
        view = memoryview(self._value)
        for at in range(0, len(view), _PIECE):
            await writer.write(view[at : at + _PIECE])
