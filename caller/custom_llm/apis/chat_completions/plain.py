"""The plain whole answer of Chat Completions, read in one typed decode. No I/O.

Nearly every whole answer is one message of text with its counts and nothing that is unusual in any way. Such a one is
known by the decoder of msgspec itself: a member that is not listed here, a value of another type, a
word that is not usual, and the answer is none of these. Then it is read in full by `decoder`, which alone says what
answers mean; a test holds both to the same events.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from caller.events import Event, Finished, FinishReason, ProviderFields, Started, TextDelta, Usage, UsageReported
from caller.json_types import MAX_COUNT, JsonObject

_Count = Annotated[int, msgspec.Meta(ge=0, lt=MAX_COUNT)]
_Whole = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
_Zero = Annotated[int, msgspec.Meta(ge=0, le=0)] | None
_Empty = Annotated[list[int], msgspec.Meta(max_length=0)]
_USUAL_ENDS: Final = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class _InputDetails(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: _Count
    audio_tokens: _Zero = None


class _OutputDetails(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_tokens: _Count
    audio_tokens: _Zero = None
    accepted_prediction_tokens: _Zero = None
    rejected_prediction_tokens: _Zero = None


class _Usage(msgspec.Struct, forbid_unknown_fields=True):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    role: str | None = None
    refusal: None = None
    annotations: _Empty | None = None
    audio: None = None
    function_call: None = None
    tool_calls: _Empty | None = None
    reasoning: None = None
    reasoning_content: None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    message: _Message
    finish_reason: str
    index: _Count = 0
    logprobs: None = None
    stop_reason: None = None
    token_ids: None = None


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    choices: tuple[_Choice]
    id: str = ""
    object: str = ""
    model: str = ""
    created: _Whole | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    usage: _Usage | None = None
    prompt_logprobs: None = None
    prompt_token_ids: None = None
    kv_transfer_params: None = None


_decode = msgspec.json.Decoder(_Answer).decode


def plain_answer(body: bytes) -> Sequence[Event] | None:
    """The events of an answer that is plain; None for any other."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    (choice,) = answer.choices
    raw = choice.finish_reason
    if raw not in _USUAL_ENDS or answer.object == "error":
        return None
    events: list[Event] = []
    if answer.id or answer.model:
        events += (Started(answer.id, answer.model),)
    beside = _beside(answer)
    if beside:
        events += (ProviderFields(beside),)
    if answer.usage is not None:
        usage = _counted(answer.usage)
        if usage is None:
            return None
        events += (UsageReported(usage),)
    events += (TextDelta(choice.message.content),)
    if choice.message.annotations is not None:
        events += (ProviderFields({"annotations": []}, 0),)
    events += (Finished(_USUAL_ENDS[raw], raw),)
    return events


def _beside(answer: _Answer) -> JsonObject:
    beside: JsonObject = {}
    if answer.created is not None:
        beside["created"] = answer.created
    if answer.system_fingerprint is not None:
        beside["system_fingerprint"] = answer.system_fingerprint
    if answer.service_tier is not None:
        beside["service_tier"] = answer.service_tier
    return beside


def _counted(wire: _Usage) -> Usage | None:
    """Counts that need no explanation: the total is their sum, and what was cached is a part of the input."""
    given, output, into, out_of = (
        wire.prompt_tokens,
        wire.completion_tokens,
        wire.prompt_tokens_details,
        wire.completion_tokens_details,
    )
    cached = None if into is None else into.cached_tokens
    if wire.total_tokens != given + output or not wire.total_tokens or (cached or 0) > given:
        return None
    reasoning = None if out_of is None else out_of.reasoning_tokens
    return Usage(given, output, wire.total_tokens, cached, None, reasoning)
