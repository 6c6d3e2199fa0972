"""State that a provider wants back: kept, sealed to its message, and found again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from caller.json_types import JsonObject
from caller.messages import AssistantMessage, ToolCall
from caller.provider_state import digest, seal, unseal

CONTENT: JsonObject = {"z": [1, {"y": "é"}], "a": None}
CALLS = (ToolCall("c1", "f", '{"a": 1}'),)
MESSAGE = AssistantMessage("said", tool_calls=CALLS, provider_state=seal("shape", CONTENT, "said", CALLS))


def test_state_comes_back_as_it_was() -> None:
    """On the same shape, with text and calls unchanged, in the order of its keys; the rest of the message is free."""
    found = unseal("shape", replace(MESSAGE, reasoning="x", refusal="y", options={"name": "n"}))

    assert found == CONTENT
    assert list(found or ()) == ["z", "a"]


@pytest.mark.parametrize(
    "changed",
    [
        replace(MESSAGE, text="Said"),
        replace(MESSAGE, tool_calls=()),
        replace(MESSAGE, tool_calls=(*CALLS, *CALLS)),
        replace(MESSAGE, tool_calls=(ToolCall("c2", "f", '{"a": 1}'),)),
        replace(MESSAGE, tool_calls=(ToolCall("c1", "g", '{"a": 1}'),)),
        replace(MESSAGE, tool_calls=(ToolCall("c1", "f", '{"a":1}'),)),
        replace(MESSAGE, provider_state=b""),
    ],
)
def test_state_of_a_changed_message_is_not_replayed(changed: AssistantMessage) -> None:
    """Another text, another call: the message is rebuilt from its fields."""
    assert unseal("shape", changed) is None


def test_state_of_another_shape_is_not_replayed() -> None:
    """A conversation may move between APIs."""
    assert unseal("other", MESSAGE) is None


def test_text_and_calls_cannot_stand_for_each_other() -> None:
    """The digest keeps its parts apart."""
    parts = [("a", ()), ("", (ToolCall("a", "", ""),)), ("", (ToolCall("", "a", ""),)), ("", (ToolCall("", "", "a"),))]

    assert len({digest(text, calls) for text, calls in parts}) == len(parts)


CHANGES: list[JsonObject] = [{"v": 2}, {"content": []}, {"digest": ""}, {"shape": 1}]
ENVELOPE: JsonObject = {"v": 1, "shape": "shape", "digest": digest("said", CALLS), "content": {"k": 1}}


@pytest.mark.parametrize(
    "state",
    [
        *[b"x", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'"text"'],
        *[json.dumps(ENVELOPE | change).encode() for change in CHANGES],
    ],
)
def test_what_is_not_ours_is_ignored(state: bytes) -> None:
    """The value came from a client: garbage is no state, and no error."""
    assert unseal("shape", replace(MESSAGE, provider_state=json.dumps(ENVELOPE).encode())) == {"k": 1}
    assert unseal("shape", replace(MESSAGE, provider_state=state)) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(state: bytes) -> None:
    """Nothing comes out of them, nothing is raised."""
    assert unseal("shape", replace(MESSAGE, provider_state=state)) is None
