"""The typed fields beside the Structs mean what the Structs' names mean; of one name given twice a Struct's wins."""

import json

from google.protobuf import json_format

from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.edge.reading import fail


def typed(sandbox: Sandbox, **changes: object) -> pb.ChatRequest:
    """A request without a Struct in it."""
    request: dict[str, object] = {
        "providerId": "custom-llm",
        "credential": {
            "endpoint": {
                "apiCompatibility": "openai_compatible",
                "baseUrl": f"{sandbox.url}/v1",
                "headers": {"Authorization": "Bearer k"},
            }
        },
        "messages": [{"user": {"content": [{"text": "typed"}]}}],
        "model": {"name": "echo", "temperature": 0.25, "topP": 0.5, "maxTokens": 7, "stop": ["a", "b"], "seed": "42"},
    }
    request.update(changes)
    return json_format.ParseDict(request, pb.ChatRequest())


async def test_a_request_without_a_struct_is_answered(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """Every typed field reaches the endpoint under the name that the Struct's has."""
    answer = await stub.Chat(typed(sandbox), timeout=10)

    assert answer.choices[0].message.text == "typed"
    sent = sandbox.requests[0]
    assert sent.headers["Authorization"] == "Bearer k"
    body = json.loads(sent.body)
    assert {name: body[name] for name in ("model", "temperature", "top_p", "max_tokens", "stop", "seed")} == {
        "model": "echo",
        "temperature": 0.25,
        "top_p": 0.5,
        "max_tokens": 7,
        "stop": ["a", "b"],
        "seed": 42,
    }


async def test_zero_is_a_value(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """A typed zero is sent; what is unset is not."""
    await stub.Chat(typed(sandbox, model={"name": "echo", "temperature": 0}), timeout=10)

    body = json.loads(sandbox.requests[0].body)
    assert body["temperature"] == 0
    assert not {"top_p", "max_tokens", "stop", "seed"} & body.keys()


async def test_the_struct_wins(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """Of one name given twice the Struct's wins, in each of its spellings."""
    spellings = ({"temperature": 1}, {"model.temperature": 1}, {"model.parameters": {"temperature": 1}})
    for spelling in spellings:
        await stub.Chat(typed(sandbox, modelParameters=spelling), timeout=10)
    await stub.Chat(typed(sandbox, modelParameters={"model.name": "tokens:n=2"}), timeout=10)

    bodies = [json.loads(each.body) for each in sandbox.requests]
    assert [body["temperature"] for body in bodies] == [1, 1, 1, 0.25]
    assert bodies[3]["model"] == "tokens:n=2"


async def test_a_key_is_for_rows_of_the_registry(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """`custom-llm` has no header for a key: it is refused, as in a Struct, and does not come back in the text."""
    request = typed(sandbox)
    request.credential.endpoint.key = "sk-canary-1234567890"

    failure = await fail(stub.Chat(request, timeout=10))

    assert failure.reason == "CREDENTIAL_INVALID"
    assert "sk-canary" not in failure.message
    assert not sandbox.requests


async def test_an_empty_struct_is_told_as_one(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """A plain object becomes an empty Struct in JavaScript: the text says so instead of missing `baseUrl`."""
    request = typed(sandbox)
    request.credential.value.SetInParent()

    failure = await fail(stub.Chat(request, timeout=10))

    assert failure.reason == "CREDENTIAL_INVALID"
    assert "`fields`" in failure.message


async def test_violations_name_typed_fields(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """By the path that the client wrote, in every RPC, of fallbacks, too."""
    request = typed(sandbox)
    request.credential.endpoint.base_url = "ftp://nope"
    verify = pb.VerifyCredentialRequest(provider_id="custom-llm", credential=request.credential)
    fallback = typed(sandbox)
    fallback.fallbacks.add(credential=request.credential)

    for call, path in (
        (stub.Chat(request, timeout=10), "credential.endpoint.base_url"),
        (stub.VerifyCredential(verify, timeout=10), "credential.endpoint.base_url"),
        (stub.Chat(fallback, timeout=10), "fallbacks[0].credential.endpoint.base_url"),
    ):
        failure = await fail(call)
        assert failure.reason == "CREDENTIAL_INVALID"
        assert failure.fields == [path]
        assert failure.message.startswith(path)


async def test_violations_name_typed_parameters(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """A field as the field, what stands in the Struct as the Struct's; of one name in both, the one that holds."""
    refused = typed(sandbox)
    refused.credential.endpoint.api_compatibility = "openai_responses"
    both = typed(sandbox, modelParameters={"seed": 1, "model.stop": ["x"]})
    both.credential.endpoint.api_compatibility = "openai_responses"
    nameless = typed(sandbox, model={"name": " "})
    gemini = typed(sandbox, model={"name": "a..b"})
    gemini.credential.endpoint.api_compatibility = "gemini_generate_content"

    for request, reason, fields in (
        (refused, "NOT_SUPPORTED_BY_API", ["model.seed", "model.stop"]),
        (both, "NOT_SUPPORTED_BY_API", ['model_parameters["model.stop"]', 'model_parameters["seed"]']),
        (nameless, "REQUEST_INVALID", ["model.name"]),
        (gemini, "REQUEST_INVALID", ["model.name"]),
    ):
        failure = await fail(stub.Chat(request, timeout=10))
        assert (failure.reason, sorted(failure.fields)) == (reason, fields)


async def test_a_host_without_a_form_on_the_wire_is_the_credentials_fault(
    stub: ChatServiceStub, sandbox: Sandbox
) -> None:
    """Only whoever calls it can tell: the endpoint is not blamed for an answer that it never gave."""
    request = typed(sandbox)
    request.credential.endpoint.base_url = "http://a\ue000b.example/v1"

    failure = await fail(stub.Chat(request, timeout=10))

    assert failure.reason == "CREDENTIAL_INVALID"
    assert failure.fields == ["credential"]
