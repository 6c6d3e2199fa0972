"""What a check asks: conversations, tools and parameters. Data, in few words that any model understands."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.json_types import JsonObject, JsonValue
from caller.messages import ImagePart, Message, TextPart, ToolDefinition, ToolMessage, UserMessage

# What one answer may cost. Reasoning models think before they answer, and some APIs refuse smaller limits.
TOKENS: Final = 256
# The least that OpenAI's Responses API takes.
FEW_TOKENS: Final = 16
CITY: Final = "city"
# Letters of several scripts, an emoji of several code points, a combining mark.
LETTERS: Final = "Zażółć Καλημέρα こんにちは 👩‍👩‍👧 é"
_SIDE: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One thing to ask; compared by identity. `parameters` are over those that every probe has; `limit` is the most
    tokens of the answer."""

    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    limit: int = TOKENS


def _asked(text: str) -> tuple[Message, ...]:
    return (UserMessage((TextPart(text),)),)


WEATHER: Final = ToolDefinition(
    name="weather",
    description="The weather in a city.",
    parameters={"type": "object", "properties": {CITY: {"type": "string"}}, "required": [CITY]},
)
_SCHEMA: Final[JsonObject] = {
    "type": "object",
    "properties": {CITY: {"type": "string"}},
    "required": [CITY],
    "additionalProperties": False,
}
_COUNT: Final = (
    "Count from one to fifty in words, one number after the other, and write nothing but the numbers, please."
)

CHAT: Final = Probe(_asked("Say OK."))
PARAMETERS: Final = Probe(_asked(_COUNT), parameters={"model.temperature": 0.5}, limit=FEW_TOKENS)
LONG: Final = Probe(_asked(_COUNT))
TOOLS: Final = Probe(_asked("What is the weather in Rome? Use the tool."), (WEATHER,))
TOOLS_FORCED: Final = Probe(TOOLS.messages, TOOLS.tools, {"model.tool_choice": "required"})
STRUCTURED: Final = Probe(
    _asked("Which city is the capital of Italy? Answer in JSON."),
    parameters={
        "model.response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": _SCHEMA, "strict": True},
        }
    },
)
UNICODE: Final = Probe(_asked(f"Repeat exactly, and say nothing else: {LETTERS}"))


# Words in the names of models that do not chat.
_OTHER_MODELS: Final = (
    "embed",
    "whisper",
    "tts",
    "rerank",
    "dall-e",
    "moderation",
    "image",
    "transcribe",
    "guard",
    "ocr",
)


def limit_name(api: ApiCompatibility) -> str:
    """The parameter that limits an answer."""
    return f"model.{FACTS[api].limit}"


def chats(name: str) -> bool:
    """Whether a model of this name is likely to chat."""
    return bool(name) and not any(word in name.lower() for word in _OTHER_MODELS)


def with_result(answered: Message, call_id: str) -> Probe:
    """The conversation behind a call of the tool."""
    result = ToolMessage(call_id, WEATHER.name, (TextPart("Sunny, 21 degrees."),))
    return Probe((*TOOLS.messages, answered, result), TOOLS.tools)


def _png(side: int) -> bytes:
    """A red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


IMAGES: Final = Probe(
    (UserMessage((TextPart("Which colour is this? One word."), ImagePart(data=_png(_SIDE), media_type="image/png"))),)
)
