"""How many calls run at once: in all, for one caller, towards one endpoint; and a bounded queue in front of them.

Health and reflection never come here. Who comes holds a place for as long as its block runs:

    async with admission.admit(identity, endpoint, within=seconds):
        …

What is over a limit is refused at once, unless there is a queue with room in it. Keys come from callers, so a count
that falls to zero leaves no entry. It knows asyncio only; one instance serves one event loop.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from caller.errors import ServiceOverloaded
from integration_api.settings import Settings

# File descriptors of the process's own: listening sockets, event loop, logs, gRPC's threads.
_RESERVED_DESCRIPTORS = 128
# A call has at most one connection from its client and one to its endpoint.
_DESCRIPTORS_PER_CALL = 2
# More would be no limit.
_MOST_DESCRIPTORS = 1_048_576


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The most calls at once; 0 means no limit. `queued` 0 means no queue; `queue_time` is in seconds."""

    running: int = 0
    per_caller: int = 0
    per_endpoint: int = 0
    queued: int = 0
    queue_time: float = 0.0

    @classmethod
    def of(cls, settings: Settings, workers: int = 1) -> "AdmissionLimits":
        """The limits of the settings, for all `workers` together. What is not set of `max_running_calls` follows from
        the descriptors that each process may have."""
        return cls(
            running=settings.max_running_calls or calls_that_fit(_descriptors()) * workers,
            per_caller=settings.max_running_per_caller,
            per_endpoint=settings.max_running_per_endpoint,
            queued=settings.max_queued_calls,
            queue_time=settings.max_queue_time,
        )

    def shared_by(self, workers: int) -> "AdmissionLimits":
        """One worker's share; a limit never becomes "no limit" by it."""
        return AdmissionLimits(
            running=_share(self.running, workers),
            per_caller=_share(self.per_caller, workers),
            per_endpoint=_share(self.per_endpoint, workers),
            queued=_share(self.queued, workers),
            queue_time=self.queue_time,
        )


class _Waiter:
    __slots__ = ("caller", "endpoint", "granted")

    def __init__(self, caller: str, endpoint: str, granted: asyncio.Future[None]) -> None:
        self.caller = caller
        self.endpoint = endpoint
        self.granted = granted


class Admission:
    """Gives out places."""

    def __init__(self, limits: AdmissionLimits, workers: int = 1) -> None:
        """`limits` hold for all workers together; each has its share."""
        self._limits = limits.shared_by(workers)
        self._running = 0
        self._callers: Counter[str] = Counter()
        self._endpoints: Counter[str] = Counter()
        self._queue: dict[_Waiter, None] = {}  # in the order of arrival; a dict, since waiters leave from its middle

    @property
    def running(self) -> int:
        """How many places are taken."""
        return self._running

    @property
    def queued(self) -> int:
        """How many calls wait for one."""
        return len(self._queue)

    @asynccontextmanager
    async def admit(self, caller: str, endpoint: str, within: float | None = None) -> AsyncGenerator[None, None]:
        """Hold a place for the block. `caller` is the identity (all anonymous ones count as one), `endpoint` the host
        and port that will be called, empty where none is; `within` bounds the wait further, in seconds.

        Raises:
            ServiceOverloaded: there is none, and none came free in time.
        """
        full = self._full(caller, endpoint)
        if full:
            await self._wait(_Waiter(caller, endpoint, asyncio.get_running_loop().create_future()), full, within)
        else:
            self._take(caller, endpoint)
        try:
            yield
        finally:
            self._give_back(caller, endpoint)

    def _full(self, caller: str, endpoint: str) -> str:
        """Which limit stands in the way, in words; empty when none does."""
        limits = self._limits
        if limits.running and self._running >= limits.running:
            return f"this instance runs all the calls it may (max_running_calls, here {limits.running})"
        if limits.per_caller and self._callers[caller] >= limits.per_caller:
            return f"this caller runs all the calls it may (max_running_per_caller, here {limits.per_caller})"
        if limits.per_endpoint and endpoint and self._endpoints[endpoint] >= limits.per_endpoint:
            return f"this endpoint has all the calls it may (max_running_per_endpoint, here {limits.per_endpoint})"
        return ""

    def _take(self, caller: str, endpoint: str) -> None:
        self._running += 1
        self._callers[caller] += 1
        if endpoint:
            self._endpoints[endpoint] += 1

    def _give_back(self, caller: str, endpoint: str) -> None:
        self._running -= 1
        _decrement(self._callers, caller)
        if endpoint:
            _decrement(self._endpoints, endpoint)
        self._serve_queue()

    def _serve_queue(self) -> None:
        """Give what is free to those who wait longest, past those whose own limit still holds them."""
        for waiter in tuple(self._queue):
            if self._limits.running and self._running >= self._limits.running:
                return
            if waiter.granted.done():  # cancelled in this moment; it leaves by itself
                continue
            if not self._full(waiter.caller, waiter.endpoint):
                del self._queue[waiter]
                self._take(waiter.caller, waiter.endpoint)
                waiter.granted.set_result(None)

    async def _wait(self, waiter: _Waiter, full: str, within: float | None) -> None:
        """Wait for a place; leaves with it taken, or not at all."""
        if len(self._queue) >= self._limits.queued:
            raise _overloaded(full)
        patience = self._limits.queue_time if within is None else min(within, self._limits.queue_time)
        self._queue[waiter] = None
        try:
            async with asyncio.timeout(patience):
                await waiter.granted
        except BaseException as error:
            # The place can have been given in the moment in which the wait ended: it must go back.
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._give_back(waiter.caller, waiter.endpoint)
            self._queue.pop(waiter, None)
            if isinstance(error, TimeoutError):
                raise _overloaded(f"{full}; none came free within {patience:g} s") from None
            raise


def calls_that_fit(descriptors: int) -> int:
    """How many calls run at once before this many descriptors become scarce; at least one."""
    return max(1, (descriptors - _RESERVED_DESCRIPTORS) // _DESCRIPTORS_PER_CALL)


def _descriptors() -> int:
    """How many descriptors the process may have now."""
    if sys.platform == "win32":
        return _MOST_DESCRIPTORS  # there is no such limit
    import resource  # noqa: PLC0415 -- there is none on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, _MOST_DESCRIPTORS)


def _overloaded(why: str) -> ServiceOverloaded:
    # Spread, so that those refused together do not come back together.
    return ServiceOverloaded(why, retry_after=random.uniform(0.5, 1.5))  # noqa: S311 -- a delay, no secret


def _decrement(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def _share(limit: int, workers: int) -> int:
    return max(1, limit // workers) if limit else 0
