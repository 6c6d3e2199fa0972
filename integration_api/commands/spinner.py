"""A sign of life at a terminal while nothing is there to be shown yet.

Rule: it writes to standard error, only where that is a terminal, and leaves nothing behind.
"""

import asyncio
import sys
import time
from types import TracebackType
from typing import Self

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES = "|/-\\"
_INTERVAL = 0.1
_ERASE = "\r\x1b[K"


class Spinner:
    """Turns from the block's beginning until `stop`, or the block's end."""

    def __init__(self) -> None:
        self._turning: asyncio.Task[None] | None = None
        self._shown = False
        utf8 = (sys.stderr.encoding or "").lower().startswith("utf")
        self._frames = _FRAMES if utf8 else _PLAIN_FRAMES

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._turning = asyncio.ensure_future(self._turn())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Something is there; the line is free for it."""
        if self._turning is not None:
            self._turning.cancel()
            self._turning = None
        if self._shown:
            self._write(_ERASE)
            self._shown = False

    async def _turn(self) -> None:
        started = time.monotonic()
        number = 0
        while True:
            self._shown = True
            frame = self._frames[number % len(self._frames)]
            self._write(f"\r{frame} {time.monotonic() - started:.1f} s ")
            number += 1
            await asyncio.sleep(_INTERVAL)

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
