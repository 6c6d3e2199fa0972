"""Tools whose translations are kept from call to call. Provider-neutral; who keeps them, and for how long, is not here.

The tools of a conversation are the same on every turn, and reading and translating them is most of what a turn costs.
So they may come unread: their definitions are made when they are first read, and an API shape that has a translation
of them needs none.
"""

from collections.abc import Callable, Sequence
from typing import cast, overload

import msgspec

from caller.json_types import JsonValue
from caller.messages import ToolDefinition

# JSON text by the form that it has: the words of one API shape.
Translations = dict[str, msgspec.Raw]
Translate = Callable[[Sequence[ToolDefinition]], JsonValue]


class KeptTools(Sequence[ToolDefinition]):
    """Tools, and how they are written in the words of API shapes."""

    __slots__ = ("_count", "_keep", "_known", "_made", "_read")

    def __init__(
        self,
        count: int,
        read: Callable[[], tuple[ToolDefinition, ...]],
        known: Translations,
        keep: Callable[[str, msgspec.Raw], None],
    ) -> None:
        """`read` makes the definitions; `known` are the translations so far, `keep` is given each further one."""
        self._count = count
        self._read = read
        self._known = known
        self._keep = keep
        self._made: tuple[ToolDefinition, ...] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> ToolDefinition: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[ToolDefinition]: ...

    def __getitem__(self, at: int | slice) -> ToolDefinition | Sequence[ToolDefinition]:
        if self._made is None:
            self._made = self._read()
        return self._made[at]

    def translated(self, form: str, translate: Translate) -> JsonValue:
        """The tools in the words of a shape, as JSON text that goes into the body as it is.

        Raises:
            ClientError: the shape cannot carry them; nothing is kept then.
        """
        text = self._known.get(form)
        if text is None:
            text = msgspec.Raw(msgspec.json.encode(translate(self[:])))
            self._keep(form, text)
        return cast("JsonValue", text)  # what msgspec encodes as the value that it is


def names(tools: Sequence[ToolDefinition]) -> frozenset[str]:
    """The names of the tools, read from kept ones without making their definitions again."""
    if isinstance(tools, KeptTools):
        return frozenset(_decode_names(cast("msgspec.Raw", tools.translated("names", _names))))
    return frozenset([tool.name for tool in tools])


_decode_names = msgspec.json.Decoder(list[str]).decode


def _names(tools: Sequence[ToolDefinition]) -> JsonValue:
    return [tool.name for tool in tools]


def translated(tools: Sequence[ToolDefinition], form: str, translate: Translate) -> JsonValue:
    """The tools in the words of a shape: kept ones as their text, others translated now. `form` names the words."""
    return tools.translated(form, translate) if isinstance(tools, KeptTools) else translate(tools)
