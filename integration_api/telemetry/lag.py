"""How late the event loop is: everything in this process waits so long for its turn. Knows no calls."""

import asyncio
from collections.abc import Callable
from time import monotonic

_INTERVAL = 0.25


class LoopLag:
    """Measures in regular intervals how much later than asked a timer of the event loop runs, and gives each such
    number of seconds to `observe`."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._due = monotonic() + _INTERVAL
        self._timer = self._loop.call_later(_INTERVAL, self._measure)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _measure(self) -> None:
        self._observe(max(0.0, monotonic() - self._due))
        self.start()
