"""The bare pipe: grpc.aio in front, aiohttp behind, decode, frame, nothing checked. What any service of this kind pays.

Like ours it sends what came in one network read as one frame, so that both write alike. Run as a program it prints its
port and serves until it is killed.
"""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import msgspec

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

NAME = "integration_api.v1.ChatService"
_decode = msgspec.json.decode


class Bare:
    """Both RPCs, as short as they can be."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )

    async def Chat(self, request: pb.ChatRequest, context: grpc.aio.ServicerContext) -> pb.ChatResponse:
        async with self._session.post(**_request(request, stream=False)) as response:
            answer = _decode(await response.read())
        choice, usage = answer["choices"][0], answer["usage"]
        return pb.ChatResponse(
            response_id=answer["id"],
            model=answer["model"],
            choices=[
                msg.Choice(
                    message=msg.AssistantMessage(text=choice["message"]["content"]),
                    finish_reason=msg.FINISH_REASON_STOP,
                    raw_finish_reason=choice["finish_reason"],
                )
            ],
            usage=_usage(usage),
        )

    async def StreamChat(
        self, request: pb.ChatRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.StreamChatResponse]:
        rest = b""
        texts: list[str] = []
        usage: dict[str, Any] = {}
        async with self._session.post(**_request(request, stream=True)) as response:
            async for data in response.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                text = ""
                for event in events:
                    if event == b"data: [DONE]":
                        continue
                    chunk = _decode(event[6:])
                    for choice in chunk["choices"]:
                        text += choice["delta"].get("content") or ""
                    usage = chunk.get("usage") or usage
                if text and not texts:
                    yield pb.StreamChatResponse(started=pb.Started(model="bench"))
                if text:
                    texts.append(text)
                    yield pb.StreamChatResponse(text_delta=pb.TextDelta(text=text))
        message = msg.AssistantMessage(text="".join(texts))
        yield pb.StreamChatResponse(
            completed=pb.ChatResponse(choices=[msg.Choice(message=message)], usage=_usage(usage))
        )


def _request(request: pb.ChatRequest, *, stream: bool) -> dict[str, Any]:
    credential = request.credential.value.fields
    body: dict[str, object] = {
        "model": request.model_parameters.fields["model.name"].string_value,
        "messages": [{"role": "user", "content": request.messages[0].user.content[0].text}],
    }
    if stream:
        body["stream"] = True
    return {
        "url": credential["baseUrl"].string_value + "/chat/completions",
        "data": msgspec.json.encode(body),
        "headers": {"Content-Type": "application/json"},
    }


def _usage(usage: dict[str, int]) -> msg.Usage:
    return msg.Usage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
        source=msg.USAGE_SOURCE_REPORTED,
    )


async def serve() -> None:
    """Serve on a free port until killed."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    bare = Bare()
    handlers = {
        "Chat": grpc.unary_unary_rpc_method_handler(
            bare.Chat, pb.ChatRequest.FromString, pb.ChatResponse.SerializeToString
        ),
        "StreamChat": grpc.unary_stream_rpc_method_handler(
            bare.StreamChat, pb.ChatRequest.FromString, pb.StreamChatResponse.SerializeToString
        ),
    }
    # Generic handlers, as ours are: for registered methods grpc.aio waits on a future for each of them at every call.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
