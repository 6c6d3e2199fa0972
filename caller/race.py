"""A call with several targets: who is asked when, and whose answer it is. It knows no provider and no wire.

* The targets are asked in their order. A failure before the first output asks the next one at once, where another
  endpoint may do better (`retry.moves_on`); only the last one left is asked again.
* With a time to hedge by, the next one is also asked beside those that run whenever no output came for that long,
  as far as the budget goes. The first output wins, and everything of the others is dropped.
* After output nothing moves on.
* A target whose breaker is open is passed over while another one is left, and asked at last where all others failed.

Each target that is asked has a decoder, a record and a task of its own, up to its first output. The winner's generator
is read on by the task of the call, so that a race costs nothing per token.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from caller.attempts import AttemptObserver, attempts
from caller.call import MAX_MODEL, MAX_PROVIDER, Caller, CallReport, Passed, Prepared, Waits
from caller.errors import CallerError, ClientError, Fault, NotSupportedByApi, ServiceOverloaded, clipped
from caller.events import Event
from caller.heavy import HeavyWork
from caller.history import TargetHistory
from caller.leg import Candidate, Leg
from caller.retry import most_telling, moves_on
from caller.target import Ask, Fallbacks, Target, Unusable


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a race needs of the service: `resolve` finds the caller of a provider; `beside` counts the call for one more
    endpoint, and returns what stands in the way, in words; `leave` takes that back; `heavy` are the turns in which
    large requests are made."""

    resolve: Callable[[str], Caller]
    history: TargetHistory
    beside: Callable[[str], str]
    leave: Callable[[str], None]
    heavy: HeavyWork


class Race:
    """One call. Making it waits for nothing; iterate `batches` once then, and close it."""

    def __init__(
        self,
        surroundings: Surroundings,
        ask: Ask,
        targets: tuple[Target, Fallbacks],
        report: CallReport,
        *,
        stream: bool,
    ) -> None:
        """`targets` are the call's own and its fallbacks. The call will hold a slot for the `first`.

        Raises:
            ClientError: what is wrong with the call, or with one of its targets.
        """
        own, fallbacks = targets
        self._ask: Ask | None = ask
        self._hedging = fallbacks
        self._report = report
        self._surroundings = surroundings
        self._history = surroundings.history
        self._stream = stream
        self._clock = asyncio.get_running_loop().time
        self._legs: list[Leg] = []  # all that were asked
        self._running: list[Leg] = []
        self._winner: Leg | None = None
        self._event: asyncio.Future[None] | None = None  # what the call waits for
        self._failures: list[tuple[CallerError, CallReport | None]] = []  # without a record: passed over
        self._final = False  # a failure is the call's own: no further target is asked
        self._hedge_due: float | None = None
        self._queue = deque(self._candidates((own, *fallbacks.targets)))
        self._prepare_first()
        self._slot = self._queue[0].destination.endpoint  # what the call's own slot is for; empty while it is used
        self._budget_key = (report.client, self._slot, stream)

    # -- making ready ------------------------------------------------------------------------------------------------

    def _candidates(self, targets: Sequence[Target | Unusable]) -> list[Candidate]:
        """The targets that can be asked; all of them are read before any is."""
        found = []
        for number, target in enumerate(targets):
            if isinstance(target, Unusable):
                self._pass_over(number, target.label, "", target.error)
                continue
            try:
                found.append(self._candidate(number, target))
            except ClientError as error:
                if not number:
                    raise
                raise error.within(f"fallbacks[{number - 1}]") from None
        return found

    def _candidate(self, number: int, target: Target) -> Candidate:
        caller = self._surroundings.resolve(target.provider)
        if number or self._ask is None:
            return Candidate(number, target, caller, caller.destination(target))
        try:  # the call's own target is made ready now: it will be asked
            prepared = caller.prepare(target, self._ask, stream=self._stream)
        except NotSupportedByApi:
            return Candidate(number, target, caller, caller.destination(target))  # to fail again where it is its turn
        return Candidate(number, target, caller, prepared.destination, prepared)

    @property
    def first(self) -> Prepared:
        """The target that will be asked first, before any is."""
        prepared = self._queue[0].prepared
        if prepared is None:
            raise RuntimeError("the first target was asked already")
        return prepared

    def _prepare_first(self) -> None:
        """Make the first target ready that can carry the call; it stays at the head of the queue."""
        while self._queue and self._prepared(self._queue[0]) is None:
            self._queue.popleft()
        if not self._queue:
            raise self._telling()

    def _prepared(self, candidate: Candidate) -> Prepared | None:
        """The target, ready to be asked; None: it is passed over.

        Raises:
            ClientError: what is wrong with the call's own target, but for what another shape may carry.
        """
        if candidate.prepared is None and self._ask is not None:
            try:
                candidate.prepared = candidate.caller.prepare(candidate.target, self._ask, stream=self._stream)
            except ClientError as error:
                if not candidate.number and not isinstance(error, NotSupportedByApi):
                    raise
                self._pass_over(candidate.number, candidate.target.label, candidate.destination.endpoint, error)
        return candidate.prepared

    def _pass_over(self, number: int, label: str, endpoint: str, why: CallerError | Passed) -> None:
        """Note a target that is not asked, and why."""
        noted = CallReport(self._report.started, target=number, label=label, endpoint=endpoint, made=self._report.made)
        noted.note_attempt(self._clock(), why if isinstance(why, Passed) else type(why))
        if isinstance(why, CallerError):
            self._failures.append((why, None))

    # -- running -----------------------------------------------------------------------------------------------------

    async def batches(self, observer: AttemptObserver) -> AsyncGenerator[Sequence[Event], None]:
        """The answer of the target that wins, batch by batch.

        Raises:
            CallerError: the failure that tells most, or the winner's.
        """
        begun = monotonic()
        if self._hedges:
            self._history.budget.earn(self._budget_key)
        try:
            winner = await self._won(observer, begun)
            self._adopt(winner.report)
            try:
                first = winner.first.result()
                if first is not None:
                    yield first
                    async for batch in winner.batches:
                        yield batch
            finally:
                await winner.batches.aclose()
                self._adopt(winner.report)
        finally:
            await self._close()

    async def _close(self) -> None:
        """Let go of all endpoints. An error that is on its way holds the frames that it came through: neither they nor
        this race may lead back to it, here and in what follows."""
        for leg in self._running:  # nobody will know whether they would have answered
            self._history.breaker.given_up(leg.destination)
        others = [leg for leg in self._legs if leg is not self._winner]
        for leg in others:
            self._let_go(leg)
        for leg in others:
            await leg.closed()
        if self._winner is not None:  # its generator is closed where it was read
            self._uncount(self._winner)
        self._winner = None
        self._legs.clear()
        self._running.clear()
        self._failures.clear()

    @property
    def _hedges(self) -> bool:
        return self._hedging.hedge_after is not None or self._hedging.hedge_percentile is not None

    async def _won(self, observer: AttemptObserver, begun: float) -> Leg:
        """Wait for the first output, asking further targets meanwhile."""
        while True:
            if not self._running:
                if self._report.large:
                    await self._heavy_turn()
                if self._final or not self._ask_next(observer, begun):
                    raise self._telling()
            if not await self._next_event():
                if self._report.large:
                    await self._heavy_turn()
                if not any(leg.first.done() for leg in self._running):
                    self._hedge(observer, begun)
            winner = self._sorted_out()
            if winner is not None:
                return winner

    async def _next_event(self) -> bool:
        """Wait until a target has its first output, or fails; False: it is time to hedge."""
        loop = asyncio.get_running_loop()
        self._event = event = loop.create_future()
        timer = None if self._hedge_due is None else loop.call_at(self._hedge_due, self._wake)
        try:
            await event
        finally:
            if timer is not None:
                timer.cancel()
        return any(leg.first.done() for leg in self._running)

    async def _heavy_turn(self) -> None:
        """Wait until a large request may be made for the next target."""
        if self._queue and self._queue[0].prepared is None:
            await self._surroundings.heavy.turn(self._report.client)

    def _wake(self) -> None:
        if self._event is not None and not self._event.done():
            self._event.set_result(None)

    def _sorted_out(self) -> Leg | None:
        """The winner, if there is one; those that failed run no longer."""
        for leg in tuple(self._running):
            if leg.first.done():
                if not leg.failed:
                    self._decide(leg)
                    return leg
                self._drop(leg)
        return None

    def _ask_next(self, observer: AttemptObserver, begun: float, *, hedge: bool = False) -> bool:
        """Ask the next target; False: there is none."""
        while (candidate := self._next(hedge=hedge)) is not None:
            prepared = self._prepared(candidate)
            own_slot = candidate.destination.endpoint == self._slot
            if prepared is None or not (own_slot or self._counted(candidate)):
                continue
            self._slot = "" if own_slot else self._slot
            report = self._record(candidate, prepared, begun)
            candidate.prepared = None
            self._history.breaker.asked(candidate.destination)
            batches = attempts(prepared, report, observer, self._alone)
            leg = Leg(candidate, prepared, report, batches, self._wake, hedge=hedge, own_slot=own_slot)
            self._legs.append(leg)
            self._running.append(leg)
            after = (
                self._history.hedge_after(self._hedging, candidate.destination, stream=self._stream)
                if self._queue
                else None
            )
            self._hedge_due = None if after is None else self._clock() + after
            return True
        return False

    def _counted(self, candidate: Candidate) -> bool:
        """Count the call for a further endpoint; where that has all the calls it may, the target is passed over."""
        endpoint = candidate.destination.endpoint
        full = self._surroundings.beside(endpoint)
        if full:
            self._pass_over(candidate.number, candidate.target.label, endpoint, ServiceOverloaded(full))
        return not full

    def _let_go(self, leg: Leg) -> None:
        """Close a target's connection; the call counts for its endpoint no longer."""
        leg.close()
        self._uncount(leg)

    def _uncount(self, leg: Leg) -> None:
        if leg.own_slot:
            self._slot = leg.destination.endpoint
        elif leg.own_slot is not None:
            self._surroundings.leave(leg.destination.endpoint)
        leg.own_slot = None

    def _next(self, *, hedge: bool) -> Candidate | None:
        """The next in the queue whose breaker lets it be asked; those that it does not go to the end. A hedge is for no
        such target."""
        breaker = self._history.breaker
        while self._queue and not (hedge and self._queue[0].passed_over):
            candidate = self._queue.popleft()
            if candidate.passed_over or breaker.passes(candidate.destination) or not self._another():
                return candidate
            self._pass_over(
                candidate.number, candidate.target.label, candidate.destination.endpoint, Passed.BREAKER_OPEN
            )
            candidate.passed_over = True
            self._queue.append(candidate)
        return None

    def _another(self) -> bool:
        """Whether a target is asked, or can be, whose breaker is not open."""
        passes = self._history.breaker.passes
        return bool(self._running) or any(not other.passed_over and passes(other.destination) for other in self._queue)

    def _record(self, candidate: Candidate, prepared: Prepared, begun: float) -> CallReport:
        """A record of its own for a target that is asked now. Whatever the call did until now was waiting."""
        whole, target = self._report, candidate.target
        return CallReport(
            whole.started,
            service=whole.service,
            method=whole.method,
            request_id=whole.request_id,
            client=whole.client,
            provider=clipped(target.provider.lower(), MAX_PROVIDER) if candidate.number else whole.provider,
            labels=whole.labels,
            trace=whole.trace,
            api=prepared.api,
            endpoint=prepared.endpoint,
            model=clipped(prepared.model, MAX_MODEL),
            deadline=whole.deadline,
            target=candidate.number,
            label=target.label,
            asked=self._clock(),
            made=whole.made,
            began=whole.began,
            large=whole.large,
            waits=Waits(whole.waits.seconds + monotonic() - begun),
        )

    def _alone(self) -> bool:
        """Whether the target that asks is the last one left."""
        return len(self._running) <= 1 and not self._queue

    # -- racing ------------------------------------------------------------------------------------------------------

    def _hedge(self, observer: AttemptObserver, begun: float) -> None:
        """Ask one more target beside those that run, where the budget allows it."""
        self._hedge_due = None
        if not self._queue or self._queue[0].passed_over:
            return
        if not self._history.budget.spend(self._budget_key):
            self._history.refused += 1
        elif self._ask_next(observer, begun, hedge=True):
            self._history.hedges += 1

    def _decide(self, winner: Leg) -> None:
        """A target had the first output: the others are closed, and what came of them is dropped."""
        history, now = self._history, self._clock()
        self._winner = winner
        history.won += winner.hedge
        history.breaker.answered(winner.destination)
        self._ask = None
        self._queue.clear()
        for leg in self._running:
            asked = leg.report.asked or now
            first = leg.report.first_output or now
            if leg is winner:
                history.had_first_output(leg.destination, first - asked, stream=self._stream)
            elif leg.failed:
                self._count_failure(leg)
            else:
                history.had_first_output(leg.destination, first - asked, stream=self._stream)
                history.breaker.given_up(leg.destination)
                leg.report.mark_usage_partial()
                leg.report.note_attempt(asked, Passed.RACE_LOST)
                if leg.report.trace is not None:
                    leg.report.trace.attempt_lost(leg.report)
                self._let_go(leg)
        self._running.clear()
        if winner.prepared is not None:
            winner.prepared.continued()

    def _drop(self, leg: Leg) -> None:
        """A target failed: whether another one is asked depends on what it failed with.

        Raises:
            BaseException: it is no error of a call.
        """
        error = leg.first.exception()
        if not isinstance(error, CallerError):
            leg.first.result()
            return
        self._count_failure(leg)
        self._running.remove(leg)
        self._let_go(leg)
        self._failures.append((error, leg.report))
        self._final = self._final or not moves_on(error)

    def _count_failure(self, leg: Leg) -> None:
        error = leg.first.exception()
        breaker = self._history.breaker
        # The call's own time may have been used up by others.
        fair = isinstance(error, CallerError) and (moves_on(error) or len(self._legs) == 1)
        if isinstance(error, CallerError) and error.fault is Fault.ENDPOINT and fair:
            breaker.failed(leg.destination)
        else:
            breaker.given_up(leg.destination)

    # -- ends --------------------------------------------------------------------------------------------------------

    def _telling(self) -> CallerError:
        """What the call fails with; the record becomes that of the target that failed so."""
        asked = [failure for failure in self._failures if failure[1] is not None]
        final = [failure for failure in asked if not moves_on(failure[0])]
        failures = final[-1:] or asked or self._failures
        error, report = failures[most_telling([error for error, _ in failures])]
        if report is not None:
            self._adopt(report)
        return error

    def _adopt(self, record: CallReport) -> None:
        self._report.adopt(record, sum([leg.report.attempts for leg in self._legs]))
