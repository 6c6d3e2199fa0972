"""Measures how long an event loop was away: the longest time in which nothing else could have run."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_EVERY = 0.001


@dataclass
class LoopWatch:
    """`longest` is the longest absence so far, `cpu` what the process has used since the beginning; both in seconds."""

    longest: float = 0.0
    cpu: float = 0.0


@asynccontextmanager
async def loop_watch() -> AsyncIterator[LoopWatch]:
    """Watch the running loop while the block runs.

    What is measured is the CPU time of the process from one turn to the next, threads that hold the interpreter
    included: a machine that is busy with something else does not count, and a wait for the network is no absence.
    """
    watch = LoopWatch()
    begun = time.process_time()

    async def look() -> None:
        before = begun
        while True:
            await asyncio.sleep(_EVERY)
            now = time.process_time()
            watch.longest = max(watch.longest, now - before)
            watch.cpu = now - begun
            before = now

    task = asyncio.ensure_future(look())
    await asyncio.sleep(2 * _EVERY)
    try:
        yield watch
    finally:
        await asyncio.sleep(2 * _EVERY)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
