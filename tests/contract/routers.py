"""A chat endpoint with opaque reasoning state in Chat Completions, as gateways send it: OpenRouter's
`reasoning_details` on the message, Google's thought signature in a call's `extra_content`.

The sandbox has no such state in this API. Loopback only; it records what it is asked.
"""

import json
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

Json = Any

DETAIL_SIGNATURE = "c2lnbmVkLWRldGFpbA=="
CALL_SIGNATURE = "c2lnbmVkLWNhbGw="
DETAILS: list[Json] = [
    {"type": "reasoning.text", "text": "Think.", "signature": DETAIL_SIGNATURE, "format": "anthropic-v1", "index": 0}
]
EXTRA: Json = {"google": {"thought_signature": CALL_SIGNATURE}}
CALL_ID = "call_r1"
TEXT = "Hello there"


class Router:
    """Answers with a tool call where tools are given, else with text."""

    def __init__(self) -> None:
        self.bodies: list[Json] = []
        application = web.Application()
        application.add_routes([web.post("/v1/chat/completions", self._answer)])
        self._server = TestServer(application)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url("")).rstrip("/")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        function = {"name": "weather", "arguments": '{"city":"Rome"}'}
        call: Json = {"id": CALL_ID, "type": "function", "function": function, "extra_content": EXTRA}
        said: Json = {"tool_calls": [call]} if "tools" in body else {"content": TEXT}
        message = {"role": "assistant", "reasoning": "Think.", "reasoning_details": DETAILS, **said}
        reason = "tool_calls" if "tools" in body else "stop"
        head = {"id": "r-1", "model": body["model"]}
        if not body.get("stream"):
            return web.json_response({**head, "choices": [{"index": 0, "message": message, "finish_reason": reason}]})
        if "tools" in body:
            message["tool_calls"] = [{"index": 0, **call}]
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for delta, end in ((message, None), ({}, reason)):
            chunk = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
            await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await answer.write(b"data: [DONE]\n\n")
        return answer
