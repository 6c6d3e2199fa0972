"""The number of values of JSON text, told before it is parsed."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.custom_llm.apis.parsing import parse
from caller.errors import ResponseTooLarge
from caller.json_types import JsonValue, holds_more_values, values_at_most
from tests.patience import within

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a,[{"\\:é', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='b,{"\\', max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


def counted(value: JsonValue) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(counted, members))


@given(JSON, st.booleans())
def test_the_count_is_never_too_low_and_near_without_strings(value: JsonValue, ascii_only: bool) -> None:
    """Commas and brackets inside of strings are no values; an empty object or list counts as one more at most."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    count = counted(value)

    assert values_at_most(text) >= count
    assert values_at_most(text.encode()) == values_at_most(text)
    assert holds_more_values(text, count - 1)
    empty = text.count("{}") + text.count("[]")
    assert not holds_more_values(text, count + empty)


def test_commas_in_strings_are_no_values() -> None:
    """A long text in a short object passes, however many commas it has."""
    assert not holds_more_values(json.dumps({"text": "a, b [c] {d}, " * 100_000}), 10)


@pytest.mark.parametrize(
    "text",
    [
        "{}," * 5_000_000,
        "[" * 15_000_000,
        '"",' * 5_000_000,
        '"",,,,' * 2_500_000,
        '"' + '\\"' * 7_500_000 + "," * 200_000,
        '"\\' * 7_500_000 + "," * 200_000,
        "," * 200_000 + '"' + "," * 15_000_000,
    ],
    ids=["objects", "brackets", "strings", "mixed", "escaped quotes", "half escapes", "no end"],
)
def test_hostile_text_is_told_quickly(text: str) -> None:
    """Fifteen megabytes of anything take less processor time than a turn of the event loop may."""
    started = time.thread_time()
    holds_more_values(text, 100_000)

    assert time.thread_time() - started < within(0.5)  # what takes the square of it takes minutes


def test_an_endpoints_answer_is_bounded_in_values() -> None:
    """A million values are refused before they are made; the honest 690,000 of log probabilities are read."""
    assert len(parse(b"[" + b"1," * 690_000 + b"1]")) == 690_001  # type: ignore[arg-type]
    with pytest.raises(ResponseTooLarge, match="more than 1000000 JSON values"):
        parse(b"[" + b"{}," * 600_000 + b"{}]")
