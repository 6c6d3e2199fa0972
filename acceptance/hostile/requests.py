"""Requests of both contracts for endpoints that are written by hand."""

from typing import Any

from google.protobuf import any_pb2, json_format, wrappers_pb2

from integration_api import unified_messages_pb2 as umsg
from integration_api import unified_provider_pb2 as upb
from integration_api.v1 import chat_service_pb2 as pb


def chat(
    endpoint: str,
    text: str = "hi",
    *,
    model: str = "m",
    api: str = "openai_compatible",
    headers: dict[str, str] | None = None,
    attempts: int = 0,
) -> pb.ChatRequest:
    """A native request; `endpoint` is a URL without its path."""
    value: dict[str, Any] = {"apiCompatibility": api, "baseUrl": f"{endpoint}/v1", "headers": headers or {}}
    request = json_format.ParseDict(
        {
            "providerId": "custom-llm",
            "credential": {"value": value},
            "messages": [{"user": {"content": [{"text": text}]}}],
            "modelParameters": {"model.name": model},
        },
        pb.ChatRequest(),
    )
    if attempts:
        request.options.max_attempts = attempts
    return request


def unified(endpoint: str, text: str = "hi", **parameters: str) -> upb.ChatRequest:
    """A request of Rapida's contract; `parameters` are texts, their names without the prefix."""
    return upb.ChatRequest(
        credential=_credential(endpoint),
        requestId="1",
        conversations=[_user(text)],
        modelParameters=_values({"name": "m", **parameters}),
        providerName="custom-llm",
    )


def configuration(endpoint: str) -> upb.StreamChatRequest:
    """The first frame of a conversation."""
    wire = upb.StreamChatConfiguration(credential=_credential(endpoint), providerName="custom-llm")
    return upb.StreamChatRequest(configuration=wire)


def turn(request_id: str, text: str) -> upb.StreamChatRequest:
    """A turn of a conversation."""
    question = upb.StreamChatInput(
        requestId=request_id, conversations=[_user(text)], modelParameters=_values({"name": "m"})
    )
    return upb.StreamChatRequest(chat=question)


def _credential(endpoint: str) -> umsg.Credential:
    credential = umsg.Credential(id=7)
    credential.value["base_url"] = f"{endpoint}/v1"
    return credential


def _user(text: str) -> umsg.Message:
    return umsg.Message(role="user", user=umsg.UserMessage(content=text))


def _values(texts: dict[str, str]) -> dict[str, any_pb2.Any]:
    values = {}
    for name, text in texts.items():
        values[f"model.{name}"] = any_pb2.Any()
        values[f"model.{name}"].Pack(wrappers_pb2.StringValue(value=text))
    return values
