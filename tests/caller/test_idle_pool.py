"""The idle connections: who gets one, who must go."""

import asyncio
from collections.abc import Callable

import pytest

from caller.custom_llm.http.idle_pool import IdlePool, PoolKey, PoolLimits
from tests.edge.leaping import LeapingLoop, leaping
from tests.edge.loopback import until


class Kept:
    """A connection that does nothing."""

    def __init__(self, *, clean: bool = True) -> None:
        self.clean = clean
        self.closed = False
        self.gone: Callable[[], None] | None = None
        self.idled = 0.0

    def park(self, on_gone: Callable[[], None]) -> None:
        self.gone = on_gone

    def wake(self) -> bool:
        self.gone = None
        return self.clean

    def close(self) -> None:
        self.closed = True


def key(client: str = "", origin: str = "a", partition: bytes = b"") -> PoolKey:
    return PoolKey(partition, origin, client)


async def filled(limits: PoolLimits, *keys: PoolKey) -> tuple[IdlePool[Kept], list[Kept]]:
    pool: IdlePool[Kept] = IdlePool(limits)
    kept = [Kept() for _ in keys]
    for one, connection in zip(keys, kept, strict=True):
        pool.put(one, connection)
    return pool, kept


async def test_the_last_used_is_taken_and_only_by_its_own() -> None:
    """Another partition, another origin: nothing."""
    pool, (first, second) = await filled(PoolLimits(), key(), key())

    assert pool.take(key(partition=b"other")) is None
    assert pool.take(key(origin="b")) is None
    assert pool.take(key()) is second
    assert pool.take(key()) is first
    assert pool.take(key()) is None
    assert len(pool) == 0


async def test_what_is_not_clean_is_closed_and_the_next_one_taken() -> None:
    """A connection says itself whether it can be used."""
    pool, (first, second) = await filled(PoolLimits(), key(), key())
    second.clean = False

    assert pool.take(key()) is first
    assert second.closed
    assert not first.closed


async def test_one_that_is_gone_is_forgotten() -> None:
    """It ended while it was idle."""
    pool, (only,) = await filled(PoolLimits(), key())
    assert only.gone is not None
    only.gone()

    assert len(pool) == 0
    assert pool.take(key()) is None


@pytest.mark.parametrize("limits", [PoolLimits(total=2), PoolLimits(per_origin=2)])
async def test_the_oldest_goes(limits: PoolLimits) -> None:
    """In all, and for one endpoint."""
    pool, kept = await filled(limits, *(key(client) for client in "abc"))

    assert [one.closed for one in kept] == [True, False, False]
    assert len(pool) == 2


async def test_one_client_keeps_at_most_half_where_others_want_them() -> None:
    """A client alone may fill the pool; as soon as others come, it gives of its own, whoever is older."""
    pool, kept = await filled(PoolLimits(total=4), *(key(client) for client in ("b", "a", "a", "a", "a", "c")))

    assert [one.closed for one in kept] == [False, True, True, False, False, False]
    for _ in range(9):
        pool.put(key("a"), Kept())
    assert not kept[0].closed
    assert not kept[5].closed
    assert len(pool) == 4


async def test_a_bound_of_nothing_keeps_nothing() -> None:
    """Every connection is closed at once."""
    pool, (only,) = await filled(PoolLimits(total=0), key())

    assert only.closed
    assert len(pool) == 0


async def test_idle_time_ends() -> None:
    """What is past its time is not taken, and is closed without being asked for."""
    pool, (first, second) = await filled(PoolLimits(idle_seconds=0.0), key(), key("other"))

    assert pool.take(key()) is None
    assert first.closed
    await until(lambda: second.closed, 5)
    assert len(pool) == 0
    await asyncio.sleep(0)


async def test_a_used_connection_knows_how_long_it_was_idle() -> None:
    """What is lost then teaches for how long its endpoint's connections are kept."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    pool, (only,) = await filled(PoolLimits(), key())
    await asyncio.sleep(0.01)

    assert pool.take(key()) is only
    assert 0 < only.idled <= loop.time() - began


async def test_what_the_endpoint_announces_is_its_connections_time() -> None:
    """Of the one that came with the announcement, and of those behind it."""
    pool, _ = await filled(PoolLimits())
    pool.put(key(), Kept(), announced=0.0)
    pool.put(key(partition=b"other"), Kept())

    assert pool.take(key()) is None
    assert pool.take(key(partition=b"other")) is None


async def test_one_clients_losses_teach_nobody_else() -> None:
    """It may provoke them; its own connections are kept for less."""
    pool, _ = await filled(PoolLimits(idle_seconds=90.0))
    pool.put(key("a"), Kept(), announced=0.0)
    pool.put(key("b"), Kept())

    assert not pool.keeps(key("a"))
    assert pool.keeps(key("b"))
    assert pool.take(key("b")) is not None


async def test_a_loss_takes_the_others_of_its_kind_along() -> None:
    """They may be as dead; another client's stay."""
    pool, (first, second, other) = await filled(PoolLimits(), key(), key(), key("other"))
    pool.lost(key(), 0.0)

    assert [first.closed, second.closed, other.closed] == [True, True, False]


def test_what_the_endpoint_closes_at_one_age_is_not_kept_so_long() -> None:
    """Twice is enough; unused ones teach nothing: endpoints give them a time of its own, for the first request."""

    async def talk(loop: LeapingLoop) -> None:
        pool, _ = await filled(PoolLimits())

        async def closes(put: Callable[[PoolKey, Kept], None]) -> None:
            for _ in range(2):
                kept = Kept()
                put(key(), kept)
                await loop.leap(60.0)
                assert kept.gone is not None
                kept.gone()

        async def lives(seconds: float) -> bool:
            kept = Kept()
            pool.put(key(), kept)
            await loop.leap(seconds)
            return pool.take(key()) is kept

        await closes(pool.put_unused)
        assert await lives(60.0)
        await closes(pool.put)
        assert await lives(50.0)
        assert not await lives(60.0)

    leaping(talk)
