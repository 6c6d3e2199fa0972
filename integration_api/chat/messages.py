"""The conversation of a chat request, as domain values. Pure; what is wrong is one violation with its path.

A conversation is read on every turn, and most of its messages are text alone: those are read in the one loop, without
a call for each of their parts. What repeats is sliced before it is iterated: protobuf ends an iteration with an error
whose text it formats, which costs as much as a small message.
"""

from collections.abc import Callable, Mapping, Sequence

from caller.errors import Violation
from caller.json_types import JsonObject, values_at_most
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
    ToolCall,
    ToolMessage,
    UserMessage,
)
from integration_api.chat.fields import need, struct_object
from integration_api.codec.bounds import MAX_MESSAGES, MAX_PARTS, MAX_PIECES, Violations
from integration_api.codec.structs import MAX_VALUES, SHORT_TEXT
from integration_api.v1 import messages_pb2 as msg

_NO_OPTIONS: JsonObject = {}
_NO_TEXT = (TextPart(""),)


def messages_of(wire: Sequence[msg.Message], violations: Violations) -> tuple[Message, ...]:
    """The messages of a request."""
    if not wire:
        violations.append(Violation("messages", "must hold at least one message"))
    if len(wire) > MAX_MESSAGES:
        violations.append(Violation("messages", f"must be at most {MAX_MESSAGES}"))
        return ()
    known = len(violations)
    messages: list[Message] = []
    for number, message in enumerate(wire[:]):
        role = message.WhichOneof("role")
        if role is None:
            advice = "must have a role: system, developer, user, assistant or tool"
            violations.append(Violation(f"messages[{number}]", advice))
            continue
        options = _options(number, message, violations) if message.HasField("provider_options") else _NO_OPTIONS
        messages += (_ROLES[role](number, message, options, violations),)
        if violations.pieces < 0:
            del violations[known:]  # all there is to say
            violations.append(Violation("messages", f"must hold at most {MAX_PIECES} parts and tool calls together"))
            return ()
    return tuple(messages)


def _options(number: int, message: msg.Message, violations: Violations) -> JsonObject:
    return struct_object(f"messages[{number}].provider_options", message.provider_options, violations)


def _system(number: int, wire: msg.Message, options: JsonObject, violations: Violations) -> Message:
    text = wire.system.text
    need(text, f"messages[{number}].system.text", violations)
    return SystemMessage(text, options)


def _developer(number: int, wire: msg.Message, options: JsonObject, violations: Violations) -> Message:
    text = wire.developer.text
    need(text, f"messages[{number}].developer.text", violations)
    return DeveloperMessage(text, options)


def _user(number: int, wire: msg.Message, options: JsonObject, violations: Violations) -> Message:
    content = _content(number, "user", wire.user.content, violations)
    if not content:
        violations.append(Violation(f"messages[{number}].user.content", "must hold at least one part"))
    return UserMessage(content, options)


def _assistant(number: int, wire: msg.Message, options: JsonObject, violations: Violations) -> Message:
    said = wire.assistant
    calls = state = None
    if said.tool_calls:
        calls = _tool_calls(number, said.tool_calls, violations)
    if said.provider_state:
        state = said.provider_state
        if values_at_most(state) > MAX_VALUES:
            path = f"messages[{number}].assistant.provider_state"
            violations.append(Violation(path, f"holds more than {MAX_VALUES} values"))
    return AssistantMessage(said.text, said.refusal, said.reasoning, calls or (), state or b"", options)


def _tool_calls(number: int, wire: Sequence[msg.ToolCall], violations: Violations) -> tuple[ToolCall, ...]:
    violations.pieces -= len(wire)
    if violations.pieces < 0:
        return ()
    calls: list[ToolCall] = []
    for at, call in enumerate(wire[:]):
        name, text = call.name, call.arguments
        if not (call.id and name) or len(text) > SHORT_TEXT:
            path = f"messages[{number}].assistant.tool_calls[{at}]"
            need(call.id, f"{path}.id", violations)
            need(name, f"{path}.name", violations)
            text = violations.json_text(f"{path}.arguments", text)
        calls += (ToolCall(call.id, name, text or "{}"),)
    return tuple(calls)


def _tool(number: int, wire: msg.Message, options: JsonObject, violations: Violations) -> Message:
    answer = wire.tool
    need(answer.tool_call_id, f"messages[{number}].tool.tool_call_id", violations)
    content = _content(number, "tool", answer.content, violations)
    for at, part in enumerate(content):
        if type(part) is TextPart and len(part.text) > SHORT_TEXT:  # Gemini gets it as an object
            violations.json_text(f"messages[{number}].tool.content[{at}].text", part.text)
    return ToolMessage(answer.tool_call_id, answer.name, content or _NO_TEXT, answer.is_error, options)


def _content(
    number: int, role: str, wire: Sequence[msg.ContentPart], violations: Violations
) -> tuple[ContentPart, ...]:
    count = len(wire)
    violations.pieces -= count
    if count > MAX_PARTS:
        violations.append(Violation(f"messages[{number}].{role}.content", f"must hold at most {MAX_PARTS} parts"))
        return ()
    parts: list[ContentPart] = []
    for at, part in enumerate(wire[:]):
        kind = part.WhichOneof("part")
        if kind == "text" and not part.HasField("provider_options"):
            parts += (TextPart(part.text),)
        else:
            made = _part(f"messages[{number}].{role}.content[{at}]", kind, part, violations)
            parts += () if made is None else (made,)
    return tuple(parts)


def _part(path: str, kind: str | None, wire: msg.ContentPart, violations: Violations) -> ContentPart | None:
    given = wire.HasField("provider_options")
    options = struct_object(f"{path}.provider_options", wire.provider_options, violations) if given else {}
    match kind:
        case "text":
            return TextPart(wire.text, options)
        case "image":
            image = wire.image
            if bool(image.url) == bool(image.data):
                violations.append(Violation(f"{path}.image", "must have either a url or data"))
            elif image.data:
                need(image.media_type, f"{path}.image.media_type", violations)
            return ImagePart(image.url, image.data, image.media_type, image.detail, options)
        case "audio":
            need(wire.audio.data, f"{path}.audio.data", violations)
            need(wire.audio.format, f"{path}.audio.format", violations)
            return AudioPart(wire.audio.data, wire.audio.format, options)
        case "file":
            file = wire.file
            if sum(map(bool, (file.url, file.data, file.file_id))) != 1:
                violations.append(Violation(f"{path}.file", "must have exactly one of url, data and file_id"))
            elif file.data:
                need(file.media_type, f"{path}.file.media_type", violations)
            return FilePart(file.url, file.data, file.media_type, file.filename, file.file_id, options)
        case _:
            violations.append(Violation(path, "must be text, image, audio or file"))
            return None


_ROLES: Mapping[str, Callable[[int, msg.Message, JsonObject, Violations], Message]] = {
    "system": _system,
    "developer": _developer,
    "user": _user,
    "assistant": _assistant,
    "tool": _tool,
}
