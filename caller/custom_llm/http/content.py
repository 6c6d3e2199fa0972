"""The body of an answer, as aiohttp's parser fills it, without what nobody here asks it for.

Rule: it is aiohttp's `StreamReader` but for three things: it keeps no boundaries of chunks, it knows no timer, and it
is read in one way, whole reads as they came. They cost more for each token than the rest of the reading does.
"""

from aiohttp.streams import StreamReader


class Content(StreamReader):
    """One body. What is not read is bounded, in bytes and in pieces: beyond that the socket is read no further."""

    __slots__ = ()  # so that one that the parser has made can become one of these

    @classmethod
    def of(cls, made: StreamReader) -> StreamReader:
        """What the parser has made, as one of these, while nothing of it has come; the empty one of aiohttp stays."""
        if type(made) is StreamReader:
            made.__class__ = cls
        return made

    def begin_http_chunk_receiving(self) -> None:
        """A chunk of the transfer begins: nothing to be kept."""

    def end_http_chunk_receiving(self) -> None:
        """A chunk of the transfer has ended: nothing to be kept."""

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """Bytes came."""
        del size  # aiohttp's, and unused there as well
        self._size += len(data)
        self._buffer.append(data)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        if self._size > self._high_water or len(self._buffer) > self._high_water_chunks:
            self._protocol.pause_reading()
        return False

    async def readany(self) -> bytes:
        """All that is here, once anything is; empty at the end.

        Raises:
            aiohttp.ClientError: the connection was lost.
        """
        if self._exception is not None:
            raise self._exception
        buffer = self._buffer
        if not buffer and not self._eof:
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        size, self._size = self._size, 0
        count = len(buffer)
        if count == 1:
            data = buffer.popleft()
        else:
            data = b"".join(buffer)
            buffer.clear()
        if size > self._low_water or count > self._low_water_chunks:  # only then reading may have been paused
            self._protocol.resume_reading()
        return data
