"""The output of a Responses answer as events: each thing said once, however often it comes. No I/O.

It knows items, not the response around them: usage, status and errors are the decoder's.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple

from caller.custom_llm.adapter import Repeat
from caller.custom_llm.apis.kept import KeptBudget
from caller.custom_llm.apis.logprobs import logprobs_of
from caller.custom_llm.apis.parsing import MAX_PARTS, objects_within
from caller.custom_llm.apis.responses.items import CALL, MAX_ITEMS, MESSAGE, REASONING, Item, Items, kind_of
from caller.custom_llm.apis.shared import arguments_text, new_call_id
from caller.custom_llm.apis.tool_calls import ToolCallTracker
from caller.events import Event, ReasoningDelta, RefusalDelta, TextDelta, TokenLogprob
from caller.json_types import JsonObject, JsonValue, index_of, list_of, object_of, text_of

_TEXT: Final = "text"
_REFUSAL: Final = "refusal"
_RAW: Final = "raw reasoning"
_SUMMARY: Final = "summary"
_ARGUMENTS: Final = "arguments"


class Route(NamedTuple):
    """Where the text of an event belongs: the kind of item, the channel in it, the event's field with the position,
    and the field that holds the whole text once it is done."""

    kind: str
    channel: str
    position: str
    whole: str


_TEXT_ROUTE: Final = Route(MESSAGE, _TEXT, "content_index", "text")
_REFUSAL_ROUTE: Final = Route(MESSAGE, _REFUSAL, "content_index", "refusal")
_RAW_ROUTE: Final = Route(REASONING, _RAW, "content_index", "text")
_SUMMARY_ROUTE: Final = Route(REASONING, _SUMMARY, "summary_index", "text")
_STREAMED: Final[Mapping[str, Route]] = MappingProxyType(
    {
        "response.output_text": _TEXT_ROUTE,
        "response.refusal": _REFUSAL_ROUTE,
        "response.reasoning_text": _RAW_ROUTE,
        "response.reasoning": _RAW_ROUTE,  # older names
        "response.reasoning_content": _RAW_ROUTE,
        "response.reasoning_summary": _SUMMARY_ROUTE,
        "response.reasoning_summary_text": _SUMMARY_ROUTE,
        "response.function_call_arguments": Route(CALL, _ARGUMENTS, "", "arguments"),
        "response.custom_tool_call_input": Route(CALL, _ARGUMENTS, "", "input"),
    }
)
DELTAS: Final[Mapping[str, Route]] = MappingProxyType({f"{name}.delta": route for name, route in _STREAMED.items()})
# Each says the whole of what its deltas said; some servers send only these (LM Studio: arguments).
DONES: Final[Mapping[str, Route]] = MappingProxyType({f"{name}.done": route for name, route in _STREAMED.items()})
_PARTS: Final[Mapping[str, Route]] = MappingProxyType(
    {
        "output_text": _TEXT_ROUTE,
        "text": _TEXT_ROUTE,
        "refusal": _REFUSAL_ROUTE,
        "reasoning_text": _RAW_ROUTE,
        "summary_text": _SUMMARY_ROUTE,
    }
)

# What may differ between two pieces of one text; the item's id where the item is found by its index.
_FREE: Final = ("sequence_number", "obfuscation", "item_id")


class Output:
    """The output of one answer. What happens is appended to `events`, which its owner empties."""

    __slots__ = ("_budget", "_call_ids", "_calls", "_items", "_last_thought", "_paragraph", "events")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._items = Items()
        self._budget = KeptBudget()
        self._calls = ToolCallTracker(0)
        self._call_ids: set[str] = set()
        self._last_thought: tuple[int, str, int] | None = None  # the part of reasoning that was said last
        self._paragraph = False  # a new part of a summary was announced

    @property
    def has_calls(self) -> bool:
        """True once there is a tool call."""
        return self._calls.seen

    def items(self) -> Sequence[Item]:
        """The output items as the answer has them."""
        return self._items.in_order()

    def delta(self, route: Route, event: JsonObject) -> None:
        """A piece of text."""
        delta = event.get("delta")
        text = delta if isinstance(delta, str) else arguments_text(delta) if route.channel == _ARGUMENTS else ""
        logprobs = event.get("logprobs")
        tokens = logprobs_of({"content": logprobs}) if logprobs else ()
        if text or tokens:
            item = self._items.find(route.kind, event.get("output_index"), event.get("item_id"))
            self._say(item, route.channel, index_of(event.get(route.position)), text, tokens)

    def repeated(self, route: Route, event: JsonObject) -> Repeat | None:
        """What further pieces like this one mean, which was read just now: the item is known."""
        index = event.get("output_index")
        if not isinstance(event.get("delta"), str) or not (index is None or type(index) is int):
            return None
        item = self._items.find(route.kind, index, event.get("item_id"))
        more = partial(self._more, item, route.channel, index_of(event.get(route.position)))
        return Repeat(("delta",), more, _FREE if index is not None and item.index == index else _FREE[:-1])

    def _more(self, item: Item, channel: str, position: int, texts: Sequence[str]) -> Sequence[Event]:
        events = self.events = []
        for text in texts if channel == _ARGUMENTS else ("".join(texts),):
            self._say(item, channel, position, text)
        return events

    def text_done(self, route: Route, event: JsonObject) -> None:
        """The whole of one part: what its deltas did not say is said now."""
        self._part_done(route, event, event)

    def content_part_done(self, event: JsonObject) -> None:
        """The same, as a part of the item's content."""
        part = object_of(event.get("part"))
        route = _PARTS.get(text_of(part.get("type")))
        if route is not None:
            self._part_done(route, part, event)

    def annotation_added(self, event: JsonObject) -> None:
        """A citation; emitted at the end, since the finished item may bring all of them again."""
        annotation = event.get("annotation")
        if annotation:
            self._budget.consume(annotation)
            item = self._items.find(MESSAGE, event.get("output_index"), event.get("item_id"))
            item.annotations.append(annotation)

    def summary_part_added(self, event: JsonObject) -> None:
        """A paragraph of a summary begins; some servers do not number them."""
        del event
        self._paragraph = True

    def summary_part_done(self, event: JsonObject) -> None:
        """A paragraph is complete; said at the end, where nothing else said it: raw reasoning may still come."""
        item = self._items.find(REASONING, event.get("output_index"), event.get("item_id"))
        if not item.final:
            self._budget.consume(event.get("part"))
            if not isinstance(item.wire.get("summary"), list):
                item.wire = {**item.wire, "summary": []}
            list_of(item.wire["summary"]).append(event.get("part"))

    def item_added(self, event: JsonObject) -> None:
        """An item begins. A tool call's id and name are known from here on, where the server is whole."""
        wire = object_of(event.get("item"))
        self._budget.consume(wire)
        item = self._items.announced(kind_of(wire), event.get("output_index"), wire.get("id"))
        if not item.final:
            item.wire = wire
        if item.kind == CALL and text_of(wire.get("name")) and text_of(wire.get("call_id")):
            self._open(item, wire)

    def item_done(self, event: JsonObject) -> None:
        """An item is finished."""
        wire = object_of(event.get("item"))
        self._budget.consume(wire)
        item = self._items.find(kind_of(wire), event.get("output_index"), wire.get("id"))
        item.wire, item.final = wire, True
        self._complete(item, wire)

    def finish(self, output: JsonValue, text: str = "") -> None:
        """The end. `output` holds all items once more, or nothing although items came, or is all there is. `text` is
        what stands for an output that is missing."""
        if text and not output and not self._items.in_order():
            output = [{"type": "message", "role": "assistant", "content": text}]
        for item, wire in self._items.matched(objects_within(output, MAX_ITEMS, "output items")):
            if not item.final:
                item.wire, item.final = wire, True
            self._complete(item, wire)
        for item in self._items.in_order():
            if item.kind in (CALL, REASONING) and not item.final:
                self._complete(item, item.wire)  # announced only, perhaps with its arguments
        self.events += self._calls.close()

    def _say(self, item: Item, channel: str, position: int, text: str, tokens: tuple[TokenLogprob, ...] = ()) -> None:
        item.channel(channel).add(position, text, logged=bool(tokens))
        if channel == _TEXT:
            self.events.append(TextDelta(text, 0, tokens))
        elif channel == _ARGUMENTS:
            if item.opened:
                self.events += self._calls.feed(item.seq, "", "", text)
        elif channel == _REFUSAL:
            self.events.append(RefusalDelta(text))
        else:
            part = (item.seq, channel, position)
            begins = self._last_thought is not None and (self._paragraph or self._last_thought != part)
            self._last_thought, self._paragraph = part, False
            self.events.append(ReasoningDelta(f"\n\n{text}" if begins else text))

    def _part_done(self, route: Route, part: JsonObject, event: JsonObject) -> None:
        final = part.get(route.whole)
        text = arguments_text(final) if route.channel == _ARGUMENTS else text_of(final)
        item = self._items.find(route.kind, event.get("output_index"), event.get("item_id"))
        position = index_of(event.get(route.position))
        channel = item.channel(route.channel)
        rest = channel.rest(position, text)
        tokens = () if channel.logged(position) else logprobs_of({"content": part.get("logprobs")})
        if rest or tokens:
            self._say(item, route.channel, position, rest, tokens)

    def _complete(self, item: Item, wire: JsonObject) -> None:
        """Say what a finished item holds and was not said yet."""
        if item.kind == CALL:
            self._open(item, wire)
            given = wire.get("arguments")
            self._fill(item, _ARGUMENTS, [(0, arguments_text(wire.get("input") if given is None else given))])
        elif item.kind == REASONING:
            summary, raw = _texts(wire.get("summary")), _texts(wire.get("content"))
            raw_texts = [text for _, text in raw] or [item.channel(_RAW).emitted()]
            if [text for _, text in summary] == raw_texts:  # a gateway says it under both names
                summary = [] if item.channel(_RAW).emitted() else summary
                raw = [] if summary else raw
            self._fill(item, _SUMMARY, summary)
            self._fill(item, _RAW, raw)
        elif item.kind == MESSAGE:
            self._complete_message(item, wire.get("content"))

    def _complete_message(self, item: Item, content: JsonValue) -> None:
        given: JsonValue = [{"type": _TEXT, "text": content}] if isinstance(content, str) else content
        parts = [*enumerate(objects_within(given, MAX_PARTS, "parts of a message"))]
        texts = [(at, part) for at, part in parts if _PARTS.get(text_of(part.get("type"))) is _TEXT_ROUTE]
        logged = item.channel(_TEXT).logged()
        self._fill(item, _TEXT, [(at, text_of(part.get("text"))) for at, part in texts])
        for at, part in texts:
            tokens = () if logged else logprobs_of({"content": part.get("logprobs")})
            if tokens:
                self._say(item, _TEXT, at, "", tokens)
        refusals = [(at, text_of(part.get("refusal"))) for at, part in parts if part.get("type") == _REFUSAL]
        self._fill(item, _REFUSAL, refusals)
        annotations = [note for _, part in texts for note in list_of(part.get("annotations"))]
        item.annotations = annotations or item.annotations
        item.parts = [part for _, part in parts if text_of(part.get("type")) not in _PARTS]

    def _fill(self, item: Item, channel: str, finals: list[tuple[int, str]]) -> None:
        for position, text in item.channel(channel).missing(finals):
            self._say(item, channel, position, text)

    def _open(self, item: Item, wire: JsonObject) -> None:
        """Begin a tool call, with all arguments that came before."""
        if item.opened:
            return
        call_id = text_of(wire.get("call_id")) or text_of(wire.get("id")) or item.id
        if not call_id or call_id in self._call_ids:
            call_id = new_call_id()
        item.opened = True
        item.call_id = call_id
        self._call_ids.add(call_id)
        arguments = item.channel(_ARGUMENTS).emitted()
        self.events += self._calls.feed(item.seq, call_id, text_of(wire.get("name")), arguments)


HANDLERS: Final[Mapping[str, Callable[[Output, JsonObject], None]]] = MappingProxyType(
    {
        "response.output_item.added": Output.item_added,
        "response.output_item.done": Output.item_done,
        "response.content_part.done": Output.content_part_done,
        "response.reasoning_summary_part.done": Output.summary_part_done,
        "response.output_text.annotation.added": Output.annotation_added,
        "response.reasoning_summary_part.added": Output.summary_part_added,
    }
)


def _texts(parts: JsonValue) -> list[tuple[int, str]]:
    """The texts of reasoning parts; some servers send one string, or a list of them."""
    members = [parts] if isinstance(parts, str) else list_of(parts)
    return [(at, text_of(part) or text_of(object_of(part).get("text"))) for at, part in enumerate(members)]
