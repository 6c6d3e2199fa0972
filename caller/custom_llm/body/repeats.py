"""The short way for a stream whose events repeat everything but the text. Pure; on the token path.

From an event that was read in full the bytes before and behind its text are learned. What follows is split at the bytes
that stand between two texts, and the pieces are decoded together, as one JSON array: as many strings as pieces prove
that every piece was one string. An event that differs in any other byte, a string that is broken, and everything that
is not certain take the full way: the short one never decides what bytes mean.

Some values change with every event and mean nothing (`obfuscation`, `sequence_number`): where one was seen to change,
it is a hole in the template like the text. The pieces are then arrays of their own. What is put in for the bytes
between two holes holds a newline and the number of the hole: a newline cannot stand inside of a JSON string, and no
line of an event stream has one, so that no other bytes can pass for it.

An event that a read cut off waits here for its rest. What is learned holds until anything took the full way, for that
may have changed what a chunk means: then it is learned again, less and less often where it does not help.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import msgspec

from caller.custom_llm.adapter import AnswerDecoder, Frame, Repeat
from caller.custom_llm.body.sniff import BodyDecoder
from caller.custom_llm.body.sse import SseDecoder
from caller.json_types import JsonObject, JsonValue, object_of
from caller.printing import Unprinted

_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_MAX_EVENT: Final = 8 * 1024  # larger ones are few, and gain nothing
_MAX_HOLES: Final = 4
_FIRST_WAIT: Final = 256
_LONGEST_WAIT: Final = 64 * 1024
_MANY: Final = 4
# From so many bytes on CPython searches for long ones in a way that is made ready anew for each that is found: with 200
# bytes between two texts that cost three times what all the rest did.
_LONG: Final = 2048
# A value behind its key: a string or a whole number. What is matched is not given back: linear for any bytes.
_VALUE: Final = re.compile(rb'[ \t]*+:[ \t]*+("[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9]++(?![0-9.eE]))')
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode
_strings = msgspec.json.Decoder(list[str]).decode
_string = msgspec.json.Decoder(str).decode
_NONE: Final[Sequence[str]] = ()


class _Hole(NamedTuple):
    """Where a value stands among the bytes of an event."""

    start: int
    end: int
    kind: type


class Template(NamedTuple):
    """What the events of a stream have in common. `inner` are the bytes between two holes with what is put in for them,
    `text` the number of the hole that holds the text; `begin` and `end` are the lengths of `head` and `tail`."""

    repeat: Repeat
    chunk: JsonObject
    data: bytes
    head: bytes
    seam: bytes
    tail: bytes
    begin: int
    end: int
    inner: tuple[tuple[bytes, bytes], ...]
    text: int
    rows: Callable[[bytes], Sequence[Sequence[str]]]  # the values of the holes, where there are several


class Repeats(Unprinted, msgspec.Struct, eq=False):
    """Follows the events of one body. `taken` counts the events that took the short way, `held` is the beginning of one
    that a read cut off, `like` what the events have in common whose texts came last."""

    _limit: int  # `max_event_bytes`
    taken: int = 0
    held: bytes = b""
    _begun: bytes = b""  # of an event that takes the full way
    _template: Template | None = None
    like: Template | None = None
    _useful: bool | None = None  # what was learned last, None where nothing was
    _changing: frozenset[str] = frozenset()
    _wait: int = 0  # bytes that take the full way before it is tried again
    _waited: int = 0

    def take(self, chunk: bytes) -> tuple[Sequence[str], bytes]:
        """The texts of the events that a read begins with, and the bytes behind them that must take the full way."""
        template = self._template
        if template is None:
            return _NONE, chunk
        if self.held:
            chunk, self.held = self.held + chunk, b""
        if chunk.startswith(template.head) and len(chunk) <= self._limit:
            pieces = _split(template, chunk)
            last, ended, rest = pieces[-1].partition(template.tail)
            if ended:
                pieces[-1] = last
            else:
                pieces.pop()
                rest = template.head + last
            texts = _texts(template, pieces) if pieces else _NONE
            if texts is None:
                texts = _beginning(template, pieces)
                self._template = None
                self.taken += len(texts)
                self._useful = len(texts) >= _MANY
                return texts, chunk[_size(template, pieces[: len(texts)]) :]
            if texts:
                self._useful = True
                self.taken += len(texts)
            if not rest or _is_begun(template.head, rest):
                self.held, rest = rest, b""
            else:
                self._template = None
            return texts, rest
        if _is_begun(template.head, chunk):
            self.held = chunk
            return _NONE, b""
        self._template = None
        return _NONE, chunk

    def only(self, chunk: bytes) -> str:
        """The text of a read that is one event, as the reads of a slow model are; empty for any other read, which
        `take` takes."""
        template = self._template
        if (
            template is None
            or self.held
            or template.inner
            or not chunk.endswith(template.tail)
            or not chunk.startswith(template.head)
        ):
            return ""
        piece = chunk[template.begin : -template.end]
        # `find`: `in` tries first whether it was given a number, and raises an error for it that nobody sees.
        if piece.find(b"\n") >= 0 or piece.find(b"\r") >= 0 or len(chunk) > self._limit:
            return ""
        try:
            text = _string(piece)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        if text:
            self.taken += 1
            self._useful = True
        return text

    def part(self, chunk: bytes) -> int:
        """How many bytes of a read take the full way until something may be learned."""
        cuts = [at + len(end) for end in _ENDS if (at := chunk.find(end, self._wait)) >= 0]
        return min(cuts, default=len(chunk))

    def learn(self, part: bytes, frames: Sequence[Frame], body: BodyDecoder, decoder: AnswerDecoder) -> None:
        """Learn from the last event of bytes that took the full way, where they end with one."""
        self._template = None
        self._wait = max(self._wait - len(part), 0)
        useful, self._useful = self._useful, None
        if useful:
            self._wait = self._waited = 0
        elif useful is False:
            self._back_off()
        complete = body.between_events
        if self._begun or not complete:
            part = self._begun + part
            self._begun = b"" if complete else part[-_MAX_EVENT:]
        if self._wait > 0:
            return
        self._wait = 0 if frames or not complete else _FIRST_WAIT  # pings are not read one by one
        if not frames or not complete or len(frames[-1].data) > _MAX_EVENT:
            return
        template = self._learned(part, frames[-1], decoder)
        if template is None:
            self._back_off()
        else:
            self._template = self.like = template
            self._useful = False

    def _back_off(self) -> None:
        self._waited = min(2 * self._waited or _FIRST_WAIT, _LONGEST_WAIT)
        self._wait = self._waited

    def _learned(self, part: bytes, frame: Frame, decoder: AnswerDecoder) -> Template | None:
        data = frame.data
        event = _raw_event(part, data)
        if event is None:
            return None
        try:
            chunk = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        repeat = decoder.repeated(chunk, frame.event) if isinstance(chunk, dict) else None
        if repeat is None:
            return None
        last = self.like
        if last is not None and (last.repeat.path, last.repeat.free) == (repeat.path, repeat.free):
            if event.startswith(last.head) and event.endswith(last.tail):
                middle = event[len(last.head) : len(event) - len(last.tail)]
                if _texts(last, [middle]):
                    return last._replace(repeat=repeat)
            changing = {key for key in repeat.free if chunk.get(key) != last.chunk.get(key)}
            if not changing <= self._changing:
                self._changing |= changing
                self._wait = self._waited = 0
        if SseDecoder(self._limit).feed(event) != [frame]:
            return None  # a part of the event had come before
        return _template(event, chunk, data, repeat, self._changing)


def _is_begun(head: bytes, rest: bytes) -> bool:
    """Whether bytes may be the beginning of a further event, and are nothing yet that must be handed on."""
    if len(rest) <= len(head):
        return head.startswith(rest)
    behind = rest[len(head) :]
    return rest.startswith(head) and len(behind) < _MAX_EVENT and behind.find(b"\n") < 0 and behind.find(b"\r") < 0


def _raw_event(part: bytes, data: bytes) -> bytes | None:
    """The bytes of the last event, whose data are these, or None where they are not that simple."""
    if b"\n" in data:
        return None
    for end in _ENDS:
        if part.endswith(end) and part.endswith(data, 0, len(part) - len(end)):
            begin = part.rfind(end, 0, len(part) - len(end) - len(data))
            return part[0 if begin < 0 else begin + len(end) :]
    return None


def _split(template: Template, chunk: bytes) -> list[bytes]:
    """What stands between the seams, in bytes that begin with a head; the last is what follows the last seam."""
    seam, begin = template.seam, template.begin
    at = chunk.rfind(seam, begin) if len(chunk) > _LONG else -1
    if at < 0:
        return chunk[begin:].split(seam)
    lines = seam.split(b"\n")
    before, behind = len(lines[-1]), len(lines[0])
    # Texts hold no newline, seams do: lines are found much faster than seams are.
    found = chunk[begin - before : at + behind].split(b"\n")[:: len(lines) - 1]
    pieces = [line[before:-behind] for line in found]
    joined = seam.join(pieces)
    if len(joined) != at - begin or not chunk.startswith(joined, begin):
        return chunk[begin:].split(seam)
    pieces.append(chunk[at + len(seam) :])
    return pieces


def _texts(template: Template, pieces: list[bytes]) -> Sequence[str] | None:
    """The texts in the pieces; None where any piece is something else."""
    count = len(pieces)
    between = b"]\n,\n[" if template.inner else b"\n,\n"
    joined = between.join(pieces)
    if joined.count(b"\n") != 2 * count - 2 or joined.find(b"\r") >= 0:
        return None  # the end of a line beside a value
    try:
        if not template.inner:
            texts = _strings(b"[%b]" % joined)
        else:
            for span, put_in in template.inner:
                pieces = [piece.replace(span, put_in) for piece in pieces]  # each by itself: see `_LONG`
                joined = between.join(pieces)
                if joined.count(put_in) != count:
                    return None
            at = 2 * template.text
            texts = [values[at] for values in template.rows(b"[[" + joined + b"]]")]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return texts if len(texts) == count and "" not in texts else None


def _beginning(template: Template, pieces: list[bytes]) -> list[str]:
    """The texts of the pieces in front of the first that is something else."""
    texts: list[str] = []
    for piece in pieces:
        text = _texts(template, [piece])
        if text is None:
            break
        texts += text
    return texts


def _size(template: Template, pieces: list[bytes]) -> int:
    """How many bytes the events have that pieces were made of."""
    return sum(map(len, pieces)) + len(pieces) * len(template.seam)


def _template(
    event: bytes, chunk: JsonObject, data: bytes, repeat: Repeat, changing: frozenset[str]
) -> Template | None:
    """The template that an event makes, if it can be proved to be one."""
    text = _hole(event, str(repeat.path[-1]), _at(chunk, repeat.path))
    if text is None:
        return None
    holes = {repeat.path: text}
    for key in changing.intersection(repeat.free, chunk):
        hole = _hole(event, key, chunk[key])
        if hole is None:
            return None
        holes[key,] = hole
    in_order = sorted(holes.values())
    if len(in_order) > _MAX_HOLES or not _is_proved(event, len(event) - len(data), chunk, holes):
        return None
    between = [event[hole.end : after.start] for hole, after in pairwise(in_order)]
    head, tail = event[: in_order[0].start], event[in_order[-1].end :]
    return Template(
        repeat,
        chunk,
        data,
        head,
        tail + head,
        tail,
        len(head),
        len(tail),
        tuple((span, b"\n,%d,\n" % number) for number, span in enumerate(between)),
        in_order.index(text),
        _rows(tuple(hole.kind for hole in in_order)),
    )


def _hole(event: bytes, key: str, value: JsonValue) -> _Hole | None:
    """Where the value of a key stands: a string, or a whole number."""
    if type(value) not in (str, int):
        return None
    name, at = _encode(key), 0
    for _ in range(_MANY):
        at = event.find(name, at)
        if at < 0:
            return None
        at += len(name)
        found = _VALUE.match(event, at)
        if found is not None and _value_of(found[1]) == value:
            return _Hole(found.start(1), found.end(1), type(value))
    return None


def _value_of(text: bytes) -> JsonValue:
    try:
        value: JsonValue = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value


def _is_proved(event: bytes, around: int, chunk: JsonObject, holes: dict[tuple[str | int, ...], _Hole]) -> bool:
    """Whether other values in the holes make the same chunk with these other values, and nothing else."""
    other, wanted = event, _decode(_encode(chunk))
    for path, hole in sorted(holes.items(), key=lambda item: item[1], reverse=True):
        value = _at(chunk, path)
        changed: JsonValue = f"{value}." if isinstance(value, str) else int(not value)
        other = other[: hole.start] + _encode(changed) + other[hole.end :]
        _put(_at(wanted, path[:-1]), path[-1], changed)
    frames = SseDecoder(len(other) + around).feed(other)
    try:
        return len(frames) == 1 and bool(_decode(frames[0].data) == wanted)
    except msgspec.DecodeError:
        return False


def _at(value: JsonValue, path: Sequence[str | int]) -> JsonValue:
    for step in path:
        value = (value[step] if isinstance(value, list) else None) if isinstance(step, int) else object_of(value)[step]
    return value


def _put(into: JsonValue, step: str | int, value: JsonValue) -> None:
    if isinstance(step, str):
        object_of(into)[step] = value


@lru_cache(maxsize=64)
def _rows(kinds: tuple[type, ...]) -> Callable[[bytes], Sequence[Sequence[str]]]:
    """Reads a list of arrays whose values alternate with the numbers of what stood between them. The text, which is all
    that is read of them, is a string."""
    members: list[object] = [kinds[0]]
    for number, kind in enumerate(kinds[1:]):
        members += [Literal[number], kind]
    row = tuple.__class_getitem__(tuple(members))
    return msgspec.json.Decoder(list.__class_getitem__(row)).decode
