"""Parameters as documented: every row and spelling, checked on the whole JSON that left the process."""

import json
from typing import Any

import grpc
import pytest

from caller.credentials import ApiCompatibility
from caller.custom_llm.apis import ADAPTERS
from caller.parameters import KNOWN
from integration_api.sandbox import Sandbox
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.parameters import ROWS, added, spellings
from tests.contract.shapes import CHAT, COMPATIBLE, FAMILIES, RESPONSES, SHAPES, asking, sent
from tests.contract.situations import ASK_WEATHER, HELLO
from tests.edge.reading import fail

Json = Any

each_shape = pytest.mark.parametrize("shape", SHAPES)
_NOT_SUPPORTED = (grpc.StatusCode.INVALID_ARGUMENT, "NOT_SUPPORTED_BY_API")

# The rows of the two documented tables, all but model.name, with every name that a row gives.
DOCUMENTED_CHAT = (
    *("temperature", "top_p", "max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "seed"),
    *("stop", "tool_choice", "response_format", "reasoning_effort", "user", "metadata", "top_logprobs"),
)
DOCUMENTED_RESPONSES = (
    *("temperature", "top_p", "max_output_tokens", "max_completion_tokens", "max_tokens", "store", "tool_choice"),
    *("response_format", "reasoning_effort", "service_tier", "user", "metadata", "top_logprobs"),
)


def _asked(sandbox: Sandbox, shape: str, given: dict[str, Json]) -> Any:
    return asking(sandbox.url, shape, "echo", messages=ASK_WEATHER.messages, tools=ASK_WEATHER.tools, parameters=given)


def test_no_parameter_is_forgotten() -> None:
    """Each known parameter stands in the table and in these tests, with the same shapes, and the documented ones are
    no less than documented."""
    assert ROWS.keys() == KNOWN.keys()
    for name in ROWS:
        having = {api.value for api, adapter in ADAPTERS.items() if name in adapter.parameters}
        assert {shape for shape in SHAPES if name in FAMILIES[shape].parameters} == having, name
    for shape in (CHAT, COMPATIBLE):
        assert [name for name in DOCUMENTED_CHAT if name not in FAMILIES[shape].parameters] == []
    assert [name for name in DOCUMENTED_RESPONSES if name not in FAMILIES[RESPONSES].parameters] == []


@each_shape
@pytest.mark.parametrize("name", KNOWN)
async def test_a_parameter(sandbox: Sandbox, stub: ChatServiceStub, shape: str, name: str) -> None:
    """In every spelling it arrives at its field, or is refused by its path; inside model.parameters what the API lacks
    goes out as it is."""
    basic, row = ASK_WEATHER.body(shape, "echo", streamed=False), ROWS[name]
    fields = FAMILIES[shape].parameters.get(name)
    for spelling in spellings(name):
        sandbox.requests.clear()
        request = _asked(sandbox, shape, spelling.given)
        if fields is None and not spelling.nested:
            failure = await fail(stub.Chat(request))
            assert failure.said == _NOT_SUPPORTED, spelling
            assert failure.fields == [spelling.field]
            assert name in failure.message
            assert not sandbox.requests
            continue
        await stub.Chat(request)

        assert sent(sandbox) == added(basic, {name: row.value} if fields is None else fields), spelling
        if fields is not None:
            _stands_where_the_table_says(sent(sandbox), name, shape)


def _stands_where_the_table_says(body: Json, name: str, shape: str) -> None:
    for key in ADAPTERS[ApiCompatibility(shape)].parameters[name].split("."):
        assert key in body, (name, shape, key)
        body = body[key]


@each_shape
async def test_the_model_is_model_name(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """model.id is the user interface's; model.name goes out, trimmed."""
    await stub.Chat(_asked(sandbox, shape, {"model.id": "shown", "model.name": " echo "}))

    assert sent(sandbox) == ASK_WEATHER.body(shape, "echo", streamed=False)


@each_shape
async def test_of_one_name_the_later_place_wins(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """A bare name yields to model.*, and that to model.parameters, which is merged last."""
    basic = ASK_WEATHER.body(shape, "echo", streamed=False)
    half = FAMILIES[shape].parameters["temperature"]
    await stub.Chat(_asked(sandbox, shape, {"temperature": 0.1, "model.temperature": 0.5}))
    assert sent(sandbox) == added(basic, half)

    three = {"temperature": 0.1, "model.temperature": 0.2, "model.parameters": {"temperature": 0.5}}
    await stub.Chat(_asked(sandbox, shape, three))
    assert sent(sandbox) == added(basic, half)


@each_shape
async def test_parameters_that_nobody_knows_go_out_as_they_are(
    sandbox: Sandbox, stub: ChatServiceStub, shape: str
) -> None:
    """A provider's own fields stand in the body under their own names, numbers as they were written."""
    own = {"chat_template_kwargs": {"enable_thinking": False, "depth": 2}, "min_p": 0.05, "ids": [1, 2.5, None, "x"]}
    basic = ASK_WEATHER.body(shape, "echo", streamed=False)
    for given in ({"model.parameters": own}, {"model.parameters": json.dumps(own)}, own):
        await stub.Chat(_asked(sandbox, shape, given))
        assert sent(sandbox) == added(basic, own)


@each_shape
async def test_values_of_a_wrong_type_are_refused_by_their_path(
    sandbox: Sandbox, stub: ChatServiceStub, shape: str
) -> None:
    """What cannot be read as its documented type is named, in each of its spellings, and nothing is sent."""
    wrong: dict[str, Json] = {
        "temperature": "warm",
        "max_tokens": 1.5,
        "stop": [1],
        "tool_choice": "perhaps",
        "response_format": "json",
        "metadata": {"a": 1},
        "store": "maybe",
        "user": ["u"],
    }
    for name, value in wrong.items():
        for given, path in (
            ({name: value}, f'model_parameters["{name}"]'),
            ({f"model.{name}": value}, f'model_parameters["model.{name}"]'),
            ({"model.parameters": {name: value}}, f'model_parameters["model.parameters"]["{name}"]'),
        ):
            failure = await fail(stub.Chat(_asked(sandbox, shape, given)))
            assert failure.said == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID"), (name, given)
            assert failure.fields == [path]
    assert not sandbox.requests


@each_shape
async def test_tool_choice_in_every_word(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """auto, required, none and a named tool are said in each API's own way, and only when tools are present."""
    for word, wire in FAMILIES[shape].tool_choice.items():
        await stub.Chat(_asked(sandbox, shape, {"model.tool_choice": word}))
        assert sent(sandbox) == added(ASK_WEATHER.body(shape, "echo", streamed=False), wire)

        await stub.Chat(asking(sandbox.url, shape, "echo", **HELLO.changes | {"parameters": {"tool_choice": word}}))
        assert sent(sandbox) == HELLO.body(shape, "echo", streamed=False)


@each_shape
async def test_response_formats_without_a_schema(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """Text and JSON mode, as an object and as text; where an API has no JSON mode it is refused."""
    for kind, wire in FAMILIES[shape].formats.items():
        for given in ({"type": kind}, json.dumps({"type": kind})):
            sandbox.requests.clear()
            request = _asked(sandbox, shape, {"response_format": given})
            if wire is None:
                failure = await fail(stub.Chat(request))
                assert failure.said == _NOT_SUPPORTED
                assert failure.fields == ['model_parameters["response_format"]']
                assert not sandbox.requests
                continue
            await stub.Chat(request)
            assert sent(sandbox) == added(ASK_WEATHER.body(shape, "echo", streamed=False), wire)


_ORDERED = (
    '{"type":"object","properties":{"zulu":{"type":"string"},"alpha":{"minLength":1,"type":"string","description":"d"},'
    '"mike":{"type":"object","properties":{"y":{"type":"integer"},"b":{"type":"integer"}}}},"required":["zulu","alpha"],'
    '"additionalProperties":false}'
)


@each_shape
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_keys_keep_the_order_in_which_they_were_written(
    sandbox: Sandbox, stub: ChatServiceStub, shape: str, streamed: bool
) -> None:
    """Models follow the order of a schema: as text, a tool's and an answer's schema reach the endpoint unsorted."""
    wanted = '{"type":"json_schema","json_schema":{"name":"zulu_first","strict":true,"schema":' + _ORDERED + "}}"
    tool = {"name": "zulu", "parametersJson": _ORDERED}
    schema = _ORDERED.encode()
    for parameters in (
        {"response_format": wanted},
        {"model.response_format": wanted},
        {"model.parameters": '{"response_format":' + wanted + "}"},
    ):
        request = asking(sandbox.url, shape, "structured", tools=[tool], parameters=parameters)
        if streamed:
            async for _ in stub.StreamChat(request):
                pass
        else:
            await stub.Chat(request)

        assert sandbox.requests[-1].body.count(schema) == 2, sandbox.requests[-1].body
