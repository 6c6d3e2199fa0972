"""Tools that the endpoint itself runs: sent as they are in each shape's list, and refused where they say too much."""

import json
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.edge.reading import fail

OWN: dict[str, Any] = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}


def asking(sandbox: Sandbox, api: str, *tools: dict[str, Any]) -> pb.ChatRequest:
    """A request with tools, for one of the shapes."""
    root = "/v1beta" if api.startswith("gemini") else "/v1"
    request = {
        "providerId": "custom-llm",
        "credential": {"value": {"apiCompatibility": api, "baseUrl": f"{sandbox.url}{root}", "headers": {"a": "k"}}},
        "messages": [{"user": {"content": [{"text": "hi"}]}}],
        "modelParameters": {"model.name": "echo"},
        "tools": [*tools],
    }
    return json_format.ParseDict(request, pb.ChatRequest())


@pytest.mark.parametrize(
    ("api", "hosted"),
    [
        ("openai_chat_completions", {"type": "web_search", "web_search": {"enable": True}}),
        ("openai_compatible", {"type": "builtin_function", "function": {"name": "$web_search"}}),
        ("openai_responses", {"type": "web_search", "search_context_size": "low"}),
        ("anthropic_messages", {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}),
        ("gemini_generate_content", {"googleSearch": {}}),
    ],
)
async def test_a_hosted_tool_leaves_as_it_is(
    stub: ChatServiceStub, sandbox: Sandbox, api: str, hosted: dict[str, Any]
) -> None:
    """Behind the client's own, with its options merged in; without a name it needs none."""
    marked = {"hosted": hosted, "providerOptions": {"x": 1}}
    with suppress(grpc.aio.AioRpcError):  # the sandbox may know functions only
        await stub.Chat(asking(sandbox, api, OWN, marked, {"hosted": hosted, "name": "n"}), timeout=10)
    sent = json.loads(sandbox.requests[0].body)["tools"]

    assert sent[1:] == [hosted | {"x": 1}, hosted]
    assert "f" in json.dumps(sent[0])


async def test_gemini_has_no_empty_list_of_functions(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """A hosted tool alone stands alone."""
    request = asking(sandbox, "gemini_generate_content", {"hosted": {"codeExecution": {}}})
    with suppress(grpc.aio.AioRpcError):  # the sandbox may know functions only
        await stub.Chat(request, timeout=10)

    assert json.loads(sandbox.requests[0].body)["tools"] == [{"codeExecution": {}}]


@pytest.mark.parametrize("more", [{"description": "d"}, {"parameters": {"type": "object"}}, {"strict": False}])
async def test_a_hosted_tool_says_nothing_else(stub: ChatServiceStub, sandbox: Sandbox, more: dict[str, Any]) -> None:
    """What would be dropped is refused, as is a tool of nothing."""
    told = await fail(stub.Chat(asking(sandbox, "openai_compatible", {"hosted": {"type": "t"}, **more}), timeout=10))
    empty = await fail(stub.Chat(asking(sandbox, "openai_compatible", {"hosted": {}}), timeout=10))

    for failure in (told, empty):
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "tools[0].hosted" in failure.message
    assert not sandbox.requests
