"""A typed client of the service, for asyncio.

    async with Client("127.0.0.1:9004", token="…") as client:
        asked = chat_request("hello", model="llama3.1", credential=endpoint("http://localhost:8000/v1"))
        async for event in client.stream_chat(asked):
            if isinstance(event, TextDelta):
                print(event.text, end="")

Rule: the contract's messages are its types; it adds connections, deadlines, retries where the service invites one, and
errors as exceptions. It knows nothing of ours but the generated code, and needs grpcio, protobuf and
googleapis-common-protos only.
"""

from integration_api.client.client import ChatStream, Client, Event
from integration_api.client.errors import IncompleteAnswer, ServiceError, Violation, service_error
from integration_api.client.requests import (
    VOICE_TIMEOUTS,
    assistant,
    chat_request,
    endpoint,
    image,
    provider_key,
    stored,
    system,
    target,
    tool,
    tool_result,
    user,
)
from integration_api.v1.chat_service_pb2 import (
    ChatRequest,
    ChatResponse,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)

__all__ = [
    "VOICE_TIMEOUTS",
    "ChatRequest",
    "ChatResponse",
    "ChatStream",
    "Client",
    "Event",
    "IncompleteAnswer",
    "ReasoningDelta",
    "RefusalDelta",
    "ServiceError",
    "Started",
    "TextDelta",
    "ToolCallDelta",
    "Violation",
    "assistant",
    "chat_request",
    "endpoint",
    "image",
    "provider_key",
    "service_error",
    "stored",
    "system",
    "target",
    "tool",
    "tool_result",
    "user",
]
