"""Measures how long an event loop was away: the longest time in which nothing else could have run.

The modules of hostile tests are watched: `pytestmark = pytest.mark.usefixtures("watched_loop")`. Each of their tests
fails where the loop was away for longer than promised while its body ran. The test, its clients and its endpoints share
the loop with the service: where they need long themselves, a mark `away(seconds)` says so.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_EVERY = 0.001
# What a loop with hostile work may be away at most, in seconds.
LONGEST = 0.1


@dataclass
class LoopWatch:
    """`longest` is the longest absence so far, `cpu` what the process has used since the beginning; both in seconds."""

    longest: float = 0.0
    cpu: float = 0.0
    _begun: float = 0.0
    _seen: tuple[float, float] = (0.0, 0.0)  # processor time and clock at the last turn

    def restart(self) -> None:
        """Begin anew, with what has been so far forgotten."""
        self.longest = self.cpu = 0.0
        self._seen = time.process_time(), time.perf_counter()
        self._begun = self._seen[0]

    def look(self) -> None:
        """The loop has a turn, or what is watched is over."""
        now = time.process_time(), time.perf_counter()
        self.longest = max(self.longest, min(now[0] - self._seen[0], now[1] - self._seen[1]))
        self.cpu = now[0] - self._begun
        self._seen = now


@asynccontextmanager
async def loop_watch() -> AsyncIterator[LoopWatch]:
    """Watch the running loop while the block runs.

    What is measured is the CPU time of the process from one turn to the next, threads that hold the interpreter
    included, and no more than has passed: a machine that is busy with something else does not count, nor do threads
    beside the loop, and a wait for the network is no absence. What was there before is kept from the collector: it is
    the test run's, and not the service's.
    """
    watch = LoopWatch()

    async def look() -> None:
        while True:
            await asyncio.sleep(_EVERY)
            watch.look()

    gc.freeze()
    watch.restart()
    task = asyncio.ensure_future(look())
    await asyncio.sleep(2 * _EVERY)
    try:
        yield watch
    finally:
        await asyncio.sleep(2 * _EVERY)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gc.unfreeze()
