"""URLs of the longest kind that a credential may hold cost next to nothing, and long model names are refused."""

import time
from collections.abc import Iterator

import pytest

from caller.credentials import MAX_URL_BYTES, ApiCompatibility, parse_credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.errors.endpoint_errors import endpoint_error
from caller.custom_llm.errors.url_hints import url_hint
from caller.errors import RequestInvalid
from caller.messages import TextPart, UserMessage
from caller.parameters import MAX_MODEL_CHARS, Parameters, merge_parameters
from tests.patience import within


def urls() -> Iterator[str]:
    host = "http://h"
    room = MAX_URL_BYTES - len(host) - 4
    for piece in (
        "/v1",
        "/models",
        "/v1/models/a:b",
        "/api/chat",
        "//",
        "/responses",
        "/:generateContent",
        "/tunedModels/x",
    ):
        yield host + piece * (room // len(piece))
        yield host + piece * (room // len(piece)) + "!"
        yield f"{host}/{piece * (room // len(piece))}:a"
    for first in ("/v", "/v1/v", "/models/", "/models/a:"):
        for filler in ("1", "a", ":", "1a", ":a"):
            yield (host + first + filler * room)[: MAX_URL_BYTES - 1] + "!"


@pytest.mark.parametrize("api", list(ApiCompatibility))
def test_the_longest_base_urls_cost_little(api: ApiCompatibility) -> None:
    """The request, the model list's and the hint of a 404 together: less than 5 ms."""
    for url in urls():
        credential = parse_credential({"apiCompatibility": api.value, "baseUrl": url})
        call = ResolvedCall(credential, Parameters("m"), (UserMessage((TextPart("hi"),)),))
        best = min(once(call, api) for _ in range(3))

        assert best < within(0.005), url[:80]


def once(call: ResolvedCall, api: ApiCompatibility) -> float:
    begun = time.thread_time()
    request = ADAPTERS[api].request(call, True)
    ADAPTERS[api].models_request(call.credential, "")
    url_hint(request.url)
    endpoint_error(404, {}, b"", url=request.url)
    return time.thread_time() - begun


def test_a_model_name_has_a_bound() -> None:
    """512 characters are a name; more is refused with the field's path."""
    assert merge_parameters({"model.name": "m" * MAX_MODEL_CHARS}).model == "m" * MAX_MODEL_CHARS
    with pytest.raises(RequestInvalid, match="at most 512 characters") as raised:
        merge_parameters({"model.name": f"x/v{'1' * 100_000}"})
    assert raised.value.violations[0].field == 'model_parameters["model.name"]'
