"""Answers that are errors, by status, code and words: our class, its retry, and what its text says."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from caller import errors as e
from caller.custom_llm.errors.endpoint_errors import (
    endpoint_error,
    failure,
    finish_reason_error,
    in_band_body_error,
    in_band_error,
)
from caller.json_types import JsonObject, JsonValue

URL = "http://127.0.0.1:8000/v1/chat/completions"
RECORDINGS = Path(__file__).parent.parent / "recordings"


def said(status: int, body: object, headers: dict[str, str] | None = None, url: str = URL) -> e.CallerError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return endpoint_error(status, CIMultiDict(headers or {}), raw, url=url)


GEMINI_RETRY: JsonObject = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "22s"}
OPENROUTER: JsonObject = {
    "code": 502,
    "message": "Provider returned error",
    "metadata": {"provider_name": "P", "raw": '{"m":"x"}'},
}
STATUSES = [
    *[(400, e.EndpointRejected), (401, e.EndpointUnauthenticated), (402, e.QuotaExhausted), (403, e.EndpointForbidden)],
    *[(404, e.EndpointNotFound), (405, e.EndpointPrecondition), (408, e.EndpointOverloaded)],
    *[(409, e.EndpointPrecondition), (413, e.EndpointRejected), (415, e.EndpointPrecondition)],
    *[(418, e.EndpointPrecondition), (422, e.EndpointRejected), (424, e.EndpointPrecondition)],
    *[(429, e.EndpointRateLimited), (499, e.EndpointPrecondition), (500, e.EndpointError), (501, e.EndpointError)],
    *[(502, e.EndpointOverloaded), (503, e.EndpointOverloaded), (504, e.EndpointOverloaded), (507, e.EndpointError)],
    *[(520, e.EndpointOverloaded), (526, e.EndpointOverloaded), (529, e.EndpointOverloaded), (999, e.ProtocolError)],
]
NOTHING = [b"", b"{}", b"[]", b"  \r\n", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"0", b"true", b'""']


@pytest.mark.parametrize(("status", "kind"), STATUSES)
@pytest.mark.parametrize(
    "body", [b"", b'{"error":{"message":"no","type":"api_error","code":null}}', b"<html>no</html>"]
)
def test_a_status_alone_decides(status: int, kind: type[e.CallerError], body: bytes) -> None:
    """Where the body has no code, or one that says nothing, the HTTP status says which error it is."""
    error = said(status, body)

    assert type(error) is kind
    assert error.http_status == status
    assert error.url == URL


@pytest.mark.parametrize("body", NOTHING)
def test_an_answer_without_words_is_named_by_its_status(body: bytes) -> None:
    """An empty or unreadable body still makes an error with a readable text."""
    error = said(503, body)

    assert type(error) is e.EndpointOverloaded
    assert error.message.startswith("the endpoint is overloaded or not ready (503): ")
    if body.strip() in (b"", b"{}", b"[]", b'""'):
        assert "Service Unavailable" in error.message


BODIES = [
    ({"error": {"message": "m1", "type": "invalid_request_error", "param": "model", "code": "c1"}}, "m1", "c1"),
    ({"error": {"message": "m2", "type": "BadRequestError", "param": None, "code": 400}}, "m2", "400"),
    ({"error": {"message": "m3", "type": "None", "param": "None", "code": "400"}}, "m3", "400"),
    ({"error": {"message": "m4", "type": "None", "param": "None", "code": "None"}}, "m4", ""),
    ({"error": {"message": "m5", "type": "server_error", "code": ""}}, "m5", "server_error"),
    ({"error": OPENROUTER, "user_id": "u"}, 'Provider returned error (P: {"m":"x"})', "502"),
    ({"error": "Unauthorized"}, "Unauthorized", ""),
    ({"error": "Slow down", "error_type": "overloaded"}, "Slow down", "overloaded"),
    ({"error": {"message": "Compute error."}, "message": "Compute error."}, "Compute error.", ""),
    ({"error": "Bad Request", "message": "no such field", "statusCode": 400}, "Bad Request: no such field", ""),
    ({"object": "error", "message": "m6", "type": "BadRequestError", "param": None, "code": 400}, "m6", "400"),
    (
        {
            "object": "error",
            "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "store"], "msg": "Extra inputs"}]},
            "type": "invalid_request_error",
            "code": None,
        },
        "body.store: Extra inputs",
        "invalid_request_error",
    ),
    ({"detail": "m7"}, "m7", ""),
    (
        {"detail": [{"loc": ["body", "messages"], "msg": "required"}, {"loc": ["body", 1], "msg": "short"}, "x"]},
        "body.messages: required; body.1: short; x",
        "",
    ),
    ({"detail": {"error": {"message": "", "type": "t", "param": None, "code": "c2"}}}, "Bad Request", "c2"),
    ({"message": "invalid api token"}, "invalid api token", ""),
    ({"type": "error", "error": {"type": "t2", "message": "m8"}, "request_id": "req_1"}, "m8", "t2"),
    ({"error": {"code": 429, "message": "m9", "status": "S_T", "details": [GEMINI_RETRY]}}, "m9", "429"),
    ({"error": {"message": "m9", "status": "SOME_STATUS"}}, "m9", "SOME_STATUS"),
    ([{"error": {"code": 400, "message": "m10", "status": "INVALID_ARGUMENT"}}], "m10", "400"),
    ({"base_resp": {"status_code": 2013, "status_msg": "m11"}}, "m11", "2013"),
    ({"text": "m12", "error_code": 40001}, "m12", "40001"),
    ({"code": "InvalidParameter", "message": "m13", "request_id": "r"}, "m13", "InvalidParameter"),
    ({"success": False, "errors": [{"code": 7003, "message": "m14"}]}, "m14", "7003"),
    (
        {"error": {"message": "m15", "code": "tool_use_failed", "failed_generation": "<f>"}},
        "(the model wrote: <f>)",
        "tool_use_failed",
    ),
    ({"unheard": "of"}, '{"unheard": "of"}', ""),
    ("just text", "just text", ""),
    (b"Failed to deserialize: <|im_end|> at 3", "Failed to deserialize: <|im_end|> at 3", ""),
    (b'\n\n {"error":{"message":"after blank lines"}}', "after blank lines", ""),
    (b'\xef\xbb\xbf{"error":"after a mark"}', "after a mark", ""),
    (b'event: error\ndata: {"error":{"message":"in an event","code":"c3"}}\n\n', "in an event", "c3"),
    (b"<!DOCTYPE html><style>b{}</style><h1>502: Bad&nbsp;gateway</h1><!-- x", "502: Bad gateway", ""),
    (b'{"error":{"message":"NaN here","code":NaN}}', "NaN here", ""),
]


@pytest.mark.parametrize(("body", "message", "code"), BODIES, ids=range(len(BODIES)))
def test_the_endpoints_own_words_are_found(body: object, message: str, code: str) -> None:
    """Whatever form the body has, its message and its code are in the error."""
    error = said(400, body)

    assert message.removesuffix(".") in error.message
    assert code == error.endpoint_code


def test_what_a_gateway_passes_on_is_kept() -> None:
    """The provider's error inside OpenRouter's, and the text that Groq could not read as a tool call, are shown."""
    failed = {"error": {"message": "no call", "code": "tool_use_failed", "failed_generation": '{"name":"f"}'}}

    assert 'Provider returned error (P: {"m":"x"})' in said(502, {"error": OPENROUTER}).message
    assert 'no call (the model wrote: {"name":"f"})' in said(400, failed).message


def err(code: JsonValue = None, type_: JsonValue = None, message: str = "m", **more: JsonValue) -> JsonObject:
    return {"error": {"message": message, "type": type_, "code": code, **more}}


PER_DAY: JsonObject = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject-FreeTier"}]}
PER_MINUTE: JsonObject = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
BAD_KEY: JsonValue = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
CODES = [
    (400, err("model_not_found", "invalid_request_error"), e.ModelNotFound),
    (403, err("model_not_found", "invalid_request_error"), e.ModelNotFound),
    (404, err("DeploymentNotFound"), e.ModelNotFound),
    (400, err("context_length_exceeded", "invalid_request_error"), e.ContextLengthExceeded),
    (400, err(400, "exceed_context_size_error", n_ctx=4096), e.ContextLengthExceeded),
    (400, err("content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}), e.ContentFiltered),
    (400, err("400", innererror={"code": "ResponsibleAIPolicyViolation"}), e.ContentFiltered),
    (403, err(403, metadata={"reasons": ["hate"], "flagged_input": "…"}), e.ContentFiltered),
    (429, err("insufficient_quota", "insufficient_quota"), e.QuotaExhausted),
    (400, err(None, "billing_error"), e.QuotaExhausted),
    (400, err("400", "budget_exceeded"), e.QuotaExhausted),
    (403, err("billing_not_active"), e.QuotaExhausted),
    (429, err(429, status="RESOURCE_EXHAUSTED", details=[PER_MINUTE, GEMINI_RETRY]), e.EndpointRateLimited),
    (429, err(429, status="RESOURCE_EXHAUSTED", details=[PER_MINUTE, PER_DAY, GEMINI_RETRY]), e.QuotaExhausted),
    (400, err(400, status="INVALID_ARGUMENT", details=BAD_KEY), e.EndpointUnauthenticated),
    (400, err(400, status="FAILED_PRECONDITION"), e.EndpointRejected),
    (403, err("invalid_api_key"), e.EndpointUnauthenticated),
    (400, err(None, "authentication_error"), e.EndpointUnauthenticated),
    (500, err(None, "permission_error"), e.EndpointForbidden),
    (500, err(None, "overloaded_error"), e.EndpointOverloaded),
    (500, err(None, "rate_limit_error"), e.EndpointRateLimited),
    (413, err("rate_limit_exceeded", "tokens"), e.EndpointRateLimited),
    (429, err("429", "throttling_error"), e.EndpointRateLimited),
    (429, {"error": "Model is overloaded", "error_type": "overloaded"}, e.EndpointRateLimited),
    (503, err(None, "api_error"), e.EndpointOverloaded),
    (503, err(None, "internal_server_error"), e.EndpointOverloaded),
    (503, err(503, "unavailable_error", "Loading model"), e.EndpointOverloaded),
    (404, err("404", "invalid_request_error"), e.EndpointNotFound),
    (404, err(404, "not_found_error", "File Not Found"), e.EndpointNotFound),
    (401, err("invalid_api_key", "invalid_request_error"), e.EndpointUnauthenticated),
    (413, err(None, "request_too_large"), e.EndpointRejected),
    (500, err(500, "server_error", "Jinja: roles must alternate user/assistant"), e.EndpointError),
    (500, err(500, "server_error", "our content policy was not loaded; model x not found"), e.EndpointError),
    *[(400, {"object": "error", "message": "m", "code": code}, kind) for code, kind in (
        (40001, e.EndpointRejected), (40101, e.EndpointUnauthenticated), (40301, e.ModelNotFound),
        (40302, e.EndpointRejected), (40303, e.ContextLengthExceeded), (42901, e.EndpointRateLimited),
        (42902, e.QuotaExhausted), (42903, e.EndpointOverloaded), (50001, e.EndpointError),
    )],
]  # fmt: skip
MODELS = [
    (404, {"error": "model 'x' not found"}, e.ModelNotFound),
    (404, {"error": 'model "x" not found, try pulling it first'}, e.ModelNotFound),
    (404, err(404, "NotFoundError", "The model `x` does not exist."), e.ModelNotFound),
    (404, err(404, message="models/x is not found for API version v1beta", status="NOT_FOUND"), e.ModelNotFound),
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}}, e.ModelNotFound),
    (400, err("invalid_request_error", "invalid_request_error", "Model Not Exist"), e.ModelNotFound),
    (400, err(400, message="x/y is not a valid model ID"), e.ModelNotFound),
    (404, {"error": "Model type foo not supported."}, e.EndpointNotFound),
    (404, err(404, "not_found_error", "Resource not found. Received Model Group=x"), e.EndpointNotFound),
    (404, {"detail": "Not Found"}, e.EndpointNotFound),
    (503, {"error": "model 'x' not found"}, e.EndpointOverloaded),
]


@pytest.mark.parametrize(("status", "body", "kind"), CODES + MODELS)
def test_a_specific_code_beats_the_status_and_a_generic_one_does_not(
    status: int, body: object, kind: type[e.CallerError]
) -> None:
    """A code with one meaning wins, a vague code never does, and a model is only missing where a model is named."""
    assert type(said(status, body)) is kind


TOO_LONG = [
    "prompt is too long: 210000 tokens > 200000 maximum",
    "Your input exceeds the context window of this model.",
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Please reduce the length of the messages or completion.",
    "The input is longer than the model's context length",
    "request (20077 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "The number of tokens to keep from the initial prompt is greater than the context length",
    "invalid params, context window exceeds limit (2013)",
    "Your request exceeded model token limit: 8192",
    "Prompt contains 9000 tokens, too large for model with 8192 maximum context length",
    "prompt token count of 70000 exceeds the limit of 64000",
    "input is too long for requested model",
    "prompt too long; exceeded max context length by 5 tokens",
    "Requested token count exceeds the model's maximum context length of 4096 tokens.",
    "Input exceeds the maximum allowed input length",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
    "Requested tokens (5000) exceed context window of 4096",
    "litellm.ContextWindowExceededError: AnthropicException - too much",
]


@pytest.mark.parametrize("text", TOO_LONG)
def test_a_conversation_that_is_too_long_is_known_by_its_words(text: str) -> None:
    """Every server says it in its own words, and has no code for it; a rate limit that says the same is none."""
    for status in (400, 413, 422, 500):
        assert type(said(status, err(status, "invalid_request_error", text))) is e.ContextLengthExceeded
    assert type(in_band_error({"error": text})) is e.ContextLengthExceeded
    for status, kind in ((429, e.EndpointRateLimited), (503, e.EndpointOverloaded), (401, e.EndpointUnauthenticated)):
        assert type(said(status, {"error": text})) is kind
    assert type(said(400, {"error": f"Rate limit reached: {text}"})) is e.EndpointRateLimited


IN_BAND: list[tuple[str, JsonObject, type[e.CallerError], str, str]] = [
    ("", err(500, "InternalServerError", "engine dead"), e.EndpointError, "500", "engine dead"),
    ("", err(400, "BadRequestError", "max_tokens too large"), e.EndpointRejected, "400", "max_tokens too large"),
    ("", err("429", "None", "slow"), e.EndpointRateLimited, "429", "slow"),
    ("error", {"code": 500, "message": "inner", "type": "server_error"}, e.EndpointError, "500", "inner"),
    ("error", {"code": 503, "message": "inner", "type": "unavailable_error"}, e.EndpointOverloaded, "503", "inner"),
    (
        "error",
        err("tool_use_failed", "invalid_request_error", "no call", failed_generation="{}", status_code=400),
        e.EndpointRejected,
        "tool_use_failed",
        "no call (the model wrote: {})",
    ),
    ("", {"error": {"message": "busy", "http_status_code": 422}}, e.EndpointRejected, "", "busy"),
    (
        "",
        {
            "id": "g",
            "provider": "P",
            "error": {"code": 400, "message": "Token limit reached"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}],
        },
        e.EndpointRejected,
        "400",
        "Token limit reached",
    ),
    ("", {"choices": [{"finish_reason": "error", "error": OPENROUTER}]}, e.EndpointOverloaded, "502", "Provider"),
    ("", {"text": "**NETWORK ERROR**", "error_code": 50001}, e.EndpointError, "50001", "**NETWORK ERROR**"),
    ("", {"error": "something broke"}, e.EndpointError, "", "something broke"),
    (
        "error",
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        e.EndpointOverloaded,
        "overloaded_error",
        "Overloaded",
    ),
    (
        "",
        {"type": "error", "sequence_number": 2, "error": {"type": "t", "code": "insufficient_quota", "message": "q"}},
        e.QuotaExhausted,
        "insufficient_quota",
        "q",
    ),
    (
        "",
        {"type": "error", "code": "rate_limit_exceeded", "message": "flat", "param": None, "sequence_number": 3},
        e.EndpointRateLimited,
        "rate_limit_exceeded",
        "flat",
    ),
    ("", {"object": "error", "message": "o", "type": "BadRequestError", "code": 400}, e.EndpointRejected, "400", "o"),
    ("", {"base_resp": {"status_code": 1004, "status_msg": "login"}}, e.EndpointUnauthenticated, "1004", "login"),
    ("", {"base_resp": {"status_code": 1008, "status_msg": "b"}, "choices": None}, e.QuotaExhausted, "1008", "b"),
    ("", err(None, None, "late", status="UNAVAILABLE"), e.EndpointOverloaded, "UNAVAILABLE", "late"),
    ("", err(None, None, "late", status="INVALID_ARGUMENT"), e.EndpointRejected, "INVALID_ARGUMENT", "late"),
    ("", err(None, "not_found_error", "route"), e.EndpointNotFound, "not_found_error", "route"),
    ("", err("my_timeout_code", None), e.EndpointOverloaded, "my_timeout_code", "m"),
    ("", {"error": "model 'x' not found"}, e.ModelNotFound, "", "model 'x' not found"),
    ("", {"success": False, "code": 500, "msg": "404 NOT_FOUND"}, e.EndpointError, "500", "404 NOT_FOUND"),
    (
        "",
        {"error": "Unexpected endpoint or method. (POST /chat/completions)"},
        e.EndpointNotFound,
        "",
        "Unexpected endpoint or method. (POST /chat/completions)",
    ),
    ("error", {}, e.EndpointError, "", "it gave no reason"),
]


@pytest.mark.parametrize(("event", "frame", "kind", "code", "message"), IN_BAND, ids=range(len(IN_BAND)))
def test_an_error_inside_a_good_answer_is_an_error(
    event: str, frame: JsonObject, kind: type[e.CallerError], code: str, message: str
) -> None:
    """A status of 200 does not hide an error: not in a frame, not in a whole body, not in a list."""
    error = in_band_error(frame, event=event, url=URL)

    assert type(error) is kind
    assert error.endpoint_code == code
    assert message in error.message
    assert error.http_status == 200
    if not event:
        for whole in (frame, [frame]):
            assert type(in_band_body_error(json.dumps(whole).encode(), URL)) is kind


def test_an_ordinary_frame_is_no_error() -> None:
    """Empty, null and zero error fields mean that all is well."""
    frames: list[JsonObject] = [
        {},
        {"error": None, "choices": []},
        {"error": {}, "choices": [{"error": None}]},
        {"error": {"message": "", "code": None}},
        {"text": "hi", "error_code": 0},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"type": "response.completed", "response": {"error": None}},
        {"object": "chat.completion.chunk", "choices": [{"delta": {"content": '{"error": "x"}'}}]},
    ]

    for frame in frames:
        assert in_band_error(frame, event="message") is None
        assert in_band_body_error(json.dumps(frame).encode(), URL) is None
    for body in (b"", b"text", b"[]", b"[1]", b'"error"', b"data: {}", b"<html>"):
        assert in_band_body_error(body, URL) is None


def test_a_failed_response_object_is_read_by_the_same_tables() -> None:
    """What the Responses API puts into `response.failed` means the same as anywhere else."""
    failed: JsonValue = {"status": "failed", "error": {"code": "insufficient_quota", "message": "no more"}}

    assert type(failure(failed)) is e.QuotaExhausted
    assert type(failure({"status": "failed", "error": None})) is e.EndpointError


def test_a_finish_reason_that_means_failure_is_told_with_its_words() -> None:
    """What happened, the endpoint's word, what it adds to it, and what to do; a word as long as a page is clipped."""
    error = finish_reason_error(e.EndpointError, "malformed_function_call", "no JSON.")
    assert type(error) is e.EndpointError
    assert error.endpoint_code == "malformed_function_call"
    assert '"malformed_function_call": no JSON. Look' in error.message
    assert len(finish_reason_error(e.StreamInterrupted, "x" * 9000, "y" * 9000).message) < 1000


def test_the_text_says_what_to_do() -> None:
    """A refused credential names the header, a 404 the called URL without its query, a redirect its target."""
    assert "`Authorization: Bearer <key>`" in said(401, {"error": "Unauthorized"}).message
    missing = said(404, {"detail": "Not Found"}, url="http://u:pw@127.0.0.1:8000/chat/completions?key=SECRET")
    assert "Called: http://127.0.0.1:8000/chat/completions." in missing.message
    assert "probably http://127.0.0.1:8000/v1" in missing.message
    assert "SECRET" not in missing.message + missing.url
    assert "pw" not in missing.message + missing.url
    assert f"Called: {URL}." in said(405, b"").message

    moved = said(307, b"", {"Location": "https://else.example/v2/chat?key=SECRET#f"})
    assert type(moved) is e.ProtocolError
    assert "redirects are never followed" in moved.message
    assert "https://else.example/v2/chat" in moved.message
    assert "SECRET" not in moved.message
    assert type(said(302, b"", {"location": "http://[broken"})) is e.ProtocolError


def test_a_long_message_leaves_room_for_the_remedy() -> None:
    """The text has at most 1 KB, and it is the endpoint's part that is cut."""
    for filler in ("word ", "Gefäß ", "🙂 ", "x"):
        error = said(401, {"error": filler * 5000})

        assert len(error.message.encode()) <= 1024
        assert error.message.endswith("set up to accept that header.")


def test_no_key_and_no_control_character_is_passed_on() -> None:
    """Endpoints repeat keys, and can send anything: the text stays one clean line."""
    body = err("sk-abcdefgh12345678", message="Incorrect API key provided: sk-proj-****wxyz.\n\x1b[31mred\u202e\ud800")
    error = said(401, body, {"x-request-id": "req\x1b-1"})

    assert "Incorrect API key provided: ***" in error.message
    for secret in ("sk-", "wxyz", "\n", "\x1b", "\u202e", "\ud800"):
        assert secret not in error.message
    assert error.endpoint_code == "***"
    assert error.endpoint_request_id == "req -1"


def test_request_id_and_retry_hint_are_on_the_error() -> None:
    """The endpoint's name for the request is kept, its wish to wait only where waiting can help."""
    limited = said(429, err(), {"Request-Id": "req_1", "Retry-After": "7"})
    assert (limited.endpoint_request_id, limited.retry_after) == ("req_1", 7.0)
    assert said(429, err(details=[GEMINI_RETRY])).retry_after == 22.0
    assert said(429, err("insufficient_quota"), {"retry-after": "7"}).retry_after is None
    assert said(401, {"type": "error", "error": {"message": "m"}, "request_id": "req_2"}).endpoint_request_id == "req_2"
    in_band = in_band_error(err(429, details=[GEMINI_RETRY]))
    assert in_band is not None
    assert in_band.retry_after == 22.0


# The public contract's words for the classes.
PUBLIC: dict[type[e.CallerError], tuple[str, str]] = {
    e.ContentFiltered: ("CONTENT_FILTERED", "INVALID_ARGUMENT"),
    e.ContextLengthExceeded: ("CONTEXT_LENGTH_EXCEEDED", "INVALID_ARGUMENT"),
    e.EndpointError: ("ENDPOINT_ERROR", "INTERNAL"),
    e.EndpointForbidden: ("ENDPOINT_FORBIDDEN", "PERMISSION_DENIED"),
    e.EndpointNotFound: ("ENDPOINT_NOT_FOUND", "NOT_FOUND"),
    e.EndpointOverloaded: ("ENDPOINT_OVERLOADED", "UNAVAILABLE"),
    e.EndpointPrecondition: ("ENDPOINT_REJECTED", "FAILED_PRECONDITION"),
    e.EndpointRateLimited: ("ENDPOINT_RATE_LIMITED", "RESOURCE_EXHAUSTED"),
    e.EndpointRejected: ("ENDPOINT_REJECTED", "INVALID_ARGUMENT"),
    e.EndpointUnauthenticated: ("ENDPOINT_UNAUTHENTICATED", "UNAUTHENTICATED"),
    e.ModelNotFound: ("MODEL_NOT_FOUND", "NOT_FOUND"),
    e.QuotaExhausted: ("QUOTA_EXHAUSTED", "RESOURCE_EXHAUSTED"),
}


def _cases() -> list[Path]:
    paths = sorted(RECORDINGS.glob("*/*.expect.json"))
    return [path for path in paths if json.loads(path.read_text()).get("error", {}).get("http_status", 0) >= 400]


def _recorded(path: Path) -> tuple[int, CIMultiDict[str], bytes]:
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return int(status.split()[1]), headers, body
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return int(status.split()[1]), headers, whole


@pytest.mark.parametrize("case", _cases(), ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_recorded_errors_are_read_as_expected(case: Path) -> None:
    """Errors of real servers, byte for byte, come out as a person read them."""
    expected = json.loads(case.read_text())["error"]
    error = endpoint_error(*_recorded(case.with_name(case.name.replace(".expect.json", ".http"))), url=URL)

    assert (expected["reason"], expected["status"]) == PUBLIC[type(error)]
    assert expected["http_status"] == error.http_status
    assert expected.get("message_contains", "") in error.message
    if "endpoint_code" in expected:
        assert error.endpoint_code in (expected["endpoint_code"], expected.get("endpoint_type"))


def test_there_are_recordings_to_replay() -> None:
    """The list of recorded errors cannot become empty unnoticed."""
    assert len(_cases()) > 100


KEYS = [
    "error",
    "message",
    "detail",
    "code",
    "type",
    "status",
    "details",
    "violations",
    "quotaId",
    "retryDelay",
    "reason",
    "metadata",
    "raw",
    "msg",
    "loc",
    "base_resp",
    "status_code",
    "status_msg",
    "text",
    "error_code",
    "choices",
    "errors",
    "innererror",
    "failed_generation",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(
    status=st.integers(-1, 1100),
    body=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()),
    header=st.text(max_size=40),
    url=st.text(max_size=60) | st.just(URL),
)
def test_whatever_comes_an_error_is_returned(status: int, body: bytes, header: str, url: str) -> None:
    """No bytes, status, header or URL makes the reading of an error fail."""
    headers = CIMultiDict({"retry-after": header, "location": header, "x-request-id": header, "date": header})
    error = endpoint_error(status, headers, body, url=url)

    assert isinstance(error, e.CallerError)
    assert len(error.message.encode()) <= 1024
    assert error.retry_after is None or 0 <= error.retry_after <= 3600


@given(JSON, st.sampled_from(["", "error"]))
def test_whatever_a_frame_holds_it_is_read(value: object, event: str) -> None:
    """No JSON makes the search for an error inside an answer fail."""
    in_band_body_error(json.dumps(value).encode(), URL)
    if isinstance(value, dict):
        error = in_band_error(value, event=event, url=URL)
        assert error is not None or not event
