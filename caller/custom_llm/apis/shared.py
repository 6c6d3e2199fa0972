"""What several API shapes share: reading JSON that endpoints send, and the parts of requests that mean the same.

No I/O. What two adapters need stands here, once; it knows no shape.
"""

import base64
import hashlib
import json
import math
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.parameter_table import merged
from caller.errors import NotSupportedByApi, ProtocolError, RequestInvalid, ResponseTooLarge, Violation
from caller.json_types import JsonObject, JsonValue, deeper_than, object_of, text_of, values_at_most
from caller.messages import AssistantMessage, ContentPart, Message, TextPart, ToolDefinition, ToolMessage, joined_text
from caller.parameters import Parameters
from caller.tools import Translate, translated

_decode = msgspec.json.Decoder().decode
_raw_decode = json.JSONDecoder(strict=False).raw_decode
_MAX_IN_LINE = 64
MAX_DEPTH = 200
_ALPHANUMERIC = string.ascii_letters + string.digits
_EMPTY_SCHEMA = frozenset({"type", "properties", "required", "additionalProperties"})
_SHORT = 9
# The words of `adapted` for what shapes change without being asked.
ARGUMENTS_EMPTIED = "arguments: emptied"
BLANK_TEXT_LEFT_OUT = "blank_text: left_out"
EMPTY_MESSAGE_LEFT_OUT = "empty_message: left_out"
PREFILL_TRIMMED = "prefill: trimmed"
# What gateways make of another stream's comments and pings once they stand in an event of their own.
_SIGNS_OF_LIFE = frozenset(
    {
        *(b"ping", b"pong", b"heartbeat", b"keepalive", b"keep-alive", b"keep_alive", b""),
        *(b"processing", b"openrouter processing", b"end", b"close", b"done", b"stop"),
    }
)
# Of one answer or event. Each costs far more than its bytes; 4,096 tokens with 20 alternatives each are 690,000.
_MAX_VALUES = 1_000_000
NO_ARGUMENTS: JsonObject = {"type": "object", "properties": {}}


def parse(data: bytes) -> JsonValue:
    """JSON as endpoints send it: bad UTF-8 and lone surrogates become U+FFFD instead of losing the answer.

    Raises:
        ValueError: it is not JSON.
        ResponseTooLarge: it holds too many values.
    """
    if len(data) > _MAX_VALUES and values_at_most(data) > _MAX_VALUES:
        raise ResponseTooLarge(f"the endpoint's answer holds more than {_MAX_VALUES} JSON values")
    try:
        value: JsonValue = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = _parse_broken(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # What compares, copies or encodes the value later recurses too.
    if len(data) > 2 * MAX_DEPTH and data.count(b"{") + data.count(b"[") > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    return value


def _finite(text: str) -> float | None:
    """A number too large for a double is as unusable as NaN."""
    value = float(text)
    return value if math.isfinite(value) else None


def _parse_broken(data: bytes) -> JsonValue:
    try:
        loaded = json.loads(
            data.decode("utf-8", "replace"), strict=False, parse_constant=lambda _: None, parse_float=_finite
        )
        text = json.dumps(loaded, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Half of a pair of surrogates is no character: through UTF-16 pairs are joined and halves replaced.
    value: JsonValue = _decode(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    return value


def parse_frame(data: bytes) -> Sequence[JsonObject]:
    """The JSON objects of one event; none for a sign of life. Where joined lines are no JSON, each line is tried: some
    servers (DeepInfra, SambaNova) end events with a single newline.

    Raises:
        ProtocolError: it is not JSON.
    """
    try:
        value = parse(data)
    except ValueError:
        if b"\n" in data:
            return [member for line in data.split(b"\n") if line.strip() for member in parse_frame(line)]
        text = data.strip()
        if text.startswith(b"data:") and b"data:" not in text[5:16]:  # a gateway prefixed each line again
            return parse_frame(text[5:])
        several = _several(text)
        if several:
            return several
        if text.startswith(b":") or text.strip(b'[]<>".- ').lower() in _SIGNS_OF_LIFE:
            return ()
        raise ProtocolError.not_json("an event of the endpoint's stream is not JSON", data) from None
    if isinstance(value, list):
        return [member for member in value if isinstance(member, dict)]
    return [value] if isinstance(value, dict) else []


def _several(text: bytes) -> list[JsonObject]:
    """The objects that stand one behind the other in a line (a gateway lost the lines between); none for other text."""
    if not text.startswith(b"{") or b"}" not in text[:-1]:
        return []
    rest, objects = text.decode("utf-8", "replace"), list[JsonObject]()
    try:
        while rest:
            _, end = _raw_decode(rest)
            objects.append(object_of(parse(rest[:end].encode("utf-8", "replace"))))
            rest = rest[end:].lstrip()
            if len(objects) > _MAX_IN_LINE:
                return []
    except (ValueError, RecursionError):
        return []
    return objects


def parse_document(body: bytes) -> JsonObject:
    """A whole JSON answer; one wrapped in a list of one is unwrapped.

    Raises:
        ProtocolError: it is not a JSON object.
    """
    try:
        value = parse(body)
    except ValueError:
        value = None
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        raise ProtocolError.not_json("the endpoint's answer is not a JSON object", body)
    return value


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
    names = {name.lower() for name in given}
    return {name: value for name, value in ours.items() if name.lower() not in names} | dict(given)


class ToolChoiceKind(Enum):
    """What `tool_choice` asks for."""

    AUTO = "auto"
    REQUIRED = "required"
    NONE = "none"
    NAMED = "named"
    OTHER = "other"  # an object of the endpoint's own, sent as it is


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`tool_choice` read once for all shapes: `name` with NAMED, `value` with OTHER."""

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
        return ToolChoice(ToolChoiceKind.OTHER, value=value)
    words = {kind.value: kind for kind in (ToolChoiceKind.AUTO, ToolChoiceKind.REQUIRED, ToolChoiceKind.NONE)}
    if value not in words:
        path = parameters.path("tool_choice")
        advice = "must be auto, required, none, or an object that names a function"
        raise RequestInvalid(f"{path}: {advice}", violations=[Violation(path, advice)])
    return ToolChoice(words[str(value)])


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
