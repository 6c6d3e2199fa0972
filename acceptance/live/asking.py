"""Calls of ChatService as a client makes them, and what they gave.

Rule: it builds requests from a target and reads frames, answers and statuses; it judges nothing.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf import json_format

from acceptance.live.targets import Json, Target
from integration_api.client import service_error
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import chat_service_pb2_grpc as stubs

# Small models on few cores are slow, but not slower than this, in seconds.
DEADLINE = 300.0


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed: the status, the reason of its ErrorInfo (empty: it has none) and the text."""

    code: grpc.StatusCode
    reason: str
    text: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Streamed:
    """A stream that ended well: its frames, and the seconds from the call to the first output."""

    frames: Sequence[pb.StreamChatResponse]
    first_output: float

    @property
    def kinds(self) -> list[str]:
        """The kind of each frame."""
        return [str(frame.WhichOneof("event")) for frame in self.frames]

    @property
    def pieces(self) -> list[str]:
        """The text deltas."""
        return [frame.text_delta.text for frame in self.frames if frame.WhichOneof("event") == "text_delta"]

    @property
    def tool_deltas(self) -> list[pb.ToolCallDelta]:
        """The tool call deltas."""
        return [frame.tool_call_delta for frame in self.frames if frame.WhichOneof("event") == "tool_call_delta"]


class Client:
    """Asks one target through the service."""

    def __init__(self, channel: grpc.aio.Channel, target: Target) -> None:
        self._stub = stubs.ChatServiceStub(channel)
        self._target = target

    def request(
        self,
        text: str = "",
        *,
        messages: Sequence[Json] = (),
        tools: Sequence[Json] = (),
        parameters: Json | None = None,
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> pb.ChatRequest:
        """A request to the target, in the JSON of the contract; what is given replaces what the target says."""
        asked = {
            "providerId": "custom-llm",
            "credential": {"value": self._credential(base_url, headers)},
            "messages": list(messages) or [{"user": {"content": [{"text": text}]}}],
            "modelParameters": {**self._target.parameters, **(parameters or {}), "model.name": self._target.model},
            "tools": list(tools),
        }
        return json_format.ParseDict(asked, pb.ChatRequest())

    async def chat(self, request: pb.ChatRequest) -> pb.ChatResponse:
        """The whole answer."""
        answer: pb.ChatResponse = await self._stub.Chat(request, timeout=DEADLINE)
        return answer

    async def stream(self, request: pb.ChatRequest) -> Streamed:
        """The streamed answer."""
        started = time.monotonic()
        first = 0.0
        frames = []
        async for frame in self.open(request):
            if not first and frame.WhichOneof("event") not in {"started", "completed"}:
                first = time.monotonic() - started
            frames.append(frame)
        return Streamed(frames, first)

    def open(self, request: pb.ChatRequest) -> grpc.aio.UnaryStreamCall:
        """A stream that the caller reads, and may cancel."""
        return self._stub.StreamChat(request, timeout=DEADLINE)

    async def models(self) -> pb.ListModelsResponse:
        """What the endpoint offers."""
        asked = {"providerId": "custom-llm", "credential": {"value": self._credential("", None)}}
        request = json_format.ParseDict(asked, pb.ListModelsRequest())
        answer: pb.ListModelsResponse = await self._stub.ListModels(request, timeout=DEADLINE)
        return answer

    async def verify(self) -> pb.VerifyCredentialResponse:
        """The checks of the credential, a small chat among them."""
        credential = {"value": self._credential("", None)}
        asked = {"providerId": "custom-llm", "credential": credential, "model": self._target.model}
        request = json_format.ParseDict(asked, pb.VerifyCredentialRequest())
        answer: pb.VerifyCredentialResponse = await self._stub.VerifyCredential(request, timeout=DEADLINE)
        return answer

    def _credential(self, base_url: str, headers: Mapping[str, str] | None) -> dict[str, object]:
        target = self._target
        return {
            "apiCompatibility": target.shape,
            "baseUrl": base_url or target.base_url,
            "headers": dict(target.headers if headers is None else headers),
        }


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """What an error of gRPC says."""
    said = service_error(error)
    return Failure(said.code, said.reason, said.message, said.metadata)
