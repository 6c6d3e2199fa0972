"""Credentials: what is read, what is refused by which field, and that no value is repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.credentials import MAX_HEADERS, MAX_URL_BYTES, ApiCompatibility, Credential, parse_credential
from caller.errors import CallerError, CredentialInvalid
from caller.json_types import JsonObject, JsonValue

SECRET = "sk-live-0123456789"
URL = "http://localhost:8000/v1"
GOOD: JsonObject = {"apiCompatibility": "openai_compatible", "baseUrl": URL, "headers": {"Authorization": SECRET}}


def faults(raw: JsonObject) -> dict[str, str]:
    with pytest.raises(CredentialInvalid) as raised:
        parse_credential(raw)
    assert SECRET not in f"{raised.value} {raised.value.violations}"
    return {violation.field: violation.description for violation in raised.value.violations}


def test_a_good_credential() -> None:
    """The documented keys are read."""
    credential = parse_credential(GOOD)

    assert credential == Credential(ApiCompatibility.OPENAI_COMPATIBLE, URL, {"Authorization": SECRET})


@pytest.mark.parametrize("api", list(ApiCompatibility))
@pytest.mark.parametrize("key", ["apiCompatibility", "api_compatibility"])
@pytest.mark.parametrize("url_key", ["baseUrl", "base_url"])
def test_both_spellings_are_read(api: ApiCompatibility, key: str, url_key: str) -> None:
    """Camel case and snake case mean the same, for every compatibility."""
    assert parse_credential({key: api.value, url_key: URL}) == Credential(api, URL, {})


def test_snake_case_wins_where_both_are_present() -> None:
    """As the dashboard's backend reads it."""
    both: JsonObject = {
        "apiCompatibility": "openai_responses",
        "api_compatibility": "anthropic_messages",
        "baseUrl": "http://camel",
        "base_url": "http://snake",
    }

    assert parse_credential(both) == Credential(ApiCompatibility.ANTHROPIC_MESSAGES, "http://snake", {})


@pytest.mark.parametrize("given", [{}, {"apiCompatibility": "openai"}, {"api_compatibility": " openai "}])
def test_chat_completions_is_the_default_and_the_legacy(given: JsonObject) -> None:
    """Without a compatibility, and with the word that older credentials hold."""
    assert parse_credential(given | {"baseUrl": URL}).api is ApiCompatibility.OPENAI_CHAT_COMPLETIONS


@pytest.mark.parametrize("value", ["", "  ", None, 7, True, [], {}, "OpenAI", "openai_compat", SECRET])
@pytest.mark.parametrize("key", ["apiCompatibility", "api_compatibility"])
def test_a_wrong_compatibility_is_one_violation(key: str, value: JsonValue) -> None:
    """It must be one of the known words when it is given; the violation lists them."""
    found = faults({key: value, "baseUrl": URL})

    assert list(found) == [f"credential.value.{key}"]
    assert "gemini_generate_content" in found[f"credential.value.{key}"]


@pytest.mark.parametrize(
    "value",
    [
        *["", "  ", None, 7, [], {}, "localhost:8000", "ftp://h", "http://", "http:///v1", "file:///etc/passwd", "h"],
        *[
            f"http://user:{SECRET}@h/",
            f"http://{SECRET}@h",
            "http://h:99999",
            "http://h:port",
            "http://h:0",
            "http://[::1",
        ],
        *["http://h/a b", "http://h/\nx", "http://h\\@x", "http://h/\x00", "http://h/\u2028x", "http://h/\ud800"],
        *["//h", "http:/h", "http:h", "javascript:alert(1)", "http://h/" + "x" * MAX_URL_BYTES],
    ],
)
@pytest.mark.parametrize("key", ["baseUrl", "base_url"])
def test_a_wrong_base_url_is_one_violation(key: str, value: JsonValue) -> None:
    """Missing, empty, not http(s), without a host, with a password: named by the spelling that was used."""
    assert list(faults({key: value})) == [f"credential.value.{key}"]


@pytest.mark.parametrize(
    "host", ["a..b", ".", "..", "exämple..com", "a\u3002\u3002b", "a" * 64, f"x.{'a' * 64}.com", "ä" * 60, "\u3002com"]
)
def test_a_host_with_a_part_that_no_name_can_have_is_refused(host: str) -> None:
    """Empty, or too long on the wire: nobody can be asked for it, however long a call would wait for its turn."""
    found = faults({"baseUrl": f"http://{host}:8000/v1"})

    assert "host" in found["credential.value.baseUrl"]


@pytest.mark.parametrize(
    "host", ["a." * 100, "a" * 63, f"{'a' * 63}.{'b' * 63}.", "ä" * 50, "[::1]", "xn--a", "א1.com"]
)
def test_a_host_with_odd_parts_is_taken(host: str) -> None:
    """Whether it is known is the lookup's to say."""
    assert parse_credential({"baseUrl": f"http://{host}/v1"}).base_url == f"http://{host}/v1"


def test_violations_of_typed_fields_name_the_fields() -> None:
    """As the client wrote them, not as a Struct would have them."""
    with pytest.raises(CredentialInvalid) as raised:
        parse_credential(
            {"api_compatibility": "x", "headers": {"X": "\n"}, "exact_url": "no", "key": "k"},
            path="credential.endpoint",
        )

    assert {violation.field for violation in raised.value.violations} == {
        "credential.endpoint.api_compatibility",
        "credential.endpoint.base_url",
        'credential.endpoint.headers["X"]',
        "credential.endpoint.exact_url",
        "credential.endpoint.key",
    }
    assert str(raised.value).startswith("credential.endpoint.")


def test_a_missing_base_url_is_named_as_documented() -> None:
    """The violation of an absent key names it in the documented spelling, and shows an example."""
    assert "http://localhost:8000/v1" in faults({})["credential.value.baseUrl"]


@pytest.mark.parametrize(
    "text", ['{"Authorization": "Bearer k", "X-Team": " 7\\t"}', ' {"Authorization":"Bearer k","X-Team":"7"} ']
)
def test_headers_may_be_json_text(text: str) -> None:
    """It is what the dashboard stores."""
    assert parse_credential({"baseUrl": URL, "headers": text}).headers == {"Authorization": "Bearer k", "X-Team": "7"}


@pytest.mark.parametrize("value", [None, "", " ", {}, "{}", "null"])
def test_headers_may_be_absent(value: JsonValue) -> None:
    """Local servers need none."""
    assert parse_credential({"baseUrl": URL, "headers": value}).headers == {}


@pytest.mark.parametrize(
    "value", ["Bearer k", "[]", '"x"', "7", [], 7, True, [{"a": "b"}], "{" * 5000, '{"a":' + "9" * 5000 + "}"]
)
def test_headers_that_are_no_map_are_one_violation(value: JsonValue) -> None:
    """A string that is no JSON object, a list, a number."""
    (path,) = faults({"baseUrl": URL, "headers": value})

    assert path.startswith("credential.value.headers")


@pytest.mark.parametrize(
    "value",
    [7, None, True, ["a"], {}, f"{SECRET}\r\nX-B: c", f"{SECRET}\x00", "\x7f", "\ud800", "x" * 9000],
)
def test_a_wrong_header_value_names_its_header(value: JsonValue) -> None:
    """Each value is a string without control characters; it is never repeated."""
    assert list(faults({"baseUrl": URL, "headers": {"X-A": value}})) == ['credential.value.headers["X-A"]']


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "a\n", "é", f"{SECRET} {SECRET}", "x" * 100 + ":"])
def test_an_illegal_header_name_is_not_repeated(name: str) -> None:
    """It may be a key that was pasted into the wrong place."""
    assert list(faults({"baseUrl": URL, "headers": {name: "v"}})) == ['credential.value.headers["…"]']


@pytest.mark.parametrize(
    "name",
    [
        *["Host", "content-length", "Transfer-Encoding", "CONNECTION", "te", "Upgrade", "Expect", "Accept-Encoding"],
        *["Proxy-Authorization", "Cookie", "keep-alive", "Trailer", "Content-Encoding", "Proxy-Connection"],
    ],
)
def test_headers_of_the_transport_are_refused(name: str) -> None:
    """Nobody frames messages or steers proxies through a credential."""
    assert (
        "set by the HTTP client"
        in faults({"baseUrl": URL, "headers": {name: "x"}})[f'credential.value.headers["{name}"]']
    )


def test_one_header_in_two_cases_is_refused() -> None:
    """Which one would be sent?"""
    assert list(faults({"baseUrl": URL, "headers": {"X-Key": "a", "x-key": "b"}})) == [
        'credential.value.headers["x-key"]'
    ]


def test_too_many_headers_are_refused() -> None:
    """Their number is bounded."""
    headers: JsonObject = {f"X-{number}": "v" for number in range(MAX_HEADERS + 1)}

    assert list(faults({"baseUrl": URL, "headers": headers})) == ["credential.value.headers"]
    del headers["X-0"]
    assert len(parse_credential({"baseUrl": URL, "headers": headers}).headers) == MAX_HEADERS


@pytest.mark.parametrize("key", ["apiKey", "api_key", "token", "authorization"])
def test_a_key_in_the_wrong_place_is_led_to_headers(key: str) -> None:
    """People paste `apiKey`: the violation says how it is given."""
    assert '"headers": {"Authorization"' in faults({"baseUrl": URL, key: SECRET})[f"credential.value.{key}"]


def test_an_unknown_key_is_told_the_known_ones() -> None:
    """A typo is not dropped in silence; a key that could be a secret is not repeated."""
    assert (
        "apiCompatibility, baseUrl, headers and exactUrl"
        in faults({"baseUrl": URL, "url": "x"})["credential.value.url"]
    )
    assert list(faults({"baseUrl": URL, f"{SECRET} ": "x"})) == ["credential.value.…"]


@pytest.mark.parametrize(
    ("value", "exact"), [(True, True), (False, False), ("true", True), ("false", False), (None, False)]
)
@pytest.mark.parametrize("key", ["exactUrl", "exact_url"])
def test_exact_url_is_a_flag(key: str, value: JsonValue, exact: bool) -> None:
    """In both spellings, and as the text that dashboards store."""
    assert parse_credential({"baseUrl": URL, key: value}).exact_url is exact


@pytest.mark.parametrize("value", ["yes", 1, 0, [], "True"])
def test_exact_url_that_is_no_flag_is_one_violation(value: JsonValue) -> None:
    """Anything else than true or false is not guessed at."""
    assert list(faults({"baseUrl": URL, "exactUrl": value})) == ["credential.value.exactUrl"]


def test_every_fault_is_told_at_once() -> None:
    """Nobody repairs a credential one fault at a time."""
    found = faults(
        {"apiCompatibility": 7, "baseUrl": "x", "headers": {"a b": "c", "X": 1}, "exactUrl": 2, "apiKey": SECRET}
    )

    assert set(found) == {
        "credential.value.apiKey",
        "credential.value.apiCompatibility",
        "credential.value.baseUrl",
        'credential.value.headers["…"]',
        'credential.value.headers["X"]',
        "credential.value.exactUrl",
    }


def test_a_credential_shows_no_secret() -> None:
    """Its repr has neither header values nor the URL, whose query may hold a key."""
    shown = repr(parse_credential(GOOD | {"baseUrl": f"{URL}?key={SECRET}"}))

    assert SECRET not in shown
    assert "OPENAI_COMPATIBLE" in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["baseUrl", "base_url", "headers", "apiCompatibility", "exactUrl", "x"]), JSON))
def test_any_object_is_a_credential_or_a_list_of_faults(raw: JsonObject) -> None:
    """Nothing but our own error comes out of the parser."""
    said: object = None
    try:
        said = parse_credential(raw)
    except CallerError as error:
        said = error.violations

    assert said


@pytest.mark.parametrize("hidden", ["\u00ad", "\u200b", "\u2060", "\ufeff"])
def test_a_host_with_invisible_characters_is_refused_by_name(hidden: str) -> None:
    """It looks like another host than it is, and came with a copy from a page."""
    with pytest.raises(CredentialInvalid) as caught:
        parse_credential({"apiCompatibility": "openai_compatible", "baseUrl": f"http://local{hidden}host:8000/v1"})

    assert "invisible" in caught.value.violations[0].description
