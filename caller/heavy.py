"""Heavy work takes turns: what is large is parsed, built and encoded in one go, and nothing else runs meanwhile.

One piece at a time, clients in turn. A piece runs from the `turn` that it was given to the next point where its task
waits. After some milliseconds of such work the event loop rests from it, for as long as the work took or nearly, so
that whatever is small gets through between two pieces; a while longer where calls pour in, which are to be taken in
first. Who works on something small does not come here.
"""

import asyncio
from time import perf_counter
from typing import Final

from caller.crowds import Arrivals, WaitingTasks

# Bytes, or characters, from which on a request, an answer or an event is large.
LARGE: Final = 64 * 1024
# Seconds: of work between two rests; the longest rest while one task waits for its turn, and while several do.
_STRETCH: Final = 0.005
_REST: Final = 0.005
_REST_OF_MANY: Final = 0.1
# While calls arrive at this rate, in calls a second, the rest goes on: somebody's small one may be behind them. For so
# many seconds in all, and later for this part of the time: a busy server's calls arrive at such a rate all day.
_FLOOD: Final = 400.0
_MOST_EXTRA: Final = 0.5
_EXTRA_PART: Final = 0.1


class HeavyWork:
    """The turns of one event loop. `arrivals` counts the calls that arrive there, for whoever takes them in; `tasks`
    are those that wait for their turn."""

    __slots__ = ("_began", "_busy", "_extra", "_extra_at", "_loop", "_seen", "_worked", "arrivals", "tasks")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.tasks = WaitingTasks()
        self._busy = False  # a piece of work runs, or the loop rests from one
        self._began = self._worked = 0.0
        self._extra, self._extra_at = _MOST_EXTRA, perf_counter()  # the seconds left by which rests may go on
        self._seen = 0
        self.arrivals = Arrivals()

    async def turn(self, client: str, *, further: bool = False) -> None:
        """Wait until a piece of heavy work of this client may run: what its task does up to where it waits next.
        `further`: what came before it holds memory until it is done, so it comes before what the client begins."""
        if self._busy:
            await self._wait(client, further=further)
        self._busy = True
        self._began = perf_counter()
        self._loop.call_soon(self._ended)

    async def _wait(self, client: str, *, further: bool) -> None:
        turn = self.tasks.enqueue(client, first=further)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()  # it was given in the moment in which the task was cancelled
            raise

    def _ended(self) -> None:
        """The piece is over, and everything that was ready beside it has run."""
        self._worked += perf_counter() - self._began
        if self._worked < _STRETCH:
            self._next()
            return
        rest = min(self._worked, _REST_OF_MANY if self.tasks.count > 1 else _REST)
        self._worked = 0.0
        now = perf_counter()
        self._extra = min(_MOST_EXTRA, self._extra + _EXTRA_PART * (now - self._extra_at))
        self._extra_at = now
        self._rest(rest)

    def _rest(self, seconds: float) -> None:
        self._seen = self.arrivals.count
        self._loop.call_later(seconds, self._rested, seconds)

    def _rested(self, seconds: float) -> None:
        if self.arrivals.count - self._seen > _FLOOD * seconds and self._extra > 0:
            self._extra -= _REST
            self._rest(_REST)
        else:
            self._next()

    def _next(self) -> None:
        """Give the turn to the next task."""
        if not self.tasks.wake_next():
            self._busy = False
