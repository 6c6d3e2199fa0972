"""Requests as clients write them, for tests of every layer."""

from typing import Any

from google.protobuf import json_format

from integration_api.v1 import chat_service_pb2 as pb


def chat_request(base_url: str, model: str, /, text: str = "Hello there", **changes: Any) -> pb.ChatRequest:
    """A ChatRequest as JSON clients would write it; `changes` replace top-level fields (JSON names)."""
    request: dict[str, Any] = {
        "providerId": "custom-llm",
        "credential": {"value": {"apiCompatibility": "openai_compatible", "baseUrl": f"{base_url}/v1"}},
        "messages": [{"user": {"content": [{"text": text}]}}],
        "modelParameters": {"model.name": model},
    }
    request.update(changes)
    return json_format.ParseDict(request, pb.ChatRequest())
