"""JSON of few bytes and many values holds the event loop no longer than its bytes deserve, whoever sends it."""

import asyncio
import json
import time

import grpc
import pytest

from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import ScriptedServer, answer, chat_answer
from tests.edge.reading import fail
from tests.loop_watch import loop_watch

TEXT = '{"x":[' + ",".join(["{}"] * 1_500_000) + "]}"

_AT_ONCE = 12


def parsing() -> float:
    """What the interpreter needs to read it all, in which nothing else runs; in seconds."""
    begun = time.process_time()
    json.loads(TEXT)
    return time.process_time() - begun


def with_arguments(url: str) -> pb.ChatRequest:
    request = chat_request(url, "m", credential=_anthropic(url))
    request.messages.add().assistant.tool_calls.add(id="1", name="f", arguments=TEXT)
    request.messages.add().tool.tool_call_id = "1"
    return request


def _anthropic(url: str) -> dict[str, object]:
    return {"value": {"apiCompatibility": "anthropic_messages", "baseUrl": url}}


@pytest.mark.parametrize("whose", ["client", "endpoint"])
async def test_millions_of_values_never_hold_the_loop(whose: str, stub: ChatServiceStub) -> None:
    """They are counted before they are read, and refused: the loop is away for a part of what reading them takes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(answer(TEXT) if whose == "endpoint" else chat_answer())
        await writer.drain()

    async with ScriptedServer(talk) as endpoint:
        request = with_arguments(endpoint.url) if whose == "client" else chat_request(endpoint.url, "m")
        async with loop_watch() as watch:
            refused = await fail(stub.Chat(request, timeout=60))

    assert refused.reason == {"client": "REQUEST_INVALID", "endpoint": "RESPONSE_TOO_LARGE"}[whose]
    assert watch.longest < parsing() / 2


async def test_large_answers_that_come_at_once_take_turns(channel: grpc.aio.Channel) -> None:
    """The loop is away for one piece of the work on one of them, not for all of it. The test, which shares the loop,
    reads the answers afterwards."""
    chat = channel.unary_unary("/integration_api.v1.ChatService/Chat")
    here = asyncio.Barrier(_AT_ONCE)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        await here.wait()
        writer.write(answer(whole))
        await writer.drain()

    token = {"token": "a", "logprob": -0.5, "bytes": [97]}
    tokens = [{**token, "top_logprobs": [token] * 20}] * 512
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop", "logprobs": {"content": tokens}}
    whole = json.dumps({"choices": [choice]})
    async with ScriptedServer(talk) as endpoint, loop_watch() as watch:
        request = chat_request(endpoint.url, "m").SerializeToString()
        answers = await asyncio.gather(*(chat(request, timeout=60) for _ in range(_AT_ONCE)))
    assert all(len(pb.ChatResponse.FromString(each).choices[0].logprobs) == 512 for each in answers)
    assert watch.longest < 0.4 * watch.cpu
