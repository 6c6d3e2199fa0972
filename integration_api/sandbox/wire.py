"""JSON and server-sent events as the sandbox writes them.

Rule: bytes and values only. This file does not know which API it writes for.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]


def dump(value: Json) -> str:
    """Compact JSON that keeps non-ASCII letters (also U+2028) as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode(text: str) -> bytes:
    """UTF-8. Half of a surrogate pair, which has no UTF-8, becomes the JSON escape that it came as."""
    return text.encode("utf-8", "backslashreplace")


def event(data: str, name: str = "", eol: str = "\n") -> bytes:
    """One server-sent event; `name` gives it an `event:` line."""
    head = f"event: {name}{eol}" if name else ""
    return encode(f"{head}data: {data}{eol}{eol}")


def comment(text: str, eol: str = "\n") -> bytes:
    """A line that clients must ignore."""
    return f": {text}{eol}{eol}".encode()


def without(value: JsonObject, name: str) -> JsonObject:
    """The object without a member."""
    return {key: member for key, member in value.items() if key != name}
