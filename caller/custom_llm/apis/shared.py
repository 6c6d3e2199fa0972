"""What several API shapes share: the parts of requests that mean the same, and the text of tool-call arguments.

No I/O. What two adapters need stands here, once; it knows no shape.
"""

import base64
import hashlib
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis.parsing import parse
from caller.custom_llm.request_body import merged
from caller.errors import NotSupportedByApi, RequestInvalid, Violation
from caller.json_types import JsonObject, JsonValue, object_of, text_of
from caller.messages import AssistantMessage, ContentPart, Message, TextPart, ToolDefinition, ToolMessage, joined_text
from caller.parameters import Parameters
from caller.tools import Translate, translated

_decode = msgspec.json.Decoder().decode
_ALPHANUMERIC = string.ascii_letters + string.digits
_EMPTY_SCHEMA = frozenset({"type", "properties", "required", "additionalProperties"})
_SHORT = 9
# The words of `adapted` for what shapes change without being asked.
ARGUMENTS_EMPTIED = "arguments: emptied"
BLANK_TEXT_LEFT_OUT = "blank_text: left_out"
EMPTY_MESSAGE_LEFT_OUT = "empty_message: left_out"
PREFILL_TRIMMED = "prefill: trimmed"
NO_ARGUMENTS: JsonObject = {"type": "object", "properties": {}}


def json_text(value: JsonValue) -> str:
    """Compact JSON text, keys in their order."""
    return msgspec.json.encode(value).decode()


def arguments_text(value: JsonValue) -> str:
    """Tool-call arguments as text: some servers send an object where a string belongs, null, or PHP's empty list."""
    if isinstance(value, str):
        return value
    return "" if value is None else "{}" if value == [] else json_text(value)


def arguments_object(arguments: str) -> JsonObject:
    """Tool-call arguments as the object that some shapes want; an empty one for text that is none, such as arguments
    that a limit cut: the tool was not called with them, and no endpoint takes them back."""
    try:
        return object_of(parse(arguments.encode()))
    except ValueError:
        return {}


def arguments_json(arguments: str, adapted: set[str]) -> str:
    """Tool-call arguments as JSON text of an object: as they came where they are that, else what `arguments_object`
    makes of them, which `adapted` then names."""
    try:
        value: JsonValue = _decode(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    if isinstance(value, dict):
        return arguments
    if arguments.strip():
        adapted.add(ARGUMENTS_EMPTIED)
    return json_text(arguments_object(arguments))


def says_nothing(schema: JsonValue) -> bool:
    """True for the schema of an object without properties, which says no more than none."""
    if not isinstance(schema, dict) or schema.get("properties") or schema.get("type", "object") != "object":
        return False
    return schema.keys() <= _EMPTY_SCHEMA


def new_call_id() -> str:
    """An id for a tool call that has none: nine letters and digits, the only form that Mistral accepts."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_SHORT))


def short_call_id(call_id: str) -> str:
    """An id of that form for any other: the same for the same, and of two never the same."""
    if len(call_id) == _SHORT and call_id.isascii() and call_id.isalnum():
        return call_id
    number = int.from_bytes(hashlib.blake2b(call_id.encode("utf-8", "replace"), digest_size=16).digest())
    letters: list[str] = []
    for _ in range(_SHORT):
        number, at = divmod(number, len(_ALPHANUMERIC))
        letters.append(_ALPHANUMERIC[at])
    return "".join(letters)


def data_url(media_type: str, data: bytes) -> str:
    """The bytes as a `data:` URL."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def split_data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a `data:` URL, or None for another URL."""
    if not url.startswith("data:"):
        return None
    head, comma, payload = url[5:].partition(",")
    media_type, _, encoding = head.partition(";")
    return (media_type, payload) if comma and encoding.endswith("base64") else None


class OwnChanges(NamedTuple):
    """What an adapter changed by itself, see `HttpRequest`."""

    added: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    adapted: frozenset[str] = frozenset()


NO_CHANGES: Final = OwnChanges()
NO_HEADERS: Final[Mapping[str, str]] = {}
# msgspec allocates half as much again behind what it writes: large bodies are kept without it.
_EXACT: Final = 64 * 1024


def post_json(
    url: str, headers: Mapping[str, str], body: JsonObject, *, stream: bool, changes: OwnChanges = NO_CHANGES
) -> HttpRequest:
    """A POST of JSON. The credential's headers win over ours, in any case of their names."""
    ours = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json" if stream else "application/json",
    }
    raw = msgspec.json.encode(body)
    if len(raw) > _EXACT:
        raw = bytes(memoryview(raw))
    return HttpRequest("POST", url, with_headers(headers, ours), raw, *changes)


def get_json(url: str, headers: Mapping[str, str], ours: Mapping[str, str] = NO_HEADERS) -> HttpRequest:
    """A GET of JSON, with further headers of ours. The credential's headers win, in any case of their names."""
    return HttpRequest("GET", url, with_headers(headers, {"Accept": "application/json", **ours}))


def with_headers(given: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Our headers and the given ones; a given one replaces ours whatever its case."""
    names = set(map(str.lower, given))
    return {name: value for name, value in ours.items() if name.lower() not in names} | dict(given)


class ToolChoiceKind(Enum):
    """What `tool_choice` asks for."""

    AUTO = "auto"
    REQUIRED = "required"
    NONE = "none"
    NAMED = "named"
    OTHER = "other"  # an object of the endpoint's own, sent as it is


_CHOICE_WORDS: Final = {
    kind.value: kind for kind in (ToolChoiceKind.AUTO, ToolChoiceKind.REQUIRED, ToolChoiceKind.NONE)
}
# What an object says that is nothing but such a word: Anthropic's form.
_CHOICE_TYPES: Final = {**_CHOICE_WORDS, "any": ToolChoiceKind.REQUIRED}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`tool_choice` read once for all shapes, in the form of any of them: `name` with NAMED, and `value` as it came."""

    kind: ToolChoiceKind
    name: str = ""
    value: JsonValue = None


def tool_choice_of(parameters: Parameters) -> ToolChoice | None:
    """The choice that was asked for, if any.

    Raises:
        RequestInvalid: a word that is not auto, required or none.
    """
    value = parameters.values.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, dict):
        name = text_of(object_of(value.get("function")).get("name")) or text_of(value.get("name"))
        if value.get("type") in ("function", "tool") and name:
            return ToolChoice(ToolChoiceKind.NAMED, name, value)
        meant = _CHOICE_TYPES.get(text_of(value.get("type"))) if len(value) == 1 else None
        return ToolChoice(meant or ToolChoiceKind.OTHER, value=value)
    if value not in _CHOICE_WORDS:
        path = parameters.path("tool_choice")
        advice = "must be auto, required, none, or an object that names a function"
        raise RequestInvalid(f"{path}: {advice}", violations=[Violation(path, advice)])
    return ToolChoice(_CHOICE_WORDS[str(value)])


@dataclass(frozen=True, slots=True)
class JsonSchemaFormat:
    """The parts of a `response_format` of type `json_schema`."""

    name: str
    schema: JsonObject
    strict: bool | None
    description: str


def json_schema_of(response_format: JsonObject, path: str) -> JsonSchemaFormat | None:
    """The schema of a `response_format`; None for `text` and `json_object`.

    Raises:
        RequestInvalid: a type that is none of the three, or a json_schema without its schema.
    """
    kind = response_format.get("type")
    if kind in ("text", "json_object"):
        return None
    inner = object_of(response_format.get("json_schema")) or response_format
    schema = inner.get("schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        advice = 'must be {"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {…}}'
        raise RequestInvalid(f"{path}: {advice}", violations=[Violation(path, advice)])
    strict = inner.get("strict")
    return JsonSchemaFormat(
        name=text_of(inner.get("name")) or "answer",
        schema=schema,
        strict=strict if isinstance(strict, bool) else None,
        description=text_of(inner.get("description")),
    )


def unsupported(field: str, description: str) -> NotSupportedByApi:
    """The refusal of something that a shape cannot carry."""
    return NotSupportedByApi(f"{field}: {description}", violations=[Violation(field, description)])


def invalid(field: str, description: str) -> RequestInvalid:
    """The refusal of something that is malformed."""
    return RequestInvalid(f"{field}: {description}", violations=[Violation(field, description)])


def part_field(message: int, role: str, part: int) -> str:
    """The path of a content part, for violations."""
    return f"messages[{message}].{role}.content[{part}]"


def plain_text(content: Sequence[ContentPart]) -> str | None:
    """The text of content that is all text without options; None for any other, an empty text for none."""
    plain = [part.text for part in content if isinstance(part, TextPart) and not part.options]
    return "".join(plain) if len(plain) == len(content) else None


def is_blank(part: ContentPart) -> bool:
    """Whether it is a text of nothing but white space, which says nothing and which some APIs refuse."""
    return isinstance(part, TextPart) and not part.text.strip()


def text_only(message: int, role: str, content: tuple[ContentPart, ...], api: str) -> str:
    """The text of content that must be all text.

    Raises:
        NotSupportedByApi: a part is not text.
    """
    text = joined_text(content)
    if text is not None:
        return text
    at = next(number for number, part in enumerate(content) if not isinstance(part, TextPart))
    raise unsupported(part_field(message, role, at), f"{api} carries only text here")


def tools_json(call: ResolvedCall, form: str, translate: Translate) -> JsonValue:
    """The tools of a call in a shape's words, which are `form`: kept ones need no translation, unless the endpoint
    demands a change in tools."""
    return translate(call.tools) if "tool_parameters" in call.demands else translated(call.tools, form, translate)


def hosted(tool: ToolDefinition) -> JsonObject | None:
    """A tool that the endpoint itself runs, as it stands in the shape's list; None for one of the client's."""
    return None if tool.hosted is None else merged(dict(tool.hosted), tool.options)


def names_of_calls(messages: Sequence[Message]) -> Mapping[str, str]:
    """The tool's name for each call id of the conversation: some shapes want it with the result."""
    return {
        call.id: call.name
        for message in messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls
    }


def tool_name(message: ToolMessage, names: Mapping[str, str]) -> str:
    """The name of the tool that answered."""
    return message.name or names.get(message.tool_call_id, "")
