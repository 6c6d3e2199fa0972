"""Any request and any script: the sandbox answers or refuses, in every API's form."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration_api.sandbox import SCRIPTS
from integration_api.sandbox.api_format import ApiFormat, RawRequest
from integration_api.sandbox.builders import build
from integration_api.sandbox.building import Context
from integration_api.sandbox.check import Fields, RefusedError
from integration_api.sandbox.formats import FORMATS as SANDBOX_FORMATS
from integration_api.sandbox.scenario import Scenario
from integration_api.sandbox.schema import sample
from integration_api.sandbox.wire import dump
from tests.sandbox.sandbox_client import FORMS, receive, request

FORMATS: dict[str, ApiFormat] = {each.name: each for each in SANDBOX_FORMATS}
HEADERS = {"anthropic-version": "2023-06-01"}

# Words that the forms look for, so that a mutation reaches deep into the checks.
# fmt: off
WORDS = [
    "model", "messages", "input", "contents", "parts", "role", "content", "text", "type", "user", "assistant",
    "tool", "tool_calls", "id", "function", "name", "arguments", "call_id", "tool_call_id", "tool_use",
    "tool_use_id", "tool_result", "function_call", "function_call_output", "output", "reasoning", "signature",
    "thinking", "thoughtSignature", "functionCall", "functionResponse", "args", "response", "stream",
    "stream_options", "tools", "schema", "response_format", "json_schema", "generationConfig", "responseSchema",
    "responseMimeType", "application/json", "echo", "structured", "n", "properties", "items", "anyOf", "allOf",
    "$ref", "#", "minItems", "multipleOf", "minimum", "required", "OBJECT", "array", "integer", "max_tokens",
]
# fmt: on
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(WORDS) | st.text()
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=5),
    max_leaves=20,
)


def mutated(value: Any, change: Any, data: st.DataObject) -> Any:
    """The value with something inside it replaced."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return value | {key: mutated(value[key], change, data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], mutated(value[at], change, data), *value[at + 1 :]]
    if isinstance(value, dict):
        return value | {data.draw(st.sampled_from(WORDS)): change}
    return change


@pytest.mark.parametrize("name", FORMS)
@given(change=JSON, data=st.data(), stream=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_request_is_answered_or_refused(name: str, change: Any, data: st.DataObject, stream: bool) -> None:
    """Whatever the JSON, a request ends in an answer that can be written or in a refusal with a text."""
    form = FORMATS[name]
    _, body = request(name, "structured", stream=stream)
    body = mutated(body, change, data)
    try:
        ask = form.read(RawRequest(Fields(body), HEADERS, {"alt": "sse"}, "structured", stream))
    except RefusedError as refused:
        fault = refused.http_error
    else:
        reply = build(Context(ask, 0, 0.5))
        assert isinstance(reply, Scenario)
        json.loads(dump(form.whole(ask, reply)))
        assert all(isinstance(wire, bytes) for wire in form.stream(ask, reply))
        return
    assert fault.message
    assert json.loads(dump(form.error(fault)))["error"]


@given(schema=JSON)
@settings(max_examples=300, deadline=None)
def test_any_schema_has_a_sample(schema: Any) -> None:
    """A sample is JSON of a bounded size, whatever is given as a schema."""
    text = json.dumps(sample(schema), allow_nan=False)
    assert len(text) < 10_000_000


@pytest.mark.parametrize("name", FORMS)
@given(prompt=st.text(min_size=1), stream=st.booleans())
@settings(max_examples=150, deadline=None)
def test_an_echo_is_exact(name: str, prompt: str, stream: bool) -> None:
    """Every text comes back as it was, half surrogate pairs included."""
    form = FORMATS[name]
    _, body = request(name, "echo", stream=stream, prompt=prompt)
    ask = form.read(RawRequest(Fields(body), HEADERS, {"alt": "sse"}, "echo", stream))
    reply = build(Context(ask, 0, 0.5))
    assert isinstance(reply, Scenario)
    if stream:
        raw = b"".join(wire for wire in form.stream(ask, reply) if isinstance(wire, bytes))
    else:
        raw = dump(form.whole(ask, reply)).encode("utf-8", "backslashreplace")
    assert receive(name, raw, stream=stream).text == prompt


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("rng", [0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 0.999])
def test_every_script_can_be_written_in_every_form(name: str, rng: float) -> None:
    """No script meets a step that a form cannot write."""
    form = FORMATS[name]
    for script in SCRIPTS:
        for stream in (False, True):
            _, body = request(name, script, stream=stream)
            ask = form.read(RawRequest(Fields(body), HEADERS, {"alt": "sse"}, script, stream))
            reply = build(Context(ask, 0, rng))
            if isinstance(reply, Scenario):
                assert form.whole(ask, reply)
                assert list(form.stream(ask, reply)), script
