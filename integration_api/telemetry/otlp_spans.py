"""Spans as OTLP sends them: protobuf's bytes, written directly.

Source: opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto. A span by way of OpenTelemetry's objects
and protobuf's costs five times as much as all else that is done for a trace. Pure; it knows no calls.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

# What OpenTelemetry knows beside these (maps, bytes, nothing) no attribute of ours has, nor one of a resource.
Value: TypeAlias = str | bool | int | float | Sequence["Value"]

SERVER: Final = b"\x30\x02"  # kind
CLIENT: Final = b"\x30\x03"
FAILED: Final = b"\x7a\x02\x18\x02"  # status

# Tags: the field's number, and how it is written.
_ATTRIBUTE: Final = b"\x4a"
_EVENT: Final = b"\x5a"
_NAME: Final = b"\x2a"
_PARENT: Final = b"\x22\x08"
_TRACE_STATE: Final = b"\x1a"
_SPANS: Final = b"\x12"
_SHORT: Final = 0x80
# trace_id, span_id, start, end, flags
_HEAD: Final = struct.Struct("<2s16s2s8scQcQ2sI")
_MOMENT: Final = struct.Struct("<cQ")
_DOUBLE: Final = struct.Struct("<cd")
# Of `flags`, beside the trace's own: it is known whether the parent is of another process, and it is.
_REMOTE_KNOWN: Final = 0x100
_REMOTE: Final = 0x200
_WHOLE: Final = (1 << 64) - 1


def _varint(number: int) -> bytes:
    written = bytearray()
    while number >= _SHORT:
        written.append(number & 0x7F | _SHORT)
        number >>= 7
    written.append(number)
    return bytes(written)


def _sized(tag: bytes, payload: bytes) -> bytes:
    """A field of so many bytes."""
    size = len(payload)
    if size < _SHORT:
        return b"%b%c%b" % (tag, size, payload)
    if size < _SHORT * _SHORT:
        return b"%b%c%c%b" % (tag, size & 0x7F | _SHORT, size >> 7, payload)
    return b"%b%b%b" % (tag, _varint(size), payload)


def _value(value: Value) -> bytes:
    """An AnyValue."""
    if isinstance(value, str):
        return _sized(b"\x0a", value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & _WHOLE)
    if isinstance(value, float):
        return _DOUBLE.pack(b"\x21", value)
    return _sized(b"\x2a", b"".join(_sized(b"\x0a", _value(each)) for each in value))


def key_values(values: Mapping[str, Value], tag: bytes) -> bytes:
    """Values by their names, as fields of this tag."""
    return b"".join(
        _sized(tag, _sized(b"\x0a", name.encode()) + _sized(b"\x12", _value(value))) for name, value in values.items()
    )


def attributes(values: Mapping[str, Value]) -> bytes:
    """A span's attributes."""
    return key_values(values, _ATTRIBUTE)


def key(text: str) -> bytes:
    """An attribute's name, for the functions below: they write one attribute each, and quickly."""
    return _sized(b"\x0a", text.encode())


def text_attribute(known: bytes, value: str) -> bytes:
    """One whose value is a text."""
    raw = value.encode("utf-8", "replace")
    size = len(raw)
    whole = len(known) + size + 4
    if whole < _SHORT:
        return b"\x4a%c%b\x12%c\x0a%c%b" % (whole, known, size + 2, size, raw)
    return _sized(_ATTRIBUTE, known + _sized(b"\x12", _sized(b"\x0a", raw)))


def int_attribute(known: bytes, value: int) -> bytes:
    """One whose value is a whole number."""
    if 0 <= value < _SHORT:
        return b"\x4a%c%b\x12\x02\x18%c" % (len(known) + 4, known, value)
    if _SHORT <= value < _SHORT * _SHORT:
        return b"\x4a%c%b\x12\x03\x18%c%c" % (len(known) + 5, known, value & 0x7F | _SHORT, value >> 7)
    return _sized(_ATTRIBUTE, known + _sized(b"\x12", _value(value)))


def float_attribute(known: bytes, value: float) -> bytes:
    """One whose value is a number."""
    return b"\x4a%c%b\x12\x09%b" % (len(known) + 11, known, _DOUBLE.pack(b"\x21", value))


def name(text: str) -> bytes:
    """A span's name."""
    return _sized(_NAME, text.encode("utf-8", "replace"))


def event(text: bytes, nanoseconds: int) -> bytes:
    """An event of a span, without attributes."""
    return _sized(_EVENT, _MOMENT.pack(b"\x09", nanoseconds) + _sized(b"\x12", text))


def span(
    ids: tuple[bytes, bytes, bytes],
    times: tuple[int, int],
    flags: int,
    state: str,
    parts: Iterable[bytes],
    *,
    remote: bool = False,
) -> bytes:
    """A span, as a field of what is sent.

    Args:
        ids: those of the trace, of the span, and of its parent; the last is empty for none.
        times: start and end, in nanoseconds since 1970.
        flags: the trace's, as W3C has them.
        state: the trace's, as its header has it.
        parts: what the other functions here made for it.
        remote: its parent is of another process.
    """
    trace, own, parent = ids
    flags |= _REMOTE_KNOWN | _REMOTE if remote else _REMOTE_KNOWN
    head = _HEAD.pack(b"\x0a\x10", trace, b"\x12\x08", own, b"\x39", times[0], b"\x41", times[1], b"\x85\x01", flags)
    if parent:
        head += _PARENT + parent
    if state:
        head += _sized(_TRACE_STATE, state.encode())
    return _sized(_SPANS, head + b"".join(parts))


class Envelope:
    """What spans are sent in: the resource that they are of, and the scope that made them."""

    def __init__(self, resource: Mapping[str, Value], resource_schema: str, scope: str, version: str) -> None:
        self._resource = _sized(b"\x0a", key_values(resource, b"\x0a"))
        self._schema = _sized(b"\x1a", resource_schema.encode())
        self._scope = _sized(b"\x0a", _sized(b"\x0a", scope.encode()) + _sized(b"\x12", version.encode()))

    def request(self, spans: Iterable[bytes]) -> bytes:
        """An ExportTraceServiceRequest."""
        scoped = _sized(b"\x12", b"".join((self._scope, *spans)))
        return _sized(b"\x0a", b"".join((self._resource, scoped, self._schema)))
