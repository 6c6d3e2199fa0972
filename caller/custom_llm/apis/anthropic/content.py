"""A conversation as Anthropic's `system` and `messages`. No I/O; it knows nothing of parameters and tools.

Where the conversation of `caller.messages` is freer than the API, the API's form wins:

* System and developer messages go on top as `system`, in their order, those that stand later in the conversation too:
  a system role among `messages` is younger than most models and servers.
* Neighbours of one role become one message, and all tool results of a turn come first in it (Anthropic docs).
* Empty texts, and messages that are empty without them, are left out: the API refuses them. Of an assistant that also
  goes for text that is only white space, which models like to write before a tool call.
* A last assistant message stays: the answer continues it (prefill).
* An assistant message with unchanged state is sent as the native blocks it consisted of. Reasoning without state is
  not sent: the API wants its signature.

Source of the wire facts: Anthropic's API reference and SDK; deviations name the server.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from caller.credentials import ApiCompatibility
from caller.custom_llm.apis.shared import arguments_object, data_url, part_field, split_data_url, unsupported
from caller.custom_llm.parameter_table import merged
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

API = ApiCompatibility.ANTHROPIC_MESSAGES.value
STATE_SHAPE = API
# Ids that other APIs give (`functions.weather:0`) are refused by this one.
_ILLEGAL_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_PDF = "application/pdf"


@dataclass(slots=True)
class _Turn:
    role: str
    blocks: list[JsonObject]
    options: JsonObject = field(default_factory=dict)

    def wire(self) -> JsonObject:
        results_first = sorted(self.blocks, key=lambda block: block.get("type") != "tool_result")
        return merged({"role": self.role, "content": _content(results_first)}, self.options)


def system_of(messages: Sequence[Message]) -> JsonValue:
    """`system`: a string for one plain text, else text blocks; None without any rules."""
    blocks = [
        merged({"type": "text", "text": message.text}, message.options)
        for message in messages
        if isinstance(message, SystemMessage | DeveloperMessage) and message.text
    ]
    return _content(blocks) if blocks else None


def messages_of(messages: Sequence[Message]) -> list[JsonValue]:
    """`messages`: turns of user and assistant that alternate.

    Raises:
        NotSupportedByApi: a part that the API cannot carry, or nothing is left to send.
    """
    replays = {number: _replay(message) for number, message in enumerate(messages)}
    native_ids = frozenset(text_of(block.get("id")) for blocks in replays.values() for block in blocks)
    turns: list[_Turn] = []
    for number, message in enumerate(messages):
        blocks = replays[number] or _blocks(number, message, native_ids)
        if not blocks:
            continue
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        if not turns or turns[-1].role != role:
            turns.append(_Turn(role, []))
        turns[-1].blocks += blocks
        if not isinstance(message, ToolMessage):
            merged(turns[-1].options, message.options)
    if not turns:
        raise unsupported("messages", f"{API} needs a user or assistant message that is not empty")
    return [turn.wire() for turn in turns]


def _replay(message: Message) -> list[JsonObject]:
    """The native blocks of an assistant message that is unchanged, else nothing."""
    if not isinstance(message, AssistantMessage):
        return []
    state = unseal(STATE_SHAPE, message) or {}
    return [block for block in objects_of(state.get("content")) if not _is_blank(block)]


def _is_blank(block: JsonObject) -> bool:
    return block.get("type") == "text" and not text_of(block.get("text")).strip()


def _blocks(number: int, message: Message, native_ids: frozenset[str]) -> list[JsonObject]:
    match message:
        case SystemMessage() | DeveloperMessage():
            return []
        case UserMessage():
            return _parts(number, "user", message.content)
        case AssistantMessage():
            return _assistant(message, native_ids)
        case ToolMessage():
            return [_tool_result(number, message, native_ids)]
        case _:
            assert_never(message)


def _assistant(message: AssistantMessage, native_ids: frozenset[str]) -> list[JsonObject]:
    """Text, a refusal as text (there is no block for it), and tool calls."""
    said: list[JsonObject] = [
        {"type": "text", "text": text} for text in (message.text, message.refusal) if text.strip()
    ]
    return said + [
        {
            "type": "tool_use",
            "id": _wire_id(call.id, native_ids),
            "name": call.name,
            "input": arguments_object(call.arguments),
        }
        for call in message.tool_calls
    ]


def _tool_result(number: int, message: ToolMessage, native_ids: frozenset[str]) -> JsonObject:
    wire: JsonObject = {"type": "tool_result", "tool_use_id": _wire_id(message.tool_call_id, native_ids)}
    blocks = _parts(number, "tool", message.content)
    if blocks:
        wire["content"] = _content(blocks)
    if message.is_error:
        wire["is_error"] = True
    return merged(wire, message.options)


def _wire_id(call_id: str, native_ids: frozenset[str]) -> str:
    """An id that the API accepts; one that the endpoint itself gave goes back as it came."""
    return call_id if call_id in native_ids else _ILLEGAL_IN_ID.sub("_", call_id)


def _content(blocks: list[JsonObject]) -> JsonValue:
    """One plain text as a string, which every compatible server reads."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return list_of(list(blocks))


def _parts(number: int, role: str, content: tuple[ContentPart, ...]) -> list[JsonObject]:
    return [
        merged(_part(part_field(number, role, at), part), part.options)
        for at, part in enumerate(content)
        if not isinstance(part, TextPart) or part.text
    ]


def _part(path: str, part: ContentPart) -> JsonObject:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            if part.detail not in ("", "auto"):
                raise unsupported(f"{path}.image.detail", f"{API} has no level of detail; leave it out")
            url = part.url or data_url(part.media_type, part.data)
            return {"type": "image", "source": _source(f"{path}.image", url, part.media_type)}
        case AudioPart():
            raise unsupported(f"{path}.audio", f"{API} carries no audio")
        case FilePart():
            return _file(f"{path}.file", part)
        case _:
            assert_never(part)


def _file(path: str, part: FilePart) -> JsonObject:
    """A document, or a picture when its media type says so."""
    picture = part.media_type.startswith("image/")
    if part.file_id:
        source: JsonObject = {"type": "file", "file_id": part.file_id}
    else:
        source = _source(path, part.url or data_url(part.media_type, part.data), part.media_type)
        if not picture:
            source = _document_source(path, source, part)
    wire: JsonObject = {"type": "image" if picture else "document", "source": source}
    if part.filename:
        if picture:
            raise unsupported(f"{path}.filename", f"{API} has no name for a picture; leave it out")
        wire["title"] = part.filename
    return wire


def _source(path: str, url: str, media_type: str) -> JsonObject:
    """Where the bytes are: a URL for the endpoint to read, or the bytes themselves."""
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    split = split_data_url(url)
    if split is None:
        raise unsupported(f"{path}.url", f"{API} carries a data URL only in base64")
    media_type = split[0] or media_type
    if not media_type:
        raise unsupported(f"{path}.media_type", f"{API} has to be told the media type")
    return {"type": "base64", "media_type": media_type, "data": split[1]}


def _document_source(path: str, source: Mapping[str, JsonValue], part: FilePart) -> JsonObject:
    """PDF by URL or bytes, plain text by its characters: the API knows no other documents."""
    media_type = text_of(source.get("media_type")) or part.media_type or _PDF
    if media_type == _PDF:
        return dict(source)
    if not media_type.startswith("text/"):
        raise unsupported(f"{path}.media_type", f"{API} carries PDF, plain text and images, not {media_type}")
    if not part.data:
        raise unsupported(f"{path}.url", f"{API} reads only PDF by URL; send the text as bytes")
    try:
        text = part.data.decode()
    except UnicodeDecodeError:
        raise unsupported(f"{path}.data", f"{API} carries plain text only in UTF-8") from None
    return {"type": "text", "media_type": "text/plain", "data": text}
