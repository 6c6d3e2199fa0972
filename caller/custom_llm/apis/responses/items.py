"""The output items of one Responses answer while they grow: which item an event belongs to, and what it said so far.

Endpoints disagree on how events name their item. GitHub Copilot changes the item's id on every event, so the output
index comes first; llama.cpp sends no index, so the id comes second; without both it is the latest item of its kind.

Everything an item says is remembered in pieces, because the same text comes again and again: in `….done`, in
`content_part.done`, in `output_item.done` and in the final `response.output`. Each of them only fills what is missing.
Bounded by what the answer itself may hold and by `MAX_ITEMS`. No I/O; it emits nothing.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Final

from caller.errors import ResponseTooLarge
from caller.fold import MAX_TOOL_CALLS
from caller.json_types import JsonObject, JsonValue, count_of, text_of

# Each call can have its reasoning beside it.
MAX_ITEMS: Final = 2 * MAX_TOOL_CALLS

MESSAGE: Final = "message"
REASONING: Final = "reasoning"
CALL: Final = "call"
OTHER: Final = "other"
_KINDS: Final = {"message": MESSAGE, "reasoning": REASONING, "function_call": CALL, "custom_tool_call": CALL}


def kind_of(wire: JsonObject) -> str:
    """MESSAGE, REASONING, CALL, or OTHER for what has no meaning of ours (searches, MCP calls, …)."""
    return _KINDS.get(text_of(wire.get("type")), OTHER)


class Channel:
    """One sort of output of one item, in parts by their position."""

    __slots__ = ("_logged", "_parts")

    def __init__(self) -> None:
        self._parts: dict[int, list[str]] = {}
        self._logged: set[int] = set()  # the parts whose log probabilities came

    def add(self, position: int, text: str, *, logged: bool = False) -> None:
        """A piece was emitted."""
        part = self._parts.get(position)
        if part is None:
            part = self._parts[position] = []
        part.append(text)
        if logged:
            self._logged.add(position)

    def logged(self, position: int | None = None) -> bool:
        """True when log probabilities came: of the part, or of any."""
        return bool(self._logged) if position is None else position in self._logged

    def emitted(self) -> str:
        """All the text that was emitted."""
        return "".join([_joined(part) for part in self._parts.values()])

    def rest(self, position: int, final: str) -> str:
        """What a part's final text has beyond what was said of it.

        A text that does not begin with what was said is another version of it (stripped, escaped anew): what was said
        stays. One that was said under another position is not said again.
        """
        part = self._parts.get(position)
        if part is None:
            return "" if self.emitted().endswith(final) else final
        sent = _joined(part)
        return final[len(sent) :] if final.startswith(sent) else ""

    def missing(self, finals: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """The same for all parts of an item: the positions with the text they lack. Positions of the events need not
        be those of the final item."""
        sent = self.emitted()
        if not "".join([text for _, text in finals]).startswith(sent):
            return []
        skip = len(sent)
        lacking: list[tuple[int, str]] = []
        for position, text in finals:
            if skip < len(text):
                lacking.append((position, text[skip:]))
            skip = max(skip - len(text), 0)
        return lacking


def _joined(pieces: list[str]) -> str:
    """The text of a part, whose pieces become one: what is asked for again and again is joined once."""
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0] if pieces else ""


class Item:
    """One output item. `wire` is the latest JSON of it; `final` says that it is the finished one."""

    __slots__ = (
        "_channels",
        "annotations",
        "announced",
        "call_id",
        "final",
        "id",
        "index",
        "kind",
        "opened",
        "parts",
        "seq",
        "wire",
    )

    def __init__(self, kind: str, seq: int, index: int | None, item_id: str) -> None:
        self.kind = kind
        self.seq = seq
        self.index = index
        self.id = item_id
        self.wire: JsonObject = {}
        self.final = False
        self.announced = False
        self.opened = False  # a tool call whose first fragment has left
        self.call_id = ""
        self.annotations: list[JsonValue] = []
        self.parts: list[JsonValue] = []  # content parts that we have no field for
        self._channels: dict[str, Channel] = {}

    def channel(self, name: str) -> Channel:
        """The channel of this name, empty at first."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel()
        return channel


class _OfKind:
    """The items of one kind."""

    __slots__ = ("by_id", "by_index", "latest")

    def __init__(self) -> None:
        self.by_index: dict[int, Item] = {}
        self.by_id: dict[str, Item] = {}
        self.latest: Item | None = None


class Items:
    """All output items of an answer."""

    __slots__ = ("_all", "_by_kind")

    def __init__(self) -> None:
        self._all: list[Item] = []
        self._by_kind = {kind: _OfKind() for kind in (MESSAGE, REASONING, CALL, OTHER)}

    def find(self, kind: str, wire_index: JsonValue, wire_id: JsonValue) -> Item:
        """The item that an event means; a new one where there is none."""
        known = self._by_kind[kind]
        index = wire_index if type(wire_index) is int else count_of(wire_index)
        if index is not None:
            item = known.by_index.get(index)
            if item is not None:
                return item
        item_id = text_of(wire_id)
        item = known.by_id.get(item_id)
        if item is not None and (index is None or item.index is None):
            if index is not None:
                item.index = index
                known.by_index[index] = item
            return item
        if index is None and known.latest is not None:
            return known.latest
        return self._new(kind, index, item_id)

    def announced(self, kind: str, wire_index: JsonValue, wire_id: JsonValue) -> Item:
        """The item that `output_item.added` opens. One that was announced under the same index before and has
        another id is another item: some servers count every item as 0."""
        known = self._by_kind[kind]
        index, item_id = count_of(wire_index), text_of(wire_id)
        item = known.by_index.get(index) if index is not None else known.by_id.get(item_id)
        if item is None or (item.announced and not (item_id and item.id == item_id)):
            item = self._new(kind, index, item_id)
        item.announced = True
        return item

    def in_order(self) -> list[Item]:
        """The items as the answer has them."""
        return sorted(self._all, key=lambda item: item.seq if item.index is None else item.index)

    def matched(self, output: Sequence[JsonObject]) -> list[tuple[Item, JsonObject]]:
        """Each member of the final `output` with the item it repeats: the one of its id, else the next of its kind
        (ids in `output` can differ from those of the stream: vLLM), else a new one."""
        by_id = {(item.kind, item.id): item for item in self._all if item.id}
        found = [by_id.pop((kind_of(wire), text_of(wire.get("id"))), None) for wire in output]
        taken = {item.seq for item in found if item is not None}
        waiting: defaultdict[tuple[str, str], deque[Item]] = defaultdict(deque)
        for item in self.in_order():
            if item.seq not in taken:
                waiting[_sort(item.kind, item.wire)].append(item)
        pairs: list[tuple[Item, JsonObject]] = []
        for known, wire in zip(found, output, strict=True):
            kind = kind_of(wire)
            queue = waiting[_sort(kind, wire)]
            item = known or (queue.popleft() if queue else self._new(kind, None, text_of(wire.get("id"))))
            pairs.append((item, wire))
        if len(pairs) == len(self._all):
            for position, (item, _) in enumerate(pairs):
                item.index = position
        return pairs

    def _new(self, kind: str, index: int | None, item_id: str) -> Item:
        if len(self._all) >= MAX_ITEMS:
            raise ResponseTooLarge(f"the answer has more than {MAX_ITEMS} output items")
        item = Item(kind, len(self._all), index, item_id)
        self._all.append(item)
        known = self._by_kind[kind]
        known.latest = item
        if index is not None:
            known.by_index[index] = item
        if item_id:
            known.by_id[item_id] = item
        return item


def _sort(kind: str, wire: JsonObject) -> tuple[str, str]:
    return kind, text_of(wire.get("type")) if kind == OTHER else ""
