"""The order of keys in what a model wrote: tool-call arguments keep it, from the endpoint to the client and back."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.families.family import VALUE
from tests.contract.shapes import FAMILIES, SHAPES, answer_of, as_said, asking
from tests.contract.situations import TOOLS, user


@pytest.mark.parametrize("shape", SHAPES)
async def test_arguments_keep_the_order_of_their_keys(stub: ChatServiceStub, shape: str) -> None:
    """Object or text on the wire: the client reads the keys as the model wrote them, and they go back like that."""
    bodies: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.text())
        return web.json_response(FAMILIES[shape].called)

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
    assert json.loads(call.arguments) == VALUE
    assert FAMILIES[shape].arguments in bodies[1]
