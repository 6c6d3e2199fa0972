"""Reads the one message of a call, bounded: by time, and by how many are being read at once, per client and in all.

gRPC reads a message in whole before it hands out a byte of it, so each one counts as the largest that is allowed. What
is above the bound is refused at once: a call that waits with its message unread costs as much as one that is read,
since C-core takes what comes (grpcio 1.85.3: 40 waiting messages of 15 MB are 638 MB, 40 refused ones 39 MB).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import grpc

from caller.errors import CallerError, ClientTimeout, RequestInvalid, ServiceOverloaded
from integration_api.rpc.rpc import PROMPT, Rpc, waited
from integration_api.rpc.shares import Shares


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """`messages` being read at once, of which one client has its `share`; `seconds` for each of them. `yielding`: where
    one is too many, the one that has been longest on its way gives way, instead of the new one being refused."""

    messages: int = 64
    share: float = 0.5
    seconds: float = 10.0
    yielding: bool = False


# A message is usually here with its headers: only one that takes longer gets a timer of its own.
_USUAL_SECONDS = 0.5
# What may be in the socket when this process was away gets so long to be read.
_READING_SECONDS = 0.05
# Of those that nobody asks who they are: a whole message of theirs comes with its headers, so that a few at once are
# many, and whoever sends halves of messages cannot stand before a health check.
STRANGERS = ReceiveLimits(messages=3, share=1.0, seconds=2.0, yielding=True)


class Receiver:
    """Reads messages within its limits."""

    def __init__(self, limits: ReceiveLimits) -> None:
        self._seconds = limits.seconds
        self._yielding = limits.yielding
        self._shares = Shares(limits.messages, limits.share)
        self._reading: dict[Rpc, float] = {}  # since when; the longest first
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._tick: asyncio.TimerHandle | None = None

    @property
    def reading(self) -> int:
        """How many messages are being read."""
        return len(self._reading)

    def full(self, client: str) -> bool:
        """Whether a further message of this client would be refused now."""
        return not self._shares.allows(client)

    async def receive(self, rpc: Rpc) -> bytes:
        """The one message of a call.

        Raises:
            RequestInvalid: the client ended its side without one.
            CallerError: see `next`.
        """
        raw = await self.next(rpc)
        if raw is None:
            raise without_request()
        return raw

    async def next(self, rpc: Rpc) -> bytes | None:
        """The next message of a call; None when the client sends no more.

        Raises:
            ServiceOverloaded: too many are being read.
            ClientTimeout: it did not come in whole in time.
        """
        client = rpc.client
        if not self._shares.allows(client):
            if not self._yielding:
                raise crowded()
            self._give_way()
        self._shares.acquire(client)
        self._reading[rpc] = self._clock()
        if self._tick is None:
            self._tick = self._loop.call_later(min(_USUAL_SECONDS, self._seconds / 2), self._arm)
        try:
            begun = monotonic()
            raw = await rpc.context.read()
            took = monotonic() - begun
            if took > PROMPT:
                rpc.waited += waited(took, 0 if raw is grpc.aio.EOF else len(raw))
        finally:
            if self._reading.pop(rpc, None) is not None:  # else it gave way
                self._shares.release(client)
        rpc.timer.due = None
        return None if raw is grpc.aio.EOF else bytes(raw)

    def end(self, error: Callable[[], CallerError]) -> None:
        """Give up on every message that is being read."""
        for rpc in self._reading:
            rpc.timer.arm(self._clock(), error)

    def _arm(self) -> None:
        """Give timers to those that have been on their way for long."""
        self._tick = None
        now = self._clock()
        for rpc, since in self._reading.items():
            if rpc.timer.due is None and since < now:
                rpc.timer.arm(max(since + self._seconds, now + _READING_SECONDS), self._late)
        if self._reading:
            self._tick = self._loop.call_later(min(_USUAL_SECONDS, self._seconds / 2), self._arm)

    def _give_way(self) -> None:
        longest = next(iter(self._reading))
        del self._reading[longest]
        self._shares.release(longest.client)
        longest.timer.arm(self._clock(), crowded)

    def _late(self) -> ClientTimeout:
        return ClientTimeout(f"the request did not arrive within {self._seconds:g} s")


def without_request() -> RequestInvalid:
    """The client ended its side without a message."""
    return RequestInvalid("the call ended without a request")


def crowded() -> ServiceOverloaded:
    """Too many messages are being read."""
    return ServiceOverloaded("too many requests are on their way here, of this client or of all")
