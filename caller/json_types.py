"""The types of parsed JSON, and lenient readers for values that endpoints send in the wrong type.

Readers never raise: a value of another type reads as "not there". Endpoints send `null`, `""` and absent
keys for the same thing, and a decoder that trips over one of them loses an answer.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]

# Characters of a long text that are searched first.
_BEGINNING: Final = 1024 * 1024
# No count is as large; sums of a few of them still fit into the 32 bits that our contract has for one.
MAX_COUNT: Final = 2**29
# Beyond it a double no longer holds every whole number.
_EXACT = 2**53


# A string of JSON text, or what is left of one that does not end: it always matches to its end, so it is linear.
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


def values_at_most(text: str | bytes) -> int:
    """An upper bound of the values that JSON text holds: each but the first stands behind a comma or a bracket.

    It costs three passes in C and reads no string: an honest text with many commas counts too high.
    """
    if isinstance(text, bytes):
        return 1 + text.count(b",") + text.count(b"[") + text.count(b"{")
    return 1 + text.count(",") + text.count("[") + text.count("{")


def holds_more_values(text: str, most: int) -> bool:
    """Whether JSON text holds more than `most` values, found before it is parsed: a value of two bytes costs a hundred.

    Text that is no JSON can count as more than it holds, but for what stands inside its strings.
    """
    if text[4 * _BEGINNING :] and holds_more_values(text[:_BEGINNING], most):
        return True  # what is crowded shows it at once, and nobody reads on
    if values_at_most(text) <= most:
        return False
    # Keys and values: more than twice as many strings are more values than that, and need not be taken out.
    bare, strings = _STRING.subn("", text, count=2 * most + 1)
    return strings > 2 * most or values_at_most(bare) > most


def text_of(value: JsonValue) -> str:
    """The string, or `""`."""
    return value if isinstance(value, str) else ""


def object_of(value: JsonValue) -> JsonObject:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: JsonValue) -> list[JsonValue]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def objects_of(value: JsonValue) -> list[JsonObject]:
    """The objects in the list; other members are left out."""
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def count_of(value: JsonValue) -> int | None:
    """A count of tokens, or None. Counts come as floats from some gateways; a negative one is no count."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return int(value)


def index_of(value: JsonValue, default: int = 0) -> int:
    """A position in a list, or `default`."""
    count = count_of(value)
    return default if count is None else count


def with_whole_numbers(value: JsonValue) -> JsonValue:
    """The same value with every whole float as an integer: a protobuf Struct knows doubles only, and strict
    endpoints refuse `100.0` for a count."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: with_whole_numbers(member) for key, member in value.items()}
    if isinstance(value, list):
        return [with_whole_numbers(member) for member in value]
    return value


def deeper_than(value: JsonValue, levels: int) -> bool:
    """Whether objects and lists are nested more than so many levels deep."""
    level: list[JsonObject | list[JsonValue]] = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):  # one after the other: values are many, levels few, and most values are leaves
        level = [
            member
            for holder in level
            for member in (holder.values() if type(holder) is dict else holder)
            if type(member) is dict or type(member) is list
        ]
        if not level:
            return False
    return any(level)


def without(fields: Mapping[str, JsonValue], known: frozenset[str]) -> JsonObject:
    """The fields that are not among the known ones, nulls left out."""
    return {key: value for key, value in fields.items() if key not in known and value is not None}
