"""A client of Rapida's contract for tests: our own generated messages over a real channel."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb

SERVICE = "/integration_api.UnifiedProviderService"
_ANSWERS: dict[str, Any] = {
    "Chat": pb.ChatResponse,
    "Embedding": pb.EmbeddingResponse,
    "Reranking": pb.RerankingResponse,
    "VerifyCredential": pb.VerifyCredentialResponse,
}


def packed(message: Message) -> any_pb2.Any:
    """The message in an Any."""
    wrapped = any_pb2.Any()
    wrapped.Pack(message)
    return wrapped


def value(plain: Any) -> any_pb2.Any:
    """A plain value as clients pack it mostly: a google.protobuf.Value in an Any."""
    return packed(ParseDict(plain, struct_pb2.Value()))


def values(parameters: Mapping[str, Any]) -> dict[str, any_pb2.Any]:
    """Model parameters: plain values are packed, messages are put into an Any as they are."""
    return {key: packed(plain) if isinstance(plain, Message) else value(plain) for key, plain in parameters.items()}


def credential(base_url: str = "", /, **fields: Any) -> msg.Credential:
    """A credential with these fields; the base URL is the API's root."""
    made = msg.Credential(id=7)
    if base_url:
        fields["base_url"] = f"{base_url}/v1"
    ParseDict(fields, made.value)
    return made


def user(text: str) -> msg.Message:
    """What the person says."""
    return msg.Message(role="user", user=msg.UserMessage(content=text))


def chat_request(base_url: str, model: str, text: str = "Hello there", **parameters: Any) -> pb.ChatRequest:
    """A ChatRequest; `parameters` are further model parameters without their prefix."""
    given = {"model.name": model, **{f"model.{name}": plain for name, plain in parameters.items()}}
    return pb.ChatRequest(
        credential=credential(base_url),
        requestId="request-1",
        conversations=[user(text)],
        modelParameters=values(given),
        providerName="custom-llm",
    )


def weather() -> msg.ToolDefinition:
    """The tool that the sandbox calls."""
    city = msg.FunctionParameterProperty(type="string", description="A city")
    parameters = msg.FunctionParameter(type="object", required=["city"], properties={"city": city})
    function = msg.FunctionDefinition(name="weather", description="The weather of a city", parameters=parameters)
    return msg.ToolDefinition(type="function", functionDefinition=function)


async def ask(channel: grpc.aio.Channel, method: str, request: Message, **options: Any) -> Any:
    """One unary call."""
    call = channel.unary_unary(
        f"{SERVICE}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=_ANSWERS[method].FromString,
    )
    return await call(request, **options)


class Talk:
    """One StreamChat stream."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, **frame: Any) -> None:
        await self.call.write(pb.StreamChatRequest(**frame))

    async def configure(self, base_url: str, **options: str) -> pb.StreamChatConfigured:
        """Configure, and read the answer. `options`: connection options without their prefix."""
        configuration = pb.StreamChatConfiguration(
            credential=credential(base_url),
            providerName="custom-llm",
            connectionOptions={f"connection.{name}": word for name, word in options.items()},
        )
        await self.send(configuration=configuration)
        frame = await self.read()
        assert frame.WhichOneof("response") == "configuration"
        return frame.configuration

    async def chat(self, request_id: str, model: str, text: str = "Hello there", **more: Any) -> None:
        given = {"model.name": model, **more.pop("parameters", {})}
        conversations = more.pop("conversations", [user(text)])
        question = pb.StreamChatInput(
            requestId=request_id, conversations=conversations, modelParameters=values(given), **more
        )
        await self.send(chat=question)

    async def read(self) -> pb.StreamChatResponse:
        frame = await self.call.read()
        assert frame is not grpc.aio.EOF, "the stream ended"
        return frame

    async def output(self) -> pb.StreamChatOutput:
        frame = await self.read()
        assert frame.WhichOneof("response") == "chat", frame
        return frame.chat

    async def turn(self, request_id: str) -> list[pb.StreamChatOutput]:
        """The frames of one turn, up to its final one; those of other turns are no part of it, and not expected."""
        frames = []
        while True:
            frames.append(await self.output())
            assert frames[-1].requestId == request_id
            if frames[-1].metrics:
                return frames

    async def turns_until(self, request_id: str) -> list[pb.StreamChatOutput]:
        """The frames of all turns, up to the final one of the one that is named."""
        frames = [await self.output()]
        while not (frames[-1].requestId == request_id and frames[-1].metrics):
            frames.append(await self.output())
        return frames

    async def rest(self) -> list[pb.StreamChatResponse]:
        """Whatever still comes, to the stream's good end."""
        frames = []
        while (frame := await self.call.read()) is not grpc.aio.EOF:
            frames.append(frame)
        assert await self.call.code() == grpc.StatusCode.OK
        return frames


@asynccontextmanager
async def talk(channel: grpc.aio.Channel, **options: Any) -> AsyncIterator[Talk]:
    """An open stream; cancelled at the end, if it still is."""
    call = channel.stream_stream(
        f"{SERVICE}/StreamChat",
        request_serializer=pb.StreamChatRequest.SerializeToString,
        response_deserializer=pb.StreamChatResponse.FromString,
    )(**options)
    try:
        yield Talk(call)
    finally:
        call.cancel()


def text_of(frame: Any) -> str:
    """The text of a frame, or of a whole answer."""
    return "".join(frame.data.assistant.contents)


def metrics_of(frame: Any) -> dict[str, str]:
    """Metrics by their names."""
    return {metric.name: metric.value for metric in frame.metrics}
