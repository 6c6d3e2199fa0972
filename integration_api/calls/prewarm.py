"""Connections to endpoints that are opened before a call needs them.

It takes no slot of the running calls: nobody's call is refused for it. How many connections are being opened at once is
bounded and shared among clients by itself; how many are kept idle is the pool's business, where they may go the egress
policy's. What goes wrong is said per target, and stops no other.

A lost race closes a connection in the middle of an answer: another one is opened in its place, for which nobody waits.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass

from caller.errors import CallerError, ServiceOverloaded
from caller.registry import Registry
from caller.target import Target
from caller.warming import ConnectionTimes, Warming
from integration_api.rpc.shares import Shares

MAX_OPENING = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants ready: so many connections for each of the targets, or what is wrong with one; and one
    `beside` for each of those that calls may fall back to, of which nothing is reported."""

    targets: Sequence[Target | CallerError]
    connections: int
    beside: Sequence[Target] = ()


@dataclass(frozen=True, slots=True)
class Warmth:
    """How one target stands: connections that are `ready`, those of them that were `opened` now, and what the slowest
    took. `error` says why there are fewer than asked for."""

    ready: int = 0
    opened: int = 0
    times: ConnectionTimes | None = None
    error: CallerError | None = None


class Prewarming:
    """Opens connections. `share` is the part of those being opened at once that one client may have while others have
    some."""

    def __init__(self, registry: Registry, share: float) -> None:
        self._registry = registry
        self._opening = Shares(MAX_OPENING, share)
        self._replacing: set[asyncio.Task[Warmth]] = set()
        self._closed = False

    async def warm(self, client: str, target: Target, connections: int) -> Warmth:
        """Have so many idle connections ready for a target's calls by this client. Raises nothing."""
        try:
            warming = self._registry.resolve(target.provider).warming(target)
        except CallerError as error:
            return Warmth(error=error.with_traceback(None))  # it holds the credential
        # No group of tasks: one that is cancelled holds itself, through the frames in its exception.
        ended = await asyncio.gather(*(self._open(warming, client, number) for number in range(1, connections + 1)))
        opened = [end for end in ended if isinstance(end, ConnectionTimes)]
        failed = next((end for end in ended if isinstance(end, CallerError)), None)
        ready = warming.ready(client)
        if failed is None and ready < connections:
            kept = "max_idle_connections, max_idle_per_endpoint, endpoint_keepalive"
            failed = ServiceOverloaded(f"the service keeps no more idle connections ({kept})")
        return Warmth(ready, len(opened), max(opened, key=lambda times: times.total, default=None), failed)

    def replace(self, client: str, target: Target) -> None:
        """Have one connection ready for a target's next call by this client, in place of one that was closed. It is
        opened in the background, until `close`; nobody learns how that ended."""
        if self._closed or not self._opening.allows(client):
            return
        # Nothing of the call that lost the connection is kept in the task's context.
        task = asyncio.get_running_loop().create_task(self.warm(client, target, 1), context=Context())
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def close(self) -> None:
        """End what is being opened in the background."""
        self._closed = True
        for task in self._replacing:
            task.cancel()
        if self._replacing:
            await asyncio.wait(self._replacing)

    async def _open(self, warming: Warming, client: str, number: int) -> ConnectionTimes | CallerError | None:
        if not self._opening.allows(client):
            return ServiceOverloaded("too many connections are being opened ahead, by this client or by all")
        self._opening.acquire(client)
        try:
            return await warming.open(client, number)
        except CallerError as error:
            return error.with_traceback(None)
        finally:
            self._opening.release(client)
