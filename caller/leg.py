"""A target of a call with several that is being asked. What is asked when is `race`'s rule."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec

from caller.call import MAX_MODEL, MAX_PROVIDER, CallReport, Destination, Prepared, Waits
from caller.candidates import Candidate
from caller.errors import clipped
from caller.events import Event


class Leg(msgspec.Struct, eq=False):
    """One target that is asked.

    Attributes:
        candidate: whom.
        destination: where it leads to.
        prepared: what is sent; None once it has lost.
        report: its record: the call's own for the call's own target.
        batches: its answer.
        own_slot: the call's slot is for its endpoint; None once it is let go of.
        probe: its breaker is open, and it finds out for all others.
        task: the one that reads its first output, where it is asked beside others; None: the call's own task does.
        first: its first batch, once it has won; None for a good answer without.
    """

    candidate: Candidate
    destination: Destination
    prepared: Prepared | None
    report: CallReport
    batches: AsyncGenerator[Sequence[Event], None]
    own_slot: bool | None
    probe: bool
    task: asyncio.Task[None] | None
    first: Sequence[Event] | None = None


def record(whole: CallReport, candidate: Candidate, prepared: Prepared, now: float, waited: float) -> CallReport:
    """The record of a target that is asked `now`, in `loop.time()`: one of its own, unless it is the call's own target.
    Whatever the call did until now was waiting, for `waited` seconds."""
    if not candidate.number:
        whole.asked, whole.waits.seconds = now, waited
        return whole
    return CallReport(
        whole.started,
        service=whole.service,
        method=whole.method,
        request_id=whole.request_id,
        client=whole.client,
        provider=clipped(candidate.target.provider.lower(), MAX_PROVIDER),
        labels=whole.labels,
        trace=whole.trace,
        api=prepared.api,
        endpoint=prepared.endpoint,
        model=clipped(prepared.model, MAX_MODEL),
        deadline=whole.deadline,
        target=candidate.number,
        label=candidate.target.label,
        asked=now,
        made=whole.made,
        began=whole.began,
        large=whole.large,
        waits=Waits(waited),
    )
