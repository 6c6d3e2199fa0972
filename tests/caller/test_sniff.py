"""What kind of body an answer is, found from its first bytes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caller.custom_llm.adapter import Frame
from caller.custom_llm.body.sniff import BodyDecoder, BodyKind
from caller.errors import CallerError, ProtocolError, ResponseTooLarge

LIMIT = 1 << 20


def read(*chunks: bytes, limit: int = LIMIT) -> tuple[list[bytes], bytes, BodyKind]:
    body = BodyDecoder(limit)
    frames: list[Frame] = [frame for chunk in chunks for frame in body.feed(chunk)]
    frames += body.close()
    return [frame.data for frame in frames], body.document, body.kind


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


ARRAY = '[{"a":"}{\\"[\\\\"}\r\n,\r\n{"b":{"c":[{}]},"u":"\u2028🙂"}]'.encode()
OBJECT = '{"a": "\u2028",\n "b": {"c": 1}}\n'.encode()
BODIES = [
    (b"data: 1\n\ndata: 2\n\n", ([b"1", b"2"], b"", BodyKind.SSE)),
    (b"\xef\xbb\xbfdata: 1\n\n", ([b"1"], b"", BodyKind.SSE)),
    (b"\n\n \r\n\xef\xbb\xbf\ndata: 1\n\n", ([b"1"], b"", BodyKind.SSE)),
    (b": hi\n\n", ([], b"", BodyKind.SSE)),
    (b"event: x\ndata: 1\n\n", ([b"1"], b"", BodyKind.SSE)),
    (OBJECT, ([], OBJECT, BodyKind.JSON)),
    (b"\r\n\n\n" + OBJECT, ([], OBJECT, BodyKind.JSON)),
    (b"\xef\xbb\xbf" + OBJECT, ([], OBJECT, BodyKind.JSON)),
    (ARRAY, ([ARRAY[1:16], ARRAY[21:-1]], b"", BodyKind.ARRAY)),
    (b"", ([], b"", BodyKind.UNKNOWN)),
    (b" \n\r\n", ([], b"", BodyKind.UNKNOWN)),
    (b"\xef\xbb", ([], b"", BodyKind.UNKNOWN)),
]


@pytest.mark.parametrize(("raw", "expected"), BODIES)
def test_the_first_byte_decides_however_the_body_is_cut(
    raw: bytes, expected: tuple[list[bytes], bytes, BodyKind]
) -> None:
    """Events, an object, an array or nothing: blank keep-alives and a byte order mark before them do not count."""
    assert read(raw) == expected
    assert read(*bytewise(raw)) == expected
    for at in range(len(raw) + 1):
        assert read(raw[:at], raw[at:]) == expected


def test_the_objects_of_an_array_leave_as_they_come() -> None:
    """Gemini without `alt=sse` streams one array; nobody waits for its end."""
    body = BodyDecoder(LIMIT)

    assert body.feed(b'[{"a":1}') == [Frame("", b'{"a":1}')]
    assert body.feed(b',\r\n{"b":') == []
    assert body.feed(b"2}\n") == [Frame("", b'{"b":2}')]
    assert body.close() == []


@pytest.mark.parametrize("raw", [b"[]", b"[1,2]", b'["a"]'])
def test_an_array_without_objects_is_no_answer(raw: bytes) -> None:
    """It is not what any chat API sends."""
    with pytest.raises(ProtocolError, match="neither JSON nor an event stream"):
        read(raw)


@pytest.mark.parametrize(
    "raw", [b"<!DOCTYPE html><html>502</html>", b"\n\n<html>", b"\xef\xbb\xbf<html>", b"<p>" * 700]
)
def test_a_page_is_named_as_such(raw: bytes) -> None:
    """A proxy's HTML page is a protocol error that says so, with its words however the network cuts it: where it ends,
    or where it is long."""
    for cut in (0, 1, 5):
        with pytest.raises(ProtocolError, match=r"HTML page.*baseUrl") as caught:
            _read_in_two(raw, cut)
        assert len(caught.value.received or b"") >= min(len(raw.strip()) - 3, 2000)


def _read_in_two(raw: bytes, cut: int) -> None:
    body = BodyDecoder(LIMIT)
    body.feed(raw[:cut])
    body.feed(raw[cut:])
    body.close()


def test_plain_text_is_kept_however_the_network_cuts_it() -> None:
    """Its first words decide nothing."""
    body = BodyDecoder(LIMIT)
    for letter in b"no healthy upstream":
        body.feed(bytes([letter]))

    with pytest.raises(ProtocolError) as caught:
        body.close()

    assert caught.value.received == b"no healthy upstream"


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\n\n", b" \n "])
@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_lines_of_json_name_the_native_route(between: bytes, cut: int) -> None:
    """Who typed Ollama's native URL is told the right one, as soon as the second line begins."""
    line = b'{"model":"m","done":false}'
    raw = line + between + line

    with pytest.raises(ProtocolError, match=r"Ollama's native API.*/v1"):
        read(*(raw[at : at + cut] for at in range(0, len(raw), cut)))


def test_braces_in_strings_are_not_lines_of_json() -> None:
    """What looks like two objects inside a string is text."""
    raw = json.dumps({"a": "}\n{", "b": "} \r\n {"}).encode()

    assert read(raw)[1] == raw


@pytest.mark.parametrize("raw", [b"Internal Server Error", b"Bad gateway\n", b"oops: no\r\n\r\n"])
def test_plain_text_is_neither(raw: bytes) -> None:
    """A text where an answer belongs is a protocol error, not a broken stream."""
    for chunks in ([raw], bytewise(raw)):
        with pytest.raises(ProtocolError, match="neither JSON nor an event stream"):
            read(*chunks)


def test_text_before_events_is_skipped() -> None:
    """A line that means nothing does not spoil the events behind it."""
    assert read(b"hello\ndata: 1\n\n")[0] == [b"1"]


@pytest.mark.parametrize("first", [b"{", b'[{"a":"', b"data: "])
def test_no_body_outgrows_its_bound(first: bytes) -> None:
    """An object, an array and an event stream: past the bound they are refused."""
    with pytest.raises(ResponseTooLarge):
        read(first, *[b"x" * 100] * 20, limit=1000)


def test_blank_keep_alives_hold_nothing() -> None:
    """A server may send blank lines for as long as it thinks."""
    body = BodyDecoder(10)
    for _ in range(10_000):
        assert body.feed(b"\r\n \n") == []

    assert body.feed(b"data: 1\n\n") == [Frame("", b"1")]


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b"a", b",", b"\n", b"data: ", b"\r\n", b" ", b"<", b"\xef\xbb\xbf", b":"]
)


def outcome(*chunks: bytes) -> object:
    try:
        return read(*chunks)
    except CallerError as error:
        return type(error)


@settings(max_examples=600)
@given(st.one_of(st.lists(PIECES, max_size=60).map(b"".join), st.binary(max_size=100)), st.integers(1, 7))
def test_any_bytes_in_any_cut_mean_the_same(raw: bytes, size: int) -> None:
    """Only our errors come out, and where the bytes were cut does not show."""
    assert outcome(*(raw[at : at + size] for at in range(0, len(raw), size))) == outcome(raw)
