"""The life of a call, the same for every face: read, prepare, admit, attempt, hand on; one start and one end.

What cannot work is refused before anything waits: reading and preparing are pure. A face gives a `read`, which makes
domain values of its request, and a `Sink`, which makes its answer of events. It knows neither gRPC nor protobuf.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from time import monotonic
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from msgspec.structs import replace

from caller.attempts import AttemptObserver, attempts
from caller.call import MAX_MODEL, MAX_PROVIDER, CallReport, Completion, Inspection, Outcome
from caller.coalesce import coalesced
from caller.errors import CallerError, ClientTimeout, InternalError, clipped
from caller.events import Event
from caller.fold import Folder
from caller.heavy import HeavyWork
from caller.history import TargetHistory
from caller.providers import Provider
from caller.race import Race, Surroundings
from caller.registry import Registry
from caller.target import Ask, Fallbacks, Target
from caller.verification import Model, Verification
from integration_api.calls.admission import Admission
from integration_api.calls.observer import Listening, Observer
from integration_api.calls.prewarm import Prewarming, Wanted, Warmth
from integration_api.rpc.rpc import ClientGoneError
from integration_api.rpc.status import reason_of

# A client whose deadline passes cancels the call, and its word may be here before our timer is.
_NEAR_DEADLINE = 0.05


# What is asked, and of whom; None: of nobody else.
Question: TypeAlias = tuple[Ask, Target, Fallbacks | None]


class Client(Protocol):
    """Whoever waits for a call's answer, as far as a call must know."""

    deadline: float
    """The end of the call's total time, in `loop.time()`: set once it is known."""

    def time_left(self) -> float | None:
        """Seconds to its own deadline; None when it set none."""
        ...

    def interruption(self) -> CallerError | None:
        """What a cancellation of the current task means; None: the client gave up."""
        ...


class Sink(Protocol):
    """Where an answer goes. `stream`: it takes the answer as it comes."""

    @property
    def stream(self) -> bool: ...

    def events(self, events: Sequence[Event], folder: Folder) -> Awaitable[None] | None:
        """Take the events of one network read; what is returned is waited for. `folder` holds the answer so far."""
        ...

    def completed(self, completion: Completion) -> Awaitable[None] | None:
        """Take the whole answer, which ended well."""
        ...


class Calls:
    """Makes calls. One instance serves all of them."""

    def __init__(
        self,
        registry: Registry,
        admission: Admission,
        observers: Sequence[Observer],
        max_answer_chars: int,
        history: TargetHistory,
        *,
        client_share: float = 0.5,
        heavy: HeavyWork | None = None,
    ) -> None:
        """`history`: what is known of targets from earlier calls; `client_share`: the part of the connections that are
        being opened ahead that one client may have while others have some; `heavy`: the turns in which what is large is
        worked on, those of the event loop's other work of this kind."""
        self.heavy = heavy or HeavyWork()
        self._registry = registry
        self._prewarming = Prewarming(registry, client_share)
        self._admission = admission
        self._surroundings = Surroundings(
            registry.resolve,
            history,
            beside=admission.beside,
            leave=admission.leave,
            replace=self._prewarming.replace,
            heavy=self.heavy,
        )
        self._observers = Listening(observers)
        self._max_answer_chars = max_answer_chars

    async def run(  # noqa: C901 -- a frame between would be resumed with every token
        self,
        client: Client,
        report: CallReport,
        read: Callable[[], Question],
        sink: Sink,
    ) -> None:
        """Make one call from its request to the end of its answer.

        Raises:
            CallerError: what it failed with.
        """
        with _Observed(client, report, self._observers) as observed:
            question = read()
            del read  # and with it the request as it came
            if report.large:
                await self.heavy.turn(report.client, further=True)
            running = self._prepared(client, report, question, observed, stream=sink.stream)
            del question
            folder = Folder(self._max_answer_chars)
            if report.content is not None:
                report.content.answering(folder.completion)
            outputs = 0
            client_key, endpoint = report.client, report.endpoint
            await self._admission.acquire(client_key, endpoint, client.deadline - report.started)
            try:
                async with aclosing(running):
                    async for batch in running:
                        events = coalesced(batch) if sink.stream and len(batch) > 1 else batch
                        folder.feed(*events)
                        if sink.stream:
                            waiting = sink.events(events, folder)
                            if waiting is not None:
                                await waiting
                            if report.outputs > outputs:
                                if not outputs:
                                    observed.first_output(report)
                                outputs = report.outputs
                                report.last_overhead = monotonic() - report.began - report.waits.seconds  # own_time()
                    if report.large or folder.left < folder.left_of_large:
                        report.large = True
                        await self.heavy.turn(report.client, further=True)
                    completion = folder.completion()
                    if report.trace is not None:
                        report.trace.answered(completion)
                    waiting = sink.completed(completion)
                    if waiting is not None:
                        await waiting
            finally:
                self._admission.release(client_key, endpoint)

    def _prepared(
        self, client: Client, report: CallReport, question: Question, observed: AttemptObserver, *, stream: bool
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The attempts of a call, none of which has begun; its record says where the first will go.

        Raises:
            ClientError: what is wrong with the question.
        """
        ask, target, fallbacks = question
        report.labels = ask.labels
        if report.content is not None:
            report.content.asked(ask)
        target = self._begin(client, report, target)
        if fallbacks is None:
            prepared = self._registry.resolve(target.provider).prepare(target, ask, stream=stream)
            running = attempts(prepared, report, observed)
        else:
            race = Race(self._surroundings, ask, (target, fallbacks), report, stream=stream)
            prepared, running = race.first, race.batches(observed)
        report.api, report.endpoint, report.model = (
            prepared.api,
            prepared.endpoint,
            clipped(prepared.model, MAX_MODEL),
        )
        return running

    async def verify(
        self, client: Client, report: CallReport, read: Callable[[], Target], checks: frozenset[str] = frozenset()
    ) -> Verification:
        """Whether a credential is usable; `checks` are the ids of further checks to make.

        Raises:
            CallerError: it could not be checked.
        """
        with _Observed(client, report, self._observers):
            inspection = self._inspection(client, report, read())
            async with self._admitted(report):
                return await inspection.verify(report, checks)

    async def list_models(self, client: Client, report: CallReport, read: Callable[[], Target]) -> tuple[Model, ...]:
        """What an endpoint offers.

        Raises:
            CallerError: it cannot be asked.
        """
        with _Observed(client, report, self._observers):
            inspection = self._inspection(client, report, read())
            async with self._admitted(report):
                return await inspection.list_models(report)

    def providers(self) -> tuple[Provider, ...]:
        """The providers that are known by name."""
        return self._registry.rows()

    async def prewarm(self, client: Client, report: CallReport, read: Callable[[], Wanted]) -> tuple[Warmth, ...]:
        """Have connections ready for later calls; how each of the targets stands.

        Raises:
            CallerError: the request as a whole cannot be read.
        """
        with _Observed(client, report, self._observers):
            wanted = read()
            own = (self.warm(report.client, target, wanted.connections) for target in wanted.targets)
            beside = (self.warm(report.client, target) for target in wanted.beside)
            found = await asyncio.gather(*own, *beside)
            return tuple(found[: len(wanted.targets)])

    async def warm(self, client: str, target: Target | CallerError, connections: int = 1) -> Warmth:
        """Have connections ready for a target's calls by `client`; no call of its own for observers. Raises nothing."""
        if isinstance(target, CallerError):
            return Warmth(error=target)
        return await self._prewarming.warm(client, target, connections)

    async def close(self) -> None:
        """End what goes on in the background; no call runs any more."""
        await self._prewarming.close()

    def require(self, provider: str, report: CallReport | None = None) -> None:
        """Refuse a provider that nothing answers to; `report` notes who was asked for. The first thing that a `read`
        does.

        Raises:
            UnknownProvider: there is no caller for it.
        """
        if report is not None:
            report.provider = clipped(provider.lower(), MAX_PROVIDER)
        self._registry.resolve(provider)

    def check(self, target: Target) -> None:
        """Refuse a target whose provider is unknown or whose credential is malformed. Pure.

        Raises:
            ClientError: what is wrong with it.
        """
        self._registry.resolve(target.provider).inspect(target)

    def check_fallback(self, target: Target) -> None:
        """Refuse a target whose provider is unknown, or whose credential or parameters are malformed. Pure.

        Raises:
            ClientError: what is wrong with it.
        """
        self._registry.resolve(target.provider).destination(target)

    def _inspection(self, client: Client, report: CallReport, target: Target) -> Inspection:
        target = self._begin(client, report, target)
        inspection = self._registry.resolve(target.provider).inspect(target)
        report.api, report.endpoint = inspection.api, inspection.endpoint
        return inspection

    def _begin(self, client: Client, report: CallReport, target: Target) -> Target:
        """The target with its total time bounded by the client's own deadline."""
        left = client.time_left()
        if left is not None:
            until_deadline = asyncio.get_running_loop().time() - report.started + left
            if until_deadline < target.timeouts.total:
                timeouts = replace(target.timeouts, total=until_deadline, total_is_deadline=True)
                target = replace(target, timeouts=timeouts)
        client.deadline = report.deadline = report.started + target.timeouts.total
        return target

    def slot(self, client: str, endpoint: str, within: float | None) -> AbstractAsyncContextManager[None]:
        """A slot among the running calls for one that is answered elsewhere; `within` bounds the wait, in seconds.

        Raises:
            ServiceOverloaded: on entering: there is none.
        """
        return self._admission.admit(client, endpoint, within)

    def _admitted(self, report: CallReport) -> AbstractAsyncContextManager[None]:
        """A slot among the running calls; waiting for one takes from the call's total time."""
        within = None if report.deadline is None else report.deadline - report.started
        return self.slot(report.client, report.endpoint, within)


class _Observed(AttemptObserver):
    """The one start and the one end of a call: a context manager around all that it does."""

    __slots__ = ("_client", "_observers", "_report")

    def __init__(self, client: Client, report: CallReport, observers: Listening) -> None:
        self._client = client
        self._report = report
        self._observers = observers

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        for attempt in self._observers.attempt:
            attempt(report, error)

    def first_output(self, report: CallReport) -> None:
        report.first_overhead = report.own_time()
        for first_output in self._observers.first_output:
            first_output(report)

    def __enter__(self) -> Self:
        for started in self._observers.started:
            started(self._report)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        report = self._report
        if isinstance(error, asyncio.CancelledError):
            error = self._client.interruption() or error
        report.outcome, report.status, report.reason, report.fault = _ending(error, self._client)
        report.overhead = report.own_time()
        report.ended = asyncio.get_running_loop().time()
        if report.outcome is not Outcome.COMPLETED:
            report.mark_usage_partial()
        for ended in self._observers.ended:
            try:
                ended(report, error)
            except Exception:  # noqa: BLE001, S112 -- a log that fails changes no answer
                continue


def _ending(error: BaseException | None, client: Client) -> tuple[Outcome, str, str, str]:
    """Outcome, status, reason and fault of a call that ended so."""
    if error is None:
        return Outcome.COMPLETED, "OK", "", ""
    if isinstance(error, asyncio.CancelledError | ClientGoneError):
        left = client.time_left()
        if left is None or left > _NEAR_DEADLINE:
            return Outcome.CANCELLED, "CANCELLED", "", ""
        code, reason = reason_of(ClientTimeout(""))  # what its own timer has told it
        return Outcome.CANCELLED, code.name, reason, ClientTimeout.fault.value
    known = error if isinstance(error, CallerError) else InternalError("")
    code, reason = reason_of(known)
    return Outcome.FAILED, code.name, reason, known.fault.value
