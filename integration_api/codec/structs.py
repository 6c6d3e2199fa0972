"""`google.protobuf.Struct` to plain JSON values and back.

Written by hand: `json_format` takes several times longer, and turns a NaN into an exception far from its field.
"""

import math
from collections.abc import Mapping

import msgspec
from google.protobuf import struct_pb2

from caller.json_types import JsonObject, JsonValue, holds_more_values, values_at_most

# A level of a Struct is three messages (Struct, entry, Value), and protobuf parsers stop at a hundred.
MAX_DEPTH = 32
# Members of objects and lists together. Two bytes of a request can make one, and each costs a microsecond.
MAX_VALUES = 100_000
_MAX_SENT_DEPTH = 28
# Text that can be read as JSON later counts by its values; so short a text holds too few to matter.
# (A slice of one tells whether there is more: `len` would be a call for each value.)
SHORT_TEXT = 4_096
# What an endpoint sent beyond our fields and is handed on, at most; each value costs a microsecond and more.
MAX_SENT_VALUES = 100_000


class NotJsonError(ValueError):
    """A Struct holds what JSON cannot: a number that is not finite, a value without a kind; or it is nested too deep,
    or holds too much."""


class Budget(msgspec.Struct):
    """How many values may be read, and how many were; several Structs can share one. `texts`: what JSON text in them
    will hold counts, too."""

    most: int = MAX_VALUES
    texts: bool = True
    used: int = 0

    @property
    def left(self) -> int:
        """How many values may still be read."""
        return self.most - self.used

    def consume(self, count: int) -> None:
        """Use up some of it.

        Raises:
            NotJsonError: there is not so much left.
        """
        self.used += count
        if self.used > self.most:
            raise NotJsonError(f"holds too much: at most {self.most} values can be given in all")

    def consume_text(self, text: str) -> None:
        """Use up what JSON text will hold once it is read. Short text is not examined, nor text of another kind.

        Raises:
            NotJsonError: there is not so much left.
        """
        if not self.texts or len(text) <= SHORT_TEXT or text.lstrip()[:1] not in ("{", "["):
            return
        if holds_more_values(text, self.left):
            self.used = self.most
            self.consume(1)
        self.consume(min(values_at_most(text), self.left))


def struct_to_object(struct: struct_pb2.Struct, depth: int = 0, budget: Budget | None = None) -> JsonObject:
    """The Struct as a JSON object.

    Raises:
        NotJsonError: see there.
    """
    if depth > MAX_DEPTH:
        raise NotJsonError(f"is nested more than {MAX_DEPTH} levels deep")
    fields = struct.fields
    if not fields:
        return {}
    budget = budget or Budget()
    budget.consume(len(fields))
    made: JsonObject = {}
    for key in fields:  # most values are leaves: read here, without a call for each
        value = fields[key]
        match value.WhichOneof("kind"):
            case "string_value":
                text = made[key] = value.string_value
                if len(text) > SHORT_TEXT:
                    budget.consume_text(text)
            case "struct_value":
                made[key] = struct_to_object(value.struct_value, depth + 1, budget)
            case "bool_value":
                made[key] = value.bool_value
            case "list_value":
                made[key] = _members(value.list_value, depth, budget)
            case _:
                made[key] = value_to_json(value, depth, budget)
    return made


def value_to_json(value: struct_pb2.Value, depth: int = 0, budget: Budget | None = None) -> JsonValue:
    """One Value as JSON.

    Raises:
        NotJsonError: see there.
    """
    match value.WhichOneof("kind"):
        case "string_value":
            text = value.string_value
            if budget is not None and len(text) > SHORT_TEXT:
                budget.consume_text(text)
            return text
        case "number_value":
            if not math.isfinite(value.number_value):
                raise NotJsonError("holds a number that is not finite")
            return value.number_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return struct_to_object(value.struct_value, depth + 1, budget)
        case "list_value":
            return _members(value.list_value, depth, budget or Budget())
        case _:
            return None


def _members(given: struct_pb2.ListValue, depth: int, budget: Budget) -> list[JsonValue]:
    if depth > MAX_DEPTH:
        raise NotJsonError(f"is nested more than {MAX_DEPTH} levels deep")
    values = given.values
    budget.consume(len(values))
    made: list[JsonValue] = []
    for value in values:
        if value.WhichOneof("kind") == "string_value":
            text = value.string_value
            if len(text) > SHORT_TEXT:
                budget.consume_text(text)
            made += (text,)
        else:
            made += (value_to_json(value, depth + 1, budget),)
    return made


def fill_struct(struct: struct_pb2.Struct, fields: Mapping[str, JsonValue]) -> None:
    """Put JSON fields into a Struct; what is nested too deep to be sent, or is too much, becomes text."""
    left = MAX_SENT_VALUES
    for key, value in fields.items():
        left = _fill_value(struct.fields[_clean(key)], value, 0, left)


def _fill_value(target: struct_pb2.Value, value: JsonValue, depth: int, left: int) -> int:
    """Fill in one value; returns how many more there may be."""
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        _fill_number(target, value)
    elif isinstance(value, str):
        target.string_value = _clean(value)
    elif depth >= _MAX_SENT_DEPTH or len(value) > left:
        target.string_value = "…"
    elif isinstance(value, list):
        target.list_value.SetInParent()
        left -= len(value)
        for member in value:
            left = _fill_value(target.list_value.values.add(), member, depth + 1, left)
    else:
        target.struct_value.SetInParent()
        left -= len(value)
        for key, member in value.items():
            left = _fill_value(target.struct_value.fields[_clean(key)], member, depth + 1, left)
    return left


def _fill_number(target: struct_pb2.Value, value: float) -> None:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isfinite(number):
        target.number_value = number
    else:
        target.string_value = str(value)


def _clean(text: str) -> str:
    """Text that protobuf takes: lone surrogates raise there."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
