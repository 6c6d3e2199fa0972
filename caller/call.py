"""What is asked of a caller, and what it answers. Frozen values, provider-neutral."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from caller.events import Event, FinishReason, TokenLogprob, Usage
from caller.json_types import JsonObject, JsonValue
from caller.messages import AssistantMessage, Message, ToolDefinition


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds. Output is text, reasoning, a refusal or a tool call."""

    connect: float
    first_output: float
    between_outputs: float
    total: float


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One call as it was asked: the credential and the parameters are not validated yet.

    `credential_name` is set when the credential came from the server's own store. `max_attempts` counts HTTP
    requests, from 1.
    """

    request_id: str
    credential: Mapping[str, JsonValue] = field(repr=False)
    messages: tuple[Message, ...] = field(repr=False)
    parameters: Mapping[str, JsonValue] = field(repr=False)
    timeouts: Timeouts
    tools: tuple[ToolDefinition, ...] = ()
    max_attempts: int = 1
    parse_think_tags: bool = False
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer of the model."""

    index: int
    message: AssistantMessage
    finish_reason: FinishReason
    raw_finish_reason: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    provider_fields: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """One whole answer: the fold of its events."""

    response_id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    provider_fields: JsonObject = field(default_factory=dict)


@dataclass(slots=True)
class CallReport:
    """What is known about a call beside its events, filled in while it runs; read by the edge at its end.

    Times are `loop.time()` in seconds. `left_out` names the optional fields that the endpoint is known to refuse,
    `adapted` what was changed in the request for it; `usage` is what it has reported so far, None for nothing.
    """

    started: float
    first_output: float | None = None
    attempts: int = 0
    api: str = ""
    url: str = ""
    endpoint_request_id: str = ""
    rate_limits: dict[str, str] = field(default_factory=dict)
    usage: Usage | None = None
    left_out: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model that an endpoint offers."""

    id: str
    owned_by: str = ""
    provider_fields: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a credential: `status` is PASS, WARN, FAIL or SKIP, `took` in seconds."""

    id: str
    status: str
    observed: str
    remedy: str = ""
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Verification:
    """What the checks of a credential found. `url` has no query."""

    checks: tuple[Check, ...]
    api: str
    url: str

    @property
    def ok(self) -> bool:
        return not any(check.status == "FAIL" for check in self.checks)


class Caller(Protocol):
    """Speaks to one provider. Every method raises `CallerError` and nothing else, but for cancellation."""

    async def chat(self, call: ChatCall, report: CallReport) -> Completion:
        """One whole answer."""
        ...

    def stream_chat(self, call: ChatCall, report: CallReport) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as it comes: one batch of events per network read. Whoever iterates closes it."""
        ...

    async def verify(self, call: ChatCall, report: CallReport) -> Verification:
        """Whether the credential is usable; with `model.name` among the parameters one small chat is tried."""
        ...

    async def list_models(self, call: ChatCall, report: CallReport) -> tuple[Model, ...]:
        """What the endpoint offers."""
        ...
