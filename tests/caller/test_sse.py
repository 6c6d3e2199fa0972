"""Server-sent events from bytes: line ends, cuts, and bounds of time and memory."""

import time
import tracemalloc
from contextlib import nullcontext
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caller.custom_llm.adapter import Frame
from caller.custom_llm.body.sse import SseDecoder
from caller.errors import ResponseTooLarge

LIMIT = 1 << 20
TEXT = '{"t":"a\u2028b\u2029c\u0085d 🙂 é"}'


def decode(*chunks: bytes, limit: int = LIMIT) -> list[Frame]:
    decoder = SseDecoder(limit)
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return frames + decoder.close()


def datas(*chunks: bytes) -> list[bytes]:
    return [frame.data for frame in decode(*chunks)]


STREAM = (
    f': hi\r\nevent: one\r\ndata: {TEXT}\r\n\r\ndata:{TEXT}\r\n\r\ndata: {{\r\ndata:  "a":\r\ndata: 1}}\r\n\r\n'
    "id: 7\r\nretry: 10\r\ndata: x\r\nevent: late\r\n\r\n"
    "data\r\n\r\ndata: null\r\n\r\ndata:\r\n\r\ndata: [DONE]\r\n\r\n"
)
FRAMES = [
    Frame("one", TEXT.encode()),
    Frame("", TEXT.encode()),
    Frame("", b'{\n "a":\n1}'),
    Frame("late", b"x"),
    Frame("", b"[DONE]"),
]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_a_stream_reads_the_same_however_it_is_cut(end: str) -> None:
    """CR, LF and CRLF end lines, U+2028 and its kin do not, and no cut between any two bytes changes what is read."""
    raw = STREAM.replace("\r\n", end).encode()

    assert decode(raw) == FRAMES
    assert decode(*(raw[at : at + 1] for at in range(len(raw)))) == FRAMES
    for at in range(len(raw) + 1):
        assert decode(raw[:at], raw[at:]) == FRAMES


def test_line_ends_may_be_mixed() -> None:
    """A server and a proxy may each end lines in their own way."""
    assert datas(b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\rdata: 4\n\n") == [b"1", b"2", b"3", b"4"]


def test_only_one_space_behind_the_colon_is_dropped() -> None:
    """`data:x` and `data: x` are one; a second space belongs to the data."""
    assert datas(b"data:x\n\ndata: x\n\ndata:  x\n\n") == [b"x", b"x", b" x"]


def test_comments_and_pings_are_no_events() -> None:
    """A storm of keep-alive comments yields nothing and holds nothing."""
    decoder = SseDecoder(64)

    assert [decoder.feed(b": keep-alive\n\n:\n\n: ping - 2025\r\n\r\n") for _ in range(10_000)] == [[]] * 10_000
    assert decoder.close() == []


def test_a_missing_last_blank_line_loses_nothing() -> None:
    """What is pending when the body ends is an event, even without its line's end."""
    assert datas(b"data: 1\n\ndata: 2") == [b"1", b"2"]
    assert datas(b"data: 1\n\ndata: 2\n") == [b"1", b"2"]


def test_a_byte_order_mark_is_dropped_once() -> None:
    """A mark stands at the beginning of a body only."""
    assert datas(b"\xef\xbb\xbfdata: 1\n\ndata: \xef\xbb\xbf2\n\n") == [b"1", b"\xef\xbb\xbf2"]
    assert datas(b"\xef", b"\xbb", b"\xbfdata: 1\n\n") == [b"1"]


def test_a_field_named_error_is_an_event() -> None:
    """llama.cpp before September 2025 wrote `error: {…}` where the data belongs."""
    assert decode(b'error: {"code":500}\n\n') == [Frame("error", b'{"code":500}')]


def test_the_name_may_stand_behind_the_data() -> None:
    """AWS Bedrock sends `data:` before `event:`; a name holds for its own event only."""
    assert decode(b"data: 1\nevent: a\n\ndata: 2\n\n") == [Frame("a", b"1"), Frame("", b"2")]


def test_raw_json_between_events_is_an_event() -> None:
    """Gemini's errors inside a stream are JSON over many lines without `data:`."""
    raw = b'data: {"a":1}\n\n{\n  "error": {\n    "code": 503\n  }\n}\n\ndata: 2\n\n'

    assert datas(raw) == [b'{"a":1}', b'{\n  "error": {\n    "code": 503\n  }\n}', b"2"]
    assert datas(raw.replace(b"}\n\ndata: 2", b"}\ndata: 2"))[1:] == datas(raw)[1:]


def test_objects_with_a_single_newline_between_them_come_one_by_one() -> None:
    """Some servers (DeepInfra, SambaNova) end events with one newline: two objects are never one JSON text."""
    decoder = SseDecoder(LIMIT)

    assert decoder.feed(b'data: {"a":1}\n') == []
    assert decoder.feed(b'data: {"a":2}\n') == [Frame("", b'{"a":1}')]
    assert decoder.feed(b"data: [DONE]\n") == [Frame("", b'{"a":2}')]
    assert decoder.close() == [Frame("", b"[DONE]")]


def test_an_event_above_the_bound_is_refused() -> None:
    """One long line, many lines of one event, and many empty ones: none outgrows the bound."""
    for raw in (b"data: " + b"x" * 2000, b"data: xxxx\n" * 500, b"data:\n" * 500, b": " + b"x" * 2000):
        with pytest.raises(ResponseTooLarge):
            decode(*(raw[at : at + 100] for at in range(0, len(raw), 100)), limit=1000)


def test_many_events_below_the_bound_are_fine() -> None:
    """The bound is one event's, not the stream's."""
    assert len(decode(b"data: xxxxxxxx\n\n" * 1000, limit=100)) == 1000


def test_a_large_event_in_single_bytes_is_read_in_linear_time() -> None:
    """Four times the bytes take about four times as long."""
    took = []
    for size in (500_000, 2_000_000):
        raw = b"data: " + b"x" * size + b"\n\n"
        decoder = SseDecoder(4 << 20)
        started = time.process_time()
        frames = [frame for at in range(len(raw)) for frame in decoder.feed(raw[at : at + 1])]
        took.append(time.process_time() - started)
        assert [len(frame.data) for frame in frames] == [size]

    assert took[1] < 10 * took[0]  # four times the bytes; in quadratic time it would be sixteen


def test_a_large_event_in_packets_is_one_event() -> None:
    """Two megabytes in packets of 64 KiB."""
    raw = b"data: " + b"x" * 2_000_000 + b"\n\n"

    decoder = SseDecoder(4 << 20)
    frames = [frame for at in range(0, len(raw), 65536) for frame in decoder.feed(raw[at : at + 65536])]
    assert [len(frame.data) for frame in frames] == [2_000_000]


@pytest.mark.parametrize("piece", [b"data:ab\n", b"data:\n", b"x", b"xy", b"event:" + b"e" * 50 + b"\n", b"{a\n"])
def test_memory_is_bounded(piece: bytes) -> None:
    """A stream that never ends its event costs a few times the bound, however it is written."""
    limit = 1 << 16
    decoder = SseDecoder(limit)
    tracemalloc.start()
    try:
        with nullcontext() if piece.startswith(b"event") else pytest.raises(ResponseTooLarge):
            for _ in range(80_000):
                decoder.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 4 * limit
    finally:
        tracemalloc.stop()


LINES = st.sampled_from(
    [b"data: {}", b"data:", b"data: null", b"event: e", b": c", b"error: x", b"{", b"[1]", b"\xef\xbb\xbf", b"id", b""]
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=30).map(
        lambda lines: b"".join(line + end for line, end in lines)
    ),
)


@settings(max_examples=500)
@given(BODIES, st.lists(st.integers(0, 400), max_size=20))
def test_any_bytes_in_any_cut_give_the_same_frames(body: bytes, cuts: list[int]) -> None:
    """No bytes raise, and where they are cut does not show."""
    bounds = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})

    assert decode(*(body[start:end] for start, end in pairwise(bounds))) == decode(body)


@settings(max_examples=300)
@given(BODIES, st.integers(1, 50))
def test_a_small_bound_raises_nothing_else(body: bytes, limit: int) -> None:
    """Past its bound the decoder says so, in the one way it may."""
    said = f"{limit}"
    try:
        decode(*(body[at : at + 1] for at in range(len(body))), limit=limit)
    except ResponseTooLarge as error:
        said = error.message

    assert str(limit) in said
