"""The Rapida platform's own client, its generated stubs from PyPI (`rapida-python`), against our server.

    python acceptance/interop.py                                          starts a server and a sandbox, and uses them
    python acceptance/interop.py --address HOST:PORT --endpoint URL --secret SECRET

Chat, a StreamChat of three turns with a tool round and a barge-in, VerifyCredential, all with each of the two kinds of
JWTs that the platform signs; every field of every answer is checked. It imports nothing of ours: both register
messages of the same names. It ends with status 0, or with the check that failed.
"""

import argparse
import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import jwt
from rapida.clients.protos import common_pb2 as common
from rapida.clients.protos import integration_api_pb2 as api
from rapida.clients.protos.integration_api_pb2_grpc import UnifiedProviderServiceStub
from rapida.utils.rapida_value import bool_to_any, float_to_any, int32_to_any, json_to_any, string_to_any

SUPERSEDED = "superseded"


def project_token() -> dict[str, Any]:
    """What the older kind of token says: a user's project."""
    return {"userId": 11, "organizationId": 22, "projectId": 33, "exp": int(time.time()) + 60}


def service_token() -> dict[str, Any]:
    """What the newer kind says: a service, for an organization, on somebody's behalf, for five minutes."""
    now = int(time.time())
    return {
        "actor_type": "service",
        "actor_id": "assistant-api",
        "iss": "rapida",
        "aud": "rapida-internal",
        "iat": now,
        "exp": now + 300,
        "organizationId": 22,
        "delegation": {"actor_type": "user", "actor_id": "11"},
    }


class Client:
    """The platform's service, with its metadata and its credential. `claims` is what its token says."""

    def __init__(self, channel: grpc.aio.Channel, endpoint: str, secret: str, claims: dict[str, Any]) -> None:
        self.stub = UnifiedProviderServiceStub(channel)
        self.metadata = [
            ("x-internal-service-key", jwt.encode(claims, secret, algorithm="HS256")),
            ("x-client-source", "interop"),
            ("x-rapida-environment", "development"),
            ("x-rapida-region", "local"),
        ]
        self.credential = api.Credential(id=5)
        self.credential.value.update(
            {
                "apiCompatibility": "openai_chat_completions",
                "baseUrl": f"{endpoint}/v1",
                "headers": json.dumps({"Authorization": "Bearer interop"}),  # as the dashboard stores them
                "note": "an unknown key",
            }
        )


def parameters(model: str) -> dict[str, Any]:
    """Model parameters in the forms in which the SDK packs them."""
    return {
        "model.id": string_to_any("some-id"),
        "model.name": string_to_any(model),
        "model.temperature": float_to_any(0.5),
        "model.max_tokens": int32_to_any(100),
        "model.parallel_tool_calls": bool_to_any(True),
        "model.parameters": json_to_any({"top_k": 5}),
        "temperature": string_to_any("a bare key is not sent"),
    }


def user(text: str) -> common.Message:
    """What the person says."""
    return common.Message(role="user", user=common.UserMessage(content=text))


def weather() -> api.ToolDefinition:
    """The tool that the sandbox calls."""
    return api.ToolDefinition(
        type="function",
        functionDefinition=api.FunctionDefinition(
            name="weather",
            description="The weather of a city",
            parameters=api.FunctionParameter(
                type="object",
                required=["city"],
                properties={"city": api.FunctionParameterProperty(type="string", description="A city")},
            ),
        ),
    )


def check_metrics(metrics: Any, request_id: str, status: str, *, tokens: bool = True, first: bool = False) -> None:
    """Names, values and descriptions of what was measured."""
    found = {metric.name: metric.value for metric in metrics}
    expected = {"time_taken", "llm_request_id", "status"}
    expected |= {"input_token", "output_token", "total_token"} if tokens else set()
    expected |= {"time_to_first_token"} if first else set()
    assert set(found) == expected, found
    assert len(metrics) == len(found)
    assert all(metric.description for metric in metrics)
    assert found["llm_request_id"] == request_id
    assert found["status"] == status
    assert 0 <= int(found["time_taken"]) < 10**11  # uvloop's clock ticks in milliseconds
    if tokens:
        assert int(found["total_token"]) == int(found["input_token"]) + int(found["output_token"]) > 0
    if first:
        assert 0 <= int(found["time_to_first_token"]) <= int(found["time_taken"])


async def chat(client: Client) -> None:
    """A good Chat, one of an unknown provider, and one without a token."""
    request = api.ChatRequest(
        credential=client.credential,
        requestId="chat-1",
        conversations=[
            common.Message(role="system", system=common.SystemMessage(content="Be brief.")),
            user("Hello from the platform"),
        ],
        additionalData={"assistant": "7"},
        modelParameters=parameters("echo"),
        toolDefinitions=[weather()],
        providerName="Custom-LLM",
        connectionOptions={"connection.transport": "openai_compatible"},
    )
    answer = await client.stub.Chat(request, metadata=client.metadata)
    assert (answer.code, answer.success, answer.requestId) == (200, True, "chat-1"), answer
    assert answer.HasField("data")
    assert answer.data.role == "assistant"
    assert answer.data.WhichOneof("message") == "assistant"
    assert list(answer.data.assistant.contents) == ["Hello from the platform"]
    assert not answer.data.assistant.toolCalls
    assert not answer.HasField("error")
    assert answer.finishReason == "stop"
    check_metrics(answer.metrics, "chat-1", "SUCCESS")

    request.providerName = "nobody"
    answer = await client.stub.Chat(request, metadata=client.metadata)
    check_failure(answer, 400)
    assert answer.error.errorMessage == "unsupported chat provider: nobody"

    answer = await client.stub.Chat(request)
    check_failure(answer, 401)


def check_failure(answer: Any, code: int) -> None:
    """Every field of a Chat that failed."""
    assert (answer.code, answer.success, answer.requestId) == (code, False, "chat-1"), answer
    assert not answer.HasField("data")
    assert answer.error.errorCode == code
    assert answer.error.errorMessage
    assert answer.error.humanMessage
    assert answer.finishReason == ""
    check_metrics(answer.metrics, "chat-1", "FAILED", tokens=False)


class Stream:
    """One StreamChat."""

    def __init__(self, client: Client) -> None:
        self.call = client.stub.StreamChat(metadata=client.metadata)

    async def ask(self, request_id: str, model: str, *conversations: common.Message) -> None:
        """Send one turn."""
        question = api.StreamChatInput(
            requestId=request_id,
            providerName="custom-llm",
            conversations=conversations,
            additionalData={"assistant": "7"},
            modelParameters=parameters(model),
            toolDefinitions=[weather()],
        )
        await self.call.write(api.StreamChatRequest(chat=question))

    async def read(self, kind: str) -> Any:
        """The next frame, which is of this kind."""
        frame = await self.call.read()
        assert frame is not grpc.aio.EOF, "the stream ended"
        assert frame.WhichOneof("response") == kind, frame
        return getattr(frame, kind)

    async def turn(self, request_id: str) -> tuple[str, Any]:
        """The deltas' text and the final frame; checks all fields but the message's content."""
        text = ""
        while True:
            output = await self.read("chat")
            assert output.requestId == request_id, output
            assert not output.HasField("error"), output
            assert output.data.role == "assistant"
            assert output.data.WhichOneof("message") == "assistant"
            if len(output.metrics):
                assert output.finishReason
                return text, output
            assert output.finishReason == ""
            assert len(output.data.assistant.contents) == 1
            assert not output.data.assistant.toolCalls
            text += output.data.assistant.contents[0]


async def stream_chat(client: Client) -> None:
    """Refused before its configuration; then three turns with a tool round, a barge-in, and a close."""
    stream = Stream(client)
    await too_early(stream)
    configuration = api.StreamChatConfiguration(credential=client.credential, providerName="CUSTOM-LLM")
    await stream.call.write(api.StreamChatRequest(configuration=configuration))
    configured = await stream.read("configuration")
    assert (configured.providerName, configured.success) == ("custom-llm", True)
    assert not configured.HasField("error")

    await stream.ask("turn-1", "tokens:n=5,gap=5ms", user("Count"))
    text, last = await stream.turn("turn-1")
    assert text == "word1 word2 word3 word4 word5"
    assert list(last.data.assistant.contents) == [text]
    assert not last.data.assistant.toolCalls
    assert last.finishReason == "stop"
    check_metrics(last.metrics, "turn-1", "SUCCESS", first=True)

    question = user("How is the weather in Rome?")
    await stream.ask("turn-2", "tool-call", question)
    _, asked = await stream.turn("turn-2")
    assert asked.finishReason == "tool_calls"
    check_metrics(asked.metrics, "turn-2", "SUCCESS", first=True)
    (call,) = asked.data.assistant.toolCalls
    assert call.id
    assert call.type == "function"
    assert call.function.name == "weather"
    assert "city" in json.loads(call.function.arguments)

    result = common.ToolMessage.Tool(name="weather", id=call.id, content="21 degrees and sun")
    answered = common.Message(role="tool", tool=common.ToolMessage(tools=[result]))
    await stream.ask("turn-3", "tool-call", question, asked.data, answered)
    text, last = await stream.turn("turn-3")
    assert "21 degrees and sun" in text
    assert list(last.data.assistant.contents) == [text]
    assert last.finishReason == "stop"
    check_metrics(last.metrics, "turn-3", "SUCCESS", first=True)

    await barge_in(stream)
    await stream.call.write(api.StreamChatRequest(close=api.StreamChatClose(reason="done")))
    closed = await stream.read("close")
    assert closed.reason == "done"
    assert await stream.call.read() is grpc.aio.EOF
    assert await stream.call.code() == grpc.StatusCode.OK


async def too_early(stream: Stream) -> None:
    """A chat ahead of the configuration is refused by its id."""
    await stream.ask("early", "echo", user("Anybody there?"))
    refused = await stream.read("chat")
    assert refused.requestId == "early"
    assert refused.error.errorCode == 412
    assert refused.error.errorMessage
    assert refused.error.humanMessage
    assert not refused.HasField("data")


async def barge_in(stream: Stream) -> None:
    """A chat while another one talks: the older one ends with one final frame, the newer one is answered."""
    await stream.ask("old", "tokens:n=1500,gap=20ms", user("Talk"))
    received = (await stream.read("chat")).data.assistant.contents[0]
    await stream.ask("new", "echo", user("Stop"))
    old = await stream.read("chat")
    while not len(old.metrics):
        assert old.requestId == "old"
        received += old.data.assistant.contents[0]
        old = await stream.read("chat")
    assert (old.requestId, old.finishReason) == ("old", SUPERSEDED)
    assert old.data.assistant.contents[0].startswith(received)
    check_metrics(old.metrics, "old", "SUPERSEDED", tokens=False, first=True)
    text, last = await stream.turn("new")
    assert (text, last.finishReason) == ("Stop", "stop")


async def unauthenticated(client: Client) -> None:
    """A stream without a token ends with a status."""
    call = client.stub.StreamChat()
    assert await call.code() == grpc.StatusCode.UNAUTHENTICATED


async def verify_credential(client: Client) -> None:
    """A good credential, and one whose endpoint is not there."""
    request = api.VerifyCredentialRequest(credential=client.credential, providerName="custom-llm")
    answer = await client.stub.VerifyCredential(request, metadata=client.metadata)
    assert (answer.code, answer.success, answer.errorMessage) == (200, True, ""), answer
    assert answer.requestId > 0
    assert answer.HasField("response")
    assert answer.response

    request.credential.value.update({"baseUrl": "http://127.0.0.1:1/v1"})
    answer = await client.stub.VerifyCredential(request, metadata=client.metadata)
    assert (answer.code, answer.success) == (401, False), answer
    assert answer.requestId > 0
    assert answer.errorMessage


async def no_vectors(client: Client) -> None:
    """Embedding and Reranking say that there are none."""
    embedding = await client.stub.Embedding(
        api.EmbeddingRequest(credential=client.credential, providerName="custom-llm", content={0: "a"}),
        metadata=client.metadata,
    )
    reranking = await client.stub.Reranking(
        api.RerankingRequest(credential=client.credential, providerName="custom-llm", query="q", content={0: "a"}),
        metadata=client.metadata,
    )
    for answer, kind in ((embedding, "embedding"), (reranking, "reranking")):
        assert (answer.code, answer.success) == (400, False), answer
        assert answer.requestId > 0
        assert not answer.data
        assert answer.error.errorCode == 400
        assert answer.error.errorMessage == f"unsupported {kind} provider: custom-llm"
        assert answer.error.humanMessage


async def run(address: str, endpoint: str, secret: str) -> None:
    """All of it, on one channel."""
    async with grpc.aio.insecure_channel(address) as channel:
        for claims in (project_token, service_token):
            client = Client(channel, endpoint, secret, claims())
            for step in (chat, stream_chat, unauthenticated, verify_credential, no_vectors):
                await step(client)
                print(f"ok  {step.__name__}  {claims.__name__}")


@contextmanager
def world(secret: str) -> Iterator[dict[str, str]]:
    """A server and a sandbox in a process of their own."""
    program = [sys.executable, str(Path(__file__).with_name("interop_server.py")), secret]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.communicate(timeout=30)


def main() -> None:
    """Runs against the given server, or against one of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="host:port of the server; without it one is started")
    parser.add_argument("--endpoint", help="base URL of the sandbox that the server is to call")
    parser.add_argument("--secret", default=secrets.token_hex(32), help="the server's rapida_jwt_secret")
    given = parser.parse_args()
    print(f"rapida-python {version('rapida-python')}")
    if given.address:
        asyncio.run(run(given.address, given.endpoint, given.secret))
    else:
        with world(given.secret) as started:
            asyncio.run(run(started["address"], started["endpoint"], given.secret))


if __name__ == "__main__":
    main()
