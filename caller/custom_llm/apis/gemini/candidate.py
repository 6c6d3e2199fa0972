"""One candidate of a Gemini answer: its parts as events, its end, and what must go back with the next turn. No I/O.

Source of the wire facts: Gemini API reference; deviations name the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from caller.custom_llm.adapter import Repeat
from caller.custom_llm.apis.arguments import whole
from caller.custom_llm.apis.finish_words import beside_calls, finish_reason, finish_word
from caller.custom_llm.apis.gemini.model import API
from caller.custom_llm.apis.gemini.partial_args import PartialArgs
from caller.custom_llm.apis.gemini.spelling import PROTO_NAMES, camel_keys
from caller.custom_llm.apis.gemini.state import KeptParts
from caller.custom_llm.apis.gemini.usage import logprobs_of
from caller.custom_llm.apis.parsing import MAX_PARTS, objects_within
from caller.custom_llm.apis.shared import arguments_text, json_text
from caller.custom_llm.apis.tool_calls import CallIds
from caller.errors import ResponseTooLarge
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ProviderFields,
    ProviderState,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from caller.fold import MAX_TOOL_CALLS
from caller.json_types import JsonObject, object_of, objects_of, text_of, without

# Log probabilities leave with the text.
_KEYS = frozenset({"content", "index", "finishReason", "logprobsResult"})
_COMMON_KEYS = frozenset({"content", "index"})
_TEXT_KEYS = frozenset({"text", "thought"})
_SAID = frozenset({"text", "functionCall", "thoughtSignature"})


@dataclass(slots=True)
class _StreamedCall:
    """A call whose arguments come in pieces (Vertex AI's `streamFunctionCallArguments`)."""

    number: int
    part: JsonObject
    call: JsonObject
    args: PartialArgs
    pieces: bool = False


class Candidate:
    """Reads one candidate. `reason` and `raw` are its end, None and `""` before it."""

    __slots__ = ("_calls", "_extra", "_ids", "_index", "_kept", "_streamed", "_whole", "raw", "reason")

    def __init__(self, index: int) -> None:
        self._index = index
        self._calls = 0
        self._ids = CallIds()
        self._whole: dict[str, tuple[str, str]] = {}  # name and arguments of calls with an id
        self._extra: JsonObject = {}
        self._kept = KeptParts()
        self._streamed: _StreamedCall | None = None
        self.reason: FinishReason | None = None
        self.raw = ""

    def feed(self, wire: JsonObject, events: list[Event]) -> None:
        """Take what a chunk says of it.

        Raises:
            EndpointError: the answer failed.
            ResponseTooLarge: past the bounds.
        """
        if not (wire.keys() <= _COMMON_KEYS or PROTO_NAMES.isdisjoint(wire)):
            wire = camel_keys(wire)
        content = wire.get("content")
        if isinstance(content, dict):
            parts = content.get("parts")
            for part in objects_within([parts] if isinstance(parts, dict) else parts, MAX_PARTS, "parts"):
                self._part(part, events)
        if wire.keys() <= _COMMON_KEYS:
            return
        if wire.get("logprobsResult"):
            tokens = logprobs_of(wire["logprobsResult"])
            if tokens:
                events.append(TextDelta("", self._index, tokens))
        if not wire.keys() <= _KEYS:
            self._fields(wire, events)
        raw = finish_word(wire.get("finishReason"))
        if raw:
            self._finish(raw, text_of(wire.get("finishMessage")), events)

    def repeated(self, wire: JsonObject) -> Repeat | None:
        """What further chunks like this one mean, which was read just now."""
        parts = object_of(wire.get("content")).get("parts")
        part = parts[0] if isinstance(parts, list) and len(parts) == 1 else None
        if not wire.keys() <= _COMMON_KEYS or not isinstance(part, dict) or not part.keys() <= _TEXT_KEYS:
            return None
        if not isinstance(part.get("text"), str) or isinstance(part.get("thought"), str):
            return None
        more = partial(self._more, thought=part.get("thought") is True)
        return Repeat(("candidates", 0, "content", "parts", 0, "text"), more)

    def _more(self, texts: Sequence[str], *, thought: bool) -> Sequence[Event]:
        text = "".join(texts)
        self._kept.text(text, thought=thought)
        return (ReasoningDelta(text, self._index) if thought else TextDelta(text, self._index),)

    def block(self, raw: str, events: list[Event]) -> None:
        """The prompt was refused: a good answer without content."""
        if self.reason is None:
            self._end(FinishReason.CONTENT_FILTER, raw, events)

    def close(self) -> list[Event]:
        """Nothing more comes: the end of a call in pieces, the reason once more where a call came after it, and the
        state."""
        events: list[Event] = []
        self._end_streamed(events)
        if self.reason is not None:
            self._end(beside_calls(self.reason, called=self._calls > 0), self.raw, events)
        content = self._kept.content()
        if content is not None:
            events.append(ProviderState(API.value, content, self._index))
        return events

    def _part(self, part: JsonObject, events: list[Event]) -> None:
        if isinstance(part.get("thought"), str):
            part = _with_flag(part)
        text, thought = part.get("text"), part.get("thought") is True
        if isinstance(text, str) and text:
            events.append(ReasoningDelta(text, self._index) if thought else TextDelta(text, self._index))
        if part.keys() <= _TEXT_KEYS:
            self._kept.text(text_of(text), thought=thought)
            return
        part = _cleaned(part if PROTO_NAMES.isdisjoint(part) else camel_keys(part))
        if isinstance(part.get("functionCall"), dict):
            self._kept.text(text_of(part.pop("text", "")), thought=thought)  # never seen together, and never both lost
            self._call(part, _cleaned(object_of(part["functionCall"])), events)
        elif part.keys() <= _TEXT_KEYS:
            self._kept.text(text_of(text), thought=thought)
        else:
            self._kept.part(part)
        others = without(part, _SAID)
        if others.keys() - {"thought"}:
            events.append(ProviderFields({"parts": [others]}, self._index))

    def _call(self, part: JsonObject, call: JsonObject, events: list[Event]) -> None:
        name, wire_id = text_of(call.get("name")), text_of(call.get("id"))
        streamed = self._streamed
        same = streamed is not None and wire_id != "" and streamed.call.get("id") == wire_id  # repeated with each piece
        if not same and (name or wire_id or call.get("args") is not None):
            self._end_streamed(events)
            if not (call.get("willContinue") or "partialArgs" in call):
                self._whole_call(part, call, name, wire_id, events)
                return
            self._open_streamed(part, call, name, wire_id, events)
        streamed = self._streamed
        if streamed is None:
            if call:  # an empty one is Vertex AI's, before the first and after the last
                events.append(ProviderFields({"parts": [part]}, self._index))
            return
        self._piece(streamed, part, call)
        if not call.get("willContinue"):
            self._end_streamed(events)

    def _whole_call(self, part: JsonObject, call: JsonObject, name: str, wire_id: str, events: list[Event]) -> None:
        """The same call under the same id once more (gateways whose chunks grow) is the same call."""
        args = call.get("args")
        arguments = json_text(args) if isinstance(args, dict) else whole(arguments_text(args))
        if wire_id and self._whole.get(wire_id) == (name, arguments):
            return
        self._whole[wire_id] = (name, arguments)
        self._open(wire_id, name, arguments, events)
        self._kept.part(part | {"functionCall": call})

    def _open(self, wire_id: str, name: str, arguments: str, events: list[Event]) -> int:
        number = self._calls
        if number >= MAX_TOOL_CALLS:
            raise ResponseTooLarge(f"the answer has more than {MAX_TOOL_CALLS} tool calls")
        self._calls += 1
        events.append(ToolCallDelta(number, arguments, self._ids.give(wire_id), name, self._index))
        return number

    def _open_streamed(self, part: JsonObject, call: JsonObject, name: str, wire_id: str, events: list[Event]) -> None:
        number = self._open(wire_id, name, "", events)
        native = without(call, frozenset({"willContinue", "partialArgs", "args"}))
        base = object_of(call.get("args"))
        self._streamed = _StreamedCall(number, part | {"functionCall": native}, native, PartialArgs(base), bool(base))

    def _piece(self, streamed: _StreamedCall, part: JsonObject, call: JsonObject) -> None:
        for piece in objects_of(call.get("partialArgs")):
            streamed.pieces = True
            streamed.args.feed(piece)
            self._kept.budget.consume(piece)
        if part.get("thoughtSignature"):
            streamed.part["thoughtSignature"] = part["thoughtSignature"]

    def _end_streamed(self, events: list[Event]) -> None:
        streamed = self._streamed
        if streamed is None:
            return
        self._streamed = None
        value, left = streamed.args.value()
        events.append(ToolCallDelta(streamed.number, json_text(value), choice=self._index))
        if streamed.pieces:
            streamed.call["args"] = value
        self._kept.part(streamed.part)
        if left:
            events.append(ProviderFields({"partialArgs": left}, self._index))

    def _fields(self, wire: JsonObject, events: list[Event]) -> None:
        """Grounding, citations, safety: each once, and again when it changes."""
        fresh: JsonObject = {
            key: value
            for key, value in wire.items()
            if key not in _KEYS and value not in (None, [], {}, "") and self._extra.get(key) != value
        }
        if fresh:
            self._extra |= fresh
            events.append(ProviderFields(fresh, self._index))

    def _finish(self, raw: str, message: str, events: list[Event]) -> None:
        self._end_streamed(events)
        self._end(beside_calls(finish_reason(raw, message), called=self._calls > 0), raw, events)

    def _end(self, reason: FinishReason, raw: str, events: list[Event]) -> None:
        if (reason, raw) != (self.reason, self.raw):  # Gemini 1 says STOP in every chunk
            self.reason, self.raw = reason, raw
            events.append(Finished(reason, raw, self._index))


def _with_flag(part: JsonObject) -> JsonObject:
    """A part whose `thought` is text: the flag as a word, or the thought itself (imitations)."""
    word = text_of(part.get("thought"))
    if word.lower() in ("true", "false", ""):
        return part | {"thought": word.lower() == "true"}
    return {"text": word, "thought": True}


def _cleaned(wire: JsonObject) -> JsonObject:
    """Without what means "not there": gateways send every key that their types have."""
    return {key: value for key, value in wire.items() if value is not None and (value != "" or key in ("text", "name"))}
