"""The conversation, in the one language that every API shape is translated from.

Frozen values. They know no wire format: what a shape cannot carry, its adapter refuses.
"""

from collections.abc import Mapping

import msgspec

from caller.json_types import JsonObject, JsonValue


class TextPart(msgspec.Struct, frozen=True):
    """Plain text. `options` is merged into the part's object on the wire, as in every part."""

    text: str
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


class ImagePart(msgspec.Struct, frozen=True):
    """A picture: a URL (`https:` or `data:`), or bytes with their media type. `detail`: low, high, auto or empty."""

    url: str = ""
    data: bytes = b""
    media_type: str = ""
    detail: str = ""
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


class AudioPart(msgspec.Struct, frozen=True):
    """A sound: bytes and their container (`wav`, `mp3`)."""

    data: bytes
    format: str
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


class FilePart(msgspec.Struct, frozen=True):
    """A document: a URL, bytes with their media type, or the id under which the endpoint holds it."""

    url: str = ""
    data: bytes = b""
    media_type: str = ""
    filename: str = ""
    file_id: str = ""
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


ContentPart = TextPart | ImagePart | AudioPart | FilePart


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model asked for; `arguments` is JSON text as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


class SystemMessage(msgspec.Struct, frozen=True):
    """Rules for the whole conversation. `options` is merged into the message's object on the wire, as in every role."""

    text: str
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


class DeveloperMessage(msgspec.Struct, frozen=True):
    """Rules from the application's developer."""

    text: str
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


class UserMessage(msgspec.Struct, frozen=True):
    """What the person said."""

    content: tuple[ContentPart, ...]
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


class AssistantMessage(msgspec.Struct, frozen=True):
    """What the model said. `provider_state` is opaque, see `caller.provider_state`."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    provider_state: bytes = b""
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


class ToolMessage(msgspec.Struct, frozen=True):
    """What a tool answered to the call `tool_call_id`."""

    tool_call_id: str
    name: str = ""
    content: tuple[ContentPart, ...] = ()
    is_error: bool = False
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class ToolDefinition(msgspec.Struct, frozen=True):
    """A tool. `parameters` is its JSON Schema with the keys in the order written, None for no arguments.

    `hosted` is a tool that the endpoint itself runs, in the words of its own API; all else but options is unset then.
    """

    name: str
    description: str = ""
    parameters: JsonObject | None = None
    strict: bool | None = None
    hosted: JsonObject | None = None
    options: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


def joined_text(content: tuple[ContentPart, ...]) -> str | None:
    """The text of content that is all text, else None."""
    if len(content) == 1 and isinstance(content[0], TextPart):
        return content[0].text
    texts = [part.text for part in content if isinstance(part, TextPart)]
    return "".join(texts) if len(texts) == len(content) else None
