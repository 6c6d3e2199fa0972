"""Gemini's names in the spelling of its protocol buffers, as imitations send them that dump the Python SDK's objects.

Pure. Proto3's JSON takes both spellings; what a tool's arguments are called is nobody's to change.
"""

from typing import Final

from caller.json_types import JsonObject, JsonValue

# Names that are there in answers of the other spelling, and in no others.
PROTO_NAMES: Final = frozenset(
    {
        *("usage_metadata", "model_version", "response_id", "prompt_feedback"),
        *("finish_reason", "finish_message", "safety_ratings", "logprobs_result"),
        *("function_call", "inline_data", "thought_signature", "executable_code", "code_execution_result"),
    }
)
_CONTENT: Final = frozenset({"args", "response"})


def camel_case(value: JsonValue) -> JsonValue:
    """The same with `finish_reason` as `finishReason`."""
    if isinstance(value, list):
        return [camel_case(member) for member in value]
    if not isinstance(value, dict):
        return value
    return {_camel(key): member if key in _CONTENT else camel_case(member) for key, member in value.items()}


def camel_keys(wire: JsonObject) -> JsonObject:
    """An object in that spelling, its members' objects included."""
    return {_camel(key): camel_case(member) for key, member in wire.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join([word[:1].upper() + word[1:] for word in rest]) if first else name
