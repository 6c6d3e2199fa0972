"""The short way for chunks that repeat one another makes the same events as the full way: on every recording, cut at
many places, on streams of each shape, and on streams that are broken inside of it."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from caller.coalesce import coalesced
from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Adapter, AnswerDecoder, Frame, Repeat, ResolvedCall
from caller.custom_llm.answer import AnswerReader
from caller.custom_llm.apis import ADAPTERS
from caller.events import OUTPUT, Event, ToolCallDelta, Usage
from caller.json_types import JsonObject
from caller.parameters import Parameters
from tests.recordings_reader import MAX_BYTES, Recording, recordings

STREAMS = [
    recording
    for api in ADAPTERS
    for recording in recordings(api.value)
    if recording.expect.get("stream") and len(recording.body) > 1
]
EVERY = pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)
MANY = 20
COMPATIBLE, RESPONSES = ApiCompatibility.OPENAI_COMPATIBLE, ApiCompatibility.OPENAI_RESPONSES
ANTHROPIC, GEMINI = ApiCompatibility.ANTHROPIC_MESSAGES, ApiCompatibility.GEMINI_GENERATE_CONTENT


class FullWay:
    """A decoder that knows of no repetition."""

    def __init__(self, decoder: AnswerDecoder) -> None:
        self._decoder = decoder

    @property
    def complete(self) -> bool:
        return self._decoder.complete

    @property
    def done(self) -> bool:
        return self._decoder.done

    def feed(self, frame: Frame) -> Sequence[Event]:
        return self._decoder.feed(frame)

    def repeated(self, chunk: JsonObject, event: str) -> Repeat | None:
        del chunk, event
        return None

    def close(self) -> Sequence[Event]:
        return self._decoder.close()

    def whole(self, body: bytes) -> Sequence[Event]:
        return self._decoder.whole(body)


@dataclass(frozen=True)
class Answer:
    """What a body was read as. `short` counts the frames that took the short way, `outputs` the deltas as they came."""

    events: list[str]
    usage: Usage | None
    failure: str
    short: int
    outputs: int


def read(adapter: Adapter, body: bytes, cuts: Iterable[int] = (), *, think: bool = False) -> Answer:
    call = ResolvedCall(
        Credential(adapter.api, "http://127.0.0.1:1", {}), Parameters("m", {}), (), parse_think_tags=think
    )
    reader, events = AnswerReader(adapter, call, MAX_BYTES), list[Event]()
    edges = [0, *sorted(cuts), len(body)]
    for start, end in pairwise(edges):
        if start < end and not reader.done and reader.failure is None:
            events += reader.feed(body[start:end])
    if reader.failure is None:
        events += reader.close()
    failure = "" if reader.failure is None else f"{type(reader.failure).__name__}: {reader.failure.message}"
    outputs = sum(isinstance(event, OUTPUT) for event in events)
    return Answer(_joined(events), reader.usage, failure, reader.repeated, outputs)


def _joined(events: list[Event]) -> list[str]:
    """The events, neighbouring deltas as one. An id that we made up is as good as any other."""
    calls = [event.id for event in events if isinstance(event, ToolCallDelta) and event.id]
    made = {call_id: f"id {number}" for number, call_id in enumerate(calls)}
    told = [repr(event) for event in coalesced(events)]
    for call_id, name in made.items():
        told = [text.replace(repr(call_id), name) for text in told]
    return told


def full(adapter: Adapter) -> Adapter:
    return replace(adapter, decoder=lambda call: FullWay(adapter.decoder(call)))


def both(adapter: Adapter, body: bytes, cuts: Iterable[int] = (), *, think: bool = False) -> tuple[Answer, Answer]:
    """The same bytes read both ways, which must agree."""
    places = sorted(set(cuts))
    short, long = read(adapter, body, places, think=think), read(full(adapter), body, places, think=think)
    agree(short, long, places)
    return short, long


def agree(short: Answer, long: Answer, places: Sequence[int]) -> None:
    assert long.short == 0
    assert short.events == long.events, places
    assert (short.usage, short.failure) == (long.usage, long.failure), places


def cuts_of(name: str, size: int) -> Iterator[list[int]]:
    rng = random.Random(name)  # noqa: S311 -- the same cuts in every run
    yield []
    for many in (1, 2, 5, 20, 80):
        yield [rng.randrange(1, size) for _ in range(many)]
    yield from (list(range(step, size, step)) for step in (1, 7, 150, 1000))


@EVERY
def test_a_recording_is_the_same_both_ways(recording: Recording) -> None:
    """In one read, cut anywhere, and byte for byte."""
    adapter = ADAPTERS[ApiCompatibility(recording.expect["shape"])]
    for cuts in cuts_of(recording.name, len(recording.body)):
        both(adapter, recording.body, cuts)
        both(adapter, recording.body, cuts, think=True)


@EVERY
def test_a_recording_may_be_cut_anywhere(recording: Recording) -> None:
    """Two reads, wherever the first ends, at some 250 places: what the full way makes of one read. At every byte the
    tests of the recordings cut, with the same reader."""
    adapter = ADAPTERS[ApiCompatibility(recording.expect["shape"])]
    long = read(full(adapter), recording.body)
    step = max(len(recording.body) // 250, 1)
    for at in range(1, len(recording.body), step):
        agree(read(adapter, recording.body, (at,)), long, (at,))


LONG = [
    (recording, read(full(ADAPTERS[ApiCompatibility(recording.expect["shape"])]), recording.body))
    for recording in STREAMS
]
LONG = [(recording, answer) for recording, answer in LONG if answer.outputs >= MANY]


@pytest.mark.parametrize(("recording", "answer"), LONG, ids=[recording.name for recording, _ in LONG])
def test_most_deltas_of_a_long_recording_take_the_short_way(recording: Recording, answer: Answer) -> None:
    """Else the comparison of both ways says nothing: in one read, in many, and in reads that cut every event."""
    adapter = ADAPTERS[ApiCompatibility(recording.expect["shape"])]
    steps: tuple[Sequence[int], ...] = (
        (),
        range(1000, len(recording.body), 1000),
        range(100, len(recording.body), 100),
    )
    for cuts in steps:
        assert read(adapter, recording.body, cuts).short >= 0.8 * answer.outputs


def sse(*chunks: object, end: str = "\n\n", name: bool = False) -> bytes:
    lines = []
    for chunk in chunks:
        text = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
        event = f"event: {chunk['type']}{end[: len(end) // 2]}" if name and isinstance(chunk, dict) else ""
        lines.append(f"{event}data: {text}{end}")
    return "".join(lines).encode("utf-8", "surrogatepass")


def chat(delta: JsonObject, reason: str | None = None, **top: object) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **top}


TEXTS = [f" token {number}" for number in range(60)]
ODD = [
    "\\",
    '"',
    'a"b',
    "\n",
    "é",
    "\u2028",
    "😀",
    "\x7f",
    ",",
    '","',
    "]\n,\n[",
    "\n,0,\n",
    "data: ",
    "\\u0041",
    "content",
]


def chat_stream(texts: Iterable[str], **top: Callable[[int], Any]) -> bytes:
    chunks = [
        chat({"content": text}, **{key: make(number) for key, make in top.items()}) for number, text in enumerate(texts)
    ]
    return sse(chat({"role": "assistant", "content": ""}), *chunks, chat({}, "stop"), "[DONE]")


def call_stream(texts: Iterable[str]) -> bytes:
    first = chat(
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}
    )
    more = [chat({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}) for text in texts]
    return sse(first, *more, chat({}, "tool_calls"), "[DONE]")


def anthropic_stream(texts: Iterable[str], kind: str = "text", *, end: str = "\n\n") -> bytes:
    types = {
        "text": ("text_delta", "text"),
        "thinking": ("thinking_delta", "thinking"),
        "tool_use": ("input_json_delta", "partial_json"),
    }
    delta, key = types[kind]
    block = {"type": kind, "id": "t", "name": "f", "input": {}} if kind == "tool_use" else {"type": kind, kind: ""}
    return sse(
        {
            "type": "message_start",
            "message": {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []},
        },
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": delta, key: text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
        end=end,
        name=True,
    )


def responses_stream(texts: Iterable[str]) -> bytes:
    texts = list(texts)
    item = {"type": "message", "id": "i", "content": [{"type": "output_text", "text": "".join(texts)}]}
    return sse(
        {"type": "response.created", "response": {"id": "r", "model": "m", "status": "in_progress"}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": "message", "id": "i", "content": []},
        },
        *(
            {
                "type": "response.output_text.delta",
                "sequence_number": number,
                "item_id": f"i{number % 3}",
                "output_index": 0,
                "content_index": 0,
                "delta": text,
                "logprobs": [],
                "obfuscation": "x" * (number % 5),
            }
            for number, text in enumerate(texts)
        ),
        {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", "output": [item]}},
        name=True,
    )


def gemini_stream(texts: Iterable[str], *, thought: bool = False) -> bytes:
    part: dict[str, object] = {"thought": True} if thought else {}
    last = {"content": {"parts": [{"text": "."}], "role": "model"}, "finishReason": "STOP", "index": 0}
    return sse(
        *(
            {
                "candidates": [{"content": {"parts": [{"text": text, **part}], "role": "model"}, "index": 0}],
                "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
                "modelVersion": "g",
                "responseId": "r",
            }
            for text in texts
        ),
        {"candidates": [last], "modelVersion": "g", "responseId": "r"},
    )


MADE: dict[str, tuple[ApiCompatibility, Callable[[Iterable[str]], bytes]]] = {
    "chat": (COMPATIBLE, chat_stream),
    "chat, ids and padding that change": (
        COMPATIBLE,
        lambda texts: chat_stream(
            texts, id=lambda number: f"c-{number}", obfuscation=lambda number: "p" * (number % 9)
        ),
    ),
    "chat, a time that changes now and then": (COMPATIBLE, lambda texts: chat_stream(texts, created=lambda n: n // 25)),
    "chat, arguments": (COMPATIBLE, call_stream),
    "chat, CRLF": (COMPATIBLE, lambda texts: chat_stream(texts).replace(b"\n\n", b"\r\n\r\n")),
    "anthropic": (ANTHROPIC, anthropic_stream),
    "anthropic, CRLF": (ANTHROPIC, lambda texts: anthropic_stream(texts, end="\r\n\r\n")),
    "anthropic, thinking": (ANTHROPIC, lambda texts: anthropic_stream(texts, "thinking")),
    "anthropic, arguments": (ANTHROPIC, lambda texts: anthropic_stream(texts, "tool_use")),
    "responses": (RESPONSES, responses_stream),
    "gemini": (GEMINI, gemini_stream),
    "gemini, thoughts": (GEMINI, lambda texts: gemini_stream(texts, thought=True)),
}
EACH = pytest.mark.parametrize("name", MADE)


@EACH
def test_each_shape_has_its_short_way(name: str) -> None:
    """In one read, in reads of a few events, in reads of one, and in reads that cut every event."""
    api, make = MADE[name]
    body = make(TEXTS)
    for step in (len(body), 2000, 600, 97):
        short, _ = both(ADAPTERS[api], body, range(step, len(body), step))
        assert short.failure == ""
        assert short.short >= 0.8 * len(TEXTS), step


@EACH
def test_odd_texts_are_the_same_both_ways(name: str) -> None:
    """Quotes, backslashes, other planes, and what the short way itself writes between pieces."""
    api, make = MADE[name]
    rng = random.Random(name)  # noqa: S311 -- the same in every run
    for _ in range(20):
        texts = [rng.choice((*ODD, "", *TEXTS)) for _ in range(40)]
        body = make(texts)
        for cuts in cuts_of(name, len(body)):
            both(ADAPTERS[api], body, cuts[:200])
        escaped = make(["\\u00e9" if text == "é" else text for text in texts]).replace(b"\\\\u00e9", b"\\u00e9")
        both(ADAPTERS[api], escaped, range(500, len(escaped), 500))


@EACH
def test_a_stream_that_is_broken_inside_is_broken_both_ways(name: str) -> None:
    """Bytes changed, lost, doubled and put in, in events that would have taken the short way."""
    api, make = MADE[name]
    body = make(TEXTS)
    rng = random.Random(name)  # noqa: S311 -- the same in every run
    put_in = [
        b"",
        b'"',
        b"\\",
        b"\n",
        b"\r",
        b"\n\n",
        b"}",
        b",",
        b"\xff",
        b"\x00",
        b": ping\n\n",
        b"event: error\n",
        b"[",
        b"]",
        b"\\ud83d",
        b'","',
        b"1",
    ]
    for _ in range(400):
        at, many = rng.randrange(len(body)), rng.choice((0, 0, 1, 2, 30))
        broken = body[:at] + rng.choice(put_in) + body[at + many :]
        both(ADAPTERS[api], broken, range(700, len(broken), 700) if rng.random() < 0.5 else ())


@EACH
def test_events_in_another_order_are_the_same_both_ways(name: str) -> None:
    """Events of two streams mixed, repeated and left out: what a chunk means changes on the way."""
    api, make = MADE[name]
    others = [other for shape, other in MADE.values() if shape is api]
    rng = random.Random(name)  # noqa: S311 -- the same in every run
    for _ in range(60):
        bodies = [make(TEXTS[:8]), rng.choice(others)(TEXTS[8:16])]
        events = [event + b"\n\n" for body in bodies for event in body.replace(b"\r", b"").split(b"\n\n") if event]
        mixed = b"".join(rng.choices(events[1:], k=40))
        both(ADAPTERS[api], events[0] + mixed, range(300, len(mixed), 300) if rng.random() < 0.5 else ())


def test_a_hole_is_not_passed_by_what_only_looks_like_it() -> None:
    """What stands between two holes, inside of a text: the array that it would make has other members."""
    stream = chat_stream(TEXTS, obfuscation=lambda number: "p" * (number % 9))
    trick = b'abc"},"logprobs":null,"finish_reason":null}],"obfuscation":","x'
    for bait in (trick, trick.replace(b'"', b'\\"'), b'abc},"obfuscation":,"o', b'a","b', b'a"\n,0,\n"b'):
        body = stream.replace(b" token 30", bait)
        short, _ = both(ADAPTERS[COMPATIBLE], body, range(800, len(body), 800))
        assert short.short > 0


def test_a_stream_without_repetition_is_not_looked_at_for_long() -> None:
    """What cannot be learned is tried less and less often."""
    looked = 0

    class Counting(FullWay):
        def repeated(self, chunk: JsonObject, event: str) -> Repeat | None:
            nonlocal looked
            looked += 1
            return super().repeated(chunk, event)

    adapter = ADAPTERS[COMPATIBLE]
    counting = replace(adapter, decoder=lambda call: Counting(adapter.decoder(call)))
    body = chat_stream(f" token {number}" for number in range(2000))
    answer = read(counting, body, range(200, len(body), 200))

    assert answer.outputs > 1500
    assert 0 < looked < 20
