"""Fallbacks that were found well-formed are read when it is their turn: the same is refused, the same is asked."""

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format

from caller.errors import CallerError, CredentialInvalid, RequestInvalid
from caller.json_types import JsonObject
from caller.target import Target, Timeouts
from integration_api.chat.request import credential_value
from integration_api.chat.targets import FallbackReader
from integration_api.chat.view import ChatRequest
from integration_api.sandbox import Sandbox
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.reading import fail, listen
from tests.edge.scripted import target
from tests.patience import within

OWN = Target("custom-llm", {}, Timeouts(1, 1, 1, 1), {"model.name": "large", "temperature": 0.4})
SECRET = "sk-known-fallback-canary"


def request(*fallbacks: dict[str, Any]) -> ChatRequest:
    """A request that has these."""
    made = chat_request("http://127.0.0.1:1", "m", fallbacks=list(fallbacks))
    return ChatRequest.FromString(made.SerializeToString())


def find(credential: msg.Credential, provider: str) -> JsonObject:
    """The credential of a request."""
    del provider
    return credential_value(credential, credential.WhichOneof("source"))


class Checked(list[Target]):
    """Counts what is checked, and refuses one."""

    def __call__(self, target: Target) -> None:
        if target.parameters["model.name"] == "bad":
            raise CredentialInvalid("bad")
        self.append(target)


def test_a_fallback_is_checked_once_for_a_client() -> None:
    """Another client, another own provider and another byte are checked again. What is read is the same."""
    check = Checked()
    reader = FallbackReader(check)
    asked = request(target("http://127.0.0.1:2", "small", label="spare"))
    for _ in range(3):
        (read,) = reader.fallbacks(asked, OWN, "a", find).targets
        assert read() == check[0]
    assert len(check) == 1
    assert check[0].parameters == {"model.name": "small", "temperature": 0.4}
    assert check[0].label == "spare"
    reader.fallbacks(asked, OWN, "b", find)
    reader.fallbacks(asked, Target("other", {}, OWN.timeouts), "a", find)
    reader.fallbacks(request(target("http://127.0.0.1:2", "smaller", label="spare")), OWN, "a", find)
    assert len(check) == 4


@pytest.fixture
def refused() -> Iterator[FallbackReader]:
    """A reader that must know nothing in the end."""
    reader = FallbackReader(Checked())
    yield reader
    assert len(reader) == 0


@pytest.mark.parametrize(
    ("fallbacks", "field"),
    [
        ([target("http://127.0.0.1:2", "bad")], ""),
        ([target("http://127.0.0.1:2", "good", label="x" * 129)], "fallbacks[0].label"),
        ([target("http://127.0.0.1:2", "good")] * 5, "fallbacks"),
    ],
)
def test_what_is_malformed_is_refused_each_time(
    refused: FallbackReader, fallbacks: list[dict[str, Any]], field: str
) -> None:
    """Nothing of it is kept."""
    for _ in range(2):
        with pytest.raises((RequestInvalid, CredentialInvalid)) as raised:
            refused.fallbacks(request(*fallbacks), OWN, "a", find)
        assert [each.field for each in raised.value.violations] == ([field] if field else [])


def test_bytes_that_are_no_target_are_refused() -> None:
    """As gRPC refuses what is no request."""
    asked = request()
    asked.fallbacks.append(b"\xff\xff")  # type: ignore[attr-defined] # a repeated field
    with pytest.raises(CallerError, match="the request is not a"):
        FallbackReader(Checked()).fallbacks(asked, OWN, "a", find)


def test_what_is_kept_is_bounded_and_no_secret() -> None:
    """Digests only; the one that was used longest ago goes."""
    check = Checked()
    reader = FallbackReader(check, max_entries=8)
    for number in range(20):
        fallback = target("http://127.0.0.1:2", f"m{number}")
        fallback["credential"]["value"]["headers"] = {"Authorization": f"Bearer {SECRET}"}
        reader.fallbacks(request(fallback), OWN, "a", find)
    check.clear()
    assert len(reader) == 8
    gc.collect()
    assert all(len(key) == 16 and isinstance(key, bytes) for key in reader._known)
    assert not any(SECRET in repr(each) for each in gc.get_referents(reader))


async def test_the_second_call_asks_its_fallback_as_the_first_did(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """And a fallback with one bad field is refused after it, with its path."""
    async with Sandbox() as spare:
        asked = chat_request(sandbox.url, "http-error:status=503", fallbacks=[target(spare.url, "echo", label="s")])
        for _ in range(3):
            answer = (await listen(stub.StreamChat(asked, timeout=within(10)))).completed
            assert [(each.target, each.label) for each in answer.timing.attempts_made] == [(0, ""), (1, "s")]
        assert len({json.loads(each.body)["model"] for each in spare.requests}) == 1
        json_format.ParseDict({"temperature": "warm"}, asked.fallbacks[0].model_parameters)
        failed = await fail(stub.Chat(asked, timeout=within(10)))

    assert failed.fields == ['fallbacks[0].model_parameters["temperature"]']
