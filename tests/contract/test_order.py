"""The order of keys in what a model wrote: tool-call arguments keep it, from the endpoint to the client and back."""

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.shapes import FAMILY, SHAPES, answer_of, as_said, asking
from tests.contract.situations import TOOLS, user

Json = Any

_ARGUMENTS = '{"zulu":1,"alpha":{"yankee":[2,1],"bravo":null},"mike":"ü \\u2028"}'
_VALUE = json.loads(_ARGUMENTS)
_FUNCTION = {"name": "weather", "arguments": _ARGUMENTS}
# As text they return as they came; as an object they are written anew.
_AS_TEXT = json.dumps(_ARGUMENTS, ensure_ascii=False)
_AS_OBJECT = json.dumps(_VALUE, ensure_ascii=False, separators=(",", ":"))
_ARGUMENTS_ON_THE_WIRE = {"chat": _AS_TEXT, "responses": _AS_TEXT, "anthropic": _AS_OBJECT, "gemini": _AS_OBJECT}
# A whole answer with one call in each family, as the API sends it.
_ANSWERS: dict[str, Json] = {
    "chat": {
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "tool_calls": [{"id": "c1", "type": "function", "function": _FUNCTION}],
                },
            }
        ]
    },
    "responses": {
        "status": "completed",
        "output": [{"type": "function_call", "call_id": "c1", **_FUNCTION}],
    },
    "anthropic": {
        "type": "message",
        "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": _VALUE}],
        "stop_reason": "tool_use",
    },
    "gemini": {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": _VALUE}}]},
                "finishReason": "STOP",
            }
        ]
    },
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_arguments_keep_the_order_of_their_keys(stub: ChatServiceStub, shape: str) -> None:
    """Object or text on the wire: the client reads the keys as the model wrote them, and they go back like that."""
    bodies: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.text())
        return web.json_response(_ANSWERS[FAMILY[shape]])

    application = web.Application()
    application.add_routes([web.post("/{path:.*}", answer)])
    async with TestServer(application) as server:
        url = str(server.make_url("")).rstrip("/")
        asked = [user("Weather?")]
        called = await answer_of(stub, asking(url, shape, "m", messages=asked, tools=TOOLS), streamed=False)
        call = called.choices[0].message.tool_calls[0]
        result = {"tool": {"toolCallId": call.id, "content": [{"text": "21"}]}}
        again = asking(url, shape, "m", messages=[*asked, as_said(called), result], tools=TOOLS)
        await answer_of(stub, again, streamed=False)

    assert list(json.loads(call.arguments)) == ["zulu", "alpha", "mike"]
    assert list(json.loads(call.arguments)["alpha"]) == ["yankee", "bravo"]
    assert json.loads(call.arguments) == _VALUE
    assert _ARGUMENTS_ON_THE_WIRE[FAMILY[shape]] in bodies[1]
