"""What a wrong URL is told: the likely right one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from caller.custom_llm.errors.redaction import Redactor, sanitized
from caller.custom_llm.errors.retry_hints import rate_limit_headers, request_id_of, retry_after_of, should_retry_of
from caller.custom_llm.errors.url_hints import url_hint
from caller.json_types import JsonObject, JsonValue

DATE = "Sat, 21 Nov 2026 20:00:00 GMT"
LATER = "Sat, 21 Nov 2026 20:00:30 GMT"
RETRY_INFO: JsonValue = {"error": {"details": [{"reason": "x"}, {"retryDelay": "22.5s"}]}}
WAITS: list[tuple[dict[str, str], JsonValue, float | None]] = [
    ({}, None, None),
    ({"Retry-After-Ms": "1500.5", "Retry-After": "9"}, None, 1.5005),
    ({"Retry-After": "9"}, RETRY_INFO, 9.0),
    ({"Retry-After": " 0.25 "}, None, 0.25),
    ({"Retry-After": LATER, "Date": DATE}, None, 30.0),
    ({"Retry-After": DATE, "Date": LATER}, None, 0.0),
    ({"Retry-After": "Sat, 21 Nov 2026 20:00:30 -0000", "Date": DATE}, None, 30.0),
    ({"Retry-After": "-5"}, None, 0.0),
    ({"Retry-After": "86400"}, None, 3600.0),
    ({"Retry-After": "soon"}, None, None),
    ({"Retry-After": "nan"}, None, None),
    ({"Retry-After": "inf"}, None, None),
    ({"Retry-After": "soon"}, RETRY_INFO, 22.5),
    ({}, RETRY_INFO, 22.5),
    ({}, [RETRY_INFO], 22.5),
    ({}, {"error": {"details": [{"retryDelay": "s"}]}}, None),
    ({}, {"error": "text"}, None),
    ({}, ["text"], None),
]


@pytest.mark.parametrize(("headers", "body", "seconds"), WAITS)
def test_the_wish_to_wait_is_read_in_every_form(
    headers: dict[str, str], body: JsonValue, seconds: float | None
) -> None:
    """Milliseconds, seconds, a date or Gemini's body become seconds from 0 to 3600, or nothing."""
    assert seconds == retry_after_of(CIMultiDict(headers), body)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"message": "Please try again in 22m46.848s. Need more?"}}, 1366.848),
        ({"error": {"message": "Please retry after 26 seconds."}}, 26.0),
        ({"message": "Try again in 20ms"}, 0.02),
        ({"message": "try again in 3 hours"}, 3600.0),
        ({"error": {"message": "limited", "resets_in_seconds": 90}}, 90.0),
        ({"retry_after": 2.5}, 2.5),
        ({"retry_after": True}, None),
        ({"message": "please try again in 5"}, None),
        ({"message": "try again later"}, None),
    ],
)
def test_the_wish_to_wait_is_read_from_the_body_where_no_header_has_it(body: JsonObject, seconds: float | None) -> None:
    """As a field or in words; a header is believed first."""
    assert retry_after_of({}, body) == (None if seconds is None else pytest.approx(seconds))
    assert retry_after_of({"retry-after": "7"}, body) == 7.0


def test_a_date_is_read_against_a_clock_where_the_endpoint_names_none() -> None:
    """Without a `date` header the given time counts."""
    assert retry_after_of({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=60.0) == 40.0


def test_the_endpoints_say_on_retries_is_read() -> None:
    """`x-should-retry` is yes, no or nothing."""
    assert should_retry_of(CIMultiDict({"X-Should-Retry": "true"})) is True
    assert should_retry_of(CIMultiDict({"X-Should-Retry": "False"})) is False
    assert should_retry_of(CIMultiDict({"X-Should-Retry": "maybe"})) is None
    assert should_retry_of({}) is None


def test_the_request_id_is_found_under_every_name() -> None:
    """The provider's own name of the request comes before the network's, clean and bounded."""
    for name in ("X-Request-Id", "request-id", "X-Generation-Id", "apim-request-id", "mistral-correlation-id"):
        assert request_id_of(CIMultiDict({"CF-Ray": "ray", name: f" {name}-1 "})) == f"{name}-1"
    assert request_id_of(CIMultiDict({"CF-Ray": "ray"})) == "ray"
    assert request_id_of({"x-request-id": "", "request-id": "r"}) == "r"
    assert request_id_of({"x-request-id": "r" * 999}) == "r" * 999, "whoever shows it takes secrets out, then clips it"
    assert request_id_of({}) == ""


def test_limits_are_passed_on_as_text_and_bounded() -> None:
    """Limits keep the endpoint's own writing; an endpoint cannot flood the answer with them."""
    headers = CIMultiDict(
        [
            ("X-RateLimit-Remaining-Requests", "59"),
            ("X-RateLimit-Reset-Tokens", "6m0s"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-21T20:00:00Z"),
            ("Retry-After", "3"),
            ("Retry-After", "4"),
            ("Set-Cookie", "secret"),
        ]
    )

    assert rate_limit_headers(headers, str) == {
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-tokens": "6m0s",
        "anthropic-ratelimit-tokens-reset": "2026-11-21T20:00:00Z",
        "retry-after": "3",
    }
    flood = rate_limit_headers({f"x-ratelimit-{number}": "v" * 999 for number in range(999)}, str)
    assert len(flood) == 32
    assert max(map(len, flood.values())) <= 200


HINTS = [
    ("http://127.0.0.1:1234/chat/completions", "http://127.0.0.1:1234/v1."),
    ("http://localhost:8000/llm/messages?x=SECRET", "http://localhost:8000/llm/v1."),
    ("https://api.groq.com/openai/chat/completions", "https://api.groq.com/openai/v1."),
    ("http://h:11434/api/chat/completions", "http://h:11434/v1."),
    ("http://h:11434/api/chat/chat/completions", "http://h:11434/v1."),
    ("http://h:11434/api/responses", "http://h:11434/v1."),
    ("http://h:9/ollama/api/generate/chat/completions", "http://h:9/ollama/v1."),
    ("http://u:pw@h/v1/v1/chat/completions", "http://h/v1/chat/completions."),
    ("http://h/v1/v1beta/models/m:generateContent", "http://h/v1/models/m:generateContent."),
    ("http://h/v1/completions/chat/completions", "http://h/v1/chat/completions."),
    ("http://h/v1//models", "http://h/v1/models."),
    (
        "https://generativelanguage.googleapis.com/v1beta/openai/models/g:streamGenerateContent?alt=sse",
        "https://generativelanguage.googleapis.com/v1beta.",
    ),
    (
        "https://generativelanguage.googleapis.com/v1beta/chat/completions",
        "https://generativelanguage.googleapis.com/v1beta/openai.",
    ),
    ("https://r.openai.azure.com/openai/deployments/d/chat/completions", "`?api-version=…`"),
    ("https://r.openai.azure.com/v1/chat/completions", "https://r.openai.azure.com/openai/v1,"),
    ("http://h:3000/api/chat/completions", "http://h:3000/api/v1."),
    ("http://127.0.0.1:8000/v1/chat/completions", ""),
    ("https://api.z.ai/api/paas/v4/chat/completions", ""),
    ("https://openrouter.ai/api/v1/chat/completions", ""),
    ("https://generativelanguage.googleapis.com/v1beta/models/g:generateContent", ""),
    ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", ""),
    ("https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21", ""),
    ("https://r.openai.azure.com/openai/v1/responses", ""),
    ("http://[broken", ""),
    ("http://h:99999/x", ""),
    ("", ""),
]


@pytest.mark.parametrize(("url", "part"), HINTS)
def test_a_url_that_looks_wrong_gets_a_better_one_named(url: str, part: str) -> None:
    """The usual mistakes in base URLs are recognised; a URL that looks right is left alone."""
    hint = url_hint(url)

    assert part in hint
    assert bool(part) == bool(hint)
    assert "SECRET" not in hint
    assert "pw@" not in hint


SECRETS = [
    ("key sk-abc123 is wrong", "key *** is wrong"),
    ("Incorrect API key provided: sk-proj-ab*****yz. Find it", "Incorrect API key provided: *** Find it"),
    ('{"api_key": "hunter2", "n": 1}', '{"api_key": "***", "n": 1}'),
    (r"{\"x-api-key\":\"hunter2\"}", r"{\"x-api-key\":\"***\"}"),
    ("sent Authorization: Basic dXNlcjpwYXNz, refused", "sent Authorization: ***, refused"),
    ("sent Bearer abcdef refused", "sent Bearer *** refused"),
    ("GET /v1beta/models?key=AIzaShort&alt=sse", "GET /v1beta/models?key=***&alt=sse"),
    ("see https://user:pass@host/x", "see https://***@host/x"),
    ("token gsk_0123456789abcdefghij is wrong", "token *** is wrong"),
    ("hash 0123456789abcdef0123456789ABCDEF end", "hash *** end"),
    ("id 550e8400-e29b-41d4-a716-446655440000 end", "id *** end"),
    ("jwt eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x", "jwt ***.e30.x"),
]
INNOCENT = [
    "The model `deepseek-ai/DeepSeek-R1-Distill-Qwen-32B` does not exist.",
    "models/meta-llama/Meta-Llama-3-8B-Instruct-Turbo-128k",
    "('body', 'messages', 0, 'ChatCompletionRequestSystemMessage', 'role')",
    'File "/srv/llms/venvs/llama-cpp-python/lib/python3.11/site-packages/llama_cpp/server/app.py", line 376',
    "unknown key: top_k; max_tokens=5, task-force",
    "You must use Bearer authentication",
    "see https://docs.example.com/proxy/reliability/context-window-fallbacks",
]


@pytest.mark.parametrize(("text", "clean"), SECRETS)
def test_what_looks_like_a_key_is_taken_out(text: str, clean: str) -> None:
    """Keys that an endpoint repeats do not travel on."""
    assert clean == sanitized(text)


@pytest.mark.parametrize("text", INNOCENT)
def test_what_only_looks_long_stays(text: str) -> None:
    """Names of models, classes and files stay readable."""
    assert text == sanitized(text)


@given(st.text(string.ascii_letters + string.digits, min_size=40, max_size=60).filter(lambda key: not key.isalpha()))
def test_a_long_random_key_never_passes(key: str) -> None:
    """A run of letters and digits as long as a key is taken out wherever it stands."""
    assert key not in sanitized(f"the key {key} is not known")


def test_known_secrets_are_taken_out_by_value() -> None:
    """The caller's own header values go, with and without their scheme; the scheme's name and short values stay."""
    text = "Bearer hunter2 and hunter2-long, Basic, x: abc"

    assert Redactor(["Bearer hunter2", "hunter2-long", "abc", ""])(text) == "*** and ***, Basic, x: abc"
    assert Redactor(["Bearer hunter2"])("key hunter2") == "key ***"


def test_a_huge_text_is_cut_before_it_is_read() -> None:
    """An endpoint cannot keep us busy with a long text, nor show half a key at its cut."""
    assert len(sanitized("word " * 10**6)) <= 4096
    assert "sk-" not in sanitized("a " * 2040 + "x sk-abcdefghijklmnop")
    assert "sk-" not in sanitized("a" + " " * 16379 + "sk-abcdefghijklmnop")
