"""Base URLs as people write them, joined with the paths of each API."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.credentials import parse_credential
from caller.custom_llm.apis.chat_completions.request import CHAT, MODELS
from caller.custom_llm.base_url import Operation, join, without_query
from caller.errors import CredentialInvalid

V1 = "/v1/chat/completions"
SPELLINGS = [
    # a bare host gets the version
    ("http://h:8000", f"http://h:8000{V1}"),
    ("http://h:8000/", f"http://h:8000{V1}"),
    ("http://h:8000//", f"http://h:8000{V1}"),
    ("  http://h:8000  ", f"http://h:8000{V1}"),
    ("http://h:8000#top", f"http://h:8000{V1}"),
    ("http://h:8000/#top", f"http://h:8000{V1}"),
    ("http://h:8000?a=b", f"http://h:8000{V1}?a=b"),
    ("http://h:8000/?", f"http://h:8000{V1}"),
    ("https://api.deepseek.com", f"https://api.deepseek.com{V1}"),
    ("http://[::1]:8000", f"http://[::1]:8000{V1}"),
    ("http://192.168.0.7", f"http://192.168.0.7{V1}"),
    ("HTTP://Host", f"http://Host{V1}"),
    ("http://h:", f"http://h:{V1}"),
    # an API root gets the operation
    ("http://h:8000/v1", f"http://h:8000{V1}"),
    ("http://h:8000/v1/", f"http://h:8000{V1}"),
    ("http://h:8000/v1//", f"http://h:8000{V1}"),
    ("http://h:8000//v1", f"http://h:8000{V1}"),
    ("http://h:8000/v1?key=k", f"http://h:8000{V1}?key=k"),
    ("http://h:8000/v1/?key=k#x", f"http://h:8000{V1}?key=k"),
    ("https://openrouter.ai/api/v1", f"https://openrouter.ai/api{V1}"),
    ("https://api.groq.com/openai/v1", f"https://api.groq.com/openai{V1}"),
    ("https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4/chat/completions"),
    ("https://api.z.ai/api/coding/paas/v4/", "https://api.z.ai/api/coding/paas/v4/chat/completions"),
    ("https://api.novita.ai/v3/openai", "https://api.novita.ai/v3/openai/chat/completions"),
    ("https://api.deepinfra.com/v1/openai", "https://api.deepinfra.com/v1/openai/chat/completions"),
    ("https://api.fireworks.ai/inference/v1", f"https://api.fireworks.ai/inference{V1}"),
    ("https://d.aliyuncs.com/compatible-mode/v1", f"https://d.aliyuncs.com/compatible-mode{V1}"),
    ("https://api.upstage.ai/v1/solar", "https://api.upstage.ai/v1/solar/chat/completions"),
    ("https://g.googleapis.com/v1beta/openai/", "https://g.googleapis.com/v1beta/openai/chat/completions"),
    ("https://router.huggingface.co/together/v1", f"https://router.huggingface.co/together{V1}"),
    ("https://x.snowflake.com/api/v2/cortex/v1", f"https://x.snowflake.com/api/v2/cortex{V1}"),
    ("http://h/proxy/team-7", "http://h/proxy/team-7/chat/completions"),
    ("http://h/a%2Fb/v1", f"http://h/a%2Fb{V1}"),
    # the whole operation is called as it is
    ("http://h:8000/v1/chat/completions", f"http://h:8000{V1}"),
    ("http://h:8000/v1/chat/completions/", f"http://h:8000{V1}"),
    ("http://h:8000/v1//chat//completions", f"http://h:8000{V1}"),
    ("http://h:8000/v1/chat/completions?a=b&c", f"http://h:8000{V1}?a=b&c"),
    ("http://h:8000/v1/chat/completions#x", f"http://h:8000{V1}"),
    ("https://api.deepseek.com/chat/completions", "https://api.deepseek.com/chat/completions"),
    ("https://api.perplexity.ai/chat/completions/", "https://api.perplexity.ai/chat/completions"),
    # so is another operation of the API
    ("http://h:8000/v1/models", f"http://h:8000{V1}"),
    ("http://h:8000/v1/models/", f"http://h:8000{V1}"),
    # Azure: deployments, and the query behind the path
    (
        "https://r.openai.azure.com/openai/deployments/gpt-4o?api-version=2024-10-21",
        "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
    ),
    (
        "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
    ),
    ("https://r.openai.azure.com/openai/v1/", f"https://r.openai.azure.com/openai{V1}"),
    (
        "https://r.openai.azure.com/openai/v1?api-version=preview",
        f"https://r.openai.azure.com/openai{V1}?api-version=preview",
    ),
]


@pytest.mark.parametrize(("typed", "called"), SPELLINGS)
def test_what_people_type_leads_to_the_operation(typed: str, called: str) -> None:
    """A bare host, an API's root, the operation itself: each is called where its server listens."""
    assert join(typed, CHAT) == called


@pytest.mark.parametrize(("typed", "called"), SPELLINGS)
def test_the_called_url_is_called_as_it_is(typed: str, called: str) -> None:
    """Who pastes the URL that we call gets the same."""
    del typed

    assert join(called, CHAT) == called


@pytest.mark.parametrize("typed", [typed for typed, _ in SPELLINGS])
def test_the_model_list_stands_beside_the_chat(typed: str) -> None:
    """Whatever was typed, the list of models is asked from the same root, with the same query."""
    path, _, query = join(typed, CHAT).partition("?")
    listed = path.removesuffix("/chat/completions") + "/models"

    assert join(typed, MODELS) == (f"{listed}?{query}" if query else listed)


@pytest.mark.parametrize(
    ("typed", "called"),
    [
        ("http://h", "http://h"),
        (" http://h/any//path/?k=v#x ", "http://h/any//path/?k=v"),
        ("https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai/chat/completions"),
        ("http://h/v1", "http://h/v1"),
    ],
)
def test_an_exact_url_is_called_as_it_is(typed: str, called: str) -> None:
    """`exactUrl` switches every rule off; only a fragment, which never leaves a client, is cut."""
    assert join(typed, CHAT, exact=True) == called


def test_a_query_of_the_operation_is_added_once() -> None:
    """What the operation needs in its query is added unless it is there, and what belongs to another one is dropped."""
    operation = Operation("go", query=(("alt", "sse"),), drops=("x=1",))

    assert join("http://h/v1?key=k", operation) == "http://h/v1/go?key=k&alt=sse"
    assert join("http://h/v1?alt=sse&x=1", operation) == "http://h/v1/go?alt=sse"
    assert join("http://h/v1?alt=json", operation) == "http://h/v1/go?alt=json"


def test_a_shown_url_has_no_secrets() -> None:
    """Query, fragment, user and password never reach an error or a log."""
    assert without_query("https://user:pass@h:1/v1/chat?key=secret#frag") == "https://h:1/v1/chat"


PIECES = st.text(st.sampled_from("abz09.-_~/:@%AZ#é\\"), max_size=12)


@given(
    st.sampled_from(["http", "https", "ftp", "HTTP"]),
    PIECES,
    st.sampled_from(["", ":0", ":8", ":65535", ":65536", ":"]),
    PIECES,
)
def test_a_plain_url_needs_no_parser_and_means_the_same(scheme: str, host: str, port: str, path: str) -> None:
    """A query makes every URL take the full way: both ways find the same endpoint, the same URL and the same faults."""
    url = f"{scheme}://{host}{port}/{path}"
    if "#" in url:
        return  # what stands behind it is no query
    found: list[object] = []
    for written in (url, f"{url}?alt=1"):
        try:
            credential = parse_credential({"baseUrl": written})
        except CredentialInvalid as error:
            found.append(error.violations[0].description)
            continue
        joined = join(credential.base_url, CHAT)
        found.append((credential.endpoint, joined.removesuffix("?alt=1"), without_query(joined)))
    assert found[0] == found[1]
