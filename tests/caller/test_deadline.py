"""Deadline timers: when they fire, and that one that is disarmed does not."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from caller.deadline import DeadlineTimer
from caller.errors import BetweenOutputsTimeout, FirstOutputTimeout, ServiceOverloaded, TotalTimeout
from tests.patience import within


def now() -> float:
    return asyncio.get_running_loop().time()


async def expires(timer: DeadlineTimer, seconds: float = 0.02) -> None:
    timer.arm(now() + seconds, lambda: TotalTimeout("late"))
    await asyncio.Event().wait()


async def test_a_block_that_takes_too_long_fails_with_the_armed_error() -> None:
    """And its task goes on as if nothing had cancelled it."""
    with pytest.raises(TotalTimeout) as raised, DeadlineTimer() as timer:
        await expires(timer)
    task = asyncio.current_task()

    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_block_in_time_is_left_alone() -> None:
    """Nothing fires behind it."""
    with DeadlineTimer() as timer:
        timer.arm(now() + 0.01, lambda: TotalTimeout("late"))

    assert await asyncio.sleep(0.03, "fine") == "fine"


async def test_the_last_arming_counts() -> None:
    """Later or earlier than the one before, with its own error."""

    async def guarded(first: float, second: float) -> None:
        with DeadlineTimer() as timer:
            timer.arm(now() + first, lambda: FirstOutputTimeout("first"))
            timer.arm(now() + second, lambda: BetweenOutputsTimeout("second"))
            await asyncio.Event().wait()

    for first, second in ((0.01, 0.05), (5.0, 0.05)):
        started = now()
        with pytest.raises(BetweenOutputsTimeout):
            await guarded(first, second)
        assert 0.04 < now() - started < within(1)


async def test_a_disarmed_block_takes_its_time() -> None:
    """A timer that was set before fires into nothing; armed again, it counts again."""

    async def guarded() -> None:
        with DeadlineTimer() as timer:
            timer.arm(now() + 0.01, lambda: FirstOutputTimeout("first"))
            timer.due = None
            await asyncio.sleep(0.03)
            await expires(timer)

    with pytest.raises(TotalTimeout):
        await guarded()


async def test_arming_again_and_again_is_cheap() -> None:
    """Once per token: it has to cost next to nothing."""
    with DeadlineTimer() as timer:
        started = time.process_time()
        for _ in range(100_000):
            timer.arm(now() + 60, lambda: TotalTimeout("late"))
        took = time.process_time() - started

    assert took < within(2)


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Who cancels the task gets it cancelled, armed or not, even when both come at once."""

    async def guarded(seconds: float) -> None:
        with DeadlineTimer() as timer:
            await expires(timer, seconds)

    for seconds in (5.0, 0.0):
        task = asyncio.get_running_loop().create_task(guarded(seconds))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_a_cancellation_in_the_moment_of_the_deadline_stays_one() -> None:
    """Both have cancelled the task before it runs again: the one from outside goes on."""

    async def guarded() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with DeadlineTimer() as timer:
            due = now() + 0.02
            timer.arm(due, lambda: TotalTimeout("late"))
            loop.call_at(due, task.cancel)
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(guarded())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_is_its_own() -> None:
    """What the block raises in time is what comes out."""

    async def guarded() -> None:
        with DeadlineTimer() as timer:
            timer.arm(now() + 5, lambda: TotalTimeout("late"))
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await guarded()


async def test_a_time_that_is_past_fires_at_the_next_wait() -> None:
    """Also when it was past before it was armed."""
    with pytest.raises(TotalTimeout), DeadlineTimer() as timer:
        await expires(timer, -1)


async def test_dogs_may_be_nested() -> None:
    """The inner one's error leaves the inner block only."""
    with DeadlineTimer() as outer:
        outer.arm(now() + 5, lambda: TotalTimeout("outer"))
        with pytest.raises(TotalTimeout, match="late"), DeadlineTimer() as inner:
            await expires(inner)
        await asyncio.sleep(0)


def be_away(seconds: float) -> None:
    """The process does not run for a while."""
    time.sleep(seconds)


async def test_a_loop_that_was_away_reads_before_it_judges() -> None:
    """What had come while the process did not run counts: the block is not failed in front of it."""
    arrived, ours = socket.socketpair()
    arrived.setblocking(False)
    with arrived, ours, DeadlineTimer() as timer:
        timer.arm(now() + 0.05, lambda: TotalTimeout("late"))
        received = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(arrived, 1))
        await asyncio.sleep(0)
        ours.send(b"x")
        be_away(0.3)

        assert await received == b"x"


async def at_last(waits: Callable[[float], Awaitable[None]]) -> None:
    for _ in range(20):  # a busy machine may make any of them long
        with suppress(ServiceOverloaded):
            await waits(0.15)


async def test_what_is_late_all_the_same_is_the_services_fault() -> None:
    """A long absence of the process blames no endpoint, and a retry is advised; a short one changes nothing."""

    async def waits(away: float) -> None:
        with DeadlineTimer() as timer:
            timer.arm(now() + 0.05, lambda: TotalTimeout("late"))
            await asyncio.sleep(0)
            be_away(away)
            await asyncio.Event().wait()

    with pytest.raises(ServiceOverloaded, match=r"did not run for \d+\.\d s, and then: late"):
        await waits(0.6)
    with pytest.raises(TotalTimeout):
        await at_last(waits)
