"""How many calls run at once: in all, for one client, towards one endpoint; and a bounded queue in front of them.

Health and reflection never come here. Who comes holds a slot for as long as its block runs:

    async with admission.admit(client, endpoint, within=seconds):
        …

What is over a limit is refused at once, unless there is a queue that is not full. Slots, those of one endpoint and the
queue are shared (see `rpc.shares`): a client holds at most its share while others hold or want some, and alone it
leaves some for whoever comes. Clients are served in turn, and of one client its endpoints are; what an end costs does
not depend on how many wait. Keys come from clients, so a count that falls to zero leaves no entry. It knows asyncio
only; one instance serves one event loop.
"""

import asyncio
import random
import sys
from collections import OrderedDict
from dataclasses import dataclass, replace

from caller.errors import ServiceOverloaded
from integration_api.rpc.shares import Shares
from integration_api.settings import Settings

# How many clients' and endpoints' queues one end examines; the next end goes on behind them.
_MOST_EXAMINED = 64
# File descriptors of the process's own: listening sockets, event loop, logs, gRPC's threads.
_RESERVED_DESCRIPTORS = 128
# A call has at most one connection from its client and one to its endpoint.
_DESCRIPTORS_PER_CALL = 2
# More would be no limit.
_MOST_DESCRIPTORS = 1_048_576


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The most calls at once; 0 means no limit. `queued` 0 means no queue; `queue_time` is in seconds; `share` is the
    part of each that one client may hold while others hold some."""

    running: int = 0
    per_caller: int = 0
    per_endpoint: int = 0
    queued: int = 0
    queue_time: float = 0.0
    share: float = 0.5

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
            share=settings.max_client_share,
        )

    def shared_by(self, workers: int) -> "AdmissionLimits":
        """One worker's limits: its share of what runs and waits in all, never "no limit" by it. The limits per client
        and per endpoint stay whole, since the channel of one client stays with one worker."""
        return replace(self, running=_share(self.running, workers), queued=_share(self.queued, workers))


# Those who wait for one endpoint, the longest first.
_Queue = OrderedDict[asyncio.Future[None], None]


class Slot:
    """A slot for a block. It is an object, not a generator: it stands in every call."""

    __slots__ = ("_admission", "_client", "_endpoint", "_within")

    def __init__(self, admission: "Admission", client: str, endpoint: str, within: float | None) -> None:
        self._admission = admission
        self._client = client
        self._endpoint = endpoint
        self._within = within

    async def __aenter__(self) -> None:
        await self._admission.acquire(self._client, self._endpoint, self._within)

    async def __aexit__(self, *_: object) -> None:
        self._admission.release(self._client, self._endpoint)


class Admission:
    """Gives out slots."""

    def __init__(self, limits: AdmissionLimits, workers: int = 1) -> None:
        """`limits` hold for all `workers` together, each of which has its share."""
        self._limits = limits = limits.shared_by(workers)
        self._slots = Shares(limits.running, limits.share)
        self._endpoints: dict[str, Shares] = {}
        self._queue_slots = Shares(limits.queued, limits.share)  # in the queue
        self._queues: OrderedDict[str, OrderedDict[str, _Queue]] = OrderedDict()  # by client, whose turn it is first

    @property
    def running(self) -> int:
        """How many slots are held."""
        return self._slots.total

    @property
    def queued(self) -> int:
        """How many calls wait for one."""
        return self._queue_slots.total

    def admit(self, client: str, endpoint: str, within: float | None = None) -> "Slot":
        """Hold a slot for the block. `client` is the key under which the client shares, `endpoint` the host and port
        that will be called, empty where none is; `within` bounds the wait further, in seconds.

        Raises:
            ServiceOverloaded: on entering: there is none, and none came free in time.
        """
        return Slot(self, client, endpoint, within)

    async def acquire(self, client: str, endpoint: str, within: float | None) -> None:
        """Hold a slot, which has to be released."""
        full = self._full_for(client)
        if not full and endpoint in self._endpoints:  # else nobody calls it, or there is no limit for one
            full = self._full_at(client, endpoint)
        if full:
            await self._wait(client, endpoint, full, within)
        else:
            self._acquire(client, endpoint)

    def _full_for(self, client: str) -> str:
        """Which limit stands in the client's way, in words; empty when none does."""
        limits, slots = self._limits, self._slots
        if limits.per_caller and slots.held.get(client, 0) >= limits.per_caller:
            return f"this client runs all the calls it may (max_running_per_caller, here {limits.per_caller})"
        if slots.allows(client, wanted=len(self._queues) > (client in self._queues)):
            return ""
        if slots.full:
            return f"this instance runs all the calls it may (max_running_calls, here {limits.running})"
        return f"this client runs its share of calls (of max_running_calls, here {limits.running})"

    def _full_at(self, client: str, endpoint: str) -> str:
        known = self._endpoints.get(endpoint)
        if known is None or known.allows(client):
            return ""
        limit = self._limits.per_endpoint
        if known.full:
            return f"this endpoint has all the calls it may (max_running_per_endpoint, here {limit})"
        return f"this client runs its share of this endpoint's calls (of max_running_per_endpoint, here {limit})"

    def beside(self, client: str, endpoint: str) -> str:
        """Count a call that holds a slot for a further endpoint, at once; returns the limit that stands in the way, in
        words. Where it is empty, `leave` undoes it."""
        full = self._full_at(client, endpoint)
        if not full and endpoint and self._limits.per_endpoint:
            self._acquire_at(client, endpoint)
        return full

    def leave(self, client: str, endpoint: str) -> None:
        """A call that was counted `beside` needs the endpoint no longer."""
        if endpoint in self._endpoints:
            self._leave(client, endpoint)
        if self._queues:
            self._serve_queues()

    def _acquire(self, client: str, endpoint: str) -> None:
        self._slots.acquire(client)
        if endpoint and self._limits.per_endpoint:
            self._acquire_at(client, endpoint)

    def _acquire_at(self, client: str, endpoint: str) -> None:
        known = self._endpoints.get(endpoint)
        if known is None:
            known = self._endpoints[endpoint] = Shares(self._limits.per_endpoint, self._limits.share)
        known.acquire(client)

    def release(self, client: str, endpoint: str) -> None:
        """Release a slot: whoever waits may have it."""
        self._slots.release(client)
        if endpoint in self._endpoints:
            self._leave(client, endpoint)
        if self._queues:
            self._serve_queues()

    def _leave(self, client: str, endpoint: str) -> None:
        known = self._endpoints[endpoint]
        known.release(client)
        if not known.total:
            del self._endpoints[endpoint]

    def _serve_queues(self) -> None:
        """Give what is free to clients in turn, past those whom a limit of their own still holds."""
        examined = blocked = 0
        while blocked < len(self._queues) and examined < _MOST_EXAMINED and not self._slots.full:
            client, queues = next(iter(self._queues.items()))
            self._queues.move_to_end(client)
            blocked, examined = blocked + 1, examined + 1
            if self._full_for(client):
                continue
            for _ in range(min(len(queues), _MOST_EXAMINED)):
                endpoint, queue = next(iter(queues.items()))
                queues.move_to_end(endpoint)
                examined += 1
                if not endpoint or not self._full_at(client, endpoint):
                    granted, _ = queue.popitem(last=False)
                    self._left(client, endpoint)
                    self._acquire(client, endpoint)
                    granted.set_result(None)
                    blocked = 0
                    break

    async def _wait(self, client: str, endpoint: str, full: str, within: float | None) -> None:
        """Wait for a slot; leaves with it held, or not at all."""
        if not self._limits.queued or not self._queue_slots.allows(client):
            raise _overloaded(full)
        patience = self._limits.queue_time if within is None else min(within, self._limits.queue_time)
        granted = asyncio.get_running_loop().create_future()
        self._queue_slots.acquire(client)
        self._queues.setdefault(client, OrderedDict()).setdefault(endpoint, OrderedDict())[granted] = None
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(granted)
        except BaseException as error:
            if granted.done():  # in the moment in which the wait ended: the slot must be released
                self.release(client, endpoint)
            else:
                del self._queues[client][endpoint][granted]
                self._left(client, endpoint)
            if isinstance(error, TimeoutError):
                raise _overloaded(f"{full}; none came free within {patience:g} s") from None
            raise

    def _left(self, client: str, endpoint: str) -> None:
        """Somebody waits no more."""
        self._queue_slots.release(client)
        queues = self._queues[client]
        if not queues[endpoint]:
            del queues[endpoint]
            if not queues:
                del self._queues[client]


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


def _share(limit: int, workers: int) -> int:
    return max(1, limit // workers) if limit else 0
