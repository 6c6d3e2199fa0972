"""A target of a call with several: one that can be asked, and one that is. What is asked when is `race`'s rule."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from caller.call import Caller, CallReport, Destination, Prepared
from caller.events import Event
from caller.target import Target


@dataclass(slots=True)
class Candidate:
    """A target that can be asked. `passed_over`: its breaker is open, and it waits for all others to fail."""

    number: int
    target: Target
    caller: Caller
    destination: Destination
    prepared: Prepared | None = None
    passed_over: bool = False


class Leg:
    """A target that is asked: `first` is the task that ends with its first batch, None for a good answer without."""

    __slots__ = ("_closing", "batches", "destination", "first", "hedge", "own_slot", "prepared", "report")

    def __init__(
        self,
        candidate: Candidate,
        prepared: Prepared,
        report: CallReport,
        batches: AsyncGenerator[Sequence[Event], None],
        ended: Callable[[], None],
        *,
        hedge: bool,
        own_slot: bool,
    ) -> None:
        """`ended` is called where `first` ends; `hedge`: it is asked beside others; `own_slot`: the call's slot is for
        its endpoint."""
        self.destination = candidate.destination
        self.prepared: Prepared | None = prepared
        self.report = report
        self.batches = batches
        self.hedge = hedge
        self.own_slot: bool | None = own_slot  # None once it is let go of
        # Nothing that the task holds leads back to it: what it fails with would live until the next collection.
        self.first: asyncio.Task[Sequence[Event] | None] = asyncio.create_task(_first(batches, ended))
        self._closing: asyncio.Task[None] | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended without output."""
        return self.first.done() and not self.first.cancelled() and self.first.exception() is not None

    def close(self) -> None:
        """Let go of its endpoint at once, and of its conversation."""
        self.prepared = None
        if not self.first.done():
            self.first.cancel()
        elif self._closing is None and not self.failed:
            self._closing = asyncio.create_task(_closed(self.batches))

    async def closed(self) -> None:
        """Wait until it has let go."""
        await asyncio.wait({self.first} if self._closing is None else {self._closing})
        if not self.first.cancelled():
            self.first.exception()  # seen: what a loser fails with is nobody's error


async def _first(batches: AsyncGenerator[Sequence[Event], None], ended: Callable[[], None]) -> Sequence[Event] | None:
    try:
        return await anext(batches, None)
    finally:
        ended()  # a callback of the task would come a turn of the loop later


async def _closed(batches: AsyncGenerator[Sequence[Event], None]) -> None:
    await batches.aclose()
