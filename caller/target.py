"""Whom to call, and what is asked: the two halves of a call, as they came. Frozen values, provider-neutral.

A `Target` says where and how; an `Ask` says what. One ask may be made of several targets. Nothing in them is validated
yet: that is `Caller.prepare`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from caller.credentials import PATH
from caller.errors import CallerError
from caller.json_types import JsonValue
from caller.messages import Message, ToolDefinition

# How many targets a call may have beside its own.
MAX_FALLBACKS = 4


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds. Output is text, reasoning, a refusal or a tool call.

    `total_is_deadline`: the total is what the client's own deadline leaves.
    """

    connect: float
    first_output: float
    between_outputs: float
    total: float
    total_is_deadline: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint and how it is called.

    `provider` is the provider's id in the registry; `max_attempts` counts HTTP requests, from 1; `label` is the
    client's name for it; `credential_path` is where the credential stands in the request, for violations.
    """

    provider: str
    credential: Mapping[str, JsonValue] = field(repr=False)
    timeouts: Timeouts
    parameters: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)
    max_attempts: int = 1
    label: str = ""
    credential_path: str = PATH


@dataclass(frozen=True, slots=True)
class Unusable:
    """A fallback that is passed over: `error` says why it cannot be asked."""

    error: CallerError
    label: str = ""


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """Whom to ask beside the first target of a call, in this order: after a failure before the first output, and where
    there was no first output for `hedge_after` seconds, or for the time that `hedge_percentile` of the target's own
    recent first outputs took. None: only after a failure."""

    targets: tuple[Target | Unusable, ...]
    hedge_after: float | None = None
    hedge_percentile: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a model. `labels` are for logs and traces only. `returns_state`: the provider's state of an
    answer can come back with the next ask; where it cannot, none is asked for."""

    messages: tuple[Message, ...] = field(repr=False)
    tools: Sequence[ToolDefinition] = field(default=(), repr=False)
    parse_think_tags: bool = False
    returns_state: bool = True
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
