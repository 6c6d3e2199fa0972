"""What stands beside the output of a Responses answer: usage, finish reason, other fields, provider state. No I/O.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import Sequence

from caller.custom_llm.apis.finish_words import finish_reason as reason_of
from caller.custom_llm.apis.finish_words import finish_word
from caller.custom_llm.apis.responses.input import STATE_SHAPE
from caller.custom_llm.apis.responses.items import CALL, MESSAGE, OTHER, REASONING, Item, kind_of
from caller.custom_llm.apis.usage import other_usage
from caller.custom_llm.errors.redaction import one_line
from caller.errors import ForeignText, StreamInterrupted
from caller.events import Event, FinishReason, ProviderFields, ProviderState
from caller.json_types import JsonObject, JsonValue, object_of, without

# Structure, what we have fields for, and the request's own parameters, which the endpoint repeats.
_RESPONSE_KEYS = frozenset(
    {
        *("id", "object", "model", "status", "output", "output_text", "usage", "error"),
        *("background", "include", "instructions", "max_output_tokens", "max_tool_calls", "metadata"),
        *("parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention"),
        *("reasoning", "safety_identifier", "store", "stream", "temperature", "text", "tool_choice", "tools"),
        *("top_logprobs", "top_p", "truncation", "user", "frequency_penalty", "presence_penalty"),
    }
)
# LiteLLM repeats the asked model in every event; OpenAI pads events with random text.
_EVENT_KEYS = frozenset({"type", "sequence_number", "response", "model", "obfuscation", "error", "usage"})
_MESSAGE_KEYS = frozenset({"id", "type", "role", "status", "content"})


def finish_reason(status: str, response: JsonObject, *, calls: bool) -> FinishReason:
    """Why the model stopped; `calls`: there are tool calls.

    Raises:
        StreamInterrupted: it did not stop: the answer is not whole, and no reason is given.
        CallerError: the reason means that the answer failed.
    """
    if status in ("completed", ""):
        return FinishReason.TOOL_CALLS if calls else FinishReason.STOP
    details = response.get("incomplete_details")
    word = finish_word(details.get("reason") if isinstance(details, dict) else details)
    if status == "incomplete" and word:
        return reason_of(word)
    raise StreamInterrupted(
        (
            "the endpoint's answer is not finished: it ends with the status \"",
            ForeignText(one_line(status), 100),
            '" and without a reason. Ask for an answer that is given at once (no `background`), and try again.',
        )
    )


def other_fields(response: JsonObject, event: JsonObject, items: Sequence[Item]) -> list[Event]:
    """What the endpoint sent beyond the output: of the whole answer, and of the choice."""
    fields = without(response, _RESPONSE_KEYS) | without(event, _EVENT_KEYS)
    usage = other_usage(object_of(response.get("usage")))
    if usage:
        fields["usage"] = usage
    events: list[Event] = [ProviderFields(fields)] if fields else []
    choice: JsonObject = {}
    lists: dict[str, list[JsonValue]] = {"annotations": [], "content_parts": [], "output_items": []}
    for item in items:
        lists["annotations"] += item.annotations
        lists["content_parts"] += item.parts
        if item.kind == OTHER and item.wire:
            lists["output_items"].append(item.wire)
        elif item.kind == MESSAGE:
            choice |= without(item.wire, _MESSAGE_KEYS)
    for name, members in lists.items():
        if members:
            choice[name] = members
    if choice:
        events.append(ProviderFields(choice, 0))
    return events


def provider_state(items: Sequence[Item], *, stored: bool) -> ProviderState | None:
    """The native items, where a message rebuilt from its fields would be less than them.

    None also where they cannot go back: an item never finished, or reasoning that the endpoint would not know again.
    """
    output: list[JsonValue] = [_native(item) for item in items]
    if not output or not all(item.final and item.wire for item in items) or _plain(items):
        return None
    for number, item in enumerate(items):
        if item.kind == REASONING and not (_known_again(item.wire, stored=stored) and _followed(items[number + 1 :])):
            return None
    return ProviderState(STATE_SHAPE, {"output": output})


def _native(item: Item) -> JsonObject:
    """The item as it came; but a tool's answer must find its call under the id that was given out."""
    if item.kind == CALL and item.wire.get("call_id") != item.call_id:
        return item.wire | {"call_id": item.call_id}
    return item.wire


def _plain(items: Sequence[Item]) -> bool:
    """True for text and then function calls: rebuilt they are the same, and a state would say all of it twice."""
    kinds = [item.wire.get("type") for item in items]
    messages = kinds.count("message")
    if messages > 1 or kinds[messages:] != ["function_call"] * (len(kinds) - messages):
        return False
    return not messages or (kinds[0] == "message" and not without(items[0].wire, _MESSAGE_KEYS) and not items[0].parts)


def _known_again(wire: JsonObject, *, stored: bool) -> bool:
    """Without encrypted content and without text (open models) an item is only an id, which is forgotten unless the
    answer was stored: OpenAI then answers 404."""
    return stored or bool(wire.get("encrypted_content")) or bool(wire.get("content"))


def _followed(rest: Sequence[Item]) -> bool:
    """Reasoning must be followed by the item it produced (OpenAI: 400); an answer cut while thinking has none."""
    return any(kind_of(item.wire) != REASONING for item in rest)
