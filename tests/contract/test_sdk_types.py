"""The official SDKs' own types accept what we send and what the sandbox answers, and refuse what is wrong."""

import copy
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from integration_api.sandbox import Sandbox
from integration_api.sandbox.record import Recorded
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.parameters import ROWS
from tests.contract.shapes import (
    ANTHROPIC,
    CHAT,
    FAMILIES,
    GEMINI,
    RESPONSES,
    SHAPES,
    answer_of,
    as_said,
    asking,
)
from tests.contract.situations import ALL, ASK_WEATHER, TOOLS, user
from tests.contract.test_conversation import converse
from tests.contract.test_moves import begin
from tests.edge.reading import listen

Json = Any

each_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="session")
def sdk() -> Any:
    """The types by family of shapes. Importing the SDKs takes seconds, so it is done once, and only for these tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what the SDKs' own modules do at import is not ours
        from tests.contract import sdk

    return sdk.TYPES


_CHOICES = ("auto", "none", '{"type": "function", "function": {"name": "weather"}}')


async def _ask_everything(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """Everything that the contract suite sends through a shape under its own names, streamed and not."""
    family = FAMILIES[shape]
    given: list[dict[str, Json]] = [{name: row.value} for name, row in ROWS.items() if name in family.parameters]
    given += [{"tool_choice": word} for word in _CHOICES]
    given += [{"response_format": {"type": "text"}}]
    given += [{"response_format": {"type": "json_object"}}] if family.formats["json_object"] is not None else []
    for streamed in (False, True):
        for model, situation in ALL.values():
            await answer_of(stub, asking(sandbox.url, shape, model, **situation.changes), streamed=streamed)
        await converse(sandbox, stub, shape, streamed=streamed)
        media = {"user": {"content": [{"text": "Read these."}, *family.media]}}
        await answer_of(stub, asking(sandbox.url, shape, "echo", messages=[media]), streamed=streamed)
        if family.name != "chat":  # there the state is that of gateways, for which OpenAI has no types
            await _return_state(sandbox, stub, shape, streamed=streamed)
    for parameters in given:
        changes = ASK_WEATHER.changes | {"parameters": parameters}
        await answer_of(stub, asking(sandbox.url, shape, "echo", **changes), streamed=False)


async def _return_state(sandbox: Sandbox, stub: ChatServiceStub, shape: str, *, streamed: bool) -> None:
    for call in (False, True):
        origin = await begin(sandbox, stub, shape, call=call, streamed=streamed)
        result = {"tool": {"toolCallId": origin.call_id, "content": [{"text": "21"}]}} if call else user("Go on")
        messages = [user("Hello there"), as_said(origin.answer), result]
        model = "reasoning-tool-call" if call else "reasoning"
        request = asking(sandbox.url, shape, model, messages=messages, tools=TOOLS if call else [])
        await answer_of(stub, request, streamed=streamed)


@each_shape
async def test_every_request_and_every_answer_fits_the_official_types(
    sandbox: Sandbox, stub: ChatServiceStub, sdk: Any, shape: str
) -> None:
    """Not one value of a body that we send, of a whole answer or of a stream's event is foreign to the API's SDK."""
    types = sdk[FAMILIES[shape].name]
    await _ask_everything(sandbox, stub, shape)
    recorded = list(sandbox.requests)
    answers = events = 0
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        for request in recorded:
            assert types.request(request.json()) == [], request.body
            for answer in await _answered(session, sandbox, request):
                streamed = isinstance(answer, _Event)
                problems = (types.event if streamed else types.answer)(answer)
                assert problems == [], answer
                events += streamed
                answers += not streamed

    assert len(recorded) > 50
    assert answers > 30
    assert events > 300


class _Event(dict[str, Json]):
    """An event of a stream; a plain dict is a whole answer."""


async def _answered(session: aiohttp.ClientSession, sandbox: Sandbox, request: Recorded) -> list[dict[str, Json]]:
    """What the sandbox answers to a recorded request, asked again: the raw JSON, before anything of ours read it."""
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
    url = f"{sandbox.url}{request.raw_path}"
    async with session.post(url, data=request.body, headers=headers) as response:
        body = await response.read()
        if response.content_type == "application/json":
            return [json.loads(body)]
        return list(_events(body))


def _events(body: bytes) -> Iterator[_Event]:
    for block in re.split(rb"\r?\n\r?\n", body):
        data = b"\n".join(line[6:] for line in re.split(rb"\r?\n", block) if line.startswith(b"data: "))
        if data and data != b"[DONE]":
            yield _Event(json.loads(data))


@each_shape
async def test_the_sandbox_errs_in_the_official_forms(
    sandbox: Sandbox, stub: ChatServiceStub, sdk: Any, shape: str
) -> None:
    """Errors as replies, and as events where the API has events for them."""
    types = sdk[FAMILIES[shape].name]
    async with aiohttp.ClientSession() as session:
        for status in (400, 401, 403, 404, 429, 500, 503, 529):
            received = await listen(stub.StreamChat(asking(sandbox.url, shape, f"http-error:status={status}")))
            assert received.failure is not None
            (answer,) = await _answered(session, sandbox, sandbox.requests[-1])
            assert types.error(answer) == [], answer
        if shape not in (RESPONSES, ANTHROPIC):
            return  # an error inside a stream is no event of these APIs
        received = await listen(stub.StreamChat(asking(sandbox.url, shape, "error-in-stream:after=2,status=529")))
        assert received.failure is not None
        for event in await _answered(session, sandbox, sandbox.requests[-1]):
            assert types.event(event) == [], event


# Objects in which anything may stand: schemas, arguments, results.
_FREE = frozenset(
    {"parameters", "parametersJsonSchema", "input_schema", "schema", "responseJsonSchema", "args", "response"}
)


def _paths(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values, the innermost last."""
    if path:
        yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from _paths(member, (*path, key))


def _with(body: Json, path: tuple[Any, ...], value: Json) -> Json:
    changed = copy.deepcopy(body)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


def _at(body: Json, path: tuple[Any, ...]) -> Json:
    for key in path:
        body = body[key]
    return body


def _is_free(path: tuple[Any, ...]) -> bool:
    """Responses has its items, and an event its answer, under names that mean arguments and results elsewhere."""
    return not _FREE.isdisjoint(path[1:]) or "input" in path[1:]


@each_shape
async def test_wrong_bodies_are_noticed(sandbox: Sandbox, stub: ChatServiceStub, sdk: Any, shape: str) -> None:
    """A value of a wrong type, and a key that nobody knows, at any depth of a request, an answer or an event is
    refused: the checks above can fail."""
    types = sdk[FAMILIES[shape].name]
    bodies: list[tuple[Any, Json]] = []
    async with aiohttp.ClientSession() as session:
        held = await converse(sandbox, stub, shape, streamed=False)
        bodies.append((types.request, held.body))
        for streamed in (False, True):
            model, situation = ALL["parallel tool calls"]
            await answer_of(stub, asking(sandbox.url, shape, model, **situation.changes), streamed=streamed)
            answers = await _answered(session, sandbox, sandbox.requests[-1])
            bodies += [(types.event if streamed else types.answer, dict(answer)) for answer in answers]

    noticed = 0
    for judge, body in bodies:
        assert judge(body) == []
        assert judge({**body, "no_such_field": 1}) != []
        for path in _paths(body):
            if _is_free(path) or (path[-1] in types.unknown and judge(_with(body, path, [1])) == []):
                continue
            assert judge(_with(body, path, {"no_such_field": [1]})) != [], path
            if isinstance(_at(body, path), dict):
                assert judge(_with(body, (*path, "no_such_field"), 1)) != [], path
            noticed += 1
    assert noticed > 100


def test_a_missing_key_is_noticed(sdk: Any) -> None:
    """What an API needs is needed by the types, too, also where their annotations are postponed."""
    for family, key in (("chat", "messages"), ("anthropic", "max_tokens"), ("gemini", "contents")):
        shape = {"chat": CHAT, "anthropic": ANTHROPIC, "gemini": GEMINI}[family]
        body = ALL["one tool call"][1].body(shape, "echo", streamed=False)
        assert sdk[family].request(body) == []
        assert sdk[family].request({name: value for name, value in body.items() if name != key}) != []
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    assert sdk["responses"].request({"model": "m", "input": [call]}) == []
    for key in call:
        assert sdk["responses"].request({"model": "m", "input": [{k: v for k, v in call.items() if k != key}]}) != []
