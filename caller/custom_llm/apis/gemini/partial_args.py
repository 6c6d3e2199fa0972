"""Arguments of one function call that come in pieces, each with the path where it belongs. No I/O.

Vertex AI's `streamFunctionCallArguments` sends `{"jsonPath": "$.a[0].b", "stringValue": "…"}`; the pieces of one string
come one after another. What has no path in them is kept as it came. Source: Vertex AI's reference (`PartialArg`).
"""

import re
from itertools import pairwise

from caller.json_types import JsonObject, JsonValue, text_of

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['([^'\\]*)'\]|\["([^"\\]*)"\]""")
_MAX_DEPTH = 32
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")


class PartialArgs:
    """Gathers the arguments of one call. `base` is what came whole."""

    __slots__ = ("_base", "_pieces")

    def __init__(self, base: JsonObject) -> None:
        self._base = base
        self._pieces: dict[str, list[JsonValue]] = {}  # by path

    def feed(self, piece: JsonObject) -> None:
        """Add one piece."""
        path = text_of(piece.get("jsonPath"))
        kind = next((kind for kind in _VALUES if kind in piece), None)
        if kind is None:
            return  # only says that more comes, or that no more does
        value = None if kind == "nullValue" else piece[kind]
        held = self._pieces.setdefault(path, [])
        if not (held and isinstance(held[-1], str) and isinstance(value, str)):
            held.clear()
        held.append(value)

    def value(self) -> tuple[JsonObject, list[JsonValue]]:
        """The arguments, and the pieces whose path leads nowhere."""
        left: list[JsonValue] = []
        for path, held in self._pieces.items():
            value: JsonValue = "".join(map(text_of, held)) if isinstance(held[-1], str) else held[-1]
            if not _set(self._base, path, value):
                left.append({"jsonPath": path, "value": value})
        return self._base, left


def _set(root: JsonObject, path: str, value: JsonValue) -> bool:
    steps = _steps(path)
    if not steps:
        return False
    node: JsonValue = root
    for step, following in pairwise(steps):
        fresh: JsonValue = [] if isinstance(following, int) else {}
        node = _member(node, step, fresh)
    *_, last = steps
    if isinstance(node, dict) and isinstance(last, str):
        node[last] = value
        return True
    if isinstance(node, list) and isinstance(last, int) and last <= len(node):
        node[last : last + 1] = [value]
        return True
    return False


def _member(node: JsonValue, step: str | int, fresh: JsonValue) -> JsonValue:
    """The member at the step, made where it is missing. A list only grows by one: an index is a client's memory."""
    if isinstance(node, dict) and isinstance(step, str):
        return node.setdefault(step, fresh)
    if isinstance(node, list) and isinstance(step, int) and step <= len(node):
        if step == len(node):
            node.append(fresh)
        return node[step]
    return None


def _steps(path: str) -> list[str | int]:
    """The keys and indices of a path; empty for one that is not that simple."""
    if not path.startswith("$"):
        return []
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or len(steps) >= _MAX_DEPTH:
            return []
        name, index, single, double = found.groups()
        steps.append(int(index) if index is not None else name or single or double or "")
        at = found.end()
    return steps
