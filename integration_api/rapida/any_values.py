"""`google.protobuf.Any` to plain JSON values: the forms in which clients pack model parameters. Pure."""

import math
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from google.protobuf.message import DecodeError, Message

from caller.json_types import JsonValue
from integration_api.codec.structs import Budget, NotJsonError, struct_to_object, value_to_json

_Packed = TypeVar("_Packed", bound=Message)
_Reader = Callable[[bytes, Budget], JsonValue]
# The decimal digits that a 32-bit float can need.
_FLOAT_DIGITS = (6, 7, 8, 9)


def any_to_json(packed: any_pb2.Any, budget: Budget | None = None) -> JsonValue:
    """The value inside; None for an empty Any. `budget` is what may be read of Structs.

    Raises:
        NotJsonError: another type, bytes that are not of the type, or what JSON cannot hold.
    """
    if not packed.type_url:
        return None
    name = packed.type_url.rpartition("/")[2]
    reader = _READERS.get(name)
    if reader is None:
        raise NotJsonError(f"holds a {name[:100]}; known are {', '.join(_READERS)}")
    budget = budget or Budget()
    try:
        value = reader(packed.value, budget)
    except DecodeError:
        raise NotJsonError(f"does not hold the {name} that it says") from None
    if isinstance(value, str):  # parameters that are objects or lists can come as their JSON text
        budget.consume_text(value)
    return value


def json_or_text(text: str) -> JsonValue:
    """Text read as the number, truth value, list or object that it spells; any other text as it is."""
    try:
        value: JsonValue = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return text if value is None or isinstance(value, str) else value


def _read(kind: type[_Packed], convert: Callable[[_Packed], JsonValue]) -> _Reader:
    return lambda raw, _: convert(kind.FromString(raw))


def _value(raw: bytes, budget: Budget) -> JsonValue:
    return value_to_json(struct_pb2.Value.FromString(raw), 0, budget)


def _struct(raw: bytes, budget: Budget) -> JsonValue:
    return struct_to_object(struct_pb2.Struct.FromString(raw), 0, budget)


def _list(raw: bytes, budget: Budget) -> JsonValue:
    return value_to_json(struct_pb2.Value(list_value=struct_pb2.ListValue.FromString(raw)), 0, budget)


def _bytes(raw: bytes, budget: Budget) -> JsonValue:
    try:
        text = wrappers_pb2.BytesValue.FromString(raw).value.decode()
    except UnicodeDecodeError:
        raise NotJsonError("holds bytes that are not JSON text") from None
    budget.consume_text(text)
    return json_or_text(text)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise NotJsonError("holds a number that is not finite")
    return value


def _float(wire: wrappers_pb2.FloatValue) -> JsonValue:
    """The shortest decimal of the 32-bit float: 0.7 instead of 0.699999988079071."""
    value = _finite(wire.value)
    for digits in _FLOAT_DIGITS:
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == struct.pack("<f", value):
            return short
    return value


_READERS: Mapping[str, _Reader] = MappingProxyType(
    {
        "google.protobuf.Value": _value,
        "google.protobuf.Struct": _struct,
        "google.protobuf.ListValue": _list,
        "google.protobuf.StringValue": _read(wrappers_pb2.StringValue, lambda wire: wire.value),
        "google.protobuf.BytesValue": _bytes,
        "google.protobuf.DoubleValue": _read(wrappers_pb2.DoubleValue, lambda wire: _finite(wire.value)),
        "google.protobuf.FloatValue": _read(wrappers_pb2.FloatValue, _float),
        "google.protobuf.Int32Value": _read(wrappers_pb2.Int32Value, lambda wire: wire.value),
        "google.protobuf.Int64Value": _read(wrappers_pb2.Int64Value, lambda wire: wire.value),
        "google.protobuf.UInt32Value": _read(wrappers_pb2.UInt32Value, lambda wire: wire.value),
        "google.protobuf.UInt64Value": _read(wrappers_pb2.UInt64Value, lambda wire: wire.value),
        "google.protobuf.BoolValue": _read(wrappers_pb2.BoolValue, lambda wire: wire.value),
    }
)
