"""A seeded share of `make fuzz`."""

import random

import pytest

from acceptance.fuzz import Maker, fuzz, read, seeds
from caller.credentials import ApiCompatibility
from caller.custom_llm.apis import ADAPTERS

STREAMS = 1500


@pytest.mark.parametrize("api", list(ADAPTERS), ids=lambda api: api.value)
def test_broken_streams_end_in_an_answer_or_in_our_own_error(api: ApiCompatibility) -> None:
    """Broken as bytes, as lines and as JSON: nothing of Python's comes out, and memory is bounded."""
    endings, faults = fuzz(api, 0, STREAMS)

    assert faults == []
    assert sum(endings.values()) == STREAMS
    assert endings["answered"] > STREAMS // 20  # the fuzz reaches beyond the first byte
    assert len(endings) > 4


@pytest.mark.parametrize("api", list(ADAPTERS), ids=lambda api: api.value)
def test_the_fuzz_begins_with_what_is_read(api: ApiCompatibility) -> None:
    """Unbroken, most of the seeds are answers: the recordings are read through the same path."""
    ended = [read(ADAPTERS[api], seed, random.Random(1)) for seed in seeds(api)]  # noqa: S311 -- the same every time

    assert ended.count("answered") > len(ended) // 4


def test_a_stream_is_made_from_its_number() -> None:
    """A fault can be had again."""
    first, second = (Maker(ApiCompatibility.OPENAI_COMPATIBLE) for _ in range(2))

    assert [first.stream(number)[0] for number in range(50)] == [second.stream(number)[0] for number in range(50)]
    assert len({first.stream(number)[0] for number in range(50)}) > 40
