"""VerifyCredential as a client meets it: what a check costs, and what is left of the checks when one takes too long."""

import asyncio
import json
import time

from google.protobuf import json_format

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.edge.loopback import ScriptedServer, answer, chat_answer
from tests.patience import within

PASS, WARN, FAIL = pb.CHECK_STATUS_PASS, pb.CHECK_STATUS_WARN, pb.CHECK_STATUS_FAIL


class Endpoint:
    """A model list, and for chats a list of answers: the bytes, or None to keep silent."""

    def __init__(self, models: str, *chats: bytes | None) -> None:
        self.made = ScriptedServer(self._talk)
        self.chats: list[dict[str, object]] = []
        self._models = models
        self._answers = chats

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            request = await self.made.request(reader)
            if request.startswith(b"GET"):
                reply: bytes | None = answer(self._models)
            else:
                self.chats.append(json.loads(request.partition(b"\r\n\r\n")[2]))
                reply = self._answers[min(len(self.chats), len(self._answers)) - 1]
            if reply is None:
                await asyncio.Event().wait()
                return
            writer.write(reply)
            await writer.drain()


def _request(url: str, shape: str = "openai_compatible") -> pb.VerifyCredentialRequest:
    request = pb.VerifyCredentialRequest(provider_id="custom-llm", model="m")
    value = {"apiCompatibility": shape, "baseUrl": f"{url}/v1", "headers": {"Authorization": "Bearer k"}}
    json_format.ParseDict({"credential": {"value": value}}, request)
    return request


async def test_a_check_that_takes_too_long_keeps_the_results_before_it(stub: ChatServiceStub) -> None:
    """The client's deadline ends the checks, not their results."""
    endpoint = Endpoint('{"data": [{"id": "m"}]}', None)
    async with endpoint.made:
        started = time.monotonic()
        verified = await stub.VerifyCredential(_request(endpoint.made.url), timeout=4)

    assert time.monotonic() - started < within(4)
    assert [check.status for check in verified.checks] == [PASS, PASS, PASS, FAIL]
    assert "the client's deadline passed: it left the call 3." in verified.checks[3].observed
    assert not verified.ok


async def test_a_model_list_of_null_is_an_empty_one(stub: ChatServiceStub) -> None:
    """Servers written in Go say null where there is no model."""
    for models in ('{"object": "list", "data": null}', '{"models": null}'):
        endpoint = Endpoint(models, chat_answer())
        async with endpoint.made:
            verified = await stub.VerifyCredential(_request(endpoint.made.url), timeout=20)

        assert [check.status for check in verified.checks[:4]] == [PASS, PASS, WARN, PASS]
        assert verified.ok


async def test_the_small_chat_has_a_limit(stub: ChatServiceStub) -> None:
    """Under the name that the shape has for it; one that the endpoint refuses is left out."""
    for shape, name in (("openai_compatible", "max_tokens"), ("openai_chat_completions", "max_completion_tokens")):
        endpoint = Endpoint('{"data": [{"id": "m"}]}', chat_answer())
        async with endpoint.made:
            verified = await stub.VerifyCredential(_request(endpoint.made.url, shape), timeout=20)
        assert verified.ok
        assert [chat[name] for chat in endpoint.chats] == [256]

    refusal = answer('{"error": {"message": "this is refused here"}}', "400 Bad Request")
    endpoint = Endpoint('{"data": [{"id": "m"}]}', refusal, chat_answer())
    async with endpoint.made:
        verified = await stub.VerifyCredential(_request(endpoint.made.url), timeout=20)
    assert verified.ok
    assert ["max_tokens" in chat for chat in endpoint.chats] == [True, False]


async def test_a_model_that_thinks_up_the_limit_has_answered(stub: ChatServiceStub) -> None:
    """Hidden reasoning leaves no text within a small limit: the credential is good all the same."""
    thought = answer('{"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}')
    endpoint = Endpoint('{"data": [{"id": "m"}]}', thought)
    async with endpoint.made:
        verified = await stub.VerifyCredential(_request(endpoint.made.url), timeout=20)

    assert verified.checks[3].status == PASS
    assert "256 tokens" in verified.checks[3].observed
