"""The watch over event loops: it sees what holds one, and nothing else."""

import asyncio
import time

from tests.loop_watch import loop_watch

_WORK = 0.05  # seconds of processor time


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_an_absence_is_seen() -> None:
    async with loop_watch() as watch:
        work(_WORK)
    assert watch.longest >= _WORK * 0.9
    assert watch.cpu >= _WORK * 0.9


async def test_a_wait_is_no_absence_and_what_was_before_is_forgotten() -> None:
    async with loop_watch() as watch:
        work(_WORK)
        await asyncio.sleep(0.01)
        watch.restart()
        await asyncio.sleep(2 * _WORK)
        time.sleep(2 * _WORK)  # noqa: ASYNC251 -- a machine that gives us no time looks like this
    assert watch.longest < _WORK
