"""Names that are longer than an answer may be: gRPC clients refuse such frames, so they are never written."""

import asyncio
import json
from typing import Any

import pytest

from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import STREAM_HEAD, ScriptedServer
from tests.edge.reading import listen

_LONG = "x" * 5_000_000


def _call(**names: str) -> dict[str, Any]:
    function = {"name": names.get("name", "f"), "arguments": "{}"}
    return {
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c1", "function": function, **names}]}}]
    }


CHUNKS: dict[str, dict[str, Any]] = {
    "model": {"model": _LONG, "choices": []},
    "answer": {"id": _LONG, "choices": []},
    "call": _call(id=_LONG),
    "tool": _call(name=_LONG),
    "end": {"choices": [{"index": 0, "delta": {}, "finish_reason": _LONG}]},
}


@pytest.mark.parametrize("what", CHUNKS)
async def test_a_name_counts_as_a_part_of_the_answer(stub: ChatServiceStub, what: str) -> None:
    """The client learns whose fault it is, in our own words instead of its library's."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        said = {"choices": [{"index": 0, "delta": {"content": "one "}}]}
        for chunk in (CHUNKS[what], said):
            writer.write((STREAM_HEAD if chunk is not said else b"") + f"data: {json.dumps(chunk)}\n\n".encode())
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()

    async with ScriptedServer(talk) as endpoint:
        failure = (await listen(stub.StreamChat(chat_request(endpoint.url, "m")))).failure

    assert failure is not None
    assert failure.reason == "RESPONSE_TOO_LARGE", failure
    assert failure.info.metadata["fault"] == "endpoint"
