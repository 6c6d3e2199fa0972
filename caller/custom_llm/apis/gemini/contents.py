"""A conversation as Gemini's `systemInstruction` and `contents`. No I/O.

Roles alternate between `user` and `model`: neighbours of one role become one content. All results of a turn's calls
stand first in one user content, in the order of the calls: Gemini counts them against the calls (Gemini API reference).

Ids: a call goes out with an `id` only where the endpoint itself gave one, see provider state; results carry
the same. Made-up and foreign ids are never sent: older models and Vertex AI do not know the field, and without it
Gemini pairs by order and name.
"""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from caller.custom_llm.apis.gemini.media import wire_part
from caller.custom_llm.apis.gemini.state import replayed
from caller.custom_llm.apis.parsing import parse
from caller.custom_llm.apis.shared import (
    BLANK_TEXT_LEFT_OUT,
    EMPTY_MESSAGE_LEFT_OUT,
    arguments_json,
    invalid,
    is_blank,
    names_of_calls,
    part_field,
    unsupported,
)
from caller.custom_llm.request_body import merged
from caller.json_types import JsonObject, JsonValue, list_of, object_of, text_of
from caller.messages import (
    AssistantMessage,
    AudioPart,
    DeveloperMessage,
    Message,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)

# What Google documents for calls that another model made; a missing signature is refused by Gemini 3.
FOREIGN_SIGNATURE = "skip_thought_signature_validator"


@dataclass(frozen=True, slots=True)
class _Slot:
    """A call of the latest model turn: its name, and the id that the endpoint itself gave it."""

    name: str
    native_id: str


class Conversation:
    """Builds `contents` and the parts of `systemInstruction`, message by message.

    `sign`: the model refuses calls without a signature, so those without one get the documented placeholder. `adapted`
    names what was changed.
    """

    __slots__ = ("_names", "_orders", "_parts", "_sign", "_slots", "_waiting", "adapted", "contents", "system")

    def __init__(self, messages: Sequence[Message], *, sign: bool) -> None:
        """Raises `NotSupportedByApi` for what Gemini cannot carry, `RequestInvalid` for a result of no known tool."""
        self.contents: list[JsonValue] = []
        self.system: list[JsonValue] = []
        self.adapted: set[str] = set()
        self._sign = sign
        self._names: Mapping[str, str] = names_of_calls(messages)
        self._parts: list[JsonValue] = []  # of the latest content
        self._slots: list[_Slot] = []
        self._waiting: defaultdict[str, deque[int]] = defaultdict(deque)  # by id: the calls without a result, in order
        self._orders: list[int] = []  # of the results at the head of the latest user content
        for number, message in enumerate(messages):
            self._add(number, message)
        if not self.contents:
            raise unsupported("messages", "Gemini needs at least one message of the user or the assistant")

    def _add(self, number: int, message: Message) -> None:
        match message:
            case SystemMessage() | DeveloperMessage():
                if message.text.strip():
                    self.system.append(merged({"text": message.text}, message.options))
            case UserMessage():
                self._user(number, message)
            case AssistantMessage():
                self._assistant(message)
            case ToolMessage():
                self._result(number, message)
            case _:
                assert_never(message)

    def _content(self, role: str) -> JsonObject:
        """The latest content where it has the role, else a new one."""
        latest = object_of(self.contents[-1]) if self.contents else {}
        if latest.get("role") == role:
            return latest
        self._parts = []
        content: JsonObject = {"role": role, "parts": self._parts}
        self.contents.append(content)
        if role == "model":
            self._slots = []
            self._waiting.clear()
        else:
            self._orders = []
        return content

    def rules_into_user(self) -> None:
        """Put the rules in front of what the user said first: Gemma on Google's API has no field for them."""
        if not self.system:
            return
        first = next(
            (object_of(content) for content in self.contents if object_of(content).get("role") == "user"), None
        )
        if first is None:
            self.contents.insert(0, {"role": "user", "parts": self.system})
        else:
            first["parts"] = [*self.system, *list_of(first.get("parts"))]
        self.system = []
        self.adapted.add("system_messages: in_user_message")

    def _user(self, number: int, message: UserMessage) -> None:
        """Texts of nothing but white space say nothing, and Gemini and Vertex AI refuse parts without data."""
        parts: list[JsonValue] = [
            merged(wire_part(part, part_field(number, "user", at)), part.options)
            for at, part in enumerate(message.content)
            if not is_blank(part)
        ]
        if len(parts) < len(message.content):
            self.adapted.add(BLANK_TEXT_LEFT_OUT if parts else EMPTY_MESSAGE_LEFT_OUT)
        if parts:
            content = self._content("user")
            self._parts += parts
            merged(content, message.options)

    def _assistant(self, message: AssistantMessage) -> None:
        parts = replayed(message) or _rebuilt(message, self.adapted)
        if not parts:
            self.adapted.add(EMPTY_MESSAGE_LEFT_OUT)
            return  # nothing was said, and Gemini refuses a content without parts
        calls = [part for part in parts if "functionCall" in part]
        if self._sign and calls and not calls[0].get("thoughtSignature"):
            calls[0]["thoughtSignature"] = FOREIGN_SIGNATURE  # the first of parallel calls carries it
        content = self._content("model")
        self._parts += parts
        merged(content, message.options)
        for call, part in zip(message.tool_calls, calls, strict=False):
            self._waiting[call.id].append(len(self._slots))
            self._slots.append(_Slot(call.name, text_of(object_of(part["functionCall"]).get("id"))))

    def _result(self, number: int, message: ToolMessage) -> None:
        waiting = self._waiting.get(message.tool_call_id)
        order = waiting.popleft() if waiting else len(self._slots)
        slot = self._slots[order] if order < len(self._slots) else _Slot("", "")
        name = message.name or slot.name or self._names.get(message.tool_call_id, "")
        if not name:
            advice = "is needed: no assistant message of the conversation holds the call"
            raise invalid(f"messages[{number}].tool.name", advice)
        response: JsonObject = {"id": slot.native_id} if slot.native_id else {}
        response["name"] = name
        response |= _response(number, message)
        self._content("user")
        at = bisect_right(self._orders, order)
        self._orders.insert(at, order)
        self._parts.insert(at, merged({"functionResponse": response}, message.options))


def _rebuilt(message: AssistantMessage, adapted: set[str]) -> list[JsonObject]:
    """From the message's fields. A refusal has no field of its own: it is what the model said."""
    texts = [text for text in (message.text, message.refusal) if text.strip()]
    parts: list[JsonObject] = [{"text": text} for text in texts]
    for call in message.tool_calls:
        arguments = parse(arguments_json(call.arguments, adapted).encode())
        parts.append({"functionCall": {"name": call.name, "args": arguments}})
    return parts


def _response(number: int, message: ToolMessage) -> JsonObject:
    """`response`, which must be an object, and the media beside it (Gemini 3)."""
    texts: list[str] = []
    media: list[JsonValue] = []
    for at, part in enumerate(message.content):
        field = part_field(number, "tool", at)
        if isinstance(part, TextPart):
            if part.options:
                raise unsupported(f"{field}.provider_options", "Gemini takes no options on the text of a tool's result")
            texts.append(part.text)
        elif isinstance(part, AudioPart):
            raise unsupported(f"{field}.audio", "Gemini takes no audio in a tool's result")
        else:
            media.append(merged(wire_part(part, field), part.options))
    response: JsonObject = {"response": _object("".join(texts), is_error=message.is_error)}
    return response | {"parts": media} if media else response


def _object(text: str, *, is_error: bool) -> JsonObject:
    """The keys `output` and `error` are those that Gemini's reference names."""
    if is_error:
        return {"error": text}
    if text.lstrip().startswith("{"):
        try:
            value = parse(text.encode())
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
    return {"output": text}
