"""The timeout that moves, on both event loops that the service runs on."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest
import uvloop

from caller.custom_llm.watchdog import Watchdog
from caller.errors import CallerError, FirstOutputTimeout, TotalTimeout

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def total() -> TotalTimeout:
    return TotalTimeout("over")


def first() -> FirstOutputTimeout:
    return FirstOutputTimeout("over")


async def waiting(*dues: tuple[float, Callable[[], CallerError]]) -> None:
    """Sleep in a block that is armed with each of these."""
    async with Watchdog() as dog:
        for due, error in dues:
            dog.arm(due, error)
        await asyncio.sleep(20)


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[object, object, None]], None]:
    """Runs a coroutine in a loop of the kind."""

    def runs(main: Coroutine[object, object, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)

    return runs


Run = Callable[[Coroutine[object, object, None]], None]


def test_the_armed_time_passes(run: Run) -> None:
    """The block ends with the armed error, and the task is not left cancelled."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TotalTimeout):
            await waiting((began + 0.05, total))
        assert 0.045 < loop.time() - began < 1.0
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(0)

    run(main())


def test_a_time_in_the_past_passes_at_once_however_often_it_is_armed(run: Run) -> None:
    """Also when it is armed again before the loop has run; uvloop's handles differ for such times."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for due in (loop.time(), loop.time() - 1, 0.0):
            with pytest.raises(TotalTimeout):
                await waiting((due, total), (due - 1, first), (due, total))

    run(main())


def test_the_last_arming_counts(run: Run) -> None:
    """Later or earlier than the one before: the last time and the last error."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for first_due, then_due in ((0.02, 0.1), (10.0, 0.1)):
            began = loop.time()
            with pytest.raises(FirstOutputTimeout):
                await waiting((began + first_due, total), (began + then_due, first))
            assert 0.095 < loop.time() - began < 1.0

    run(main())


def test_a_disarmed_dog_sleeps(run: Run) -> None:
    """Until it is armed again; and one that never was armed does nothing."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Watchdog() as dog:
            dog.arm(loop.time() + 0.02, total)
            dog.disarm()
            await asyncio.sleep(0.06)
            dog.arm(loop.time() + 5, total)
        async with Watchdog():
            await asyncio.sleep(0)

        async def woken() -> None:
            async with Watchdog() as dog:
                dog.arm(loop.time() + 0.02, total)
                dog.disarm()
                await asyncio.sleep(0.04)
                dog.arm(loop.time() + 0.02, first)
                await asyncio.sleep(10)

        with pytest.raises(FirstOutputTimeout):
            await woken()

    run(main())


def test_a_cancellation_from_outside_goes_on(run: Run) -> None:
    """Alone, and in the very moment in which the time passes."""

    async def guarded(due: float, hold: asyncio.Event) -> None:
        async with Watchdog() as dog:
            dog.arm(due, total)
            hold.set()
            await asyncio.sleep(10)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for seconds in (5.0, 0.0):
            held = asyncio.Event()
            task = asyncio.ensure_future(guarded(loop.time() + seconds, held))
            await held.wait()
            if not seconds:
                loop.call_soon(task.cancel)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_an_error_of_the_blocks_own_goes_on(run: Run) -> None:
    """The dog hides nothing, not even when its time has passed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def stubborn() -> None:
            async with Watchdog() as dog:
                dog.arm(loop.time() + 0.01, total)
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    raise ValueError("mine") from None

        with pytest.raises(ValueError, match="mine"):
            await stubborn()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    run(main())
