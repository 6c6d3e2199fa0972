"""The idle connections: kept apart by partition, bounded per endpoint and in all, shared out among clients.

Rule: it decides which connection is kept, taken and dropped; it knows no HTTP. How a connection knows that it is clean
is its own business (`wake`), as is noticing that it has ended or that something came (`park`); how long one is kept is
`idle_times`'s.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from caller.custom_llm.http.idle_times import IdleTimes

# How often connections past their idle time are looked for, in seconds.
_SWEEP: Final = 1.0


class Idle(Protocol):
    """A connection that can be kept. `idled` is set by the pool: for how long it was idle when it was taken, in
    seconds."""

    idled: float

    def park(self, on_gone: Callable[[], None]) -> None:
        """It is idle now: `on_gone` is called when it ends, or when anything comes."""
        ...

    def wake(self) -> bool:
        """It is wanted again, or given up; False: it is not clean."""
        ...

    def close(self) -> None:
        """Give it up at once."""
        ...


ConnectionT = TypeVar("ConnectionT", bound=Idle)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds on idle connections, and how long one is kept at most, in seconds."""

    total: int = 512
    per_origin: int = 128
    idle_seconds: float = 90.0


DEFAULT_LIMITS: Final = PoolLimits()


class PoolKey(NamedTuple):
    """Which requests may use a connection: those of one `partition` to the same `origin`, the endpoint that is bounded.

    `client` is the one for whom it is kept. What comes behind the partition is for whom idle times are learned: a
    client that provokes losses shortens nobody else's.
    """

    partition: bytes
    origin: Hashable
    client: str


class _Kept(msgspec.Struct, frozen=True):
    """How an idle connection stands. `used`: an answer came on it, so the endpoint's time for idle ones holds."""

    key: PoolKey
    since: float
    until: float
    used: bool


class _Group(Generic[ConnectionT]):
    """Connections under one bound, the oldest first, and whose they are."""

    __slots__ = ("_clients", "_limit", "_members", "is_empty", "is_over")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.is_over = self.is_empty = False
        self._members: dict[ConnectionT, None] = {}
        self._clients: dict[str, dict[ConnectionT, None]] = {}

    def add(self, connection: ConnectionT, client: str) -> None:
        self._members[connection] = None
        if client in self._clients:
            self._clients[client][connection] = None
        else:
            self._clients[client] = {connection: None}
        self.is_over = len(self._members) > self._limit

    def remove(self, connection: ConnectionT, client: str) -> None:
        del self._members[connection]
        self.is_empty = not self._members
        theirs = self._clients[client]
        del theirs[connection]
        if not theirs:
            del self._clients[client]

    def superfluous(self) -> ConnectionT:
        """Which one must go: the oldest of a client that has more than half, else the oldest."""
        most = max(self._clients.values(), key=len)
        return next(iter(most if len(most) > self._limit // 2 else self._members))


class IdlePool(Generic[ConnectionT]):
    """Idle connections of one event loop. A bound of 0 keeps none."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._times = IdleTimes(limits.idle_seconds, self._loop.time)
        self._kept: dict[ConnectionT, _Kept] = {}
        self._by_key: dict[PoolKey, list[ConnectionT]] = {}
        self._all: _Group[ConnectionT] = _Group(limits.total)
        self._origins: dict[Hashable, _Group[ConnectionT]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, key: PoolKey) -> ConnectionT | None:
        """The clean connection that was used last, or None; those that are not clean are closed on the way."""
        while connections := self._by_key.get(key):
            connection = connections[-1]
            kept = self._kept[connection]
            now = self._loop.time()
            clean = connection.wake()
            if clean and now < kept.until:
                self._forget(connection)
                connection.idled = now - kept.since if kept.used else 0.0
                return connection
            if clean:
                self._forget(connection)
            else:
                self._ended(connection)
            connection.close()
        return None

    def put(self, key: PoolKey, connection: ConnectionT, announced: float | None = None) -> None:
        """Keep a connection after an answer, and close the one that is too much, if any. `announced` is how long the
        endpoint says that it keeps idle ones, in seconds."""
        if announced is not None:
            self._times.announced(key[1:], announced)
        self._keep(key, connection, used=True)

    def put_unused(self, key: PoolKey, connection: ConnectionT) -> None:
        """Keep a connection on which nothing was asked yet."""
        self._keep(key, connection, used=False)

    def ready(self, key: PoolKey) -> int:
        """How many idle connections there are for a key that have at least half of their time left."""
        now = self._loop.time()
        kept = map(self._kept.__getitem__, self._by_key.get(key, ()))
        return sum(one.until - now >= now - one.since for one in kept)

    def keeps(self, key: PoolKey) -> bool:
        """Whether anything put under a key would stay."""
        limits = self._limits
        return limits.total > 0 and limits.per_origin > 0 and self._times.of(key[1:]) > 0

    def lost(self, key: PoolKey, idled: float) -> None:
        """One that was taken was lost before a byte came: others of its key may be lost, too, and so may those that are
        idle for as long as it was."""
        self._times.lost(key[1:], idled)
        self._drop_each(self._by_key.get(key, ()))

    def drop_all(self) -> None:
        """Close every idle connection."""
        self._drop_each(self._kept)

    def close(self) -> None:
        """Close every connection, and keep none from now on."""
        self.drop_all()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _keep(self, key: PoolKey, connection: ConnectionT, *, used: bool) -> None:
        now, seconds = self._loop.time(), self._times.of(key[1:])
        if seconds <= 0:
            connection.close()
            return
        self._kept[connection] = _Kept(key, now, now + seconds, used)
        self._by_key.setdefault(key, []).append(connection)
        origin = self._origins.get(key.origin)
        if origin is None:
            origin = self._origins[key.origin] = _Group(self._limits.per_origin)
        for group in (origin, self._all):
            group.add(connection, key.client)
        connection.park(partial(self._ended, connection))
        for group in (origin, self._all):
            if group.is_over:
                self._drop(group.superfluous())
        if self._timer is None and self._kept:
            self._timer = self._loop.call_later(_SWEEP, self._sweep)

    def _drop_each(self, connections: Iterable[ConnectionT]) -> None:
        for connection in tuple(connections):
            self._drop(connection)

    def _drop(self, connection: ConnectionT) -> None:
        self._forget(connection)
        connection.wake()  # it need not tell us of its end
        connection.close()

    def _ended(self, connection: ConnectionT) -> None:
        """The endpoint closed it, or sent something that was not asked for."""
        kept = self._forget(connection)
        if kept is not None and kept.used:
            self._times.ended(kept.key[1:], self._loop.time() - kept.since)

    def _forget(self, connection: ConnectionT) -> _Kept | None:
        kept = self._kept.pop(connection, None)
        if kept is None:
            return None
        key = kept.key
        self._all.remove(connection, key.client)
        origin = self._origins[key.origin]
        origin.remove(connection, key.client)
        if origin.is_empty:
            del self._origins[key.origin]
        theirs = self._by_key[key]
        theirs.remove(connection)
        if not theirs:
            del self._by_key[key]
        return kept

    def _sweep(self) -> None:
        now = self._loop.time()
        self._drop_each([connection for connection, kept in self._kept.items() if kept.until <= now])
        self._timer = self._loop.call_later(_SWEEP, self._sweep) if self._kept else None
