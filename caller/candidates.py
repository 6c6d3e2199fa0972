"""The targets of a call that are not asked yet: which of them can be, and which is next. It asks nobody.

All are read before any is asked; only the first is made ready then, each other one when it is its turn. One whose
breaker is open waits at the end while another one is left.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from caller.breaker import Breaker
from caller.call import Caller, CallReport, Destination, Passed, Prepared
from caller.errors import CallerError, ClientError, NotSupportedByApi
from caller.retry import most_telling
from caller.target import Ask, Target, Unusable


class Candidate(msgspec.Struct, eq=False):
    """A target that can be asked. `passed_over`: its breaker is open, and it waits for all others to fail."""

    number: int
    target: Target
    caller: Caller
    destination: Destination
    prepared: Prepared | None = None
    passed_over: bool = False


class Candidates:
    """Those of one call, in the order in which they are asked. Pure but for the call's record, where those that are
    passed over are noted."""

    __slots__ = ("_ask", "_breaker", "_passed", "_queue", "_report", "_resolve", "_stream")

    def __init__(
        self,
        resolve: Callable[[str], Caller],
        breaker: Breaker,
        ask: Ask,
        targets: Sequence[Target | Unusable],
        report: CallReport,
        *,
        stream: bool,
    ) -> None:
        """`targets` are the call's own and its fallbacks; `resolve` finds the caller of a provider.

        Raises:
            ClientError: what is wrong with the call, or with one of its targets.
        """
        self._resolve = resolve
        self._breaker = breaker
        self._ask: Ask | None = ask
        self._report = report
        self._stream = stream
        self._passed: list[CallerError] = []
        self._queue = deque(self._read(targets))
        while self._queue and (self._queue[0].prepared or self.prepared(self._queue[0])) is None:
            self._queue.popleft()
        if not self._queue:
            raise self.telling()

    def _read(self, targets: Sequence[Target | Unusable]) -> list[Candidate]:
        found = []
        for number, target in enumerate(targets):
            if isinstance(target, Unusable):
                self._note(number, target.label, "", target.error)
                continue
            try:
                found.append(self._candidate(number, target))
            except ClientError as error:
                if not number:
                    raise
                raise error.within(f"fallbacks[{number - 1}]") from None
        return found

    def _candidate(self, number: int, target: Target) -> Candidate:
        caller = self._resolve(target.provider)
        if number or self._ask is None:
            return Candidate(number, target, caller, caller.destination(target))
        try:  # the call's own target is made ready now: it will be asked
            prepared = caller.prepare(target, self._ask, stream=self._stream)
        except NotSupportedByApi:
            return Candidate(number, target, caller, caller.destination(target))  # to fail again where it is its turn
        return Candidate(number, target, caller, prepared.destination, prepared)

    def __bool__(self) -> bool:
        """Whether any is left."""
        return bool(self._queue)

    @property
    def first(self) -> Candidate:
        """The one that will be asked first, before any is; it is ready."""
        return self._queue[0]

    @property
    def fresh(self) -> bool:
        """Whether the next one was not passed over."""
        return bool(self._queue) and not self._queue[0].passed_over

    @property
    def unprepared(self) -> bool:
        """Whether there is a next one, which is still to be made ready."""
        return bool(self._queue) and self._queue[0].prepared is None

    def prepared(self, candidate: Candidate) -> Prepared | None:
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
                self.pass_over(candidate, error)
        return candidate.prepared

    def next(self, *, hedge: bool, running: bool) -> Candidate | None:
        """The next one whose breaker lets it be asked; those that it does not go to the end. `running`: another one is
        being asked. A hedge is for no target that was passed over."""
        while self._queue and not (hedge and self._queue[0].passed_over):
            candidate = self._queue.popleft()
            if candidate.passed_over or self._breaker.passes(candidate.destination) or not (running or self._another()):
                return candidate
            self.pass_over(candidate, Passed.BREAKER_OPEN)
            self.put_back(candidate)
        return None

    def put_back(self, candidate: Candidate) -> None:
        """One that was asked in vain is asked again where all others fail."""
        candidate.passed_over = True
        self._queue.append(candidate)

    def _another(self) -> bool:
        """Whether one is left whose breaker is not open."""
        return any(not other.passed_over and self._breaker.passes(other.destination) for other in self._queue)

    def pass_over(self, candidate: Candidate, why: CallerError | Passed) -> None:
        """Note a target that is not asked, and why."""
        self._note(candidate.number, candidate.target.label, candidate.destination.endpoint, why)

    def _note(self, number: int, label: str, endpoint: str, why: CallerError | Passed) -> None:
        noted = CallReport(self._report.started, target=number, label=label, endpoint=endpoint, made=self._report.made)
        now = asyncio.get_running_loop().time()
        noted.note_attempt(now, why if isinstance(why, Passed) else type(why))
        if isinstance(why, CallerError):
            self._passed.append(why)

    def telling(self) -> CallerError:
        """What a call fails with of which no target could be asked."""
        return self._passed[most_telling(self._passed)]

    def clear(self) -> None:
        """No further one will be asked: let go of the conversation, and of why some were passed over."""
        self._ask = None
        self._queue, self._passed = deque(), []
