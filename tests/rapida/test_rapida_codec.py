"""The codec of Rapida's contract: values, parameters, tools and errors, without a network."""

import json

import pytest
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as some

from caller import errors
from caller.errors import CallerError, RequestInvalid
from caller.parameters import merge_parameters
from caller.target import Ask
from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.codec.structs import NotJsonError
from integration_api.rapida.any_values import any_to_json
from integration_api.rapida.errors import NotConfigured, code_of, error_message
from integration_api.rapida.request import ask_of, unknown_options
from tests.rapida.talk import chat_request, packed, user, value, values, weather

_TEXTS = {"a": "5", "b": "0.5", "c": "true", "d": "x"}
_CODES = {400, 401, 404, 408, 412, 429, 500, 502, 503}


def read(request: pb.ChatRequest) -> Ask:
    return ask_of(request)[0]


def parameters(given: dict[str, object]) -> dict[str, object]:
    """What the given model parameters come to in the domain."""
    request = chat_request("http://x", "m")
    for key, parameter in values(given).items():
        request.modelParameters[key].CopyFrom(parameter)
    merged = merge_parameters(ask_of(request)[1])
    assert merged.model == "m"
    return dict(merged.values)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (struct_pb2.Value(string_value="a"), "a"),
        (struct_pb2.Value(number_value=1.5), 1.5),
        (struct_pb2.Value(bool_value=True), True),
        (struct_pb2.Value(null_value=struct_pb2.NULL_VALUE), None),
        (struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=1)}), {"a": 1}),
        (struct_pb2.ListValue(values=[struct_pb2.Value(string_value="a")]), ["a"]),
        (wrappers_pb2.StringValue(value='{"a": 1}'), '{"a": 1}'),
        (wrappers_pb2.BytesValue(value=b'{"a": 1}'), {"a": 1}),
        (wrappers_pb2.BytesValue(value=b"[1]"), [1]),
        (wrappers_pb2.BytesValue(value=b"0.5"), 0.5),
        (wrappers_pb2.BytesValue(value=b"plain words"), "plain words"),
        (wrappers_pb2.DoubleValue(value=0.7), 0.7),
        (wrappers_pb2.FloatValue(value=0.7), 0.7),
        (wrappers_pb2.FloatValue(value=16777216), 16777216),
        (wrappers_pb2.Int32Value(value=-7), -7),
        (wrappers_pb2.Int64Value(value=2**62), 2**62),
        (wrappers_pb2.UInt32Value(value=7), 7),
        (wrappers_pb2.UInt64Value(value=2**63), 2**63),
        (wrappers_pb2.BoolValue(value=False), False),
    ],
)
def test_every_form_of_an_any_is_read(message: Message, expected: object) -> None:
    """Whatever real clients pack becomes the JSON value that they mean."""
    assert any_to_json(packed(message)) == expected


@pytest.mark.parametrize(
    "wrapped",
    [
        packed(user("a message of ours")),
        any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Value", value=b"\xff\xff"),
        any_pb2.Any(type_url="x" * 5000),
        packed(wrappers_pb2.DoubleValue(value=float("nan"))),
        packed(wrappers_pb2.FloatValue(value=float("inf"))),
        packed(struct_pb2.Value(number_value=float("-inf"))),
        packed(wrappers_pb2.BytesValue(value=b"\xff")),
    ],
)
def test_an_any_that_holds_something_else_is_refused(wrapped: any_pb2.Any) -> None:
    """In few words, without repeating what it holds."""
    with pytest.raises(NotJsonError) as caught:
        any_to_json(wrapped)

    assert 0 < len(str(caught.value)) < 600


@given(url=some.sampled_from(["Value", "Struct", "ListValue", "FloatValue", "BytesValue"]), raw=some.binary())
def test_no_bytes_break_the_reading_of_an_any(url: str, raw: bytes) -> None:
    """Any bytes are a value, or refused with the one error for it."""
    refused = ""
    found: object = None
    try:
        found = any_to_json(any_pb2.Any(type_url=f"x/google.protobuf.{url}", value=raw))
    except NotJsonError as error:
        refused = str(error)

    assert refused or json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("given_parameters", "expected"),
    [
        ({"temperature": 1, "top_k": 3}, {}),
        ({"model.temperature": "0.5", "MODEL.Top_P": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"model.temperature": 0.1, "model.parameters": {"temperature": 0.9}}, {"temperature": 0.9}),
        ({"model.parameters": '{"top_k": 7, "note": "1"}'}, {"top_k": 7, "note": "1"}),
        ({"model.parameters": ""}, {}),
        ({"model.parameters": {"Temperature": 0.1, "temperature": 0.2}}, {"temperature": 0.2}),
        ({"model.Temperature": 0.1, "model.temperature": 0.2}, {"temperature": 0.2}),
        ({"model.stop": "a, b,,"}, {"stop": ["a", "b"]}),
        ({"model.stop": '["a,b"]'}, {"stop": ["a,b"]}),
        ({"model.stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"model.parameters": {"stop": "a,b"}}, {"stop": ["a", "b"]}),
        ({"model.metadata": '{"a": "b"}'}, {"metadata": {"a": "b"}}),
        ({"model.response_format": '{"type": "json_object"}'}, {"response_format": {"type": "json_object"}}),
        (
            {"model.n_probs": "5", "model.flag": "true", "model.word": "five"},
            {"n_probs": 5, "flag": True, "word": "five"},
        ),
        ({"model.seed": "", "model.top_p": " ", "model.other": None}, {}),
        ({"model.user": "12345"}, {"user": "12345"}),
        ({"model.id": "x", "model.": "y"}, {}),
        ({"model.Own_Name": 1}, {"Own_Name": 1}),
        # What says nothing is skipped: an endpoint would refuse the turn for it.
        ({"model.stop": []}, {}),
        ({"model.stop": "[]"}, {}),
        ({"model.stop": " , "}, {}),
        ({"model.parameters": {"stop": []}}, {}),
        ({"model.stop": ["a"], "model.parameters": {"stop": []}}, {"stop": ["a"]}),
        ({"model.stop": "\n"}, {"stop": ["\n"]}),
        ({"model.response_format": {}}, {}),
        ({"model.response_format": "{}"}, {}),
        ({"model.response_format": {"type": ""}}, {}),
        ({"model.response_format": {"type": None}}, {}),
        ({"model.parameters": {"response_format": {}}}, {}),
        ({"model.stop": "null", "model.metadata": " null ", "model.other": "null"}, {}),
        ({"model.tool_choice": "null", "model.response_format": "null", "model.temperature": "null"}, {}),
        ({"model.parameters": {"seed": "null", "metadata": None, "own": "null"}}, {"own": "null"}),
        ({"model.parameters": "null"}, {}),
        # What the contract converts is converted.
        ({"model.metadata": {"a": 5, "b": 0.5, "c": True, "d": "x"}}, {"metadata": _TEXTS}),
        ({"model.metadata": '{"a": 5, "b": 0.5, "c": true, "d": "x", "e": null}'}, {"metadata": _TEXTS}),
        ({"model.parameters": {"metadata": {"a": 5, "b": 0.5, "c": True, "d": "x"}}}, {"metadata": _TEXTS}),
        ({"model.max_tokens": 512.7}, {"max_tokens": 512}),
        ({"model.max_tokens": "512.7"}, {"max_tokens": 512}),
        ({"model.max_tokens": wrappers_pb2.DoubleValue(value=512.7)}, {"max_tokens": 512}),
        (
            {"model.parameters": {"max_completion_tokens": 512.7, "seed": "-1.9"}},
            {"max_completion_tokens": 512, "seed": -1},
        ),
        ({"model.n": 1.5, "model.top_k": 40.5, "model.top_logprobs": 2.9}, {"n": 1, "top_k": 40, "top_logprobs": 2}),
        # Without tools nobody looks at the choice of one, however it is written.
        ({"model.tool_choice": "required"}, {}),
        ({"model.tool_choice": [1]}, {}),
        ({"model.parameters": {"tool_choice": 7}}, {}),
    ],
)
def test_parameters_come_out_as_the_contract_says(
    given_parameters: dict[str, object], expected: dict[str, object]
) -> None:
    """Only `model.*`, direct ones first and `model.parameters` over them, names in any case, text converted."""
    assert parameters(given_parameters) == expected


@pytest.mark.parametrize(
    "given_parameters",
    [
        {"model.max_tokens": "many"},
        {"model.max_tokens": "1e999"},
        {"model.max_tokens": True},
        {"model.metadata": {"a": [1]}},
        {"model.metadata": "text"},
        {"model.response_format": "text"},
        {"model.stop": [1]},
    ],
)
def test_what_nobody_can_read_is_still_refused(given_parameters: dict[str, object]) -> None:
    """Only what has one meaning is converted."""
    with pytest.raises(RequestInvalid):
        parameters(given_parameters)


def test_with_tools_their_choice_counts() -> None:
    """It goes out, and a bad one is refused."""
    request = chat_request("http://x", "m", tool_choice="required")
    request.toolDefinitions.append(weather())
    assert merge_parameters(ask_of(request)[1]).values == {"tool_choice": "required"}

    request.modelParameters["model.tool_choice"].CopyFrom(value([1]))
    with pytest.raises(RequestInvalid):
        merge_parameters(ask_of(request)[1])


def test_unknown_connection_options_are_named_without_their_values() -> None:
    """Those of `connection.` only, a few, and short."""
    options = {"connection.transport": "x", "connection.turns": "y", "other": "z", "connection.retries": "secret"}
    assert unknown_options(options) == ["connection.retries"]

    many = unknown_options({f"connection.{number:03}{'x' * 200}": "" for number in range(100)})
    assert len(many) == 8
    assert all(len(name) <= 64 for name in many)


def test_a_schema_nests_and_keeps_its_order() -> None:
    """Lists of objects become JSON Schema, properties in the order of their names, whatever order the map has."""
    inner = msg.FunctionParameter(
        type="object",
        required=["n"],
        properties={"n": msg.FunctionParameterProperty(type="string", enum=["a", "b"])},
    )
    outer = msg.FunctionParameter(
        properties={
            "z": msg.FunctionParameterProperty(type="array", description="many", items=inner),
            "a": msg.FunctionParameterProperty(type="array", items=msg.FunctionParameter(type="string")),
        }
    )
    request = chat_request("http://x", "m")
    request.toolDefinitions.add(
        type="function", functionDefinition=msg.FunctionDefinition(name="f", description="d", parameters=outer)
    )
    request.toolDefinitions.add(type="function", functionDefinition=msg.FunctionDefinition(name="bare"))
    request.toolDefinitions.add(type="mcp")

    nested, bare = read(request).tools

    schema = nested.parameters
    assert bare.parameters is None
    assert schema is not None
    assert schema == {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}},
            "z": {
                "type": "array",
                "description": "many",
                "items": {
                    "type": "object",
                    "properties": {"n": {"type": "string", "enum": ["a", "b"]}},
                    "required": ["n"],
                },
            },
        },
    }
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == ["a", "z"]


def test_a_schema_has_a_bottom() -> None:
    """Nesting beyond the bound is refused instead of eating the stack."""
    schema = msg.FunctionParameter(type="string")
    for _ in range(28):
        schema = msg.FunctionParameter(properties={"x": msg.FunctionParameterProperty(type="array", items=schema)})
    request = chat_request("http://x", "m")
    request.toolDefinitions.add(
        type="function", functionDefinition=msg.FunctionDefinition(name="deep", parameters=schema)
    )

    with pytest.raises(RequestInvalid, match="levels deep"):
        read(request)


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (msg.Message(role="user"), "conversations[1]"),
        (
            msg.Message(assistant=msg.AssistantMessage(toolCalls=[msg.ToolCall(id="c")])),
            "conversations[1].assistant.toolCalls[0].function.name",
        ),
        (
            msg.Message(tool=msg.ToolMessage(tools=[msg.ToolMessage.Tool(name="f")])),
            "conversations[1].tool.tools[0].id",
        ),
    ],
)
def test_a_message_that_cannot_be_sent_is_named(message: msg.Message, path: str) -> None:
    """The violation holds the path as the client knows it."""
    request = chat_request("http://x", "m")
    request.conversations.append(message)

    with pytest.raises(RequestInvalid) as caught:
        read(request)

    assert [violation.field for violation in caught.value.violations] == [path]


def test_too_much_is_refused_before_it_is_read() -> None:
    """Values, messages and faults all have their bounds."""
    much = chat_request("http://x", "m")
    much.modelParameters["model.x"].CopyFrom(value([0] * 100_001))
    long = chat_request("http://x", "m")
    long.conversations.extend([user("a")] * 10_001)
    wrong = chat_request("http://x", "m")
    wrong.conversations.extend([msg.Message()] * 5_000)

    for request in (much, long, wrong):
        with pytest.raises(RequestInvalid) as caught:
            read(request)
        assert len(caught.value.violations) <= 32


def _kinds(kind: type[CallerError]) -> set[type[CallerError]]:
    return {kind}.union(*(_kinds(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(_kinds(CallerError), key=str))
def test_every_error_has_a_code_of_the_contract_and_words_for_people(kind: type[CallerError]) -> None:
    """No kind of failure is without both, those of the future included."""
    told = error_message(kind("what happened"))

    assert told.errorCode == code_of(kind("what happened"))
    assert told.errorCode in _CODES
    assert told.errorMessage == "what happened"
    assert told.humanMessage.endswith(".")


def test_the_codes_say_who_must_act() -> None:
    """The codes that clients decide by."""
    expected = {
        errors.RequestInvalid: 400,
        errors.CredentialInvalid: 401,
        errors.CallerUnauthenticated: 401,
        errors.ModelNotFound: 404,
        errors.FirstOutputTimeout: 408,
        errors.ConnectTimeout: 408,
        NotConfigured: 412,
        errors.QuotaExhausted: 429,
        errors.EndpointRateLimited: 429,
        errors.InternalError: 500,
        errors.ProtocolError: 502,
        errors.EndpointUnreachable: 502,
        errors.StreamCut: 502,
        errors.EndpointOverloaded: 503,
        errors.ServiceOverloaded: 503,
        errors.ServiceDraining: 503,
    }

    assert {kind: code_of(kind("")) for kind in expected} == expected
