"""The adapter against a Gemini endpoint that it does not know, over loopback."""

import json
from typing import Any

import aiohttp
import pytest

from caller.credentials import Credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis.gemini.model import API
from caller.custom_llm.errors.endpoint_errors import endpoint_error
from caller.errors import EndpointFailed, EndpointRejected, StreamInterrupted
from caller.events import FinishReason
from caller.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from caller.parameters import merge_parameters
from integration_api.sandbox import Sandbox
from tests.caller.adapters.gemini_wire import ADAPTER, good
from tests.recordings_reader import Received, receive

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (ToolDefinition("weather", "Weather.", SCHEMA), ToolDefinition("local_time", "Time.", SCHEMA))
ASKED: tuple[Message, ...] = (
    SystemMessage("Be brief."),
    UserMessage((TextPart("Weather in Rome?"), ImagePart(data=b"x", media_type="image/png"))),
)


async def ask(sandbox: Sandbox, model: str, *messages: Message, stream: bool, **parameters: Any) -> Received:
    """What the sandbox answers, as the adapter reads it; an HTTP error is raised."""
    credential = Credential(API, sandbox.url, {"x-goog-api-key": "k"})
    merged = merge_parameters({"model.name": model, **parameters})
    call = ResolvedCall(credential, merged, messages or ASKED, TOOLS)
    request = ADAPTER.request(call, stream)
    async with (
        aiohttp.ClientSession() as session,
        session.request(request.method, request.url, headers=request.headers, data=request.body) as response,
    ):
        body = await response.read()
        if response.status != 200:
            raise endpoint_error(response.status, response.headers, body, url=request.url)
    return receive(ADAPTER, call, body)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_calls_goes_round(sandbox: Sandbox, *, stream: bool) -> None:
    """Calls are read, results go back with matching counts, and the answer is made from them."""
    first = good(await ask(sandbox, "parallel-tool-calls", stream=stream)).completion.choices[0]
    names = [call.name for call in first.message.tool_calls]
    results = [ToolMessage(call.id, content=(TextPart("21 °C"),)) for call in reversed(first.message.tool_calls)]
    second = good(await ask(sandbox, "parallel-tool-calls", *ASKED, first.message, *results, stream=stream))

    assert (names, first.finish_reason) == (["weather", "local_time"], FinishReason.TOOL_CALLS)
    assert "21 °C" in second.completion.choices[0].message.text
    assert second.completion.choices[0].finish_reason is FinishReason.STOP


@pytest.mark.parametrize("stream", [False, True])
async def test_signed_thoughts_go_back_or_the_endpoint_refuses(sandbox: Sandbox, *, stream: bool) -> None:
    """The endpoint checks its signature: it accepts what came back, and refuses the turn without it."""
    first = good(await ask(sandbox, "reasoning-tool-call", stream=stream)).completion.choices[0].message
    result = ToolMessage(first.tool_calls[0].id, content=(TextPart("21 °C"),))
    second = good(await ask(sandbox, "reasoning-tool-call", *ASKED, first, result, stream=stream))
    bare = AssistantMessage(first.text, tool_calls=first.tool_calls)

    assert first.reasoning
    assert second.completion.choices[0].message.text
    with pytest.raises(EndpointRejected):
        await ask(sandbox, "reasoning-tool-call", *ASKED, bare, result, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
async def test_structured_output_keeps_to_the_schema(sandbox: Sandbox, *, stream: bool) -> None:
    """The schema reaches the endpoint where it reads it."""
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    received = good(await ask(sandbox, "structured", stream=stream, response_format=wanted))

    assert set(json.loads(received.completion.choices[0].message.text)) == {"city"}


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_counts_thoughts_as_output_and_cached_as_input(sandbox: Sandbox, *, stream: bool) -> None:
    """The parts add up to the total."""
    received = good(await ask(sandbox, "usage:input=100,cached=64,output=50,reasoning=32", stream=stream))
    usage = received.completion.usage

    assert (usage.input, usage.cached_input, usage.output, usage.reasoning, usage.total) == (100, 64, 50, 32, 150)


async def test_a_stream_that_breaks_is_never_a_good_answer(sandbox: Sandbox) -> None:
    """An error in its middle and an end without its sign are told as what they are."""
    error = (await ask(sandbox, "error-in-stream:after=3,status=503", stream=True)).error
    ended = (await ask(sandbox, "no-end:after=3", stream=True)).error

    assert isinstance(error, EndpointFailed)
    assert isinstance(ended, StreamInterrupted)
