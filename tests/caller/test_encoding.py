"""Compressed bodies of answers: read however they are cut, in bounds, and what is wrong with broken ones."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.custom_llm.body.encoding import Inflater
from caller.custom_llm.body.turn import MOST, TurnBudget
from caller.errors import ProtocolError, ResponseTooLarge, StreamInterrupted

PLAIN = b'data: {"text":"hello"}\n\n' * 400
MAX = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODED = [
    ("gzip", gzip.compress(PLAIN, mtime=0)),
    ("x-gzip", gzip.compress(PLAIN, mtime=0)),
    ("GZIP ", gzip.compress(PLAIN[:100], mtime=0) + gzip.compress(PLAIN[100:], mtime=0)),
    ("gzip", gzip.compress(PLAIN, mtime=0) + b"\0" * 20),
    ("deflate", zlib.compress(PLAIN)),
    ("deflate", raw_deflate(PLAIN)),
]


def inflate(encoding: str, *chunks: bytes, limit: int = MAX) -> bytes:
    inflater = Inflater(encoding, limit, TurnBudget())
    plain = b"".join(piece for chunk in chunks for piece in inflater.feed(chunk))
    inflater.close()
    return plain


@pytest.mark.parametrize(("encoding", "data"), ENCODED)
def test_a_compressed_body_is_read_however_it_is_cut(encoding: str, data: bytes) -> None:
    """Gzip in one member or several, with padding, and deflate with or without its header."""
    assert inflate(encoding, data) == PLAIN
    for at in range(len(data)):
        assert inflate(encoding, data[:at], data[at:]) == PLAIN
    assert inflate(encoding, *(data[at : at + 1] for at in range(len(data)))) == PLAIN


def test_a_flushed_event_is_read_at_once() -> None:
    """A proxy that flushes behind each event is not waited for."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    inflater = Inflater("gzip", MAX, TurnBudget())
    for number in range(20):
        event = b"data: %d\n\n" % number
        wire = compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH)

        assert b"".join(inflater.feed(wire)) == event


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_corrupt_data_is_an_interrupted_stream(encoding: str) -> None:
    """What cannot be inflated ended in its middle, after the good part of it."""
    data = bytearray(gzip.compress(PLAIN, mtime=0) if encoding == "gzip" else zlib.compress(PLAIN))
    data[len(data) // 2] ^= 0xFF
    data[-1] ^= 0xFF

    with pytest.raises(StreamInterrupted, match="corrupt"):
        inflate(encoding, bytes(data))


@pytest.mark.parametrize(("encoding", "data"), ENCODED[:2] + ENCODED[4:])
def test_a_cut_body_is_an_interrupted_stream(encoding: str, data: bytes) -> None:
    """Compressed data that ends too early is no good answer, wherever it was cut."""
    for at in range(len(data)):
        with pytest.raises(StreamInterrupted):
            inflate(encoding, data[:at])


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "nonsense"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """We ask for none; what we cannot read in bounds is a protocol error."""
    with pytest.raises(ProtocolError, match="not asked for"):
        Inflater(encoding, MAX, TurnBudget())


def test_a_bomb_is_inflated_in_pieces_and_up_to_the_bound() -> None:
    """64 MB of zeros in 64 kB of gzip: pieces stay small, and past the bound it ends."""
    bomb = gzip.compress(b"\0" * (64 << 20))
    pieces: list[int] = []
    inflater = Inflater("gzip", MAX, TurnBudget())

    with pytest.raises(ResponseTooLarge):
        pieces.extend(len(piece) for piece in inflater.feed(bomb))

    assert max(pieces) <= MOST
    assert sum(pieces) <= MAX


def test_what_is_not_asked_for_is_not_inflated() -> None:
    """The pieces of a chunk are made one by one."""
    inflater = Inflater("gzip", MAX, TurnBudget())
    pieces = inflater.feed(gzip.compress(b"\0" * (64 << 20)))

    assert len(next(pieces)) <= MOST


def test_a_ratio_that_only_a_bomb_has_ends_it() -> None:
    """Beyond 8 MB, when more than 500 : 1 came out, long before a large bound."""
    inflater = Inflater("gzip", 1 << 30, TurnBudget())
    pieces: list[int] = []

    with pytest.raises(ResponseTooLarge):
        pieces.extend(len(piece) for piece in inflater.feed(gzip.compress(b"\0" * (64 << 20))))

    assert 8 << 20 <= sum(pieces) <= 33 << 20


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=200))
def test_any_bytes_raise_nothing_else(encoding: str, data: bytes) -> None:
    """Garbage under the name of an encoding is an interrupted stream."""
    said = "compressed"
    try:
        inflate(encoding, data)
    except StreamInterrupted as error:
        said = error.message

    assert "compressed" in said
