"""Providers by name: the rows are data, a key becomes a header, and a mistyped id finds the right one."""

import ast
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import caller.provider_table
from caller.credentials import ApiCompatibility, parse_credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.demand_table import POINTS
from caller.custom_llm.errors.redaction import Redactor
from caller.errors import CredentialInvalid, UnknownProvider
from caller.messages import AssistantMessage, TextPart, ToolCall, ToolMessage, UserMessage
from caller.parameters import merge_parameters
from caller.provider_table import PROVIDERS
from caller.providers import Provider
from caller.registry import Registry
from integration_api.files.provider_rows import parse_rows

IDS = [
    "openai",
    "anthropic",
    "gemini",
    "azure-openai",
    "mistral",
    "openrouter",
    "xai",
    "groq",
    "deepseek",
    "together",
    "fireworks",
    "perplexity",
    "cerebras",
    "moonshot",
    "nvidia",
    "ollama",
    "vllm",
    "lmstudio",
    "tgi",
    "llamacpp",
    "litellm",
    "localai",
]
KEY = "greenheronatdusk"


def completed(row: Provider, **given: Any) -> Any:
    base: dict[str, Any] = {} if row.defaults.base_url else {"baseUrl": "https://own.openai.azure.com/openai/v1"}
    return parse_credential({**base, **given}, row.defaults)


def test_the_promised_providers_are_there() -> None:
    """Each of them, under the id that is promised."""
    assert sorted(PROVIDERS) == sorted(IDS)


@pytest.mark.parametrize("provider_id", IDS)
def test_a_row_is_enough_with_a_key(provider_id: str) -> None:
    """A key alone makes a credential that can be sent; it is documented where the row comes from."""
    row = PROVIDERS[provider_id]
    credential = completed(row, key=KEY)
    request = ADAPTERS[credential.api].request(
        ResolvedCall(credential, merge_parameters({"model.name": "m"}), (UserMessage((TextPart("hi"),)),)), True
    )
    sent = [value for name, value in request.headers.items() if name.lower() == row.defaults.key_header.lower()]
    assert sent == [f"{row.defaults.key_scheme} {KEY}".strip()]
    local = urlsplit(credential.base_url).hostname == "127.0.0.1"
    assert urlsplit(credential.base_url).scheme == ("http" if local else "https")
    assert urlsplit(row.documentation_url).scheme == "https"
    assert row.demands.keys() <= POINTS


def test_a_row_has_at_most_ten_lines() -> None:
    """Rows stay data."""
    tree = ast.parse(Path(caller.provider_table.__file__).read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    rows = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "_row"]
    assert len(rows) == len(IDS)
    assert max((node.end_lineno or 0) - node.lineno + 1 for node in rows) <= 10


@pytest.mark.parametrize(
    ("provider_id", "url"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions"),
        ("anthropic", "https://api.anthropic.com/v1/messages"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent"),
        ("perplexity", "https://api.perplexity.ai/chat/completions"),
        ("groq", "https://api.groq.com/openai/v1/chat/completions"),
        ("fireworks", "https://api.fireworks.ai/inference/v1/chat/completions"),
        ("ollama", "http://127.0.0.1:11434/v1/chat/completions"),
    ],
)
def test_the_url_that_is_called(provider_id: str, url: str) -> None:
    """The base URL of a row leads to the operation that its provider documents."""
    credential = completed(PROVIDERS[provider_id], key=KEY)
    call = ResolvedCall(credential, merge_parameters({"model.name": "m"}), (UserMessage((TextPart("hi"),)),))
    assert ADAPTERS[credential.api].request(call, True).url.partition("?")[0] == url


def test_what_is_given_beside_a_row_wins() -> None:
    """The base URL and the compatibility, in either spelling."""
    row = PROVIDERS["openai"].defaults
    for raw in (
        {"baseUrl": "http://gateway/v1", "apiCompatibility": "openai_responses", "key": KEY},
        {"base_url": "http://gateway/v1", "api_compatibility": "openai_responses", "key": KEY},
    ):
        credential = parse_credential(raw, row)
        assert (credential.base_url, credential.api) == ("http://gateway/v1", ApiCompatibility.OPENAI_RESPONSES)
        assert credential.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"key": ""}, "must be a non-empty string"),
        ({"key": 5}, "must be a non-empty string"),
        ({"key": "a\nb"}, "control characters"),
        ({"key": f"Bearer {KEY}"}, "is the key alone"),
        ({"key": KEY, "headers": {"authorization": "Bearer other"}}, "which is given, too"),
        ({"key": KEY, "token": KEY}, "unknown key"),
        ({"key": KEY, "baseUrl": ""}, "must be a non-empty string"),
    ],
)
def test_a_wrong_key_is_explained_and_not_repeated(raw: dict[str, Any], words: str) -> None:
    """In words that hold nothing of it."""
    with pytest.raises(CredentialInvalid) as caught:
        parse_credential(raw, PROVIDERS["openai"].defaults)
    assert words in caught.value.message
    assert KEY not in f"{caught.value!r} {caught.value.violations!r}"


def test_custom_llm_takes_no_key() -> None:
    """It knows no header for one; the text says what to do instead."""
    with pytest.raises(CredentialInvalid, match="keys travel as headers"):
        parse_credential({"baseUrl": "http://h/v1", "key": KEY})


@pytest.mark.parametrize("provider_id", ["openai", "anthropic"])
def test_a_key_is_a_secret(provider_id: str) -> None:
    """Of a credential neither its repr nor a text that was redacted shows it, bare or behind its scheme."""
    credential = completed(PROVIDERS[provider_id], key=KEY)
    assert KEY not in repr(credential)
    assert KEY in credential.secrets
    assert KEY not in Redactor(credential.secrets)(f"bad key {KEY}, sent as Bearer {KEY}")


def test_known_refusals_are_spared_the_first_rejection() -> None:
    """Mistral is sent no `stream_options` and ids of nine characters from the first call on."""
    row = PROVIDERS["mistral"]
    credential = completed(row, key=KEY)
    messages = (
        UserMessage((TextPart("hi"),)),
        AssistantMessage(tool_calls=(ToolCall("call_longer_than_nine", "f", "{}"),)),
        ToolMessage("call_longer_than_nine", "f", (TextPart("1"),)),
    )
    call = ResolvedCall(
        credential, merge_parameters({"model.name": "m", "max_completion_tokens": 5}), messages,
        demands=row.demands_of(credential.api),
    )  # fmt: skip
    request = ADAPTERS[credential.api].request(call, True)
    body = json.loads(request.body)
    assert "stream_options" not in body
    assert (body["max_tokens"], len(body["messages"][2]["tool_call_id"])) == (5, 9)
    assert "stream_options" in request.left_out
    other = row.demands_of(ApiCompatibility.ANTHROPIC_MESSAGES)
    assert not other, "what a row says holds for its own API shape"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("opnai", "did you mean openai"),
        ("azure", "did you mean azure-openai"),
        ("Mistal", "did you mean mistral"),
        ("custom_llm", "did you mean custom-llm"),
        ("llama.cpp", "llamacpp"),
        ("nobody knows", "must be one of: anthropic, azure-openai"),
        ("x" * 10_000, "must be one of"),
    ],
)
def test_unknown_ids_name_the_nearest(typed: str, words: str) -> None:
    """And all where nothing is near; a long one is not repeated whole."""
    registry = Registry({"custom-llm": object()}, lambda: PROVIDERS, object())  # type: ignore[dict-item, arg-type]
    with pytest.raises(UnknownProvider) as caught:
        registry.resolve(typed)
    assert words in caught.value.message
    assert len(caught.value.message) < 600


ROWS = {
    "house-llm": {
        "baseUrl": "https://llm.internal/v1",
        "apiCompatibility": "openai_compatible",
        "keyHeader": "X-Api-Key",
        "demands": {"stream_options": ""},
        "documentationUrl": "https://wiki.internal/llm",
    },
    "openai": {"baseUrl": "https://gateway.internal/v1"},
}


def test_operators_rows_are_read() -> None:
    """With their header, and with ours where they name none."""
    house, openai = parse_rows(json.dumps(ROWS).encode())
    assert completed(house, key=KEY).headers == {"X-Api-Key": KEY}
    assert (house.id, house.demands, house.documentation_url) == (
        "house-llm",
        {"stream_options": ""},
        "https://wiki.internal/llm",
    )
    assert completed(openai, key=KEY).headers == {"Authorization": f"Bearer {KEY}"}
    assert openai.defaults.api is ApiCompatibility.OPENAI_CHAT_COMPLETIONS


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("[]", "is not a JSON object of rows"),
        ("{", "is not a JSON object of rows"),
        ({"a": {}}, "baseUrl"),
        ({"a": {"baseUrl": "https://h", "keyheader": "x"}}, "keyheader"),
        ({"a": {"baseUrl": "ftp://h"}}, "a: baseUrl must start with http"),
        ({"a": {"baseUrl": "https://h", "apiCompatibility": "soap"}}, "soap"),
        ({"a": {"baseUrl": "https://h", "keyHeader": "Host"}}, "a: keyHeader is set by the HTTP client itself"),
        ({"a": {"baseUrl": "https://h", "demands": {"nonsense": ""}}}, "nothing is known of demands.nonsense"),
        ({"Up Case": {"baseUrl": "https://h"}}, "is no provider's id"),
        ({"custom-llm": {"baseUrl": "https://h"}}, "is no row"),
    ],
)
def test_a_wrong_row_is_explained(rows: Any, words: str) -> None:
    """By its id and the field that is wrong."""
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_rows((rows if isinstance(rows, str) else json.dumps(rows)).encode())
