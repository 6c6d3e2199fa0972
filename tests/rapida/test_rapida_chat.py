"""Chat, VerifyCredential, Embedding and Reranking of Rapida's contract, as a client meets them."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf import struct_pb2, wrappers_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from tests.patience import within
from tests.rapida.talk import (
    SERVICE,
    ask,
    chat_request,
    credential,
    metrics_of,
    packed,
    text_of,
    user,
    value,
    values,
    weather,
)

_PATHS = {
    "openai_chat_completions": "/v1/chat/completions",
    "openai_compatible": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate_content": "/v1/models/tool-call:generateContent",
}


async def test_a_chat_is_answered_with_the_message_its_reason_and_its_metrics(
    sandbox: Sandbox, channel: grpc.aio.Channel
) -> None:
    """A good answer fills every field of the contract."""
    answer = await ask(channel, "Chat", chat_request(sandbox.url, "usage:input=100,cached=64,output=50,reasoning=32"))

    metrics = metrics_of(answer)
    assert (answer.code, answer.success, answer.requestId) == (200, True, "request-1")
    assert answer.data.role == "assistant"
    assert text_of(answer)
    assert not answer.HasField("error")
    assert answer.finishReason == "stop"
    assert int(metrics.pop("time_taken")) >= 0  # uvloop's clock ticks in milliseconds
    assert metrics == {
        "llm_request_id": "request-1",
        "status": "SUCCESS",
        "input_token": "100",
        "output_token": "50",
        "total_token": "150",
    }


@pytest.mark.parametrize("transport", _PATHS)
async def test_the_transport_option_replaces_the_credentials_compatibility(
    sandbox: Sandbox, channel: grpc.aio.Channel, transport: str
) -> None:
    """`connection.transport` decides which API is called, whatever the credential says."""
    request = chat_request(sandbox.url, "tool-call", max_tokens=50)
    request.credential.value["api_compatibility"] = "no such api"
    request.connectionOptions["connection.transport"] = transport
    request.toolDefinitions.append(weather())

    answer = await ask(channel, "Chat", request)

    assert answer.success, answer.error
    assert [call.function.name for call in answer.data.assistant.toolCalls] == ["weather"]
    assert answer.data.assistant.toolCalls[0].type == "function"
    assert answer.finishReason == "tool_calls"
    assert sandbox.requests[-1].path == _PATHS[transport]


async def test_the_endpoint_gets_what_the_contract_promises(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Parameters in all their forms, history and tools arrive as the contract says, and nothing else does."""
    request = chat_request(sandbox.url, "echo")
    given = values(
        {
            "temperature": 2.0,  # bare: not sent
            "model.id": "an-id",  # metadata
            "model.Temperature": wrappers_pb2.StringValue(value="0.25"),
            "model.top_p": wrappers_pb2.FloatValue(value=0.7),
            "model.max_tokens": wrappers_pb2.Int64Value(value=64),
            "model.stop": wrappers_pb2.StringValue(value="END, \n,STOP"),
            "model.seed": "",  # a form's empty field
            "model.min_p": wrappers_pb2.StringValue(value="0.05"),
            "model.chat_template_kwargs": wrappers_pb2.BytesValue(value=b'{"enable_thinking": false}'),
            "model.tool_choice": "auto",
            "model.parameters": {"top_k": 20, "TEMPERATURE": 0.5},
        }
    )
    for key, parameter in given.items():
        request.modelParameters[key].CopyFrom(parameter)
    call = msg.ToolCall(
        id="c1", type="function", function=msg.FunctionCall(name="weather", arguments='{"city":"Rome"}')
    )
    clock = msg.ToolCall(id="c2", type="function", function=msg.FunctionCall(name="clock"))
    del request.conversations[:]
    request.conversations.extend(
        [
            msg.Message(role="system", system=msg.SystemMessage(content="")),
            msg.Message(role="system", system=msg.SystemMessage(content="Be brief.")),
            user("Weather?"),
            msg.Message(role="assistant", assistant=msg.AssistantMessage()),
            msg.Message(
                role="assistant", assistant=msg.AssistantMessage(contents=["Let me", " see."], toolCalls=[call, clock])
            ),
            msg.Message(
                role="tool",
                tool=msg.ToolMessage(
                    tools=[
                        msg.ToolMessage.Tool(name="weather", id="c1", content="21 °C"),
                        msg.ToolMessage.Tool(name="clock", id="c2", content="noon"),
                    ]
                ),
            ),
        ]
    )
    request.toolDefinitions.extend([weather(), msg.ToolDefinition(type="retrieval")])

    answer = await ask(channel, "Chat", request)

    sent = sandbox.requests[-1].json()
    assert answer.success, answer.error
    assert sent == {
        "model": "echo",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
                    {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "21 °C"},
            {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "The weather of a city",
                    "parameters": {
                        "type": "object",
                        "properties": {"city": {"type": "string", "description": "A city"}},
                        "required": ["city"],
                    },
                },
            }
        ],
        "temperature": 0.5,
        "top_p": 0.7,
        "max_tokens": 64,
        "stop": ["END", "\n", "STOP"],
        "min_p": 0.05,
        "chat_template_kwargs": {"enable_thinking": False},
        "tool_choice": "auto",
        "top_k": 20,
    }


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("http-error:status=400", 400),
        ("http-error:status=401", 401),
        ("http-error:status=403", 401),
        ("http-error:status=404", 404),
        ("http-error:status=402", 429),
        ("http-error:status=429,retry=30", 429),
        ("http-error:status=500", 502),
        ("http-error:status=503,retry=60", 503),
        ("html", 502),
        ("drop", 502),
    ],
)
async def test_failures_of_the_endpoint_come_inside_of_the_answer(
    sandbox: Sandbox, channel: grpc.aio.Channel, script: str, code: int
) -> None:
    """A failed chat is an OK status with a code that fits, words for developers and words for people."""
    answer = await ask(channel, "Chat", chat_request(sandbox.url, script))

    assert (answer.code, answer.success, answer.requestId) == (code, False, "request-1")
    assert answer.error.errorCode == code
    assert answer.error.errorMessage
    assert answer.error.humanMessage
    assert not answer.HasField("data")
    assert metrics_of(answer)["status"] == "FAILED"


async def test_an_endpoint_that_is_not_there_is_a_bad_gateway(channel: grpc.aio.Channel) -> None:
    """Nobody listens on the port: 502."""
    answer = await ask(channel, "Chat", chat_request("http://127.0.0.1:1", "echo"))

    assert answer.code == 502
    assert "127.0.0.1:1" in answer.error.errorMessage


class TestWithShortTimeouts:
    """A server that waits for a tenth of a second only."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(port=0, shutdown_grace=2.0, total_timeout=0.1)

    async def test_a_model_that_is_too_slow_is_a_timeout(self, sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
        """The total timeout is told as 408."""
        answer = await ask(channel, "Chat", chat_request(sandbox.url, "silence:for=30s"))

        assert answer.code == 408


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lambda r: setattr(r, "providerName", "FOO"), 400, "unsupported chat provider: foo"),
        (
            lambda r: r.connectionOptions.update({"connection.transport": "smoke"}),
            400,
            "unsupported custom-llm transport option: smoke",
        ),
        (lambda r: r.credential.value.update({"api_compatibility": ""}), 401, "non-empty string"),
        (lambda r: r.credential.value.update({"api_compatibility": 7}), 401, "non-empty string"),
        (lambda r: r.credential.value.update({"headers": "no json"}), 401, "headers"),
        (lambda r: r.credential.value.fields.pop("base_url"), 401, "baseUrl"),
        (lambda r: r.ClearField("conversations"), 400, "conversations"),
        (lambda r: r.conversations.add(role="user"), 400, "conversations[1]"),
        (lambda r: r.modelParameters.pop("model.name"), 400, "model.name"),
        (lambda r: r.modelParameters["model.temperature"].CopyFrom(value("warm")), 400, "must be a number"),
        (
            lambda r: r.modelParameters["model.x"].CopyFrom(packed(struct_pb2.Value(number_value=float("inf")))),
            400,
            "not finite",
        ),
        (lambda r: r.modelParameters["model.x"].CopyFrom(packed(user("no"))), 400, "integration_api.Message"),
        (lambda r: r.modelParameters["model.parameters"].CopyFrom(value("[1]")), 400, "JSON text"),
    ],
)
async def test_a_bad_request_says_what_is_wrong_with_it(
    sandbox: Sandbox, channel: grpc.aio.Channel, change: Callable[[pb.ChatRequest], object], code: int, text: str
) -> None:
    """Nothing is sent to the endpoint, and the answer names the fault."""
    request = chat_request(sandbox.url, "echo")
    change(request)

    answer = await ask(channel, "Chat", request)

    assert (answer.code, answer.success) == (code, False)
    assert text.lower() in answer.error.errorMessage.lower()
    assert not sandbox.requests


async def test_bytes_that_are_no_request_are_answered_in_the_same_way(
    server: Server, channel: grpc.aio.Channel
) -> None:
    """Also then there is an OK status with an error inside, and no text of a parser."""
    call = channel.unary_unary(f"{SERVICE}/Chat", response_deserializer=pb.ChatResponse.FromString)

    answer = await call(b"\xff\xff\xff")

    assert answer.code == 400
    assert "ChatRequest" in answer.error.errorMessage


@pytest.mark.parametrize(
    "fields",
    [
        {"baseUrl": "{url}", "headers": {"Authorization": "Bearer s3cret"}},
        {"base_url": "{url}", "baseUrl": "http://127.0.0.1:1", "headers": '{"Authorization": "Bearer s3cret"}'},
        {"base_url": "{url}", "apiCompatibility": "openai", "headers": {"Authorization": "Bearer s3cret"}, "key": "x"},
    ],
)
async def test_a_credential_is_read_in_all_its_spellings(
    sandbox: Sandbox, channel: grpc.aio.Channel, fields: dict[str, Any]
) -> None:
    """Snake case wins, headers may be JSON text, unknown keys are ignored."""
    fields = {key: given.format(url=f"{sandbox.url}/v1") if "ase" in key else given for key, given in fields.items()}
    request = chat_request(sandbox.url, "key:value=s3cret")
    request.credential.CopyFrom(credential(**fields))

    answer = await ask(channel, "Chat", request)

    assert answer.success, answer.error


async def test_reasoning_is_asked_for_without_what_cannot_come_back(
    sandbox: Sandbox, channel: grpc.aio.Channel
) -> None:
    """Responses with an effort, and values that the contract skips: the endpoint gets a body that it takes."""
    request = chat_request(sandbox.url, "echo", reasoning_effort="low", stop=[], response_format={}, tool_choice="auto")
    request.connectionOptions["connection.transport"] = "openai_responses"
    answer = await ask(channel, "Chat", request)

    assert answer.success, answer.error
    sent = sandbox.requests[-1].json()
    assert sent["reasoning"] == {"effort": "low"}
    assert not {"include", "stop", "text", "tool_choice"} & set(sent)


async def test_a_good_credential_is_verified(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """200, success, and what was found."""
    request = pb.VerifyCredentialRequest(credential=credential(sandbox.url), providerName="Custom-LLM")

    answer = await ask(channel, "VerifyCredential", request)

    assert (answer.code, answer.success, answer.errorMessage) == (200, True, "")
    assert answer.requestId > 0
    assert "models: PASS" in answer.response


@pytest.mark.parametrize("good", ["http://127.0.0.1:1", "", "refused"])
async def test_a_bad_credential_is_a_401_that_says_why(channel: grpc.aio.Channel, good: str) -> None:
    """Not reachable, malformed or refused: the same code, with words."""
    async with Sandbox(require_key="k") as guarded:
        made = credential(guarded.url if good == "refused" else good)
        answer = await ask(
            channel, "VerifyCredential", pb.VerifyCredentialRequest(credential=made, providerName="custom-llm")
        )

    assert (answer.code, answer.success) == (401, False)
    assert answer.errorMessage


async def test_embedding_and_reranking_say_that_there_are_none(channel: grpc.aio.Channel) -> None:
    """In-body, in the contract's words."""
    embedding = await ask(channel, "Embedding", pb.EmbeddingRequest(providerName="custom-llm", content={0: "a"}))
    reranking = await ask(channel, "Reranking", pb.RerankingRequest(providerName="Custom-LLM", content={0: "a"}))

    assert (embedding.code, embedding.success) == (400, False)
    assert embedding.error.errorMessage == "unsupported embedding provider: custom-llm"
    assert (reranking.code, reranking.success) == (400, False)
    assert reranking.error.errorMessage == "unsupported reranking provider: custom-llm"
    assert embedding.requestId != reranking.requestId


class TestUpperCase:
    """A server with the names of older clients."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(port=0, shutdown_grace=2.0, rapida_upper_case_metrics=True)

    async def test_metrics_can_have_the_names_of_older_clients(
        self, sandbox: Sandbox, channel: grpc.aio.Channel
    ) -> None:
        """The setting makes every name upper case."""
        answer = await ask(channel, "Chat", chat_request(sandbox.url, "echo"))

        assert {"TIME_TAKEN", "STATUS", "LLM_REQUEST_ID"} < set(metrics_of(answer))
        assert all(name == name.upper() for name in metrics_of(answer))


async def test_the_platforms_own_words_go_into_the_logs(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Source, environment and region stand in the line of a failed call; no more than is useful."""
    metadata = (("x-client-source", "assistant-api"), ("x-rapida-region", "r" * 500), ("x-rapida-environment", ""))
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await ask(channel, "Chat", chat_request(sandbox.url, "http-error:status=404"), metadata=metadata)
        await ask(channel, "Chat", chat_request(sandbox.url, "http-error:status=404"))

    first, second = [line for line in lines if line["event"] == "call.finished"]
    assert first["client_source"] == "assistant-api"
    assert first["rapida_region"] == "r" * 64
    assert "rapida_environment" not in first
    assert "client_source" not in second


async def test_a_client_deadline_ends_the_call_at_the_endpoint(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """When the client's time is over, the endpoint's connection is closed."""
    try:
        answer = await ask(channel, "Chat", chat_request(sandbox.url, "silence:for=30s"), timeout=0.3)
        ended: object = answer.code  # our own word came a moment earlier
    except grpc.aio.AioRpcError as error:
        ended = error.code()

    assert ended in (408, grpc.StatusCode.DEADLINE_EXCEEDED)
    await sandbox.wait_for_hangup(within(2.0))


async def test_the_service_is_in_health_and_reflection(channel: grpc.aio.Channel) -> None:
    """Probes and tools find it by its name."""
    name = "integration_api.UnifiedProviderService"
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
    answer = [response async for response in call]

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert b"unified_provider.proto" in answer[0].file_descriptor_response.file_descriptor_proto[0]
