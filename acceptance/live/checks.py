"""The checks: each makes its calls, compares what came with what was promised, and says in a line what it saw.

Rule: a check returns that line, or raises `Wrong`. It is made for one target and knows no server by name; how answers
are judged stands in `judging`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import grpc
from google.protobuf import json_format

from acceptance.live.asking import Client, failure_of
from acceptance.live.judging import (
    Wrong,
    completed,
    essence,
    facts,
    finish,
    in_one_line,
    must,
    same,
    text_answer,
    tool_answer,
    word,
)
from acceptance.live.targets import Json, Target
from integration_api.v1 import chat_service_pb2 as pb

_QUESTION = "What is the capital of France?"
_TOOL_QUESTION = "What is the weather in Paris? Use the tool."
_CITY: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_TOOLS: tuple[Json, ...] = (
    {"name": "get_weather", "description": "Get the current weather of a city.", "parameters": _CITY},
)
_RESULT = "21 degrees"
_LIMIT = 16  # the least that OpenAI's Responses take; LiteLLM raises a lower one
_TOO_LONG = "again and " * 10_000


async def models(client: Client, target: Target) -> str:
    """The endpoint's list of models has the one that is asked for."""
    listed = [model.id for model in (await client.models()).models]
    must(target.model in listed, f"{target.model} is not among {listed}")
    return ", ".join(listed[:5]) + (f", … ({len(listed)})" if len(listed) > 5 else "")


async def verify(client: Client, target: Target) -> str:
    """The credential is found usable, by a chat too."""
    answer = await client.verify()
    said = "; ".join(f"{check.id} {word(pb.CheckStatus.Name(check.status))}" for check in answer.checks)
    failed = "; ".join(f"{check.id}: {check.observed}" for check in answer.checks if check.remedy)
    must(answer.ok, f"{said} ({failed})")
    chats = [check for check in answer.checks if check.id == "chat"]
    must([check.status for check in chats] == [pb.CHECK_STATUS_PASS], f"{said} ({failed})")
    must(answer.compatibility == target.shape, f"compatibility {answer.compatibility}")
    return said


async def chat(client: Client, target: Target) -> str:
    """A whole answer with text, its end and its usage."""
    started = time.monotonic()
    answer = await client.chat(client.request(_QUESTION))
    took = time.monotonic() - started
    text_answer(answer, target, "chat")
    return f"{in_one_line(answer)} · {took:.2f} s"


async def stream(client: Client, target: Target) -> str:
    """The same answer in pieces."""
    request = client.request(_QUESTION)
    received = await client.stream(request)
    streamed = completed(received)
    text_answer(streamed, target, "stream", streamed=True)
    text = streamed.choices[0].message.text
    must("".join(received.pieces) == text, f"the pieces {received.pieces} are not the message {text!r}")
    # The service hands on what arrived together in one piece; a model that computes is slower than that.
    must(len(received.pieces) > 1 or not target.steady, f"the text came in one piece: {received.pieces}")
    whole = await client.chat(request)
    alike = same(streamed, whole, target)
    return f"{'|'.join(received.pieces)!r}{alike} · {facts(streamed)} · first output {received.first_output:.2f} s"


async def length(client: Client, target: Target) -> str:
    """An answer that is cut at a limit says so, streamed as well."""
    request = client.request(target.endless, parameters={"max_tokens": _LIMIT})
    whole = await client.chat(request)
    streamed = completed(await client.stream(request))
    for answer in (whole, streamed):
        must(finish(answer) == target.length_finish, f"{in_one_line(answer)} where {target.length_finish} was expected")
        must(answer.usage.output_tokens <= _LIMIT, f"{answer.usage.output_tokens} tokens for a limit of {_LIMIT}")
    return in_one_line(whole)


async def tool(client: Client, target: Target) -> str:
    """The model calls a tool."""
    answer = await client.chat(client.request(_TOOL_QUESTION, tools=_TOOLS))
    tool_answer(answer, target)
    if target.steady:  # where answers are steady, so is the call; a second time it comes from the server's cache
        again = await client.chat(client.request(_TOOL_QUESTION, tools=_TOOLS))
        must(essence(again) == essence(answer), f"asked again: {in_one_line(again)}")
    return in_one_line(answer)


async def tool_stream(client: Client, target: Target) -> str:
    """The model calls a tool, in fragments."""
    request = client.request(_TOOL_QUESTION, tools=_TOOLS)
    received = await client.stream(request)
    streamed = completed(received)
    tool_answer(streamed, target, streamed=True)
    call = streamed.choices[0].message.tool_calls[0]
    deltas = [delta for delta in received.tool_deltas if delta.index == 0]
    must(bool(deltas), "no tool call delta came")
    must((deltas[0].id, deltas[0].name) == (call.id, call.name), f"the first fragment is {deltas[0]}")
    must(not any(delta.id or delta.name for delta in deltas[1:]), "a later fragment names the call again")
    fragments = [delta.arguments_fragment for delta in deltas if delta.arguments_fragment]
    must("".join(fragments) == call.arguments, f"the fragments {fragments} are not {call.arguments!r}")
    alike = same(streamed, await client.chat(request), target)
    return f"{call.name} {'|'.join(fragments)!r}{alike} · {facts(streamed)}"


async def tool_result(client: Client, target: Target) -> str:
    """The model reads what its tool call gave, and answers."""
    question: Json = {"user": {"content": [{"text": _TOOL_QUESTION}]}}
    first = await client.chat(client.request(messages=[question], tools=_TOOLS))
    tool_answer(first, target)
    message = json_format.MessageToDict(first.choices[0].message)
    call = first.choices[0].message.tool_calls[0]
    result: Json = {"tool": {"toolCallId": call.id, "name": call.name, "content": [{"text": _RESULT}]}}
    second = await client.chat(client.request(messages=[question, {"assistant": message}, result], tools=_TOOLS))
    text_answer(second, target, "tool-result")
    return in_one_line(second)


async def no_route(client: Client, target: Target) -> str:
    """A base URL that leads nowhere is an error that names the URL."""
    nowhere = f"{target.base_url.rstrip('/')}/no-such-route"
    said = await _refused(client, client.request(_QUESTION, base_url=nowhere), "ENDPOINT_NOT_FOUND")
    must("/no-such-route" in said, f"the text does not name the URL: {said}")
    return said


async def too_long(client: Client, _: Target) -> str:
    """A conversation longer than the model can read is an error of its own."""
    return await _refused(client, client.request(_TOO_LONG), "CONTEXT_LENGTH_EXCEEDED")


async def no_key(client: Client, _: Target) -> str:
    """A missing key is an error with the endpoint's own word."""
    return await _refused(client, client.request(_QUESTION, headers={}), "ENDPOINT_UNAUTHENTICATED")


async def cancel(client: Client, target: Target) -> str:
    """A client that cancels its stream sets the model free."""
    call = client.open(client.request(target.endless, parameters={"max_tokens": 2000}))
    try:
        async for frame in call:
            if frame.WhichOneof("event") not in {"started", "completed"}:
                break
        else:
            raise Wrong("the answer was over before it could be cancelled")
        if target.busy is not None:
            must(await target.busy() > 0, "the model was not generating when the call was cancelled")
    finally:
        call.cancel()
    cancelled = time.monotonic()
    must(await call.code() is grpc.StatusCode.CANCELLED, f"the call ended with {await call.code()}")
    freed = ""
    if target.busy is not None:
        await _idle(target.busy, within=target.release)
        freed = f" · the model was free after {time.monotonic() - cancelled:.2f} s"
    again = await client.chat(client.request(_QUESTION))
    text_answer(again, target, "chat")
    return f"CANCELLED{freed} · the next call was answered"


Check = Callable[[Client, Target], Awaitable[str]]
BY_NAME: Mapping[str, Check] = MappingProxyType(
    {
        "models": models,
        "verify": verify,
        "chat": chat,
        "stream": stream,
        "length": length,
        "tool": tool,
        "tool-stream": tool_stream,
        "tool-result": tool_result,
        "no-route": no_route,
        "too-long": too_long,
        "no-key": no_key,
        "cancel": cancel,
    }
)


async def made(name: str, client: Client, target: Target) -> str:
    """Make one check; what was seen.

    Raises:
        Wrong: something is not as it should be.
    """
    expected = target.expected_errors.get(name, ("", ""))[0]
    try:
        seen = await BY_NAME[name](client, target)
    except grpc.aio.AioRpcError as error:
        said = failure_of(error)
        if not expected or said.reason != expected:
            raise Wrong(f"{said.code.name} {said.reason}: {said.text}") from None
        return f"{said.code.name} {said.reason}: {said.text}"
    must(not expected, f"{expected} was expected, but it worked: {seen}")
    return seen


async def _refused(client: Client, request: pb.ChatRequest, reason: str) -> str:
    """The words of the error that both RPCs give alike."""
    said = []
    for call in (client.chat(request), client.stream(request)):
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            said.append(failure_of(error))
        else:
            raise Wrong(f"it was answered: {answer}")
    unary, streamed = said
    for failure in said:
        must(failure.reason == reason, f"{failure.code.name} {failure.reason}, not {reason}: {failure.text}")
    must(unary.code is streamed.code, f"{unary.code.name} for Chat, {streamed.code.name} for StreamChat")
    return f"{unary.code.name} {unary.reason}: {unary.text}"


async def _idle(busy: Callable[[], Awaitable[int]], *, within: float) -> None:
    until = time.monotonic() + within
    while await busy():
        must(time.monotonic() < until, f"the model still works for the call {within:g} s later")
        await asyncio.sleep(0.02)
