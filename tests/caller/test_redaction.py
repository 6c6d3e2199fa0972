"""What is known to be secret comes back in no form, clipped or whole."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.custom_llm.errors.redaction import redacted
from caller.errors import clipped

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=80)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "in a URL": lambda key: quote(key, safe=""),
    "in JSON": lambda key: json.dumps(key)[1:-1],
    "in base64": lambda key: base64.b64encode(key.encode()).decode(),
    "over two lines": lambda key: key[: len(key) // 2] + "\n" + key[len(key) // 2 :],
}


@pytest.mark.parametrize("form", FORMS)
@given(key=KEYS, limit=st.integers(10, 160))
def test_no_eight_characters_of_a_key_come_out(form: str, key: str, limit: int) -> None:
    """Clipped before or not, behind a scheme or not."""
    shown = FORMS[form](key)
    for secret in (key, f"Bearer {key}"):
        out = redacted(clipped(f"the endpoint said: {shown} is wrong", limit), [secret])

        for told in (key, shown.replace("\n", "")):
            assert not any(told[at : at + 8] in out.replace("***", "\0") for at in range(len(told) - 7))


def test_a_basic_pair_is_taken_out_decoded() -> None:
    """The pair, and the password alone."""
    basic = f"Basic {base64.b64encode(b'user:correct horse').decode()}"

    assert redacted("user:correct horse, correct horse", [basic]) == "***, ***"


def test_short_values_do_not_tear_words() -> None:
    """`x-portkey-provider: openai` says nothing secret."""
    assert redacted("choose openai_compatible", ["openai", "v1"]) == "choose openai_compatible"
