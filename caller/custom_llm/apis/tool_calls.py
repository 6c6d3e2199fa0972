"""The tool call that a fragment belongs to. Endpoints disagree on `index` and `id`; here calls get our own numbers.

How endpoints tear calls, and what a fragment is then. Absent, null, `""` and the word `null` mean the same.

| it has | the call is |
|---|---|
| the index of a call, no id or that call's | that call |
| the id of a call | that call; another one where index and name are others, too (an id for all) |
| a new id, no name, a known index or the latest call unfinished | that call, under its first id (Poolside) |
| a new id, the name of the call at its index, arguments in the middle of a text | that call (an id for each piece) |
| a new id, or a name, and nothing of the above | a new one |
| no id, no name, an unknown index or none | the latest |

A name makes a new call all the same where the call that was found has another name, or complete arguments that differ,
or came in the same list; a whole object behind complete arguments that differ is a call of the same name (index and id
that never move). The same name with the same arguments once more is the same call. A name that no tool of the request
has, but begins like one, waits for its rest: a piece more, or all of it once more. Each call leaves with an id of its
own, which is ours where the endpoint's is missing or was given out before. Nothing is lost: a fragment that fits
nowhere opens a call without a name.
"""

from typing import Final

from caller.custom_llm.apis.arguments import Arguments, is_object
from caller.custom_llm.apis.shared import new_call_id
from caller.errors import ResponseTooLarge
from caller.events import ToolCallDelta
from caller.fold import MAX_TOOL_CALLS

# Arguments that come before a name wait for it, up to this many characters.
_MAX_HELD: Final = 64 * 1024
_NO_ID: Final = frozenset({"null", "none", "nil", "undefined"})


class CallIds:
    """The ids of one answer's calls: those of the endpoint, but each only once."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: set[str] = set()

    def gave(self, wire_id: str) -> bool:
        """Whether a call has this id."""
        return wire_id in self._given

    def give(self, wire_id: str) -> str:
        """The endpoint's id, or one of ours where there is none or another call has it."""
        call_id = wire_id
        while not call_id or call_id in self._given:
            call_id = new_call_id()
        self._given.add(call_id)
        return call_id


class _Call:
    __slots__ = ("arguments", "delta", "held", "index", "name", "number", "opened", "wire_id")

    def __init__(self, number: int, index: int | None, wire_id: str) -> None:
        self.number = number
        self.index = index
        self.wire_id = wire_id
        self.name = ""
        self.opened = False  # its first fragment has left
        self.held = ""  # arguments that came before name or id
        self.arguments = Arguments()
        self.delta = 0  # the list that its last fragment came in


def _follows(held: Arguments, arguments: str) -> bool:
    """Whether these are a whole object behind another whole one: no JSON text has the one behind the other."""
    return is_object(arguments) and bool(held.pieces) and held.complete and not held.same(arguments)


class ToolCallTracker:
    """Follows the tool calls of one choice. `delta` is the number of the list that fragments come from now: its owner
    counts it up, where several calls can come in one list."""

    __slots__ = ("_by_id", "_by_index", "_calls", "_choice", "_ids", "_latest", "_tools", "delta")

    def __init__(self, choice: int, tools: frozenset[str] = frozenset()) -> None:
        """`tools`: the names that the client gave."""
        self.delta = 1
        self._tools = tools
        self._choice = choice
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._ids = CallIds()
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
        if wire_id and wire_id.lower() in _NO_ID:
            wire_id = ""
        call = self._find(index, wire_id, name, arguments)
        self._latest = call.number
        call.delta = self.delta
        if name and name != call.name:
            call.name = self._joined(call.name, name) if call.name else name
        if wire_id and not call.wire_id:
            call.wire_id = wire_id
            self._by_id[wire_id] = call
        said = call.arguments.feed(arguments) if arguments else ""
        if call.opened:
            return [ToolCallDelta(call.number, said, choice=self._choice)] if said else []
        call.held += said
        named = call.name and (call.held or (call.wire_id and not self._goes_on(call.name)))
        return [self._open(call)] if named or len(call.held) > _MAX_HELD else []

    def close(self) -> list[ToolCallDelta]:
        """The choice is complete: calls whose name never came leave too, and no arguments at all mean `{}`."""
        events: list[ToolCallDelta] = []
        for call in self._calls:
            rest = call.arguments.close()
            if not call.opened:
                call.held += rest
                events.append(self._open(call))
            elif rest:
                events.append(ToolCallDelta(call.number, rest, choice=self._choice))
        return events

    def _open(self, call: _Call) -> ToolCallDelta:
        call.opened = True
        held, call.held = call.held, ""
        return ToolCallDelta(call.number, held, self._ids.give(call.wire_id), call.name, self._choice)

    def _find(self, index: int | None, wire_id: str, name: str, arguments: str) -> _Call:
        call = self._continued(index, wire_id, name, arguments)
        if call is None:
            return self._new(index, wire_id)
        if name:
            if not self._begins_another(call, index, wire_id, name, arguments):
                return call
        elif arguments[:1] != "{" or not _follows(call.arguments, arguments):
            return call
        name = name or call.name
        again = self._said_before(wire_id, name, arguments) if arguments else None
        if again is None:
            again = self._new(index, wire_id)
            again.name = name
        return again

    def _continued(self, index: int | None, wire_id: str, name: str, arguments: str) -> _Call | None:
        """The call that index and id name, or else the latest; None for a new one."""
        at = self._by_index.get(index) if index is not None else None
        if at is not None and (not wire_id or at.wire_id in ("", wire_id)):
            return at
        known = self._by_id.get(wire_id) if wire_id else None
        if known is not None or not self._calls:
            return known
        latest = at or self._calls[self._latest]
        if wire_id:
            unfinished = not latest.arguments.complete
            torn = unfinished and latest.arguments.begun and name == latest.name
            goes_on = at is not None or (bool(arguments) and unfinished)
            return latest if torn or (not name and goes_on) else None
        if name and index is None:
            return latest if name == latest.name and latest.arguments.begun else None
        return None if name else latest

    def _begins_another(self, call: _Call, index: int | None, wire_id: str, name: str, arguments: str) -> bool:
        """Whether a fragment with a name is a call of its own, although index or id lead to this one."""
        if not call.name:
            return False
        if name != call.name:
            return call.opened or not self._joined(call.name, name)
        if call.delta == self.delta and not (wire_id and wire_id == call.wire_id):
            return True
        held = call.arguments
        if None not in (index, call.index) and index != call.index:
            return held.complete or not held.begun
        if arguments.lstrip()[:1] != "{" or not (held.pieces and held.complete) or held.same(arguments):
            return False
        return is_object(arguments) or not (wire_id and wire_id == call.wire_id)  # else the same text again, in pieces

    def _goes_on(self, name: str) -> bool:
        """Whether a name can only be the beginning of one."""
        return name not in self._tools and any(tool.startswith(name) for tool in self._tools)

    def _joined(self, begin: str, name: str) -> str:
        """The name that a second piece makes of the first one; `""` where it makes none."""
        whole = name if name.startswith(begin) else begin + name
        return whole if self._goes_on(begin) and (whole in self._tools or self._goes_on(whole)) else ""

    def _said_before(self, wire_id: str, name: str, arguments: str) -> _Call | None:
        """The call that is said once more, in a later list."""
        said = (call for call in self._calls if call.name == name and call.delta != self.delta)
        return next((call for call in said if wire_id in ("", call.wire_id) and call.arguments.same(arguments)), None)

    def _new(self, index: int | None, wire_id: str) -> _Call:
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise ResponseTooLarge(f"the answer has more than {MAX_TOOL_CALLS} tool calls")
        call = _Call(len(self._calls), index, wire_id)
        self._calls.append(call)
        if wire_id:
            self._by_id[wire_id] = call
        if index is not None:
            self._by_index[index] = call
        return call
