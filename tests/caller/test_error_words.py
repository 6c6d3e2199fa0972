"""What the codes and words of many vendors mean, and what they do not mean."""

import json
import time

import pytest
from multidict import CIMultiDict

from caller import errors as e
from caller.custom_llm.errors.endpoint_errors import endpoint_error, in_band_error
from caller.custom_llm.errors.word_table import MEANINGS
from caller.json_types import JsonObject, JsonValue
from tests.patience import within

URL = "http://127.0.0.1:8000/v1/chat/completions"


def said(status: int, body: JsonValue, *, sent: bytes = b"", headers: dict[str, str] | None = None) -> e.CallerError:
    return endpoint_error(status, CIMultiDict(headers or {}), json.dumps(body).encode(), url=URL, sent=sent)


def err(message: str, code: JsonValue = None, type_: JsonValue = None) -> JsonObject:
    return {"error": {"message": message, "type": type_, "code": code}}


CODES: list[tuple[int, JsonValue, type[e.CallerError]]] = [
    (403, err("Your account has an overdue balance.", "AccountOverdueError", "Forbidden"), e.QuotaExhausted),
    (400, err("The input text may contain…", "InputTextSensitiveContentDetected"), e.ContentFiltered),
    (400, err("…", "OutputImageRiskDetection", "BadRequest"), e.ContentFiltered),
    (404, err("The model or endpoint ep-1 does not exist", "InvalidEndpointOrModel.NotFound"), e.ModelNotFound),
    (429, err("m", "RateLimitExceeded.EndpointTPMExceeded", "TooManyRequests"), e.EndpointRateLimited),
    (429, err("m", "ServerOverloaded", "TooManyRequests"), e.EndpointOverloaded),
    (429, err("m", "SetLimitExceeded", "TooManyRequests"), e.QuotaExhausted),
    (429, err("Allocated quota exceeded.", "Throttling.AllocationQuota"), e.EndpointRateLimited),
    (429, err("Free allocated quota exceeded.", "Throttling.AllocationQuota"), e.QuotaExhausted),
    (403, err("m", "AllocationQuota.FreeTierOnly"), e.QuotaExhausted),
    (401, {"type": "error", "error": {"type": "CreditsError", "message": "m"}}, e.QuotaExhausted),
    (403, {"type": "error", "error": {"type": "RegionError", "message": "m"}}, e.EndpointForbidden),
    (402, {"error": "Insufficient USD or Diem balance", "code": "INSUFFICIENT_BALANCE"}, e.QuotaExhausted),
    (403, err("m", "insufficient_user_quota", "new_api_error"), e.QuotaExhausted),
    (503, err("No available channel for model x under group default", "model_not_found"), e.ModelNotFound),
    (503, err("No available channel for model x under group default", "", "one_api_error"), e.ModelNotFound),
    (400, err("No connected db.", "400", "no_db_connection"), e.EndpointUnauthenticated),
    (401, err("m", "wrong_api_key", "invalid_request_error"), e.EndpointUnauthenticated),
    (400, err("m", "organization_restricted", "invalid_request_error"), e.EndpointForbidden),
    (403, err("m", "unsupported_country_region_territory", "request_forbidden"), e.EndpointForbidden),
    (498, err("m", "capacity_exceeded"), e.EndpointOverloaded),
    (400, err("m", "model_decommissioned", "invalid_request_error"), e.ModelNotFound),
    (446, err("The guardrail checks failed", None, "hooks_failed"), e.ContentFiltered),
    (413, err("Request body too large for m. Max size: 8000 tokens.", "tokens_limit_reached"), e.ContextLengthExceeded),
    (400, {"code": 20012, "message": "m", "data": None}, e.ModelNotFound),
    (403, {"code": 30001, "message": "m", "data": None}, e.QuotaExhausted),
    (429, err("m", "1302"), e.EndpointRateLimited),
    (429, err("m", "1113"), e.QuotaExhausted),
    (429, err("m", "1310"), e.QuotaExhausted),
    (400, err("m", "1301"), e.ContentFiltered),
    (401, err("m", "1002"), e.EndpointUnauthenticated),
    (400, {"object": "error", "message": "m", "code": "1113"}, e.EndpointRejected),  # no code of Zhipu's there
    (400, {"__type": "com.amazon.coral.service#ThrottlingException", "message": "m"}, e.EndpointRateLimited),
    (403, {"error_code": "PERMISSION_DENIED", "message": "m"}, e.EndpointForbidden),
    (429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "m"}, e.EndpointRateLimited),
    (400, {"type": "error", "error": {"message": "input new_sensitive (1026)", "http_code": "400"}}, e.ContentFiltered),
]
WORDS: list[tuple[int, str, type[e.CallerError]]] = [
    (400, "max_completion_tokens must be at least 1, got -120", e.ContextLengthExceeded),
    (400, "`max_new_tokens` must be at least 0, but got -77.", e.ContextLengthExceeded),
    (400, "max_tokens=-12 is not allowed", e.ContextLengthExceeded),
    (400, "max_tokens must be at least 1, got 0.", e.EndpointRejected),
    (400, "max_tokens must be -1 or at least 1, got 0.", e.EndpointRejected),
    (400, "max_tokens must be at least 1, got -1.", e.EndpointRejected),
    (400, "Unable to submit request because the input token count is 9 but model only supports up to 8.",
     e.ContextLengthExceeded),
    (400, "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
     e.ContextLengthExceeded),
    (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081", e.ContextLengthExceeded),
    (400, "Context size has been exceeded.", e.ContextLengthExceeded),
    (400, "the number of input tokens 5000 cannot exceed the total tokens limit 4096", e.ContextLengthExceeded),
    (400, "Image input is too large", e.EndpointRejected),
    (400, "messages.2.name: string too long", e.EndpointRejected),
    (403, "Your team has used all available credits or reached its monthly spending limit.", e.QuotaExhausted),
    (412, "Account a is suspended, possibly due to reaching the monthly spending limit", e.QuotaExhausted),
    (403, "Key limit exceeded (total limit).", e.QuotaExhausted),
    (400, "You have reached your specified API usage limits. You will regain access on 2026-12-01", e.QuotaExhausted),
    (400, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", e.QuotaExhausted),
    (403, "用户额度不足", e.QuotaExhausted),
    (403, "This API method requires billing to be enabled.", e.QuotaExhausted),
    (429, "You exceeded your current quota, please check your plan and billing details.", e.QuotaExhausted),
    (429, "You exceeded your current quota. Please retry in 36.4s.", e.EndpointRateLimited),
    (429, "Request too large for m on tokens per min (TPM): Limit 30000, Requested 35000.", e.RequestTooLarge),
    (429, "Rate limit reached on tokens per day (TPD): Limit 100, Used 9, Requested 101.", e.RequestTooLarge),
    (429, "Rate limit reached on tokens per day (TPD): Limit 100, Used 99, Requested 51.", e.EndpointRateLimited),
    (400, "Too many requests, please wait before trying again.", e.EndpointRateLimited),
    (400, "Content Exists Risk", e.ContentFiltered),
    (403, "Content violates usage guidelines.", e.ContentFiltered),
    (400, "Output blocked by content filtering policy", e.ContentFiltered),
    (500, "litellm.ContentPolicyViolationError: refused", e.ContentFiltered),
    (500, "our content policy was violated; blocked by content policy", e.EndpointError),
    (400, "Invalid Responses API request", e.EndpointRejected),
    (400, "User location is not supported for the API use.", e.EndpointForbidden),
    (404, "No endpoints found matching your data policy.", e.EndpointForbidden),
    (404, "No endpoints found for acme/m-1.", e.ModelNotFound),
    (404, "No endpoints found that support tool use.", e.EndpointRejected),
    (404, "Item with id 'rs_1' not found.", e.EndpointRejected),
    (404, "Function '23d4f03a-b8a6': Not found for account 'x'", e.ModelNotFound),
    (400, "Function id '23d4f03a': DEGRADED function cannot be invoked", e.EndpointOverloaded),
    (400, "Invalid model name passed in model=x. Call `/v1/models`", e.ModelNotFound),
    (400, "The requested model is not supported.", e.ModelNotFound),
    (400, "'temperature' for this model is not supported.", e.EndpointRejected),
    (400, "invalid model parameters", e.EndpointRejected),
    (404, "Endpoint with name 'x' does not exist.", e.ModelNotFound),
    (400, "The provided model identifier is invalid.", e.ModelNotFound),
    (400, "API key not valid. Please pass a valid API key.", e.EndpointUnauthenticated),
    (403, "Invalid access token.", e.EndpointUnauthenticated),
    (403, "Missing Authentication Token", e.EndpointForbidden),
    (500, "image input is not supported - hint: provide the mmproj", e.EndpointRejected),
    (500, "The model is overloaded", e.EndpointError),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), CODES)
def test_a_vendors_code_means_what_its_reference_says(status: int, body: JsonValue, kind: type[e.CallerError]) -> None:
    """Codes that say what happened win over a status that says less; numbers count only in their vendor's form."""
    assert type(said(status, body)) is kind


@pytest.mark.parametrize(("status", "message", "kind"), WORDS)
def test_words_mean_an_error_only_where_they_may(status: int, message: str, kind: type[e.CallerError]) -> None:
    """Where there is no code the words say it, in whatever form the text stands."""
    bodies: list[JsonValue] = [err(message), {"error": message}, {"message": message}, {"detail": message}]
    for body in bodies:
        assert type(said(status, body)) is kind


REJECTED = [
    "max_tokens: 8192 > 4096, the highest number of output tokens of this model",
    "max_tokens is too large: 100000. This model takes at most 16384 completion tokens",
    "Unsupported parameter: 'max_tokens' is not supported with this model.",
    "messages.0.content.1.image: image exceeds 5 MB maximum",
    "Image size is too large",
    "m does not support tools",
    "prompt_cache_key: string too long",
    "No tool output found for function call call_1.",
    "seed must be non-negative, got -5",
    "top_logprobs must be between 0 and 20, got -1",
    "Your messages hold too many images",
    "In context=(), 'additionalProperties' is required",
    "tool_choice for this model is not supported",
]


@pytest.mark.parametrize("message", REJECTED)
def test_an_ordinary_refusal_stays_one(message: str) -> None:
    """Most of what endpoints refuse is none of the meanings of the table, though it uses some of their words."""
    assert type(said(400, err(message, None, "invalid_request_error"))) is e.EndpointRejected


def test_a_used_up_account_invites_no_retry() -> None:
    """Neither by its class nor by a hint that came along."""
    error = said(429, err("Insufficient balance. Please recharge."), headers={"retry-after": "1"})

    assert type(error) is e.QuotaExhausted
    assert (error.retry, error.retry_after) == (e.Retry.NEVER, None)
    assert said(429, err("Request too large (TPM): Limit 3, Requested 9")).retry is e.Retry.NEVER


def test_a_negative_limit_of_the_clients_own_is_no_matter_of_the_context() -> None:
    """Only a number that the endpoint computed says that the conversation is too long."""
    refusal = err("max_tokens must be at least 1, got -50")

    assert type(said(400, refusal, sent=b'{"max_tokens":-50}')) is e.EndpointRejected
    assert type(said(400, refusal, sent=b'{"max_tokens":4096}')) is e.ContextLengthExceeded


def test_json_inside_of_a_text_is_unwrapped() -> None:
    """Ollama passes its runner's error on as text, gateways their provider's: the inner words and codes count."""
    inner = {"error": {"code": 400, "message": "request is too large", "type": "exceed_context_size_error"}}
    bodies: list[JsonValue] = [err(json.dumps(inner)), {"error": json.dumps(inner)}, {"detail": json.dumps([inner])}]
    for body in bodies:
        error = said(500, body)
        assert type(error) is e.ContextLengthExceeded
        assert "(500): request is too large. " in error.message
    repeated = f"litellm.BadRequestError: XException - {json.dumps(inner)}. Received Model Group=m"
    assert type(said(400, err(repeated))) is e.ContextLengthExceeded
    python = "Error code: 400 - {'error': {'message': 'no', 'code': 'content_filter'}}"
    assert type(in_band_error(err(python))) is e.ContentFiltered
    for broken in ("{", "[" * 50_000, '{"error":' * 5000, "{}", "[1]"):
        assert isinstance(said(500, err(broken)), e.EndpointError)


def test_amazons_code_stands_in_a_header() -> None:
    """Behind AWS the body is a bare text."""
    headers = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/"}

    assert type(said(400, {"message": "Rate exceeded"}, headers=headers)) is e.EndpointRateLimited
    assert type(said(400, {"message": "m"}, headers={"x-amzn-errortype": "ValidationException"})) is e.EndpointRejected


@pytest.mark.parametrize(
    "piece", ["model ", "a", "max_tokens ", "input is ", "limit: 1 ", "-1", "no endpoints ", "额度"]
)
def test_reading_the_words_takes_no_time(piece: str) -> None:
    """Whatever an endpoint writes: no expression of the table goes back and forth over it."""
    text = piece * (4096 // len(piece))
    started = time.perf_counter()
    for meaning in MEANINGS:
        meaning.words.search(text)

    assert time.perf_counter() - started < within(1)
