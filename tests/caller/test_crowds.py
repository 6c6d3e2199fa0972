"""Small work by the hundred takes turns: clients one after the other, and what arrives meanwhile comes first."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from caller.crowds import Arrivals, CrowdTurns

_PIECE = 0.006  # seconds of work, more than may be done without a rest


async def piece(turns: CrowdTurns, client: str, done: list[str], seconds: float = _PIECE) -> None:
    await turns.turn(client)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    done.append(client)


async def pieces(turns: CrowdTurns, clients: Sequence[str], done: list[str]) -> None:
    await asyncio.gather(*(piece(turns, client, done) for client in clients))


async def test_whoever_is_alone_does_not_wait() -> None:
    turn = CrowdTurns().turn("a")
    with pytest.raises(StopIteration):
        turn.send(None)


async def test_clients_come_one_after_the_other() -> None:
    done: list[str] = []
    await pieces(CrowdTurns(), ["a"] * 6 + ["b"], done)
    assert "b" in done[:3]
    assert done.count("a") == 6


async def test_another_client_goes_at_once_while_the_loop_rests() -> None:
    """The rest is for others: only the client whose work it is from waits for its end."""
    turns = CrowdTurns()
    done: list[str] = []
    crowd = asyncio.ensure_future(pieces(turns, ["a"] * 3, done))
    for _ in range(3):
        await asyncio.sleep(0)  # the piece is over, and the rest from it has begun
    turn = turns.turn("b")
    with pytest.raises(StopIteration):
        turn.send(None)
    await crowd


async def test_who_gives_up_takes_nobody_s_turn() -> None:
    """Whether it waits still, or was given its turn in the same moment."""
    turns = CrowdTurns()
    done: list[str] = []
    waiting = [asyncio.ensure_future(piece(turns, str(number), done)) for number in range(4)]
    await turns.turn("first")
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.wait(waiting)
    assert done == ["2", "3"]
    assert turns.tasks.count == 0
    await asyncio.wait_for(turns.turn("last"), 5)


async def test_what_arrives_is_taken_first_but_not_for_ever() -> None:
    """While more work keeps coming those who wait are left waiting, for a bounded time."""
    arrivals = Arrivals()
    done: list[str] = []
    begun: list[int] = []

    async def arriving() -> None:
        while True:
            arrivals.count += 1
            begun.append(len(done))
            await asyncio.sleep(0)

    turns = CrowdTurns(arrivals)
    beside = asyncio.ensure_future(arriving())
    await pieces(turns, ["a", "a"], done)
    beside.cancel()
    assert done == ["a", "a"]
    assert begun.count(1) > 100  # turns of the loop between the first and the second


async def test_every_arrival_counts_where_the_loop_is_slow() -> None:
    """A call is taken in per some turns of the loop: one that is busy with other things sees few of thousands."""
    arrivals = Arrivals()
    done: list[str] = []
    between: list[int] = []

    async def busy() -> None:
        while True:
            end = time.perf_counter() + 0.004
            while time.perf_counter() < end:
                pass
            arrivals.count += 1
            between.append(len(done))
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(busy())
    await pieces(CrowdTurns(arrivals), ["a", "a"], done)
    beside.cancel()
    assert between.count(1) > 4  # a rest of its usual length has time for two of them


async def test_those_who_wait_are_bounded() -> None:
    """What waits is memory: beyond some thousands a task goes at once."""
    turns = CrowdTurns()
    await turns.turn("a")
    waiting = [asyncio.ensure_future(turns.turn("a")) for _ in range(5_000)]
    await asyncio.sleep(0)
    assert turns.tasks.count <= 4_000
    assert sum(task.done() for task in waiting) >= 1_000
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
