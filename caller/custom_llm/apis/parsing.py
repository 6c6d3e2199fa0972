"""Reading the JSON that endpoints send: leniently, and within bounds. No I/O; it knows no API.

A value of two bytes costs a hundred once it is parsed, and what a decoder does with a member of a list costs far more
than its bytes, while nothing else runs. So values are counted before they are parsed, and members before they are read.
"""

import json
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from caller.errors import ProtocolError, ResponseTooLarge
from caller.json_types import JsonObject, JsonValue, deeper_than, object_of, objects_of, values_at_most

_decode = msgspec.json.Decoder().decode
_raw_decode = json.JSONDecoder(strict=False).raw_decode
_MAX_IN_LINE: Final = 64
_MAX_FRAMES: Final = 16 * 1024
# Of one event whose lines are read one by one; a line that is no JSON costs as much as a long text.
_MAX_LINES: Final = 4096
_MAX_DEPTH: Final = 200
# Of the parts of one message, or of one event of a stream.
MAX_PARTS: Final = 4096
# What gateways make of another stream's comments and pings once they stand in an event of their own.
_SIGNS_OF_LIFE: Final = frozenset(
    {
        *(b"ping", b"pong", b"heartbeat", b"keepalive", b"keep-alive", b"keep_alive", b""),
        *(b"processing", b"openrouter processing", b"end", b"close", b"done", b"stop"),
    }
)
# Of one answer or event. Each costs far more than its bytes; 4,096 tokens with 20 alternatives each are 690,000.
_MAX_VALUES: Final = 1_000_000


def parse(data: bytes) -> JsonValue:
    """JSON as endpoints send it: bad UTF-8 and lone surrogates become U+FFFD instead of losing the answer.

    Raises:
        ValueError: it is not JSON.
        ResponseTooLarge: it holds too many values.
    """
    if len(data) > _MAX_VALUES and values_at_most(data) > _MAX_VALUES:
        raise ResponseTooLarge(f"the endpoint's answer holds more than {_MAX_VALUES} JSON values")
    try:
        value: JsonValue = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = _parse_broken(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # What compares, copies or encodes the value later recurses too.
    if (
        len(data) > 2 * _MAX_DEPTH
        and data.count(b"{") + data.count(b"[") > _MAX_DEPTH
        and deeper_than(value, _MAX_DEPTH)
    ):
        raise ValueError("nested too deeply")
    return value


def _finite(text: str) -> float | None:
    """A number too large for a double is as unusable as NaN."""
    value = float(text)
    return value if math.isfinite(value) else None


def _parse_broken(data: bytes) -> JsonValue:
    try:
        loaded = json.loads(
            data.decode("utf-8", "replace"), strict=False, parse_constant=lambda _: None, parse_float=_finite
        )
        text = json.dumps(loaded, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # Half of a pair of surrogates is no character: through UTF-16 pairs are joined and halves replaced.
    value: JsonValue = _decode(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    return value


def parse_frame(data: bytes) -> Sequence[JsonObject]:
    """The JSON objects of one event; none for a sign of life. Where joined lines are no JSON, each line is tried: some
    servers (DeepInfra, SambaNova) end events with a single newline.

    Raises:
        ProtocolError: it is not JSON.
        ResponseTooLarge: it holds too many values, objects or lines.
    """
    try:
        value = parse(data)
    except ValueError:
        if b"\n" in data:
            return _by_line(data)
        text = data.strip()
        if text.startswith(b"data:") and b"data:" not in text[5:16]:  # a gateway prefixed each line again
            return parse_frame(text[5:])
        several = _several(text)
        if several:
            return several
        if text.startswith(b":") or text.strip(b'[]<>".- ').lower() in _SIGNS_OF_LIFE:
            return ()
        raise ProtocolError.not_json("an event of the endpoint's stream is not JSON", data) from None
    if isinstance(value, list):
        return objects_within(value, _MAX_FRAMES, "objects in one event")
    return [value] if isinstance(value, dict) else []


def _by_line(data: bytes) -> list[JsonObject]:
    """The objects of lines that are no JSON together."""
    objects: list[JsonObject] = []
    for number, line in enumerate(data.split(b"\n", _MAX_LINES)):
        if number == _MAX_LINES:
            raise ResponseTooLarge(f"an event of the endpoint's stream has more than {_MAX_LINES} lines")
        objects += parse_frame(line) if line.strip() else ()
        if len(objects) > _MAX_FRAMES:
            raise ResponseTooLarge(f"the endpoint's answer has more than {_MAX_FRAMES} objects in one event")
    return objects


def _several(text: bytes) -> list[JsonObject]:
    """The objects that stand one behind the other in a line (a gateway lost the lines between); none for other text."""
    if not text.startswith(b"{") or b"}" not in text[:-1]:
        return []
    rest, objects = text.decode("utf-8", "replace"), list[JsonObject]()
    try:
        while rest:
            _, end = _raw_decode(rest)
            objects.append(object_of(parse(rest[:end].encode("utf-8", "replace"))))
            rest = rest[end:].lstrip()
            if len(objects) > _MAX_IN_LINE:
                return []
    except (ValueError, RecursionError):
        return []
    return objects


def parse_document(body: bytes) -> JsonObject:
    """A whole JSON answer; one wrapped in a list of one is unwrapped, a stream's `data: [DONE]` behind it is no part.

    Raises:
        ProtocolError: it is not a JSON object.
    """
    try:
        value = parse(body)
    except ValueError:
        value = _before_done(body)
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        raise ProtocolError.not_json("the endpoint's answer is not a JSON object", body)
    return value


def _before_done(body: bytes) -> JsonValue:
    """The JSON in front of an end that belongs to a stream (gateways add it to whole answers); None for other text."""
    text = body.rstrip()
    if not text.endswith(b"[DONE]"):
        return None
    try:
        return parse(text.removesuffix(b"[DONE]").rstrip().removesuffix(b"data:"))
    except ValueError:
        return None


def objects_within(value: JsonValue, most: int, what: str) -> list[JsonObject]:
    """The objects in a list, as `objects_of` reads them; `what` they are, for the error.

    Raises:
        ResponseTooLarge: the list has more than so many members.
    """
    if isinstance(value, list) and len(value) > most:
        raise ResponseTooLarge(f"the endpoint's answer has more than {most} {what}")
    return objects_of(value)
