"""A conversation as Anthropic's `system` and `messages`. No I/O; it knows nothing of parameters and tools.

Where the conversation of `caller.messages` is freer than the API, the API's form wins:

* System and developer messages go on top as `system`, in their order, those that stand later in the conversation too:
  a system role among `messages` is younger than most models and servers.
* Neighbours of one role become one message, and all tool results of a turn come first in it (Anthropic docs).
* Texts of nothing but white space, and messages that are empty without them, are left out: the API refuses them.
* A last assistant message stays: the answer continues it (prefill), without white space at its end.
* An assistant message with unchanged state is sent as the native blocks it consisted of. Reasoning without state is
  not sent, unless the endpoint demands it: the API wants its signature.
* `cache_control` among a message's options goes to its last block.

Source of the wire facts: Anthropic's API reference and SDK; deviations name the server.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from caller.custom_llm.apis.anthropic.media import API, wire_part
from caller.custom_llm.apis.parsing import parse
from caller.custom_llm.apis.shared import (
    BLANK_TEXT_LEFT_OUT,
    EMPTY_MESSAGE_LEFT_OUT,
    PREFILL_TRIMMED,
    arguments_json,
    is_blank,
    part_field,
    unsupported,
)
from caller.custom_llm.request_body import merged
from caller.json_types import JsonObject, JsonValue, list_of, objects_of, text_of
from caller.messages import (
    AssistantMessage,
    ContentPart,
    DeveloperMessage,
    Message,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from caller.provider_state import unseal

STATE_SHAPE = API
THINKING = frozenset({"thinking", "redacted_thinking"})
_CACHE = "cache_control"
_ILLEGAL_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


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
        if isinstance(message, SystemMessage | DeveloperMessage) and message.text.strip()
    ]
    return _content(blocks) if blocks else None


class Conversation:
    """Builds `messages`: turns of user and assistant that alternate.

    `thinking` is what the endpoint demands of thinking in earlier turns: `sent` without a signature where there is
    none, or `left_out`; empty for nothing. `adapted` names what was changed.
    """

    __slots__ = ("_ids", "_thinking", "_turns", "adapted")

    def __init__(self, messages: Sequence[Message], thinking: str = "") -> None:
        """Raises `NotSupportedByApi` for a part that the API cannot carry, or when nothing is left to send."""
        self.adapted: set[str] = set()
        self._thinking = thinking
        replays = {number: self._replay(message) for number, message in enumerate(messages)}
        self._ids = WireIds(messages, (text_of(block.get("id")) for blocks in replays.values() for block in blocks))
        self._turns: list[_Turn] = []
        for number, message in enumerate(messages):
            self._add(message, replays[number] or self._blocks(number, message))
        if not self._turns:
            raise unsupported("messages", f"{API} needs a user or assistant message that is not empty")
        self._trim_prefill()

    def wire(self) -> list[JsonValue]:
        """`messages`."""
        return [turn.wire() for turn in self._turns]

    def _add(self, message: Message, blocks: list[JsonObject]) -> None:
        if isinstance(message, SystemMessage | DeveloperMessage):
            return
        if not blocks:
            self.adapted.add(EMPTY_MESSAGE_LEFT_OUT)
            return
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role, []))
        turn = self._turns[-1]
        if not isinstance(message, ToolMessage):  # a tool's options are those of its block
            options = dict(message.options)
            if _CACHE in options:
                _mark(blocks, options.pop(_CACHE))
            merged(turn.options, options)
        turn.blocks += blocks

    def _replay(self, message: Message) -> list[JsonObject]:
        """The native blocks of an assistant message that is unchanged, else nothing."""
        if not isinstance(message, AssistantMessage):
            return []
        state = unseal(STATE_SHAPE, message) or {}
        blocks = [dict(block) for block in objects_of(state.get("content")) if not _is_blank(block)]
        if self._thinking != "left_out":
            return blocks
        kept = [block for block in blocks if block.get("type") not in THINKING]
        if len(kept) < len(blocks):
            self.adapted.add("thinking: left_out")
        return kept

    def _blocks(self, number: int, message: Message) -> list[JsonObject]:
        match message:
            case SystemMessage() | DeveloperMessage():
                return []
            case UserMessage():
                return self._parts(number, "user", message.content)
            case AssistantMessage():
                return self._assistant(message)
            case ToolMessage():
                return self._tool_result(number, message)
            case _:
                assert_never(message)

    def _assistant(self, message: AssistantMessage) -> list[JsonObject]:
        """Text, a refusal as text (there is no block for it), and tool calls."""
        texts = [text for text in (message.text, message.refusal) if text.strip()]
        blocks: list[JsonObject] = [{"type": "text", "text": text} for text in texts]
        for call in message.tool_calls:
            arguments = parse(arguments_json(call.arguments, self.adapted).encode())
            blocks.append({"type": "tool_use", "id": self._ids.wire(call.id), "name": call.name, "input": arguments})
        if self._thinking == "sent" and (message.reasoning or message.tool_calls):
            self.adapted.add("thinking: sent")
            blocks.insert(0, {"type": "thinking", "thinking": message.reasoning})
        return blocks

    def _tool_result(self, number: int, message: ToolMessage) -> list[JsonObject]:
        """The result, and beside it the pictures of a failed one, which may hold text only and must hold some."""
        wire: JsonObject = {"type": "tool_result", "tool_use_id": self._ids.wire(message.tool_call_id)}
        blocks = self._parts(number, "tool", message.content)
        beside: list[JsonObject] = []
        if message.is_error:
            beside = [block for block in blocks if block.get("type") != "text"]
            blocks = [block for block in blocks if block.get("type") == "text"] or [{"type": "text", "text": "Error"}]
        if beside:
            self.adapted.add("error_result: media_beside")
        if blocks:
            wire["content"] = _content(blocks)
        if message.is_error:
            wire["is_error"] = True
        return [merged(wire, message.options), *beside]

    def _parts(self, number: int, role: str, content: tuple[ContentPart, ...]) -> list[JsonObject]:
        blocks = [
            merged(wire_part(part_field(number, role, at), part), part.options)
            for at, part in enumerate(content)
            if not is_blank(part)
        ]
        if len(blocks) < len(content) and (blocks or role == "user"):
            self.adapted.add(BLANK_TEXT_LEFT_OUT)
        return blocks

    def _trim_prefill(self) -> None:
        """A last message of the assistant that ends in white space is refused."""
        last = self._turns[-1].blocks[-1] if self._turns[-1].role == "assistant" else {}
        text = text_of(last.get("text"))
        if last.get("type") == "text" and text != text.rstrip():
            last["text"] = text.rstrip()
            self.adapted.add(PREFILL_TRIMMED)


class WireIds:
    """Ids of tool calls in a form that the API accepts: those that the endpoint itself gave go back as they came,
    others one to one. What other APIs give (`functions.weather:0`) is refused."""

    __slots__ = ("_ids",)

    def __init__(self, messages: Sequence[Message], native: Iterable[str]) -> None:
        self._ids = {known: known for known in native if known}
        used = set(self._ids)
        counts: dict[str, int] = {}  # how often a form was wanted: clients choose the ids, and all may want one form
        for given in _ids_of(messages):
            if given not in self._ids:
                wire = fit = _ILLEGAL_IN_ID.sub("_", given) or "_"
                while fit in used:
                    counts[wire] = counts.get(wire, 1) + 1
                    fit = f"{wire}_{counts[wire]}"
                self._ids[given] = fit
                used.add(fit)

    def wire(self, call_id: str) -> str:
        """The id as it is sent."""
        return self._ids[call_id]


def _ids_of(messages: Sequence[Message]) -> list[str]:
    """All ids of the conversation, those that are legal as they are first: they stay."""
    ids = [call.id for message in messages if isinstance(message, AssistantMessage) for call in message.tool_calls]
    ids += [message.tool_call_id for message in messages if isinstance(message, ToolMessage)]
    return sorted(ids, key=lambda call_id: _ILLEGAL_IN_ID.search(call_id) is not None)


def _mark(blocks: list[JsonObject], cache_control: JsonValue) -> None:
    """Cache control is a block's: a message's goes to the last one that can carry it, unless that has its own."""
    last = next((block for block in reversed(blocks) if block.get("type") not in THINKING), None)
    if last is not None:
        last.setdefault(_CACHE, cache_control)


def _is_blank(block: JsonObject) -> bool:
    return block.get("type") == "text" and not text_of(block.get("text")).strip()


def _content(blocks: list[JsonObject]) -> JsonValue:
    """One plain text as a string, which every compatible server reads."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return list_of(list(blocks))
