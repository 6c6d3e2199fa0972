"""One choice of a Chat Completions answer: its deltas as events, and what must be remembered until its end. No I/O.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import Callable, Sequence
from functools import partial

from caller.custom_llm.adapter import Repeat
from caller.custom_llm.apis.chat_completions.content import REASONING_KEYS, content_parts, reasoning_of, thought_of
from caller.custom_llm.apis.chat_completions.state import (
    STATE_KEYS,
    STATE_SHAPE,
    KeptState,
    text_of_details,
)
from caller.custom_llm.apis.finish_words import beside_calls, finish_reason
from caller.custom_llm.apis.parsing import objects_within
from caller.custom_llm.apis.shared import arguments_text
from caller.custom_llm.apis.tool_calls import ToolCallTracker
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ProviderFields,
    ProviderState,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from caller.fold import MAX_TOOL_CALLS
from caller.json_types import JsonObject, JsonValue, count_of, object_of, text_of, without

_DELTA_KEYS = frozenset(
    {
        "role",
        "content",
        "refusal",
        "reasoning_details",
        *REASONING_KEYS,
        "tool_calls",
        "function_call",
        "index",
        "usage",
    }
)
# What most deltas hold and nothing else: such a delta is text.
PLAIN_DELTA = frozenset({"role", "content"})
# What stands beside the text of a delta and is nothing of it; and a call without state.
_SAYS_NOTHING = frozenset({"role", "index"})
_PLAIN_CALL = frozenset({"index", "id", "type", "function"})
_PLAIN_FUNCTION = frozenset({"name", "arguments"})
_MAX_DIGITS = 6


class OpenChoice:
    """Reads the deltas of one choice."""

    __slots__ = (
        "_calls",
        "_emitted_reason",
        "_index",
        "_kept",
        "_legacy",
        "_raw",
        "_reason",
        "emitted",
        "finished",
    )

    def __init__(self, index: int, tools: frozenset[str] = frozenset()) -> None:
        self.finished = False
        self._index = index
        self._calls = ToolCallTracker(index, tools)
        self._kept = KeptState()
        self._legacy: bool | None = None
        self.emitted: set[str] = set()  # what was output so far, by the key that it stands under
        self._reason = self._emitted_reason = FinishReason.UNSPECIFIED
        self._raw = ""

    def delta(self, delta: JsonObject, tokens: tuple[TokenLogprob, ...], events: list[Event]) -> None:
        """The events of one delta, or of a whole message."""
        index = self._index
        if "extra_content" in delta or "thought" in delta:
            delta = thought_of(delta) or delta
        content = delta.get("content")
        if not delta.keys() <= PLAIN_DELTA:
            self._beside_text(delta, events)
        if isinstance(content, str):
            if content or tokens:
                self.emitted.add("content")
                events.append(TextDelta(content, index, tokens))
        else:
            if content:
                self.emitted.add("content")
                content_parts(content, index, events)
            if tokens:
                events.append(TextDelta("", index, tokens))
        if "tool_calls" in delta or "function_call" in delta:
            self._tool_calls(delta, events)
        if not delta.keys() <= _DELTA_KEYS:
            extra = without(delta, _DELTA_KEYS)
            if extra:
                self.emitted.add("other")
                events.append(ProviderFields(extra, index))

    @property
    def has_output(self) -> bool:
        """True once there was any output."""
        return bool(self.emitted) or self._calls.seen

    def whole(self, message: JsonObject, events: list[Event]) -> None:
        """A `message` behind deltas: it repeats them, or brings what none of them did."""
        emitted = set(self.emitted)
        if emitted & {"content", "audio"}:
            emitted |= {"content", "audio"}
        if "reasoning" in emitted:
            emitted |= {*REASONING_KEYS, "reasoning_details"}
        if self._calls.seen:
            emitted |= {"tool_calls", "function_call"}
        rest = {key: value for key, value in message.items() if key in _DELTA_KEYS and key not in emitted}
        if rest.keys() - _SAYS_NOTHING:
            self.delta(rest, (), events)

    def repeated(self, delta: JsonObject, free: tuple[str, ...]) -> Repeat | None:
        """What further deltas like this one mean, which was read just now."""
        given = [key for key, value in delta.items() if value and key not in _SAYS_NOTHING]
        if len(given) != 1 or not delta.keys() <= _DELTA_KEYS:
            return None
        key = given[0]
        more: Callable[[Sequence[str]], Sequence[Event]]
        if key == "tool_calls":
            return self._repeated_call(delta, free)
        if not isinstance(delta[key], str):
            return None
        if key == "content":
            more = partial(_more_text, self._index)
        elif key in REASONING_KEYS:
            more = partial(_more_reasoning, self._index)
        else:
            return None
        return Repeat(("choices", 0, "delta", key), more, free)

    def _repeated_call(self, delta: JsonObject, free: tuple[str, ...]) -> Repeat | None:
        calls = delta["tool_calls"]
        wire = calls[0] if isinstance(calls, list) and len(calls) == 1 else None
        if not isinstance(wire, dict) or not wire.keys() <= _PLAIN_CALL or delta.get("function_call") is not None:
            return None
        function = wire.get("function")
        if not isinstance(function, dict) or not function.keys() <= _PLAIN_FUNCTION:
            return None
        if not isinstance(function.get("arguments"), str) or self._legacy is not False:
            return None
        fed = partial(
            self._calls.feed, _position(wire.get("index")), text_of(wire.get("id")), text_of(function.get("name"))
        )
        path = ("choices", 0, "delta", "tool_calls", 0, "function", "arguments")
        return Repeat(path, partial(self._more_arguments, fed), free)

    def _more_arguments(self, fed: Callable[[str], list[ToolCallDelta]], texts: Sequence[str]) -> Sequence[Event]:
        events: list[Event] = []
        for text in texts:
            self._calls.delta += 1
            events += fed(text)
        return events

    def finish(self, raw: str, events: list[Event]) -> None:
        """The choice has a finish reason.

        Raises:
            CallerError: it is one that means failure.
        """
        self._reason, self._raw = finish_reason(raw), raw
        self._emitted_reason = beside_calls(self._reason, called=self._calls.seen)
        self.finished = True
        events.append(Finished(self._emitted_reason, raw, self._index))

    def close(self) -> list[Event]:
        """The answer is complete: calls may have come behind the finish reason, or none at all."""
        events: list[Event] = list(self._calls.close())
        meant = beside_calls(self._reason, called=self._calls.seen)
        if meant is not self._emitted_reason:
            events.append(Finished(meant, self._raw, self._index))
        content = self._kept.content()
        if content:
            events.append(ProviderState(STATE_SHAPE, content, self._index))
        return events

    def _beside_text(self, delta: JsonObject, events: list[Event]) -> None:
        """Reasoning, a refusal, and a spoken answer: its transcript is the text where there is no other, and sound
        without one is output as well."""
        self._reasoning(delta, events)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self.emitted.add("refusal")
            events.append(RefusalDelta(refusal, self._index))
        audio = object_of(delta.get("audio"))
        transcript = text_of(audio.get("transcript"))
        if (transcript or audio.get("data")) and not ("content" in self.emitted or delta.get("content")):
            self.emitted.add("audio")
            events.append(TextDelta(transcript, self._index))

    def _reasoning(self, delta: JsonObject, events: list[Event]) -> None:
        """One of the forms, never two of them: gateways send the same text under several names."""
        if not STATE_KEYS.isdisjoint(delta):
            self._kept.delta(delta)
        text = text_of_details(delta) if "reasoning_details" in delta else ""
        if not text:
            name, text = reasoning_of(delta)
            if text:
                self._kept.name = name
        if text:
            self.emitted.add("reasoning")
            events.append(ReasoningDelta(text, self._index))

    def _tool_calls(self, delta: JsonObject, events: list[Event]) -> None:
        given = delta.get("tool_calls")
        calls = objects_within([given] if isinstance(given, dict) else given, MAX_TOOL_CALLS, "tool calls in one event")
        self._calls.delta += 1
        for wire in calls:
            flat = wire if "function" not in wire and "name" in wire else {}  # as the Responses API has it
            function, custom = object_of(wire.get("function")) or flat, object_of(wire.get("custom"))
            events += self._calls.feed(
                _position(wire.get("index")),
                text_of(wire.get("id")),
                text_of(function.get("name")) or text_of(custom.get("name")),
                arguments_text(function.get("arguments")) or text_of(custom.get("input")),
            )
            if self._calls.seen:
                self._kept.call(self._calls.latest, wire)
        legacy = object_of(delta.get("function_call"))
        name, arguments = text_of(legacy.get("name")), arguments_text(legacy.get("arguments"))
        if self._legacy is None and (calls or name or arguments):
            self._legacy = not calls  # llama-cpp-python sends both: counted once
        if self._legacy and (name or arguments):
            events += self._calls.feed(0, "", name, arguments)


def _more_text(index: int, texts: Sequence[str]) -> Sequence[Event]:
    return (TextDelta("".join(texts) if len(texts) > 1 else texts[0], index),)


def _more_reasoning(index: int, texts: Sequence[str]) -> Sequence[Event]:
    return (ReasoningDelta("".join(texts) if len(texts) > 1 else texts[0], index),)


def _position(index: JsonValue) -> int | None:
    """The index of a call; some gateways write it as text."""
    if isinstance(index, str):
        return int(index) if index.isascii() and index.isdigit() and len(index) < _MAX_DIGITS else None
    return count_of(index)
