"""Chat and StreamChat as a client meets them: a real channel in front, the sandbox behind."""

import socket
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from integration_api.sandbox import SCRIPTS, Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.contract.shapes import SHAPES
from tests.edge.reading import fail, listen

# Scripts of the sandbox that do not end well, not always or not alike: each has tests of its own.
# All others, with their times cut short, end well and alike.
OTHER_SCRIPTS = frozenset(
    {
        "http-error",
        "flaky",
        "error-in-stream",
        "cut",
        "no-end",
        "drop",
        "big-headers",
        "html",
        "redirect",
        "garbage",
        "chaos",
        "stream-always",
    }
)
SHORT = {
    "tokens": "tokens:n=7",
    "usage": "usage:input=100,cached=64,output=50,reasoning=32",
    "silence": "silence:for=10ms",
    "silent-headers": "silent-headers:for=10ms",
    "slow-headers": "slow-headers:gap=0",
    "opening": "opening:for=10ms",
    "dribble": "dribble:gap=1ms",
    "stall": "stall:after=2,for=10ms",
    "keepalive": "keepalive:for=30ms,gap=10ms",
    "key": "key:value=k",
    "flood": "flood:bytes=100000",
    "pieces": "pieces:bytes=3",
}
GOOD_SCRIPTS = [SHORT.get(name, name) for name in SCRIPTS if name not in OTHER_SCRIPTS]


def credential(sandbox: Sandbox, shape: str) -> dict[str, object]:
    return {"value": {"apiCompatibility": shape, "baseUrl": sandbox.url, "headers": {"Authorization": "Bearer k"}}}


def folded(response: pb.ChatResponse) -> list[dict[str, object]]:
    """What an answer says, without what differs from call to call: ids, and state that holds them."""
    said = []
    for choice in response.choices:
        whole = json_format.MessageToDict(choice)
        whole.pop("providerFields", None)
        whole.get("message", {}).pop("providerState", None)
        for call in whole.get("message", {}).get("toolCalls", []):
            call.pop("id")
        said.append(whole)
    return said


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("script", GOOD_SCRIPTS)
async def test_the_whole_answer_is_the_fold_of_the_stream(
    sandbox: Sandbox, stub: ChatServiceStub, shape: str, script: str
) -> None:
    """Chat and StreamChat give the same message, finish reason and usage."""
    request = chat_request(sandbox.url, script, credential=credential(sandbox, shape))

    whole = await stub.Chat(request)
    streamed = (await listen(stub.StreamChat(request))).completed

    assert folded(streamed) == folded(whole)
    assert streamed.usage == whole.usage
    assert whole.usage.source == msg.USAGE_SOURCE_REPORTED
    assert whole.usage.total_tokens > 0


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_stream_that_nobody_asked_for_is_read_as_the_answer(
    sandbox: Sandbox, stub: ChatServiceStub, shape: str
) -> None:
    """Chat gets the same message from an endpoint that always streams; Chat Completions tells no usage unasked."""
    request = chat_request(sandbox.url, "stream-always", credential=credential(sandbox, shape))

    whole = await stub.Chat(request)
    streamed = (await listen(stub.StreamChat(request))).completed

    assert folded(whole) == folded(streamed)
    if shape in ("openai_chat_completions", "openai_compatible"):
        assert whole.usage == msg.Usage(source=msg.USAGE_SOURCE_UNAVAILABLE)
    else:
        assert whole.usage == streamed.usage


async def test_a_stream_begins_with_started_and_ends_with_completed(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """The frames come in their order, and the deltas joined are the message."""
    received = await listen(stub.StreamChat(chat_request(sandbox.url, "tokens:n=5,gap=5ms", requestId="r-1")))

    assert (received.kinds[0], set(received.kinds[1:-1]), received.kinds[-1]) == (
        "started",
        {"text_delta"},
        "completed",
    )
    assert 1 < len(received.kinds[1:-1]) <= 5  # a busy machine reads two at once
    assert received.frames[0].started.request_id == received.completed.request_id == "r-1"
    assert received.text == received.completed.choices[0].message.text
    assert received.completed.timing.attempts == 1
    assert received.completed.timing.HasField("time_to_first_output")


async def test_an_empty_answer_is_a_good_answer(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """Nothing said is not an error."""
    received = await listen(stub.StreamChat(chat_request(sandbox.url, "empty")))

    assert received.kinds == ["started", "completed"]
    assert received.completed.choices[0].message.text == ""
    assert received.completed.choices[0].finish_reason == msg.FINISH_REASON_STOP


async def test_a_tool_round(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """A call comes in fragments with its id and name on the first, and its result is answered."""
    tools = [{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    first = await listen(stub.StreamChat(chat_request(sandbox.url, "tool-call", tools=tools)))
    deltas = [frame.tool_call_delta for frame in first.frames if frame.WhichOneof("event") == "tool_call_delta"]
    call = first.completed.choices[0].message.tool_calls[0]

    assert (deltas[0].id, deltas[0].name) == (call.id, "weather")
    assert all((delta.id, delta.name) == ("", "") for delta in deltas[1:])
    assert "".join(delta.arguments_fragment for delta in deltas) == call.arguments
    assert first.completed.choices[0].finish_reason == msg.FINISH_REASON_TOOL_CALLS

    messages = [
        {"user": {"content": [{"text": "Weather in Rome?"}]}},
        {"assistant": {"toolCalls": [{"id": call.id, "name": call.name, "arguments": call.arguments}]}},
        {"tool": {"toolCallId": call.id, "content": [{"text": "21 °C"}]}},
    ]
    second = await stub.Chat(chat_request(sandbox.url, "tool-call", tools=tools, messages=messages))

    assert "21 °C" in second.choices[0].message.text


async def test_what_is_malformed_names_its_field(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """Each fault of a request is a violation with the field's path, and nothing is sent."""
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"providerId": "foo"}, "UNKNOWN_PROVIDER", "provider_id"),
        ({"credential": {"value": {}}}, "CREDENTIAL_INVALID", "credential.value.baseUrl"),
        ({"credential": {}}, "CREDENTIAL_INVALID", "credential.value"),
        (
            {"credential": {"value": {"baseUrl": "http://h", "apiKey": "k"}}},
            "CREDENTIAL_INVALID",
            "credential.value.apiKey",
        ),
        ({"messages": []}, "REQUEST_INVALID", "messages"),
        ({"messages": [{"user": {}}]}, "REQUEST_INVALID", "messages[0].user.content"),
        ({"messages": [{"tool": {"content": [{"text": "x"}]}}]}, "REQUEST_INVALID", "messages[0].tool.tool_call_id"),
        ({"modelParameters": {}}, "REQUEST_INVALID", 'model_parameters["model.name"]'),
        (
            {"modelParameters": {"model.name": "echo", "model.temperature": "warm"}},
            "REQUEST_INVALID",
            'model_parameters["model.temperature"]',
        ),
        ({"modelParameters": {"model.name": "echo", "stream": True}}, "REQUEST_INVALID", 'model_parameters["stream"]'),
        ({"timeouts": {"total": "0s"}}, "REQUEST_INVALID", "timeouts.total"),
    ]
    for changes, reason, path in cases:
        request = chat_request(sandbox.url, "echo", **changes)
        for failure in (await fail(stub.Chat(request)), (await listen(stub.StreamChat(request))).failure):
            assert failure is not None
            assert failure.said == (grpc.StatusCode.INVALID_ARGUMENT, reason), failure
            assert path in failure.fields
            assert failure.trailers["grpc-retry-pushback-ms"] == "-1"
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ("http-error:status=400", grpc.StatusCode.INVALID_ARGUMENT, "ENDPOINT_REJECTED"),
        ("http-error:status=401", grpc.StatusCode.UNAUTHENTICATED, "ENDPOINT_UNAUTHENTICATED"),
        ("http-error:status=402", grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXHAUSTED"),
        ("http-error:status=403", grpc.StatusCode.PERMISSION_DENIED, "ENDPOINT_FORBIDDEN"),
        ("no-such-script", grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ("http-error:status=409", grpc.StatusCode.FAILED_PRECONDITION, "ENDPOINT_REJECTED"),
        ("http-error:status=422", grpc.StatusCode.INVALID_ARGUMENT, "ENDPOINT_REJECTED"),
        ("http-error:status=429", grpc.StatusCode.RESOURCE_EXHAUSTED, "ENDPOINT_RATE_LIMITED"),
        ("http-error:status=500", grpc.StatusCode.INTERNAL, "ENDPOINT_ERROR"),
        ("http-error:status=503", grpc.StatusCode.UNAVAILABLE, "ENDPOINT_OVERLOADED"),
        ("http-error:status=529", grpc.StatusCode.UNAVAILABLE, "ENDPOINT_OVERLOADED"),
        ("html", grpc.StatusCode.INTERNAL, "ENDPOINT_PROTOCOL_ERROR"),
        ("redirect", grpc.StatusCode.INTERNAL, "ENDPOINT_PROTOCOL_ERROR"),
        ("drop", grpc.StatusCode.UNAVAILABLE, "ENDPOINT_UNREACHABLE"),
    ],
)
async def test_what_the_endpoint_says_becomes_a_documented_status(
    sandbox: Sandbox, stub: ChatServiceStub, script: str, code: grpc.StatusCode, reason: str
) -> None:
    """The error table, for both RPCs; one attempt is made when no retry is wanted."""
    request = chat_request(sandbox.url, script, options={"maxAttempts": 1})

    unary = await fail(stub.Chat(request))
    received = await listen(stub.StreamChat(request))

    assert received.failure is not None
    assert received.frames == []
    assert unary.said == received.failure.said == (code, reason)
    assert unary.info.domain == "integration-api"
    assert unary.info.metadata["provider_id"] == "custom-llm"
    assert unary.info.metadata["api"] == "openai_compatible"
    assert len(sandbox.requests) == 2


@pytest.mark.parametrize(
    "script", ["cut:after=3", "no-end:after=3", "garbage:after=3", "error-in-stream:after=3,status=529"]
)
async def test_a_stream_that_breaks_after_output_ends_without_completed(
    sandbox: Sandbox, stub: ChatServiceStub, script: str
) -> None:
    """The output that came is delivered, no word is said twice, and the status says that it broke."""
    received = await listen(stub.StreamChat(chat_request(sandbox.url, script)))

    assert received.failure is not None
    assert received.text != ""
    assert "completed" not in received.kinds
    assert received.failure.trailers["grpc-retry-pushback-ms"] == "-1"
    assert len(sandbox.requests) == 1
    if script.startswith(("cut", "no-end")):
        assert received.text == "Hello there word3"  # all that came, although it came together with the end
        assert received.failure.said == (grpc.StatusCode.ABORTED, "STREAM_INTERRUPTED")


async def test_a_dead_endpoint_is_unreachable(stub: ChatServiceStub) -> None:
    """Nothing listens: the status says so, after the attempts that the settings allow."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    failure = await fail(stub.Chat(chat_request(f"http://127.0.0.1:{port}", "echo")))

    assert failure.said == (grpc.StatusCode.UNAVAILABLE, "ENDPOINT_UNREACHABLE")
    assert failure.info.metadata["attempts"] == failure.trailers["x-attempts"] == "3"
    assert f"127.0.0.1:{port}" in failure.message


async def test_retries_happen_before_the_first_output_and_are_counted(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """Two failures, then the answer: three attempts, one text."""
    answer = await stub.Chat(chat_request(sandbox.url, "flaky:fails=2,status=503,id=a"))
    received = await listen(stub.StreamChat(chat_request(sandbox.url, "flaky:fails=1,status=503,id=b")))

    assert answer.timing.attempts == 3
    assert answer.choices[0].message.text == "Hello there"
    assert received.completed.timing.attempts == 2
    assert received.text == "Hello there"


async def test_retry_after_is_honoured_and_told(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """An endpoint that asks for more patience than we have is quoted to the client."""
    failure = await fail(stub.Chat(chat_request(sandbox.url, "http-error:status=429,retry=30")))

    assert failure.said == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ENDPOINT_RATE_LIMITED")
    assert failure.trailers["grpc-retry-pushback-ms"] == "30000"
    assert failure.details["RetryInfo"].retry_delay.seconds == 30  # type: ignore[attr-defined]
    assert len(sandbox.requests) == 1


async def test_models_are_listed_and_credentials_verified(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """ListModels and VerifyCredential, with a good key and a bad one."""
    for shape in SHAPES:
        listing = pb.ListModelsRequest(provider_id="CUSTOM-LLM")
        json_format.ParseDict({"credential": credential(sandbox, shape)}, listing)
        models = await stub.ListModels(listing)
        assert "echo" in [model.id for model in models.models], shape

        check = pb.VerifyCredentialRequest(provider_id="custom-llm", model="echo")
        check.credential.CopyFrom(listing.credential)
        verified = await stub.VerifyCredential(check)
        assert verified.ok, verified
        assert {check.id: check.status for check in verified.checks} == dict.fromkeys(
            ("credential", "reach", "models", "chat", "path", "auth"), pb.CHECK_STATUS_PASS
        )
        check.model = "key:value=other"
        refused = await stub.VerifyCredential(check)
        assert not refused.ok
        assert refused.checks[3].status == pb.CHECK_STATUS_FAIL
        assert "Bearer" in refused.checks[3].remedy
