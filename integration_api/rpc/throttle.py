"""Bounds the log lines about calls that never began: of those that say the same so many a second, and one that counts
the rest. Thousands of calls that are refused in a moment do not cost thousands of lines. It knows no calls.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Protocol

# Lines of one event and reason in one second.
MOST_LINES = 50
_SECOND = 1.0


class Log(Protocol):
    """Where lines go."""

    def info(self, event: str, **fields: object) -> object:
        """Write one."""
        ...


class Throttle:
    """Counts lines, second by second. Events and reasons are words of ours, so there are few."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._seen: Counter[tuple[str, str]] = Counter()

    def allow(self, event: str, reason: str) -> bool:
        """Whether one more line may be written; one that may not is counted."""
        if self._loop.time() >= self._until:
            self._end()
        self._seen[event, reason] += 1
        seen = self._seen[event, reason]
        if seen == MOST_LINES + 1:
            self._loop.call_at(self._until, self._end_if_over)
        return seen <= MOST_LINES

    def _end_if_over(self) -> None:
        if self._loop.time() >= self._until:
            self._end()

    def _end(self) -> None:
        """The second is over: log how many lines were not written."""
        seen, self._seen = self._seen, Counter()
        self._until = self._loop.time() + _SECOND
        for (event, reason), number in seen.items():
            if number > MOST_LINES:
                with suppress(Exception):  # a log that fails changes nothing
                    self._log.info(f"{event}.more", reason=reason, number=number - MOST_LINES)
