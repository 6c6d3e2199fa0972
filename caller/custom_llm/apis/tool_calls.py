"""Which tool call does a fragment belong to? Endpoints disagree on `index` and `id`; here they get our own numbers.

The rules, in order: a known id is that call; else a known index whose call has no other id is that call; else a new id
or a name opens a call; else the fragment belongs to the latest call. Nothing is lost: a fragment that fits nowhere
opens a call without a name. Absent, null and `""` mean the same. Arguments are never parsed here.
"""

from dataclasses import dataclass

from caller.custom_llm.apis.shared import new_call_id
from caller.errors import ResponseTooLarge
from caller.events import ToolCallDelta
from caller.fold import MAX_TOOL_CALLS

# Arguments that come before a name wait for it, up to this many characters.
_MAX_HELD = 64 * 1024


@dataclass(slots=True)
class _Call:
    number: int
    wire_id: str
    id: str = ""
    name: str = ""
    opened: bool = False  # its first fragment has left
    held: str = ""  # arguments that came before the name
    has_arguments: bool = False


class ToolCallTracker:
    """Follows the tool calls of one choice."""

    __slots__ = ("_by_id", "_by_index", "_calls", "_choice", "_latest")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._latest = -1

    @property
    def seen(self) -> bool:
        """True once there is a call."""
        return bool(self._calls)

    @property
    def latest(self) -> int:
        """Our number of the call that the last fragment belonged to; -1 without one."""
        return self._latest

    def feed(self, index: int | None, wire_id: str, name: str, arguments: str) -> list[ToolCallDelta]:
        """The events of one fragment.

        Raises:
            ResponseTooLarge: there are too many calls.
        """
        if not (wire_id or name or arguments or (index is not None and index in self._by_index)):
            return []  # a call with nothing but zero values (Snowflake)
        call = self._find(index, wire_id, name)
        self._latest = call.number
        if wire_id and not call.wire_id:
            call.wire_id = wire_id
            self._by_id[wire_id] = call
        call.name = call.name or name
        if not call.opened:
            call.held += arguments
            return self._open(call) if call.name or len(call.held) > _MAX_HELD else []
        if not arguments:
            return []
        call.has_arguments = True
        return [ToolCallDelta(call.number, arguments, choice=self._choice)]

    def close(self) -> list[ToolCallDelta]:
        """The choice is complete: calls whose name never came leave too, and no arguments at all mean `{}`."""
        events: list[ToolCallDelta] = []
        for call in self._calls:
            if not call.opened:
                events += self._open(call)
            if not call.has_arguments:
                call.has_arguments = True
                events.append(ToolCallDelta(call.number, "{}", choice=self._choice))
        return events

    def _open(self, call: _Call) -> list[ToolCallDelta]:
        call.opened = True
        call.id = call.wire_id or new_call_id()
        call.has_arguments = bool(call.held)
        return [ToolCallDelta(call.number, call.held, call.id, call.name, self._choice)]

    def _find(self, index: int | None, wire_id: str, name: str) -> _Call:
        known = self._by_id.get(wire_id) if wire_id else None
        if known is not None:
            return known
        at_index = self._by_index.get(index) if index is not None else None
        if at_index is not None and (not wire_id or not at_index.wire_id):
            return at_index
        if wire_id or name or not self._calls:
            return self._new(index, wire_id)
        return self._calls[self._latest]

    def _new(self, index: int | None, wire_id: str) -> _Call:
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise ResponseTooLarge(f"the answer has more than {MAX_TOOL_CALLS} tool calls")
        call = _Call(len(self._calls), wire_id)
        self._calls.append(call)
        if wire_id:
            self._by_id[wire_id] = call
        if index is not None:
            self._by_index[index] = call
        return call
