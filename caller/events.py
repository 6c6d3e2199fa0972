"""What happens while a model answers: a closed union of frozen events, the only language adapters speak upwards.

Events are `msgspec.Struct`s, not dataclasses: one is made per token, and a frozen dataclass costs several times more.
Match them exhaustively (`assert_never`). They know no wire format.
"""

from enum import Enum

import msgspec

from caller.json_types import JsonObject


class FinishReason(Enum):
    """Why a model stopped; the endpoint's own word is kept beside it."""

    __hash__ = object.__hash__  # each is there once; Enum's own is a call of Python's

    UNSPECIFIED = 0
    STOP = 1
    LENGTH = 2
    TOOL_CALLS = 3
    CONTENT_FILTER = 4
    OTHER = 5


class UsageSource(Enum):
    """How far counts can be trusted."""

    __hash__ = object.__hash__  # each is there once; Enum's own is a call of Python's

    REPORTED = 1
    PARTIAL = 2
    UNAVAILABLE = 3


class TopLogprob(msgspec.Struct, frozen=True):
    """One of the likely tokens at a position. `bytes` is empty where the endpoint gives none."""

    token: str
    logprob: float
    bytes: bytes = b""


class TokenLogprob(msgspec.Struct, frozen=True):
    """The natural-log probability of one token."""

    token: str
    logprob: float
    bytes: bytes = b""
    top: tuple[TopLogprob, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """Tokens used; None is "not reported". Input includes what was cached, output includes reasoning."""

    input: int | None = None
    output: int | None = None
    total: int | None = None
    cached_input: int | None = None
    cache_creation_input: int | None = None
    reasoning: int | None = None
    source: UsageSource = UsageSource.REPORTED


class Started(msgspec.Struct, frozen=True):
    """The endpoint named the answer. Can come again: a later non-empty value fills an empty one."""

    response_id: str = ""
    model: str = ""


class TextDelta(msgspec.Struct, frozen=True):
    """More text."""

    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class ReasoningDelta(msgspec.Struct, frozen=True):
    """More reasoning."""

    text: str
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True):
    """More of a refusal."""

    text: str
    choice: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True):
    """More of a tool call. `index` is our own number within the choice; `id` and `name` stand on the first
    fragment only."""

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""
    choice: int = 0


class UsageReported(msgspec.Struct, frozen=True):
    """Counts so far. Each field that is not None replaces the earlier one."""

    usage: Usage


class ProviderFields(msgspec.Struct, frozen=True):
    """What the endpoint sent and we have no field for: of one choice, or of the whole answer (None)."""

    fields: JsonObject
    choice: int | None = None


class ProviderState(msgspec.Struct, frozen=True):
    """The native content that the model must get back unread, in its order; see `caller.provider_state`."""

    shape: str
    content: JsonObject
    choice: int = 0


class Finished(msgspec.Struct, frozen=True):
    """A choice is complete. Can come again for one choice: the last word counts."""

    reason: FinishReason
    raw: str = ""
    choice: int = 0


Event = (
    Started
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallDelta
    | UsageReported
    | ProviderFields
    | ProviderState
    | Finished
)

# Output, as a client sees it: the first of these ends the time to the first output, and retries.
OUTPUT = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)
