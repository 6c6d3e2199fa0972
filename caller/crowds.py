"""Small work that comes by hundreds in a moment takes turns: calls that begin, calls that are refused or fail.

A few pieces at a time, clients in turn. A piece runs from the `turn` that it was given to the next point where its task
waits. After some milliseconds of such work the event loop rests from it, and for longer while further calls pour in, of
which somebody else's may be the next: so an honest call waits for what taking in the calls before it costs, and not for
all that has to be done about them. What only keeps coming, as fast as it is worked on, is no reason to rest longer.
"""

import asyncio
from collections import OrderedDict, deque
from time import perf_counter
from typing import Final

# Seconds of work between two rests; of the longest rest.
_STRETCH: Final = 0.005
_REST: Final = 0.1
# While more than so many calls arrive in a rest it goes on, up to so many times as long.
_FLOOD: Final = 8
_PATIENCE: Final = 10
# grpc takes in one call per some turns of the loop. Where so many turns take so many seconds few arrive of however many
# there are, and the loop is busy with other things: then every one that arrives counts.
_PROBED: Final = 4
_SLOW: Final = 0.001
# Clients of whom nothing waits may go at once in a rest: so many of them.
_PASSES: Final = 8
# Tasks that wait; those beyond go at once, since what waits is memory.
_MOST_WAITING: Final = 4_000


class Arrivals:
    """Counts the calls that arrive, for all who ask whether they pour in."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class WaitingTasks:
    """Tasks that wait for a turn, clients one after the other. `count`: how many."""

    __slots__ = ("_loop", "_queues", "count")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # by client, whose turn it is first
        self.count = 0

    def __contains__(self, client: str) -> bool:
        return client in self._queues

    def enqueue(self, client: str, *, first: bool = False) -> asyncio.Future[None]:
        """What a task of this client waits for; `first`: ahead of the client's others."""
        turn = self._loop.create_future()
        queue = self._queues.setdefault(client, deque())
        if first:
            queue.appendleft(turn)
        else:
            queue.append(turn)
        self.count += 1
        return turn

    def wake_next(self) -> bool:
        """Give the turn to the first task of the client whose turn it is; whether there was any."""
        while self._queues:
            client, queue = next(iter(self._queues.items()))
            turn = queue.popleft()
            self.count -= 1
            if queue:
                self._queues.move_to_end(client)
            else:
                del self._queues[client]
            if not turn.done():  # else its task was cancelled
                turn.set_result(None)
                return True
        return False


class CrowdTurns:
    """The turns of one kind of small work in one event loop. `tasks` are those that wait for theirs."""

    __slots__ = ("_arrivals", "_began", "_busy", "_ended_at", "_loop", "_passes", "_seen", "_worked", "tasks")

    def __init__(self, arrivals: Arrivals | None = None) -> None:
        """`arrivals`: of the calls for which a rest goes on."""
        self._arrivals = arrivals or Arrivals()
        self._loop = asyncio.get_running_loop()
        self.tasks = WaitingTasks()
        self._busy = False  # pieces run, or the loop rests from them
        self._passes = 0  # how many clients may still go at once; none while pieces run
        self._began = self._ended_at = self._worked = 0.0
        self._seen = 0

    async def turn(self, client: str) -> None:
        """Wait until a piece of this client may run: what its task does up to where it waits next."""
        if not self._busy:
            self._begin()
        elif self._passes and self.tasks.count and client not in self.tasks:
            self._passes -= 1
        elif self.tasks.count < _MOST_WAITING:
            await self.tasks.enqueue(client)

    def _begin(self) -> None:
        """The first piece, for which nobody waits."""
        self._busy = True
        self._began = perf_counter()
        if self._began - self._ended_at > _STRETCH:
            self._worked = 0.0
        self._loop.call_soon(self._ended)

    def _ended(self) -> None:
        """The pieces are over, and everything that was ready beside them has run."""
        self._ended_at = perf_counter()
        self._worked += self._ended_at - self._began
        if self._worked < _STRETCH:
            self._next()
            return
        rest, self._worked = min(self._worked, _REST), 0.0
        self._passes = _PASSES
        self._rest(rest, self._ended_at + min(_PATIENCE * rest, _REST))

    def _rest(self, seconds: float, until: float) -> None:
        self._seen = self._arrivals.count
        self._loop.call_later(seconds, self._rested, seconds, until)

    def _rested(self, seconds: float, until: float) -> None:
        if self._arrivals.count > self._seen and perf_counter() < until:
            self._probe(_PROBED, perf_counter(), seconds, until)
        else:
            self._passes = 0
            self._next()

    def _probe(self, turns: int, since: float, seconds: float, until: float) -> None:
        """How long does the loop take for some turns? Then the rest goes on, or is over."""
        if turns:
            self._loop.call_soon(self._probe, turns - 1, since, seconds, until)
        elif self._arrivals.count - self._seen > (0 if perf_counter() - since > _SLOW else _FLOOD):
            self._rest(seconds, until)
        else:
            self._passes = 0
            self._next()

    def _next(self) -> None:
        """Give the turn to the next task."""
        if self.tasks.wake_next():
            self._began = perf_counter()
            self._loop.call_soon(self._ended)  # behind the task that has just been woken
        else:
            self._busy = False
