"""Errors in answers with a good status: every spelling is seen, and good answers that look like one are not."""

import pytest

from caller import errors as e
from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.custom_llm.errors.endpoint_errors import (
    foreign_answer,
    in_band_error,
    instead_of_answer,
)
from caller.json_types import JsonObject

URL = "http://127.0.0.1:8000/v1/messages"
MISSING = e.ProtocolError("the endpoint's answer has no `content`. Remedy")

ERRORS: list[tuple[JsonObject, type[e.CallerError], str]] = [
    ({"errors": [{"message": "offline", "extensions": {"code": "UNAVAILABLE"}}]}, e.EndpointOverloaded, "offline"),
    ({"errors": ["first", "second"]}, e.EndpointError, "first; second"),
    ({"errors": {"message": "of an object"}}, e.EndpointError, "of an object"),
    ({"error": [{"code": 2001, "message": "in a list"}]}, e.EndpointError, "in a list"),
    ({"error": True, "message": "only true"}, e.EndpointError, "only true"),
    ({"detail": "Not authenticated"}, e.EndpointUnauthenticated, "Not authenticated"),
    ({"detail": [{"loc": ["body", "model"], "msg": "required"}]}, e.EndpointError, "body.model: required"),
    ({"code": 40003, "msg": "invalid access token", "data": None}, e.EndpointUnauthenticated, "invalid access token"),
    ({"code": "Throttling.RateQuota", "message": "too fast", "request_id": "r"}, e.EndpointRateLimited, "too fast"),
    ({"code": "-1", "msg": "系统繁忙"}, e.EndpointOverloaded, "系统繁忙"),
    ({"errno": 6, "errmsg": "no permission"}, e.EndpointError, "no permission"),
    ({"code": 503}, e.EndpointOverloaded, "503"),
    ({"status": "fail", "reason": "quota of the workspace is used up"}, e.EndpointError, "quota of the workspace"),
    ({"status": "ERROR", "message": "offline"}, e.EndpointError, "offline"),
    ({"status": False, "message": "no"}, e.EndpointError, "no"),
    ({"status": 429, "title": "Too Many Requests"}, e.EndpointRateLimited, "Too Many Requests"),
    ({"result": "error", "msg": "gone"}, e.EndpointError, "gone"),
    (
        {"choices": None, "error_type": "BadRequestError", "error_message": "maximum context length is 9"},
        e.ContextLengthExceeded,
        "maximum context length is 9",
    ),
    ({"fault": {"faultstring": "Spike arrest violation"}}, e.EndpointRateLimited, "Spike arrest violation"),
    ({"Response": {"Error": {"Code": "AuthFailure", "Message": "bad key"}}}, e.EndpointError, "bad key"),
    ({"__type": "ThrottlingException", "message": "Rate exceeded"}, e.EndpointRateLimited, "Rate exceeded"),
    ({"data": {"error": {"message": "inside of data"}}}, e.EndpointError, "inside of data"),
    ({"x_groq": {"error": "over capacity"}, "choices": []}, e.EndpointOverloaded, "over capacity"),
    (
        {"choices": [{"finish_reason": "stop"}], "base_resp": {"status_code": 1027, "status_msg": "output sensitive"}},
        e.ContentFiltered,
        "output sensitive",
    ),
]
GOOD: list[JsonObject] = [
    {"code": 0, "message": "success", "choices": []},
    {"code": 200, "msg": "操作成功", "data": {}},
    {"code": "20000", "message": "OK"},
    {"code": 7, "message": "success"},
    {"status": "success", "message": "done"},
    {"status": 200, "title": "fine"},
    {"status": "queued", "message": "You are the 3rd in the queue"},
    {"detail": None, "errors": [], "error": None, "error_message": ""},
    {"choices": [{"delta": {}}], "detail": "of the route", "status": "failed", "code": 9, "message": "m"},
    {"type": "message_start", "message": {"content": []}, "status": "error"},
    {"type": "response.code_interpreter_call_code.done", "code": "print('error')"},
    {"type": "ping", "message": "still here"},
    {"candidates": [{"finishReason": "STOP"}], "message": "m", "code": 1},
    {"usageMetadata": {"totalTokenCount": 1}, "code": 3, "message": "m"},
    {"x_groq": {"id": "r"}, "choices": []},
]

REMEDIES = {api: facts.remedy for api, facts in FACTS.items()}


@pytest.mark.parametrize(("frame", "kind", "words"), ERRORS, ids=range(len(ERRORS)))
def test_every_spelling_of_an_error_is_one(frame: JsonObject, kind: type[e.CallerError], words: str) -> None:
    """And the endpoint's own words are in its text."""
    error = in_band_error(frame)

    assert type(error) is kind
    assert words in error.message or words == str(frame.get("code"))


@pytest.mark.parametrize("frame", GOOD, ids=range(len(GOOD)))
def test_a_good_answer_is_none(frame: JsonObject) -> None:
    """Codes of success, empty fields, and anything beside what belongs to an answer mean nothing."""
    assert in_band_error(frame) is None


def test_what_came_instead_of_an_answer_is_told() -> None:
    """Where an answer is missing anyway, words without a sign are shown; they decide only where they mean something."""
    forbidden = instead_of_answer(MISSING, b'{"message": "Forbidden"}', URL)
    assert type(forbidden) is e.EndpointForbidden
    assert "Forbidden" in forbidden.message

    vague = instead_of_answer(MISSING, b'{"message": "Good morning, key sk-abcdefgh12345678."}', URL)
    assert type(vague) is e.ProtocolError
    assert vague.message.startswith("the endpoint said: Good morning, key ***. the endpoint's answer has no `content`.")

    cut = instead_of_answer(e.StreamInterrupted("it ended"), b'{"message": "shutting down"}', URL)
    assert type(cut) is e.StreamInterrupted
    assert cut.message == "the endpoint said: shutting down. it ended"

    said = instead_of_answer(MISSING, b'"no such model m"', URL)
    assert type(said) is e.ModelNotFound
    for silent in (b"", b"[DONE]", b"{}", b'{"type": "ping"}', b'{"message": {"content": "hi"}}', b'{"done": true}'):
        assert instead_of_answer(MISSING, silent, URL) is None


def test_text_in_place_of_json_is_told_in_the_shapes_own_words() -> None:
    """Plain text and pages say why; broken JSON may hold what the model said, and is not repeated."""
    for api, remedy in REMEDIES.items():
        for text in (b"oops", b'{"choices": [{"delta": {"content": "rate limit exceeded'):
            error = foreign_answer(e.ProtocolError.not_json("an event is not JSON", text), api)
            assert type(error) is e.ProtocolError
            assert error.message.endswith(f"an event is not JSON. {remedy}")
            assert ("oops" in error.message) == (text == b"oops")
            assert "delta" not in error.message
    api = ApiCompatibility.ANTHROPIC_MESSAGES
    busy = e.ProtocolError.not_json("no JSON", b"upstream connect error")
    assert type(foreign_answer(busy, api)) is e.EndpointOverloaded
    page = e.ProtocolError.not_json("an HTML page", b"<html><b>Too many requests?</b> Sign in</html>")
    assert type(foreign_answer(page, api)) is e.ProtocolError
    assert foreign_answer(page, api).message.startswith("the endpoint said: Too many requests? Sign in. an HTML page. ")
    named = foreign_answer(e.ProtocolError.not_json("no JSON", b"it broke"), api, event="error")
    assert type(named) is e.EndpointError
    assert "it broke" in named.message


def test_a_shapes_advice_names_its_own_fields_only() -> None:
    """Nobody who speaks Messages is sent to look for `choices`."""
    for api, remedy in REMEDIES.items():
        assert ("choices" in remedy) == ("chat" in api.value or "compatible" in api.value)
    assert set(REMEDIES) == set(ApiCompatibility)
