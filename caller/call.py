"""What callers are, what they answer, and the record of a call. Provider-neutral: no wire format, no gRPC."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from enum import Enum
from time import monotonic
from typing import Protocol

import msgspec

from caller.errors import CallerError
from caller.events import Event, FinishReason, TokenLogprob, Usage, UsageSource
from caller.json_types import JsonObject
from caller.messages import AssistantMessage
from caller.printing import PartlyPrinted
from caller.target import Ask, Target
from caller.verification import Model, Verification
from caller.warming import Warming

# How much of a provider's id and of a model's name a record keeps: clients make them up.
MAX_PROVIDER = 64
MAX_MODEL = 128


class Choice(msgspec.Struct, frozen=True):
    """One answer of the model."""

    index: int
    message: AssistantMessage
    finish_reason: FinishReason
    raw_finish_reason: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    provider_fields: JsonObject = msgspec.field(default_factory=dict)


class Completion(msgspec.Struct, frozen=True):
    """One whole answer: the fold of its events."""

    response_id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    provider_fields: JsonObject = msgspec.field(default_factory=dict)


class Outcome(Enum):
    """How a call stands, or ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"  # its client gave it up, or is gone


class Waits(msgspec.Struct):
    """`seconds` in which nothing could be done for a call but to wait for its endpoint or its client."""

    seconds: float = 0.0


class Passed(Enum):
    """Why an attempt gave no answer although nothing failed."""

    RACE_LOST = "RACE_LOST"  # closed, since another target had the first output
    BREAKER_OPEN = "BREAKER_OPEN"  # not asked, since its endpoint failed too often of late


class AttemptMade(msgspec.Struct, frozen=True):
    """One attempt that ended, or a target that was passed over. `reason` is what it failed with, None for the one that
    answered; `started` and `first_output` are `loop.time()` in seconds."""

    target: int
    label: str
    endpoint: str
    reason: type[CallerError] | Passed | None
    started: float
    first_output: float | None = None
    usage: Usage | None = None


class Trace(Protocol):
    """The trace that a call belongs to, as far as attempts must know it."""

    @property
    def trace_id(self) -> str:
        """Its id, in hex."""
        ...

    def begin_attempt(self, report: "CallReport", redactor: Callable[[str], str]) -> Mapping[str, str]:
        """A request of the call is about to be sent; returns the headers that carry the trace to its endpoint.

        `report` is the record that its end is read from; `redactor` takes the credential's secrets out of a text.
        """
        ...

    def attempt_lost(self, report: "CallReport") -> None:
        """An attempt is given up: another target had the first output."""
        ...

    def answered(self, completion: Completion) -> None:
        """The attempt that ended last gave this answer."""
        ...


class Content(Protocol):
    """Keeps what is said in a call, where that is asked for; it bounds itself."""

    def asked(self, ask: Ask) -> None:
        """What the client asks; nothing of it stays after this."""
        ...

    def answering(self, completion: Callable[[], Completion]) -> None:
        """`completion` gives the answer as far as it has come, until the call has ended."""
        ...


class CallReport(PartlyPrinted, msgspec.Struct):
    """The one record of a call: whose it is, where it went, and how it ended. Filled in while it runs.

    Attributes:
        started: when it began; this and the other times are `loop.time()` in seconds.
        service: the gRPC service's full name.
        method: the RPC's bare name.
        request_id: the id that its client knows it by.
        client: who calls us; empty when nobody said.
        provider: the provider's id, as it was asked for.
        labels: the client's own, for logs and traces.
        metadata: gives what stood before its request, if anything did; it holds secrets.
        trace: the trace that it belongs to; None where calls are not traced.
        content: keeps what is said; None where that is not asked for.
        api: the API shape; empty until the credential was read.
        endpoint: host and port that are called.
        model: the model that is asked, as the request names it.
        url: what is called, without its query.
        deadline: the end of its total time; None until it was prepared.
        target: the number of the target that is asked, or that answered: 0 is the call's own, 1 the first fallback.
        label: that target's label.
        asked: when that target was first asked; None: when the call began, since there is no other.
        attempts: HTTP requests begun, to all targets.
        made: the attempts that ended, as they ended; none is noted of a call whose first request is answered, unless it
            has fallbacks.
        first_output: when the first output came; None for none, and for whole answers.
        outputs: network reads that brought output of a stream.
        frames: messages of the answer that were made for the client, those of errors apart.
        sent_bytes: their size, encoded.
        usage: what the endpoint has reported so far; None for nothing. PARTIAL once the call ended early.
        endpoint_request_id: the endpoint's own id of the last attempt.
        rate_limits: the rate-limit headers of the last attempt.
        left_out: the optional fields that were not sent, since the endpoint is known to refuse them.
        adapted: what was changed in the request for the endpoint.
        began: when it began, in `time.monotonic()`: `loop.time()` may be rounded to milliseconds.
        waits: what was waited for the endpoint and the client, so far.
        large: what it asks or answers is so large that working on it takes turns with others, see `heavy`.
        first_overhead: `overhead` as it was when the first output had left; None for none.
        last_overhead: the same when the last output had left.
        ended: when it ended; None while it runs.
        outcome: how it ended.
        status: the name of the gRPC status that it means; empty while it runs.
        reason: the word of the error that it failed with; empty for none.
        fault: who must act on that error; empty for none.
        overhead: seconds from `began` to its end that were not waited; None while it runs.
    """

    HIDDEN = frozenset({"labels", "metadata", "trace", "content"})

    started: float
    service: str = ""
    method: str = ""
    request_id: str = ""
    client: str = ""
    provider: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    metadata: Callable[[], Iterable[tuple[str, str | bytes]] | None] | None = None
    trace: Trace | None = None
    content: Content | None = None
    api: str = ""
    endpoint: str = ""
    model: str = ""
    url: str = ""
    deadline: float | None = None
    target: int = 0
    label: str = ""
    asked: float | None = None
    attempts: int = 0
    made: list[AttemptMade] = msgspec.field(default_factory=list)
    first_output: float | None = None
    outputs: int = 0
    frames: int = 0
    sent_bytes: int = 0
    usage: Usage | None = None
    endpoint_request_id: str = ""
    rate_limits: dict[str, str] = msgspec.field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    began: float = msgspec.field(default_factory=monotonic)
    waits: Waits = msgspec.field(default_factory=Waits)
    large: bool = False
    first_overhead: float | None = None
    last_overhead: float | None = None
    ended: float | None = None
    outcome: Outcome = Outcome.RUNNING
    status: str = ""
    reason: str = ""
    fault: str = ""
    overhead: float | None = None

    def own_time(self) -> float:
        """Seconds up to now that were not waited for the endpoint or the client."""
        return monotonic() - self.began - self.waits.seconds

    def count_frame(self, size: int) -> None:
        """A message of the answer, of so many bytes, is made."""
        self.frames += 1
        self.sent_bytes += size

    def note_attempt(self, started: float, reason: type[CallerError] | Passed | None) -> None:
        """An attempt ended that began at `started`."""
        made = AttemptMade(self.target, self.label, self.endpoint, reason, started, self.first_output, self.usage)
        self.made.append(made)

    def adopt(self, target: "CallReport", attempts: int) -> None:
        """What is known of the call is what is known of one of its targets now; `attempts` are those of all."""
        self.attempts = attempts
        self.target, self.label, self.asked = target.target, target.label, target.asked
        self.provider = target.provider
        self.api, self.endpoint, self.model, self.url = target.api, target.endpoint, target.model, target.url
        self.first_output, self.outputs, self.usage = target.first_output, target.outputs, target.usage
        self.endpoint_request_id, self.rate_limits = target.endpoint_request_id, target.rate_limits
        self.left_out, self.adapted, self.waits = target.left_out, target.adapted, target.waits
        self.large = self.large or target.large

    def mark_usage_partial(self) -> None:
        """The answer will not come to its end: what was counted is not all."""
        if self.usage is not None:
            self.usage = msgspec.structs.replace(self.usage, source=UsageSource.PARTIAL)


class Destination(msgspec.Struct, frozen=True):
    """Where a target leads to. `digest` makes its key: most calls do without."""

    endpoint: str
    model: str
    digest: Callable[[], bytes]

    @property
    def key(self) -> bytes:
        """The digest of endpoint, model and credential."""
        return self.digest()


class Prepared(Protocol):
    """A call that was found good, ready to be sent to one endpoint. Nothing of it has waited, or left, yet."""

    @property
    def target(self) -> Target:
        """Whom it calls."""
        ...

    @property
    def api(self) -> str:
        """The API shape."""
        ...

    @property
    def endpoint(self) -> str:
        """Host and port that it calls: the key to count by."""
        ...

    @property
    def model(self) -> str:
        """The model that it asks, as the request names it; empty for none."""
        ...

    @property
    def destination(self) -> Destination:
        """Where it leads to."""
        ...

    def first_output_due(self, report: CallReport) -> float:
        """When the first output must be there, all attempts together, in `loop.time()`: no attempt begins after it."""
        ...

    def attempt(self, report: CallReport) -> AsyncGenerator[Sequence[Event], None]:
        """One attempt: the answer as it comes, one batch of events per network read; a whole answer is one batch.

        Nothing comes before the first output or the good end. Whoever iterates closes it; one attempt at a time.

        Raises:
            CallerError: and nothing else, but for cancellation.
        """
        ...

    def amended(self, error: CallerError) -> bool:
        """Whether the request was changed after the failed attempt so that a further one may work where it did not:
        a bounded number of times."""
        ...

    def answered(self) -> None:
        """An answer began, and no further attempt comes: keep what was learned, let go of what only one needs."""
        ...

    def continued(self) -> None:
        """The current task reads the rest of the answer, whose beginning another task has read."""
        ...


class Inspection(Protocol):
    """A credential that was found well-formed, ready to be tried."""

    @property
    def api(self) -> str:
        """The API shape."""
        ...

    @property
    def endpoint(self) -> str:
        """Host and port that it calls: the key to count by."""
        ...

    async def verify(self, report: CallReport, checks: frozenset[str] = frozenset()) -> Verification:
        """Whether the credential is usable; with a model among the target's parameters one small chat is tried.
        `checks` are the ids of further checks to make, or `all`.

        Raises:
            ClientError: an id is unknown.
        """
        ...

    async def list_models(self, report: CallReport) -> tuple[Model, ...]:
        """What the endpoint offers.

        Raises:
            CallerError: it cannot be asked.
        """
        ...


class Caller(Protocol):
    """Calls one provider, in two phases: the methods are pure, and refuse what cannot work before anything waits."""

    def destination(self, target: Target) -> Destination:
        """Where a target leads to; nothing is made ready for it.

        Raises:
            ClientError: its credential or its parameters are malformed.
        """
        ...

    def prepare(self, target: Target, ask: Ask, *, stream: bool) -> Prepared:
        """The call, ready to be sent; `stream` asks for the answer as it comes.

        Raises:
            ClientError: what is wrong with it.
        """
        ...

    def inspect(self, target: Target) -> Inspection:
        """The target's credential, ready to be tried.

        Raises:
            ClientError: what is wrong with it.
        """
        ...

    def warming(self, target: Target) -> Warming:
        """The target's connections, ready to be opened ahead; its parameters are not read.

        Raises:
            ClientError: what is wrong with it.
        """
        ...
