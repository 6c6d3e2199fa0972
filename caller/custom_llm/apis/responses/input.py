"""A conversation as the input items of a Responses request. No I/O; it knows messages, not parameters.

What a message carries becomes one item or several: a tool call and a tool's answer are items of their own. A message
whose native items are known (provider state) is replayed with exactly those, in their order: a `reasoning` item that
is not followed by the item it produced is refused by OpenAI.

Source of the wire facts: OpenAI's API reference and SDK types; deviations name the server.
"""

from collections.abc import Sequence
from typing import assert_never

from caller.credentials import ApiCompatibility
from caller.custom_llm.apis.shared import arguments_json, data_url, part_field, plain_text, unsupported
from caller.custom_llm.request_body import merged
from caller.json_types import JsonObject, JsonValue, list_of, objects_of, text_of
from caller.messages import (
    AssistantMessage,
    AudioPart,
    ContentPart,
    DeveloperMessage,
    FilePart,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from caller.provider_state import unseal

STATE_SHAPE = ApiCompatibility.OPENAI_RESPONSES.value


def input_items(messages: Sequence[Message], adapted: set[str], *, without_reasoning: bool = False) -> list[JsonObject]:
    """The input items of a conversation. `adapted` names what was changed; `without_reasoning`: the endpoint cannot
    read the reasoning of earlier turns any more.

    Raises:
        NotSupportedByApi: a sound; Responses has no part for it.
    """
    items: list[JsonObject] = []
    custom: set[str] = set()
    for number, message in enumerate(messages):
        match message:
            case SystemMessage():
                items.append(merged({"role": "system", "content": message.text}, message.options))
            case DeveloperMessage():
                items.append(merged({"role": "developer", "content": message.text}, message.options))
            case UserMessage():
                content = _content(number, "user", message.content)
                items.append(merged({"role": "user", "content": content}, message.options))
            case AssistantMessage():
                said = _assistant(number, message, adapted, without_reasoning=without_reasoning)
                custom |= {text_of(item.get("call_id")) for item in said if item.get("type") == "custom_tool_call"}
                items += said
            case ToolMessage():
                items.append(_tool_result(number, message, custom))
            case _:
                assert_never(message)
    return items


def replays_encrypted(items: Sequence[JsonObject]) -> bool:
    """True when encrypted reasoning goes back: its model is one that can give more of it."""
    return any(item.get("type") == "reasoning" and item.get("encrypted_content") for item in items)


def _assistant(
    number: int, message: AssistantMessage, adapted: set[str], *, without_reasoning: bool
) -> list[JsonObject]:
    state = unseal(STATE_SHAPE, message) or {}
    items = objects_of(state.get("output"))
    if without_reasoning and any(item.get("type") == "reasoning" for item in items):
        adapted.add("encrypted_reasoning: left_out")
        items = [_by_itself(number, item) for item in items if item.get("type") != "reasoning"]
    items = items or _rebuilt(number, message, adapted)
    if message.options and items:
        spoken = next((item for item in items if item.get("type") == "message"), items[0])
        merged(spoken, message.options)
    return items


def _by_itself(number: int, item: JsonObject) -> JsonObject:
    """An item whose id would lead the endpoint to the reasoning that produced it (OpenAI: 400 without that)."""
    if item.get("type") == "message":
        return {**item, "id": f"msg_{number}"}
    return {name: value for name, value in item.items() if name != "id"} if "call_id" in item else item


def _rebuilt(number: int, message: AssistantMessage, adapted: set[str]) -> list[JsonObject]:
    """The items of a message whose native ones are not known.

    `id`, `status` and `annotations` say nothing, but strict readers of OpenAI's types (vLLM) refuse an output message
    without them. llama.cpp wants `type`.
    """
    content: list[JsonValue] = []
    if message.text or not (message.refusal or message.tool_calls):
        content.append({"type": "output_text", "text": message.text, "annotations": []})
    if message.refusal:
        content.append({"type": "refusal", "refusal": message.refusal})
    items: list[JsonObject] = []
    if content:
        items.append(
            {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": content}
        )
    items += [
        {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments_json(call.arguments, adapted),
        }
        for call in message.tool_calls
    ]
    return items


def _tool_result(number: int, message: ToolMessage, custom: set[str]) -> JsonObject:
    output = _content(number, "tool", message.content)
    if message.is_error:  # there is no field for failure: the model has to read it
        if isinstance(output, str):
            output = f"Error: {output}"
        else:
            output = [{"type": "input_text", "text": "Error: "}, *list_of(output)]
    # The answer to a custom tool's call is an item of another type.
    kind = "custom_tool_call_output" if message.tool_call_id in custom else "function_call_output"
    return merged({"type": kind, "call_id": message.tool_call_id, "output": output}, message.options)


def _content(number: int, role: str, content: tuple[ContentPart, ...]) -> JsonValue:
    """One string when all is text: partial servers read a string everywhere, lists only in some."""
    plain = plain_text(content)
    if plain is not None:
        return plain
    return [merged(_part(part_field(number, role, at), part), part.options) for at, part in enumerate(content)]


def _part(path: str, part: ContentPart) -> JsonObject:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            url = part.url or data_url(part.media_type, part.data)
            # `detail` is not optional in OpenAI's types; "auto" is what leaving it out means.
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case AudioPart():
            raise unsupported(f"{path}.audio", "openai_responses carries no audio; use openai_chat_completions")
        case FilePart():
            return _file(part)
        case _:
            assert_never(part)


def _file(part: FilePart) -> JsonObject:
    wire: JsonObject = {"type": "input_file"}
    if part.file_id:
        wire["file_id"] = part.file_id
        return wire
    if part.url and not part.url.startswith("data:"):
        wire["file_url"] = part.url
        return wire
    wire["file_data"] = part.url or data_url(part.media_type, part.data)
    if part.filename:
        wire["filename"] = part.filename
    return wire
