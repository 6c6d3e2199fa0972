"""The contract of every adapter, over real gRPC and real HTTP: the same question gives the same answer through each."""

from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.sandbox.answers import UNICODE as ANSWERED_UNICODE
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.shapes import FAMILIES, SHAPES, answer_of, asking, message_of, raw_path, sent
from tests.contract.situations import ALL, HELLO, UNICODE
from tests.edge.reading import fail, listen

both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
Said = tuple[grpc.StatusCode, str]
each_shape = pytest.mark.parametrize("shape", SHAPES)


@dataclass(frozen=True)
class Expected:
    """What an answer says, in whichever shape. `usage`: input, output, cached input, reasoning."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: int = msg.FINISH_REASON_STOP
    usage: tuple[int, int, int, int] = field(default=(2, 2, 0, 0))


_WEATHER = ("weather", '{"city":"Rome"}')
_TIME = ("local_time", '{"zone":"Europe/Rome"}')
_THOUGHT = "The user wants to hear the same words again."
_WORDS = len(UNICODE.split())
_ANSWERED = ANSWERED_UNICODE * 4
EXPECTED: dict[str, Expected] = {
    "text": Expected("Hello there"),
    "rules": Expected("Hello there", usage=(6, 2, 0, 0)),
    "reasoning": Expected("Hello there word3", _THOUGHT, usage=(2, 12, 0, 9)),
    "one tool call": Expected(calls=(_WEATHER,), finish=msg.FINISH_REASON_TOOL_CALLS, usage=(3, 2, 0, 0)),
    "parallel tool calls": Expected(calls=(_WEATHER, _TIME), finish=msg.FINISH_REASON_TOOL_CALLS, usage=(3, 4, 0, 0)),
    "tool results": Expected("The tool says: 21 °C; Error: no clock", usage=(10, 8, 0, 0)),
    "structured output": Expected('{"city":"text","celsius":0}', usage=(2, 1, 0, 0)),
    "images": Expected("What is this?", usage=(3, 3, 0, 0)),
    "long unicode asked": Expected(UNICODE, usage=(_WORDS, _WORDS, 0, 0)),
    "long unicode answered": Expected(_ANSWERED, usage=(2, len(_ANSWERED.split()), 0, 0)),
    "usage": Expected("Hello there word3", usage=(100, 50, 64, 32)),
    "length": Expected("Hello there word3 word4 word5", finish=msg.FINISH_REASON_LENGTH, usage=(2, 5, 0, 0)),
    "content filter": Expected("Hello there word3", finish=msg.FINISH_REASON_CONTENT_FILTER, usage=(2, 3, 0, 0)),
    "empty": Expected("", usage=(2, 0, 0, 0)),
}
# Shapes that have a field for failure let the model read it there, not in the text.
_FAILURE_HAS_A_FIELD = Expected("The tool says: 21 °C; no clock", usage=(9, 7, 0, 0))


def expected_of(shape: str, name: str) -> Expected:
    """What the answer in a situation has to say."""
    in_a_field = name == "tool results" and FAMILIES[shape].failure_has_a_field
    return _FAILURE_HAS_A_FIELD if in_a_field else EXPECTED[name]


def test_every_situation_has_its_expectation() -> None:
    """No situation is asked without knowing what the answer has to be."""
    assert EXPECTED.keys() == ALL.keys()
    assert all(family.ends.keys() == {end.finish for end in EXPECTED.values()} for family in FAMILIES.values())


@each_shape
@both_ways
@pytest.mark.parametrize("name", ALL)
async def test_a_situation(sandbox: Sandbox, stub: ChatServiceStub, shape: str, name: str, streamed: bool) -> None:
    """The whole request is the one written down, and message, end and counts are the same through every shape."""
    model, situation = ALL[name]
    expected = expected_of(shape, name)

    answer = await answer_of(stub, asking(sandbox.url, shape, model, **situation.changes), streamed=streamed)
    said = message_of(answer)
    calls = said.pop("calls")

    assert len(sandbox.requests) == 1
    assert sent(sandbox) == situation.body(shape, model, streamed=streamed)
    assert said == {"text": expected.text, "reasoning": expected.reasoning, "refusal": ""}
    assert tuple((call["name"], call["arguments"]) for call in calls) == expected.calls
    assert len({call["id"] for call in calls} - {""}) == len(calls)
    assert answer.choices[0].finish_reason == expected.finish
    assert answer.choices[0].raw_finish_reason == FAMILIES[shape].ends[expected.finish]
    assert _counts(answer.usage) == expected.usage
    assert answer.usage.total_tokens == expected.usage[0] + expected.usage[1]
    assert answer.usage.source == msg.USAGE_SOURCE_REPORTED
    assert answer.model == model
    assert answer.response_id


def _counts(usage: Any) -> tuple[int, int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens


@each_shape
@both_ways
async def test_a_request_goes_where_the_api_has_it(
    sandbox: Sandbox, stub: ChatServiceStub, shape: str, streamed: bool
) -> None:
    """Method, path, query and headers are those of the API, and the credential's headers go with them."""
    await answer_of(stub, asking(sandbox.url, shape, "echo"), streamed=streamed)
    request = sandbox.requests[-1]

    assert (request.method, request.raw_path) == ("POST", raw_path(shape, "echo", streamed=streamed))
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == "Bearer k"
    own = {name: value for family in FAMILIES.values() for name, value in family.headers.items()}
    assert {name: request.headers[name] for name in own if name in request.headers} == FAMILIES[shape].headers


@each_shape
@both_ways
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, (grpc.StatusCode.INVALID_ARGUMENT, "ENDPOINT_REJECTED")),
        (401, (grpc.StatusCode.UNAUTHENTICATED, "ENDPOINT_UNAUTHENTICATED")),
        (429, (grpc.StatusCode.RESOURCE_EXHAUSTED, "ENDPOINT_RATE_LIMITED")),
        (500, (grpc.StatusCode.INTERNAL, "ENDPOINT_ERROR")),
        (529, (grpc.StatusCode.UNAVAILABLE, "ENDPOINT_OVERLOADED")),
    ],
)
async def test_an_error_before_the_first_output(
    sandbox: Sandbox, stub: ChatServiceStub, shape: str, streamed: bool, *, status: int, expected: Said
) -> None:
    """An endpoint's error has one meaning, in whichever JSON an API wraps it: as a reply, or as a stream's first
    event."""
    scripts = [f"http-error:status={status},message=out of luck"]
    if status != 400:  # inside a stream not every API has a word for it
        scripts.append(f"error-in-stream:after=0,status={status}")
    for script in scripts:
        request = asking(sandbox.url, shape, script)
        if streamed:
            received = await listen(stub.StreamChat(request))
            assert received.frames == []
            failure = received.failure
        else:
            failure = await fail(stub.Chat(request))

        assert failure is not None
        assert failure.said == expected, (script, failure)
        assert failure.info.metadata["api"] == shape
    assert len(sandbox.requests) == len(scripts)


@each_shape
async def test_an_error_after_the_first_output(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """What was said is delivered, and the status tells what the endpoint told."""
    received = await listen(stub.StreamChat(asking(sandbox.url, shape, "error-in-stream:after=2,status=529")))
    failure = await fail(stub.Chat(asking(sandbox.url, shape, "error-in-stream:after=2,status=529")))

    assert received.failure is not None
    assert received.text == "Hello there"
    assert "completed" not in received.kinds
    assert received.failure.said == failure.said == (grpc.StatusCode.UNAVAILABLE, "ENDPOINT_OVERLOADED")
    assert len(sandbox.requests) == 2


@each_shape
@pytest.mark.parametrize("script", ["cut", "no-end"])
async def test_a_stream_without_its_end(sandbox: Sandbox, stub: ChatServiceStub, shape: str, script: str) -> None:
    """An answer that stops without its terminal sign is never taken for a whole one, before or after output."""
    after = await listen(stub.StreamChat(asking(sandbox.url, shape, f"{script}:after=2")))
    before = await listen(stub.StreamChat(asking(sandbox.url, shape, f"{script}:after=0")))

    assert after.failure is not None
    assert before.failure is not None
    assert after.text == "Hello there"
    assert "completed" not in after.kinds
    assert after.failure.said == (grpc.StatusCode.ABORTED, "STREAM_INTERRUPTED")
    assert before.frames == []
    assert before.failure.said == (grpc.StatusCode.UNAVAILABLE, "STREAM_INTERRUPTED")


@each_shape
async def test_a_cut_whole_answer(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """Half a JSON answer is an error that may be tried again."""
    failure = await fail(stub.Chat(asking(sandbox.url, shape, "cut:after=2", **HELLO.changes)))

    assert failure.said == (grpc.StatusCode.UNAVAILABLE, "STREAM_INTERRUPTED"), failure
    assert sandbox.requests[-1].json() == HELLO.body(shape, "cut:after=2", streamed=False)


@each_shape
@both_ways
async def test_a_refusal(sandbox: Sandbox, stub: ChatServiceStub, shape: str, streamed: bool) -> None:
    """What the model says when it refuses is kept, where the API has words for it."""
    answer = await answer_of(stub, asking(sandbox.url, shape, "refusal"), streamed=streamed)
    message = answer.choices[0].message

    assert (message.text, message.refusal) == FAMILIES[shape].refusal
    if FAMILIES[shape].refusal_is_filter:
        assert answer.choices[0].finish_reason == msg.FINISH_REASON_CONTENT_FILTER
