"""What is known to be secret comes back in no form, clipped or whole."""

import base64
import hashlib
import html
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.custom_llm.errors.redaction import Redactor
from caller.errors import clipped
from caller.json_types import JsonValue
from tests.patience import within

# Nine characters are the fewest of which eight can be left over.
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=9, max_size=80)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "in a URL": lambda key: quote(key, safe=""),
    "in a URL, small letters": lambda key: re.sub("%..", lambda found: found[0].lower(), quote(key, safe="")),
    "in JSON": lambda key: json.dumps(key)[1:-1],
    "in Go's JSON": lambda key: re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(key)[1:-1]),
    "in HTML": html.escape,
    "in base64": lambda key: base64.b64encode(key.encode()).decode().rstrip("="),
    "in a URL's base64": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "in the base64 of more": lambda key: base64.b64encode(f"a{key}".encode()).decode().rstrip("=")[2:],
    "in the base64 of a header": lambda key: base64.b64encode(f"Bearer: {key}".encode()).decode().rstrip("=")[11:],
    "over two lines": lambda key: key[: len(key) // 2] + "\n" + key[len(key) // 2 :],
}


@pytest.mark.parametrize("form", FORMS)
@given(key=KEYS, limit=st.integers(10, 160))
def test_no_eight_characters_of_a_key_come_out(form: str, key: str, limit: int) -> None:
    """Clipped before or not, behind a scheme or not."""
    shown = FORMS[form](key)
    for secret in (key, f"Bearer {key}"):
        out = Redactor([secret])(clipped(f"the endpoint said: {shown} is wrong", limit))

        for told in (key, shown.replace("\n", "")):
            assert not any(told[at : at + 8] in out.replace("***", "\0") for at in range(len(told) - 7))


def test_a_basic_pair_is_taken_out_decoded() -> None:
    """The pair, and the password alone."""
    basic = f"Basic {base64.b64encode(b'user:correct horse').decode()}"

    assert Redactor([basic])("user:correct horse, correct horse") == "***, ***"


def test_short_values_do_not_tear_words() -> None:
    """`x-portkey-provider: openai` says nothing secret."""
    assert Redactor(["openai", "v1"])("choose openai_compatible") == "choose openai_compatible"


def test_the_values_in_a_json_value_are_taken_out() -> None:
    """At any depth; what is no text stays as it is."""
    value: JsonValue = {"echo": [{"authorization": "Bearer abcdefghijkl"}, 7, None, True], "id": "r-1"}
    expected = {"echo": [{"authorization": "***"}, 7, None, True], "id": "r-1"}

    assert Redactor(["Bearer abcdefghijkl"]).in_json(value) == expected


def test_the_names_in_a_json_value_are_taken_out() -> None:
    """An endpoint may repeat a header as a name."""
    value: JsonValue = {"echo": {"abcDEF-ghi7kl": 1}, "id": 2}

    assert Redactor(["Bearer abcDEF-ghi7kl"]).in_json(value) == {"echo": {"***": 1}, "id": 2}


@pytest.mark.parametrize("length", [7, 16, 40, 4096, 1 << 20])
def test_the_work_on_a_json_value_is_bounded(length: int) -> None:
    """A stranger chooses both the secrets and the value: what is beyond the bound does not come out at all."""
    keys = [f"Bearer {hashlib.sha256(bytes([number])).hexdigest()[:40]}" for number in range(64)]
    texts: list[JsonValue] = [f"{number:07d}".ljust(length, "x") for number in range((2 << 20) // length)]
    redactor = Redactor(keys)

    begun = time.process_time()
    found = redactor.in_json({"echo": [*texts, keys[0]]})

    assert time.process_time() - begun < within(3.0)
    assert keys[0].removeprefix("Bearer ") not in str(found)
