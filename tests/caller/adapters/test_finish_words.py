"""The words for an end: whoever's they are, in any spelling, they mean the same in every shape."""

import pytest

from caller.custom_llm.apis.finish_words import finish_reason, finish_word
from caller.errors import CallerError, EndpointError, EndpointOverloaded, StreamInterrupted
from caller.events import FinishReason
from caller.json_types import JsonValue


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (FinishReason.STOP, "stop STOP end_turn eos COMPLETE FinishReason.STOP FINISH_REASON_STOP eosFound endoftext"),
        (
            FinishReason.LENGTH,
            "length MAX_TOKENS max-tokens maxTokens model_length ERROR_LIMIT REASON_MAX_LEN",
        ),
        (FinishReason.TOOL_CALLS, "tool_calls tool-calls tool_use TOOL_CALL function_call toolCalls"),
        (
            FinishReason.CONTENT_FILTER,
            "content_filter contentFilter SAFETY sensitive refusal ERROR_TOXIC",
        ),
        (FinishReason.OTHER, "repetition pause_turn OTHER brand_new 7 reason"),
    ],
)
def test_words_of_all_vendors_in_any_spelling(reason: FinishReason, words: str) -> None:
    for word in words.split():
        assert finish_reason(finish_word(word)) is reason, word


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (StreamInterrupted, "abort network_error NETWORK_ERROR cancelled TIME_LIMIT userStopped"),
        (EndpointError, "error parse_error MALFORMED_FUNCTION_CALL malformed_tool_use failed"),
        (EndpointOverloaded, "insufficient_system_resource"),
    ],
)
def test_words_for_an_answer_that_is_not_whole(kind: type[CallerError], words: str) -> None:
    for word in words.split():
        with pytest.raises(kind) as raised:
            finish_reason(word, "the words beside it")
        assert f'"{word}": the words beside it. ' in raised.value.message


@pytest.mark.parametrize(
    "value", [None, "", "None", "null", "NULL", "undefined", "FINISH_REASON_UNSPECIFIED", "not_finished", {}, False, []]
)
def test_words_that_say_that_nothing_is_finished(value: JsonValue) -> None:
    assert finish_word(value) == ""


def test_an_end_without_a_text_is_an_end() -> None:
    """An object that names its type says what the type says; another value is an end that nobody knows."""
    assert finish_word({"type": "length", "length": 16}) == "length"
    assert finish_reason(finish_word({"code": 1})) is FinishReason.OTHER
    assert finish_reason(finish_word(value=True)) is FinishReason.OTHER
    assert len(finish_word(10**400)) < 100
