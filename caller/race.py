"""A call with several targets: who is asked when, and whose answer it is. It knows no provider and no wire.

* The targets are asked in their order. A failure before the first output asks the next one at once, where another
  endpoint may do better (`retry.moves_on`); only the last one left is asked again.
* With a time to hedge by, the next one is also asked beside those that run whenever no output came for that long,
  as far as the budget goes. The first output wins, and everything of the others is dropped.
* Beyond the budget a call waits for its target; not up to a timeout, though, where that is silent: it lost all of its
  latest races, and gives the call nothing for much longer than the time to hedge by.
* After output nothing moves on.
* A target whose breaker is open is passed over while another one is left, and asked at last where all others failed.

Each target that is asked has a decoder and a record of its own. The call's own task reads the target that runs alone,
as it would without any other. One that is asked beside it has a task up to its first output; where it wins the call's
own task is called back out of the loser, and reads the winner on: so a race costs nothing per token.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from time import monotonic

import msgspec

from caller.attempts import AttemptObserver, attempts
from caller.call import Caller, CallReport, Passed, Prepared
from caller.candidates import Candidate, Candidates
from caller.errors import CallerError, Fault, ServiceOverloaded
from caller.events import Event
from caller.heavy import HeavyWork
from caller.hedging import Hedging
from caller.history import TargetHistory
from caller.leg import Leg, record
from caller.retry import most_telling, moves_on
from caller.target import Ask, Fallbacks, Target


class Surroundings(msgspec.Struct, frozen=True, eq=False):
    """What races need of the service: `resolve` finds the caller of a provider; `beside` counts a client's call for one
    more endpoint, and returns what stands in the way, in words; `leave` takes that back; `replace` has another
    connection opened for a client's target whose own was closed; `heavy` are the turns in which large requests are
    made."""

    resolve: Callable[[str], Caller]
    history: TargetHistory
    beside: Callable[[str, str], str]
    leave: Callable[[str, str], None]
    replace: Callable[[str, Target], None]
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
            ClientError: what is wrong with the call.
        """
        own, fallbacks = targets
        self._report = report
        self._surroundings = surroundings
        self._history = history = surroundings.history
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._observer: AttemptObserver | None = None
        self._begun = self._waited = 0.0  # when the race began, and what the call had waited by then
        self._legs: list[Leg] = []  # all that were asked
        self._running: list[Leg] = []
        self._tasks: set[asyncio.Task[None]] = set()  # of targets that are asked beside others
        self._reader: asyncio.Task[object] | None = None  # the call's own, while it reads a target
        self._event: asyncio.Future[None] | None = None  # what the call's own waits for otherwise
        self._called_back = False
        self._bug: Exception | None = None  # of one of the tasks
        self._winner: Leg | None = None
        self._attempts_of_losers = 0
        self._failures: list[tuple[CallerError, CallReport]] = []
        self._final = False  # a failure is the call's own: no further target is asked
        everyone = own, fallbacks.targets
        self._candidates = Candidates(surroundings.resolve, history.breaker, ask, everyone, report, stream=stream)
        self._slot = self._candidates.first.destination.endpoint  # what the call's own slot is for; empty while used
        self._hedging = Hedging(history, fallbacks, (report.client, self._slot, stream), self._loop)

    @property
    def first(self) -> Prepared:
        """The target that will be asked first, before any is."""
        prepared = self._candidates.first.prepared
        if prepared is None:
            raise RuntimeError("the first target was asked already")
        return prepared

    # -- running -----------------------------------------------------------------------------------------------------

    async def batches(self, observer: AttemptObserver) -> AsyncGenerator[Sequence[Event], None]:
        """The answer of the target that wins, batch by batch.

        Raises:
            CallerError: the failure that tells most, or the winner's.
        """
        self._observer, self._begun, self._waited = observer, monotonic(), self._report.waits.seconds
        self._hedging.begin()
        try:
            winner = await self._won()
            report, its = self._report, winner.report
            if winner.first is not None:
                yield winner.first
                async for batch in winner.batches:
                    report.outputs = its.outputs
                    yield batch
        finally:
            await self._close()

    async def _close(self) -> None:
        """Let go of all endpoints. An error that is on its way holds the frames that it came through: neither they nor
        this race may lead back to it, here and in what follows."""
        if self._winner is None:
            self._hedging.stop()
        for leg in self._running:  # nobody will know whether they would have answered
            self._history.breaker.given_up(leg.destination)
            self._uncount(leg)
        for task in self._tasks:
            task.cancel()
        winner, self._winner = self._winner, None
        try:
            if winner is not None:
                await winner.batches.aclose()
                if winner.report is not self._report:
                    self._adopt(winner.report, self._attempts_of_losers)
                self._uncount(winner)
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks)
                self._tasks.clear()
            self._legs, self._running, self._failures, self._bug = [], [], [], None
            if winner is None:
                self._candidates.clear()

    async def _won(self) -> Leg:
        """Wait for the first output, asking further targets meanwhile."""
        while self._bug is None:
            if self._winner is not None:
                return self._taken_over(self._winner)
            if self._running or self._tasks:
                self._event = self._loop.create_future()
                await self._event
                continue
            if self._report.large:
                await self._heavy_turn()
            leg = None if self._final else self._ask_next(None)
            if leg is None:
                raise self._telling()
            await self._read_here(leg)
        raise self._bug

    def _taken_over(self, winner: Leg) -> Leg:
        """The call's own task reads the winner on."""
        if winner.task is not None and winner.prepared is not None:
            winner.prepared.continued()
        if len(self._legs) > 1 or winner.report is not self._report:
            self._adopt(winner.report, self._attempts_of_losers)
        return winner

    async def _read_here(self, leg: Leg) -> None:
        """Read a target in the call's own task, unless one that is asked beside it has output first."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 -- whoever waits is one
        self._reader, cancelled = task, task.cancelling()
        try:
            leg.first = await anext(leg.batches, None)
        except CallerError as error:
            self._drop(leg, error)
        except asyncio.CancelledError:
            # As in asyncio.timeout: only our own cancellation ends here; one from outside goes on.
            if not self._called_back or task.cancelling() > cancelled + 1:
                raise
        else:
            if self._winner is None:
                self._decide(leg)
        finally:
            self._reader = None
            if self._called_back:
                self._called_back = False
                task.uncancel()

    async def _heavy_turn(self) -> None:
        """Wait until a large request may be made for the next target."""
        if self._candidates.unprepared:
            await self._surroundings.heavy.turn(self._report.client)

    def _call_back(self) -> None:
        """Have the call's own task go on, whatever it waits for."""
        if self._reader is not None:
            self._called_back = True
            self._reader.cancel()
        else:
            self._wake()

    def _wake(self) -> None:
        if self._event is not None and not self._event.done():
            self._event.set_result(None)

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask_next(self, task: asyncio.Task[None] | None) -> Leg | None:
        """Ask the next target; None: there is none. `task` reads it, where it is asked beside others."""
        candidates = self._candidates
        while (candidate := candidates.next(hedge=task is not None, running=bool(self._running))) is not None:
            prepared = candidate.prepared or candidates.prepared(candidate)
            own_slot = candidate.destination.endpoint == self._slot
            if prepared is None or not (own_slot or self._counted(candidate)):
                continue
            self._slot = "" if own_slot else self._slot
            waited = self._waited + monotonic() - self._begun
            report = record(self._report, candidate, prepared, self._loop.time(), waited)
            candidate.prepared = None
            probe = self._history.breaker.asked(candidate.destination)
            assert self._observer is not None  # noqa: S101 -- set where the race begins
            batches = attempts(prepared, report, self._observer, self._alone)
            leg = Leg(candidate, candidate.destination, prepared, report, batches, own_slot, probe, task)
            self._legs.append(leg)
            self._running.append(leg)
            if candidates:
                self._hedging.start(leg.destination, self._hedge)
            else:
                self._hedging.stop()
            return leg
        return None

    def _counted(self, candidate: Candidate) -> bool:
        """Count the call for a further endpoint; where that has all the calls it may, the target is passed over."""
        full = self._surroundings.beside(self._report.client, candidate.destination.endpoint)
        if full:
            self._candidates.pass_over(candidate, ServiceOverloaded(full))
        return not full

    def _uncount(self, leg: Leg) -> None:
        """The call counts for a target's endpoint no longer."""
        if leg.own_slot:
            self._slot = leg.destination.endpoint
        elif leg.own_slot is not None:
            self._surroundings.leave(self._report.client, leg.destination.endpoint)
        leg.own_slot = None

    def _alone(self) -> bool:
        """Whether the target that asks is the last one left."""
        return len(self._running) <= 1 and not self._candidates

    # -- racing ------------------------------------------------------------------------------------------------------

    def _hedge(self) -> None:
        """No output came for so long."""
        if self._candidates.fresh:
            self._tasks.add(asyncio.create_task(self._beside()))

    async def _beside(self) -> None:
        """Ask one more target beside those that run, where the budget allows it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- it is one
        try:
            if self._report.large:
                await self._heavy_turn()
            leg = self._hedged(task)
            if leg is not None:
                await self._read_beside(leg)
        except Exception as bug:  # noqa: BLE001 -- the call fails with it
            self._bug = bug
            self._call_back()
        finally:
            self._tasks.discard(task)
            self._wake()

    async def _read_beside(self, leg: Leg) -> None:
        """Read a target in a task of its own, up to its first output or failure."""
        try:
            leg.first = await anext(leg.batches, None)
        except CallerError as error:
            self._drop(leg, error)
        else:
            if self._winner is None:
                self._decide(leg)

    def _hedged(self, task: asyncio.Task[None]) -> Leg | None:
        """The target that is asked beside others; it takes a token of the budget. Where one that runs finds out for all
        others, which may take long, it is asked in any case."""
        if not any(leg.probe for leg in self._running) and not self._hedging.allowed():
            self._hedging.watch(self._judge)
            return None
        leg = self._ask_next(task)
        if leg is not None:
            self._hedging.made()
        return leg

    def _judge(self) -> None:
        """A target had no output for long: where it is silent for others, too, the call asks the next one instead, and
        this one again where all others fail."""
        if not self._running or not self._candidates.fresh:
            return
        leg = self._running[0]
        if len(self._running) > 1 or self._reader is None or not self._history.breaker.waited_in_vain(leg.destination):
            self._hedging.watch(self._judge)
            return
        self._running.clear()
        self._leave(leg, Passed.BREAKER_OPEN)
        self._candidates.put_back(leg.candidate)
        self._call_back()

    def _decide(self, winner: Leg) -> None:
        """A target had the first output: the others are closed, and what came of them is dropped."""
        history, now = self._history, self._loop.time()
        self._winner = winner
        self._hedging.stop()
        self._candidates.clear()
        history.won += winner.task is not None
        history.breaker.answered(winner.destination)
        for leg in self._running:
            report = leg.report
            asked = report.asked or now
            history.had_first_output(leg.destination, (report.first_output or now) - asked, stream=self._stream)
            if leg is not winner:
                self._lose(leg)
        self._running.clear()
        if len(self._legs) > 1:
            self._attempts_of_losers = self._attempts_beside(winner.report)
        for task in self._tasks:
            if task is not winner.task:
                task.cancel()
        if winner.task is not None:
            self._call_back()

    def _lose(self, leg: Leg) -> None:
        """Another target had the first output. Its connection cannot be used again, since its answer will not be read;
        the next call shall not wait for a new one."""
        breaker = self._history.breaker
        breaker.lost(leg.destination)
        self._leave(leg, Passed.RACE_LOST)
        if breaker.passes(leg.destination):
            self._surroundings.replace(self._report.client, leg.candidate.target)

    def _leave(self, leg: Leg, why: Passed) -> None:
        """Wait no longer for a target that has not failed."""
        report = leg.report
        report.mark_usage_partial()
        report.note_attempt(report.asked or self._loop.time(), why)
        if report.trace is not None:
            report.trace.attempt_lost(report)
        leg.prepared = None
        self._uncount(leg)

    def _drop(self, leg: Leg, error: CallerError) -> None:
        """A target failed: whether another one is asked depends on what it failed with."""
        if leg not in self._running:  # it had lost
            return
        self._running.remove(leg)
        breaker = self._history.breaker
        # The call's own time may have been used up by others.
        fair = moves_on(error) or len(self._legs) == 1
        if error.fault is Fault.ENDPOINT and fair:
            breaker.failed(leg.destination)
        else:
            breaker.given_up(leg.destination)
        if not self._running:
            self._hedging.stop()
        leg.prepared = None
        self._uncount(leg)
        self._failures.append((error, leg.report))
        self._final = self._final or not moves_on(error)

    # -- ends --------------------------------------------------------------------------------------------------------

    def _telling(self) -> CallerError:
        """What the call fails with; the record becomes that of the target that failed so."""
        final = [failure for failure in self._failures if not moves_on(failure[0])]
        failures = final[-1:] or self._failures
        if not failures:
            return self._candidates.telling()
        error, report = failures[most_telling([error for error, _ in failures])]
        self._adopt(report, self._attempts_beside(report))
        return error

    def _attempts_beside(self, report: CallReport) -> int:
        """The attempts that were made with other targets; one may have been asked twice."""
        others = {id(leg.report): leg.report.attempts for leg in self._legs if leg.report is not report}
        return sum(others.values())

    def _adopt(self, report: CallReport, others: int) -> None:
        """What is known of the call is what is known of one of its targets now; `others` are the attempts beside its
        own."""
        if report is self._report:
            report.attempts += others
        else:
            self._report.adopt(report, report.attempts + others)
