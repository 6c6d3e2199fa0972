"""Heavy work takes turns: one piece at a time, clients one after the other, with time for all else in between."""

import asyncio
import itertools
import time
from collections.abc import Sequence

import pytest

from caller.heavy import HeavyWork

_PIECE = 0.008  # seconds of work, more than may be done without a rest


def work(seconds: float = _PIECE) -> None:
    """Hold the loop."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def piece(heavy: HeavyWork, client: str, done: list[str]) -> None:
    await heavy.turn(client)
    work()
    done.append(client)


async def done_by(heavy: HeavyWork, clients: Sequence[str], done: list[str]) -> None:
    await asyncio.gather(*(piece(heavy, client, done) for client in clients))


async def test_whoever_is_alone_does_not_wait() -> None:
    turn = HeavyWork().turn("a")
    with pytest.raises(StopIteration):
        turn.send(None)


async def test_the_loop_runs_between_two_pieces() -> None:
    """A task that takes several turns of the loop for each step gets them."""
    done: list[str] = []

    async def small() -> None:
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            done.append("small")

    beside = asyncio.ensure_future(small())
    await done_by(HeavyWork(), ["a"] * 5, done)
    beside.cancel()
    pieces = [at for at, what in enumerate(done) if what == "a"]
    assert len(pieces) == 5
    for first, second in itertools.pairwise(pieces):
        assert "small" in done[first:second]


async def test_clients_come_one_after_the_other() -> None:
    """One piece of a client does not wait behind all of another's."""
    done: list[str] = []
    await done_by(HeavyWork(), ["a"] * 6 + ["b"], done)
    assert done == ["a", "a", "b", "a", "a", "a", "a"] or done[:2] == ["a", "b"]
    assert done.count("a") == 6


async def test_what_is_begun_is_ended_first() -> None:
    """A task's further pieces come before other tasks' first ones."""
    heavy = HeavyWork()
    done: list[str] = []

    async def two_pieces(name: str) -> None:
        await heavy.turn("a")
        work()
        await heavy.turn("a", further=True)
        work()
        done.append(name)

    started = asyncio.ensure_future(two_pieces("begun"))
    others = [asyncio.ensure_future(piece(heavy, "a", done)) for _ in range(3)]
    await asyncio.wait({started, *others})
    assert done == ["begun", "a", "a", "a"]


async def test_who_gives_up_takes_nobody_s_turn() -> None:
    """Whether it waits still, or was given its turn in the same moment."""
    heavy = HeavyWork()
    done: list[str] = []
    waiting = [asyncio.ensure_future(piece(heavy, str(number), done)) for number in range(4)]
    await heavy.turn("first")
    await asyncio.sleep(0)
    waiting[0].cancel()  # it was given its turn, and has not run yet
    waiting[1].cancel()  # it waits
    await asyncio.wait(waiting)
    assert done == ["2", "3"]
    assert heavy.tasks.count == 0
    await asyncio.wait_for(heavy.turn("last"), 5)


async def test_what_arrives_comes_first_for_a_bounded_time() -> None:
    """While calls pour in the rest goes on, since somebody's small one may be among them: for half a second in all."""
    heavy = HeavyWork()
    done: list[str] = []

    async def arriving() -> None:
        while True:
            heavy.arrivals.count += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(arriving())
    begun = time.perf_counter()
    await asyncio.wait_for(done_by(heavy, ["a"] * 8, done), 60)
    held = time.perf_counter() - begun
    beside.cancel()
    assert done == ["a"] * 8
    assert held > 0.4  # their work and usual rests are 0.13
