"""The content blocks of one Anthropic answer: fragments in, events out, and the native blocks kept. No I/O.

Fragments belong to a block by its index; blocks may be interleaved. Each block is kept in its native form because some
must go back to the model unread: signed and redacted thinking, and blocks that we have no field for. If there is one
of these, all blocks of the answer are its provider state, in their order. Thinking without a signature goes back, too,
with the call of a tool that it led to: endpoints that sign nothing (DeepSeek, GLM, MiniMax, Kimi) want it back there,
and Anthropic itself never goes on to another block without signing the one before.

A call that comes once more, under its own id and with the same name and arguments, is one call: bridges say an answer's
calls twice. Until its arguments say which it is, such a block emits nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from caller.custom_llm.adapter import Repeat
from caller.custom_llm.apis.anthropic.content import STATE_SHAPE
from caller.custom_llm.apis.arguments import Arguments
from caller.custom_llm.apis.kept import KeptBudget
from caller.custom_llm.apis.shared import arguments_object, arguments_text, json_text
from caller.custom_llm.apis.tool_calls import CallIds
from caller.errors import ResponseTooLarge
from caller.events import Event, ProviderFields, ProviderState, ReasoningDelta, TextDelta, ToolCallDelta
from caller.json_types import JsonObject, JsonValue, index_of, list_of, object_of, text_of, without

MAX_BLOCKS = 4096

# What our own fields hold of each type of block; a block with anything else is given to the client as it is.
_FIELDS = {
    "text": frozenset({"type", "text"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "tool_use": frozenset({"type", "id", "name", "input"}),
}
# What a fragment is called elsewhere, or is if it has no type: its type, and where its text stands.
_OTHER_DELTAS = {"reasoning_delta": "thinking_delta", "thinking": "thinking_delta", "text": "text_delta"}
_UNTYPED_DELTAS = (("partial_json", "input_json_delta"), ("text", "text_delta"), ("thinking", "thinking_delta"))
_DIRECT_CALL: JsonValue = {"type": "direct"}  # the model itself calls the tool: what every call is


@dataclass(slots=True)
class _Block:
    index: int
    kind: str
    fields: JsonObject
    call: int | None = None  # our own number of a tool call
    doubt: bool = False  # a call whose id another one has: it may be that call once more
    closed: bool = False
    announced: bool = True  # its start was on the wire
    arguments: Arguments = field(default_factory=Arguments)  # of a call
    pieces: list[str] = field(default_factory=list)  # text or thinking behind what `fields` began with
    json: list[str] = field(default_factory=list)  # fragments of `input`
    more: dict[str, list[str]] = field(default_factory=dict)  # further text of fields, in fragments of unknown types

    def native(self) -> JsonObject:
        """The block as the endpoint would have sent it in one piece."""
        wire = dict(self.fields)
        for key, texts in self.more.items():
            wire[key] = text_of(wire.get(key)) + "".join(texts)
        if self.pieces:
            wire[self.kind] = text_of(wire.get(self.kind)) + "".join(self.pieces)
        json = self.json or self.arguments.pieces
        if json:
            wire["input"] = arguments_object("".join(json))
        elif self.kind == "tool_use":
            wire["input"] = object_of(wire.get("input"))
        return wire

    @property
    def must_return(self) -> bool:
        """True for what makes the answer's blocks a state."""
        if self.kind == "thinking":
            return bool(self.fields.get("signature"))
        return self.kind == "redacted_thinking" or self.kind not in _FIELDS

    @property
    def can_return(self) -> bool:
        """False for thinking without a signature: the API itself would refuse it."""
        return self.kind != "thinking" or self.must_return

    @property
    def is_empty(self) -> bool:
        """True for thinking without a text."""
        return not text_of(self.native().get(self.kind))

    @property
    def lacks_arguments(self) -> bool:
        """True for a call that has got no arguments yet."""
        return self.call is not None and not (self.arguments.begun or self.fields.get("input"))

    @property
    def is_more_than_ours(self) -> bool:
        """True if it says anything that our own fields do not hold."""
        more = without(self.fields, _FIELDS.get(self.kind, frozenset()))
        return bool(self.more) or any(value and value != _DIRECT_CALL for value in more.values())


class ContentBlocks:
    """Follows the blocks of one answer. `budget` bounds what is kept and is neither text nor arguments."""

    __slots__ = ("_at", "_blocks", "_calls", "_ids", "_latest", "_open", "budget")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._at: dict[int, _Block] = {}
        self._calls = 0
        self._ids = CallIds()
        self._latest = 0
        self._open = 0  # blocks that were announced and are not closed
        self.budget = KeptBudget()

    @property
    def called(self) -> bool:
        """True once the model called a tool."""
        return self._calls > 0

    @property
    def begun(self) -> bool:
        """True once there is a block."""
        return bool(self._blocks)

    @property
    def closed(self) -> bool:
        """True if no block that began is open."""
        return self._open == 0

    def start(self, wire_index: JsonValue, wire: JsonObject, events: list[Event]) -> None:
        """A block begins, empty or already full.

        Raises:
            ResponseTooLarge: past the bounds.
        """
        if len(self._blocks) >= MAX_BLOCKS:
            raise ResponseTooLarge(f"the answer has more than {MAX_BLOCKS} content blocks")
        index = index_of(wire_index, len(self._blocks))
        block = _Block(index, text_of(wire.get("type")), dict(wire))
        self._blocks.append(block)
        self._open += 1
        self._at[index] = block  # an index used again is a new block: the old one gets no more fragments
        self._latest = index
        match block.kind:
            case "text" if text_of(wire.get("text")):
                events.append(TextDelta(text_of(wire.get("text"))))
            case "thinking" if text_of(wire.get("thinking")):
                events.append(ReasoningDelta(text_of(wire.get("thinking"))))
            case "tool_use":
                self._begin_call(block, events)
            case _:
                pass  # nothing to emit before its fragments come
        if not wire.keys() <= _FIELDS.get(block.kind, frozenset()):
            self.budget.consume(wire)

    def delta(self, wire_index: JsonValue, delta: JsonObject, events: list[Event]) -> None:
        """A fragment of a block."""
        index = index_of(wire_index, self._latest)
        kind = delta.get("type")
        if type(kind) is not str or kind not in _REPEATED:
            kind = _kind_of(delta, text_of(kind))
        if kind == "text_delta":
            text = delta.get("text")
            if text and isinstance(text, str):
                block = self._block(index, "text", events)
                if block.kind == "text":
                    block.pieces.append(text)
                events.append(TextDelta(text))
        elif kind == "input_json_delta":
            self._arguments(self._block(index, "tool_use", events), delta, events)
        elif kind == "thinking_delta":
            thinking = text_of(delta.get("thinking")) or text_of(delta.get("reasoning")) or text_of(delta.get("text"))
            if thinking:
                block = self._block(index, "thinking", events)
                if block.kind == "thinking":
                    block.pieces.append(thinking)
                events.append(ReasoningDelta(thinking))
        elif index in self._at:
            self._rare_delta(self._at[index], delta)

    def repeated(self, wire_index: JsonValue, delta: JsonObject) -> Repeat | None:
        """What further fragments like this one mean, which was read just now."""
        block = self._at.get(index_of(wire_index, self._latest))
        kind, name, more = _REPEATED.get(text_of(delta.get("type")), ("", "", _more_text))
        if block is None or block.kind != kind or not isinstance(delta.get(name), str):
            return None
        if kind == "tool_use" and (block.call is None or block.doubt):
            return None
        return Repeat(("delta", name), partial(more, block))

    def stop(self, wire_index: JsonValue, events: list[Event]) -> None:
        """A block is complete."""
        block = self._at.get(index_of(wire_index, self._latest))
        if block is not None:
            self._close(block, events)

    def finish(self, events: list[Event]) -> None:
        """The answer is complete: what was not closed is, and the native blocks leave where they are needed."""
        for block in self._blocks:
            self._close(block, events)
            rest = "" if block.call is None or block.doubt else block.arguments.close()
            if block.call is not None and rest:
                events.append(ToolCallDelta(block.call, rest))
        self._decide(events)
        typed = [block for block in self._blocks if block.kind and not block.doubt]
        in_order = sorted(typed, key=lambda block: block.index)
        unmapped = [
            block.native() for block in in_order if block.kind != "redacted_thinking" and block.is_more_than_ours
        ]
        if unmapped:
            events.append(ProviderFields({"content_blocks": list_of(list(unmapped))}, 0))
        unsigned = self.called and any(block.kind == "thinking" and not block.is_empty for block in in_order)
        if unsigned or any(block.must_return for block in in_order):
            kept = [block for block in in_order if block.can_return or (self.called and not block.is_empty)]
            content = [block.native() for block in kept]
            events.append(ProviderState(STATE_SHAPE, {"content": list_of(list(content))}))

    def _block(self, index: int, kind: str, events: list[Event]) -> _Block:
        """The block of an index; one that never began, or without a type, is taken to be what its fragment says.

        Arguments are no call by themselves: bridges number them past the call that they belong to (sub2api).
        """
        block = self._at.get(index)
        if block is None and kind == "tool_use" and self._blocks and self._blocks[-1].lacks_arguments:
            block = self._at[index] = self._blocks[-1]
        if block is None or not block.kind:
            self.start(index, {"type": kind}, events)
            block = self._blocks[-1]
            block.announced = False
            self._open -= 1
        return block

    def _begin_call(self, block: _Block, events: list[Event]) -> None:
        call_id = text_of(block.fields.get("id"))
        block.doubt = self._ids.gave(call_id)
        if block.doubt:
            block.call = -1
        else:
            self._open_call(block, events)

    def _decide(self, events: list[Event]) -> None:
        """The answer is complete: what is a call once more is left out, the others begin now."""
        if not any(block.doubt for block in self._blocks):
            return
        said = {_identity(block) for block in self._blocks if block.call is not None and not block.doubt}
        for block in self._blocks:
            if block.doubt and _identity(block) not in said:
                said.add(_identity(block))
                block.doubt = False
                self._open_call(block, events)
                rest = block.arguments.close()
                events.append(ToolCallDelta(block.call or 0, "".join(block.arguments.pieces) or rest))

    def _open_call(self, block: _Block, events: list[Event]) -> None:
        block.call = self._calls
        self._calls += 1
        call_id = self._ids.give(text_of(block.fields.get("id")))
        block.fields["id"] = call_id
        events.append(ToolCallDelta(block.call, "", call_id, text_of(block.fields.get("name"))))

    def _arguments(self, block: _Block, delta: JsonObject, events: list[Event]) -> None:
        fragment = arguments_text(delta.get("partial_json"))
        if not fragment:
            return
        if block.call is None:
            block.json.append(fragment)
            self.budget.consume(fragment)  # the call of a tool that the endpoint runs itself
            return
        said = block.arguments.feed(fragment)
        if said and not block.doubt:
            events.append(ToolCallDelta(block.call, said))

    def _close(self, block: _Block, events: list[Event]) -> None:
        """A call that got no fragments has its arguments from its start (some compatible servers). One without either
        may get them behind its end (some routers), or has none."""
        given = block.fields.get("input")
        if block.call is not None and not block.closed and given and not block.arguments.begun:
            said = block.arguments.feed(arguments_text(given))
            if not block.doubt:
                events.append(ToolCallDelta(block.call, said))
        if block.announced and not block.closed:
            self._open -= 1
        block.closed = True

    def _rare_delta(self, block: _Block, delta: JsonObject) -> None:
        self.budget.consume(delta)
        fields = block.fields
        match delta.get("type"):
            case "signature_delta":
                fields["signature"] = text_of(delta.get("signature")) or fields.get("signature")  # sent in one piece
            case "citations_delta":
                if not isinstance(fields.get("citations"), list):
                    fields["citations"] = []
                list_of(fields["citations"]).append(delta.get("citation"))
            case _:
                _merge_unknown(block, delta)


def _identity(block: _Block) -> str:
    """What two calls have in common that are one."""
    wire = block.native()
    return json_text([wire.get(key) for key in ("id", "name", "input")])


def _kind_of(delta: JsonObject, kind: str) -> str:
    """The type of a fragment that has another word for it, or none."""
    if kind:
        return _OTHER_DELTAS.get(kind, kind)
    return next((name for key, name in _UNTYPED_DELTAS if isinstance(delta.get(key), str)), "")


def _more_text(block: _Block, texts: Sequence[str]) -> Sequence[Event]:
    text = "".join(texts)
    block.pieces.append(text)
    return (TextDelta(text),)


def _more_thinking(block: _Block, texts: Sequence[str]) -> Sequence[Event]:
    text = "".join(texts)
    block.pieces.append(text)
    return (ReasoningDelta(text),)


def _more_arguments(block: _Block, texts: Sequence[str]) -> Sequence[Event]:
    said = [block.arguments.feed(text) for text in texts]
    return [ToolCallDelta(block.call or 0, text) for text in said if text]


# By the type of a fragment: the kind of its block, where its text stands, and what more of it means.
_REPEATED = {
    "text_delta": ("text", "text", _more_text),
    "thinking_delta": ("thinking", "thinking", _more_thinking),
    "input_json_delta": ("tool_use", "partial_json", _more_arguments),
}


def _merge_unknown(block: _Block, delta: JsonObject) -> None:
    """A fragment of a type that we do not know (`compaction_delta`): text continues text, lists continue lists."""
    fields = block.fields
    for key, value in delta.items():
        known = fields.get(key)
        if key == "type" or value is None:
            continue
        if isinstance(known, str) and isinstance(value, str):
            block.more.setdefault(key, []).append(value)
        elif isinstance(known, list) and isinstance(value, list):
            known += value
        else:
            fields[key] = value
            block.more.pop(key, None)
