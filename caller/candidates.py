"""The targets of a call that are not asked yet: which of them can be, and which is next. It asks nobody.

The first that can carry the call is made ready at once; each other one is read and made ready when it is its turn. One
whose breaker is open waits at the end while another one is left.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

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


# Gives a fallback: see `Fallbacks`.
Read: TypeAlias = Callable[[], Target | Unusable]


class _Unread(msgspec.Struct, eq=False):
    """A fallback that nobody needed yet."""

    number: int
    read: Read
    prepared: None = None
    passed_over: bool = False


class Candidates:
    """Those of one call, in the order in which they are asked. Pure but for the call's record, where those that are
    passed over are noted."""

    __slots__ = ("_ask", "_breaker", "_passed", "_queue", "_report", "_resolve", "_stream", "_timeouts", "first")

    def __init__(
        self,
        resolve: Callable[[str], Caller],
        breaker: Breaker,
        ask: Ask,
        targets: tuple[Target, Sequence[Read]],
        report: CallReport,
        *,
        stream: bool,
    ) -> None:
        """`targets` are the call's own and its fallbacks; `resolve` finds the caller of a provider.

        Raises:
            ClientError: what is wrong with the call.
        """
        own, fallbacks = targets
        self._resolve = resolve
        self._breaker = breaker
        self._ask: Ask | None = ask
        self._timeouts = own.timeouts
        self._report = report
        self._stream = stream
        self._passed: list[CallerError] = []
        caller = resolve(own.provider)
        self._queue: deque[Candidate | _Unread] = deque()
        try:
            prepared = caller.prepare(own, ask, stream=stream)
        except NotSupportedByApi as error:
            self._note(0, own.label, caller.destination(own).endpoint, error)
        else:
            self._queue.append(Candidate(0, own, caller, prepared.destination, prepared))
        self._queue += [_Unread(number, read) for number, read in enumerate(fallbacks, 1)]
        while (first := self._head()) is not None and first.prepared is None and self.prepared(first) is None:
            self._queue.popleft()
        if first is None:
            raise self.telling()
        self.first = first
        """The one that will be asked first, before any is; it is ready."""

    def _head(self) -> Candidate | None:
        """The next one, which is read where nobody needed it yet; what cannot be asked is passed over."""
        while self._queue:
            head = self._queue[0]
            found = head if isinstance(head, Candidate) else self._read(head)
            if found is not None:
                self._queue[0] = found
                return found
            self._queue.popleft()
        return None

    def _read(self, unread: _Unread) -> Candidate | None:
        """A fallback; it has the times of the call's own target."""
        label = ""
        try:
            target = unread.read()
            label = target.label
            if isinstance(target, Unusable):
                raise target.error
            caller = self._resolve(target.provider)
            if target.timeouts is not self._timeouts:
                target = replace(target, timeouts=self._timeouts)
            return Candidate(unread.number, target, caller, caller.destination(target))
        except CallerError as error:
            self._note(unread.number, label, "", error.with_traceback(None))
            return None

    def __bool__(self) -> bool:
        """Whether any is left."""
        return bool(self._queue)

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
        while (candidate := self._head()) is not None and not (hedge and candidate.passed_over):
            self._queue.popleft()
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
        read = (each if isinstance(each, Candidate) else self._read(each) for each in self._queue)
        others = [each for each in read if each is not None]
        self._queue = deque(others)
        return any(not other.passed_over and self._breaker.passes(other.destination) for other in others)

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
