"""Whom to call, and what is asked: the two halves of a call, as they came. Frozen values, provider-neutral.

A `Target` says where and how; an `Ask` says what. One ask may be made of several targets. Nothing in them is validated
yet: that is `Caller.prepare`'s.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from caller.credentials import PATH
from caller.errors import CallerError
from caller.json_types import JsonValue
from caller.messages import Message, ToolDefinition
from caller.printing import PartlyPrinted

# How many targets a call may have beside its own.
MAX_FALLBACKS = 4


class Timeouts(msgspec.Struct, frozen=True):
    """How long to wait, in seconds. Output is text, reasoning, a refusal or a tool call.

    `total_is_deadline`: the total is what the client's own deadline leaves.
    """

    connect: float
    first_output: float
    between_outputs: float
    total: float
    total_is_deadline: bool = False


class Target(PartlyPrinted, msgspec.Struct, frozen=True):
    """One endpoint and how it is called.

    `provider` is the provider's id in the registry; `max_attempts` counts HTTP requests, from 1; `label` is the
    client's name for it. For violations: `credential_path` is where the credential stands in the request, and
    `typed_parameters` are the names of parameters that were given as fields, not in the Struct.
    """

    HIDDEN = frozenset({"credential", "parameters"})

    provider: str
    credential: Mapping[str, JsonValue]
    timeouts: Timeouts
    parameters: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)
    max_attempts: int = 1
    label: str = ""
    credential_path: str = PATH
    typed_parameters: frozenset[str] = frozenset()


class Unusable(msgspec.Struct, frozen=True):
    """A fallback that is passed over: `error` says why it cannot be asked."""

    error: CallerError
    label: str = ""


class Fallbacks(msgspec.Struct, frozen=True):
    """Whom to ask beside the first target of a call, in this order: after a failure before the first output, and where
    there was no first output for `hedge_after` seconds, or for the time that `hedge_percentile` of the target's own
    recent first outputs took. None: only after a failure.

    Each of `targets` gives one when it is called: most calls need none. All were found well-formed before; one that is
    not any more, since what it names has changed, raises `ClientError`."""

    targets: tuple[Callable[[], Target | Unusable], ...]
    hedge_after: float | None = None
    hedge_percentile: int | None = None


class Ask(PartlyPrinted, msgspec.Struct, frozen=True):
    """What is asked of a model. `labels` are for logs and traces only. `returns_state`: the provider's state of an
    answer can come back with the next ask; where it cannot, none is asked for."""

    HIDDEN = frozenset({"messages", "tools", "labels"})

    messages: tuple[Message, ...]
    tools: Sequence[ToolDefinition] = ()
    parse_think_tags: bool = False
    returns_state: bool = True
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
