"""What leaves the process for `openai_responses`: the whole JSON, the URL, the headers."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from caller.credentials import ApiCompatibility
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.apis.responses.adapter import OPENAI_RESPONSES
from caller.errors import NotSupportedByApi, RequestInvalid
from caller.json_types import JsonObject, JsonValue
from caller.messages import (
    AssistantMessage,
    AudioPart,
    DeveloperMessage,
    FilePart,
    ImagePart,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from tests.caller.adapters.responses_wire import HELLO, a_call, sent

WEATHER = ToolDefinition(
    "weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}}
)
MINIMAL: dict[str, Any] = {"model": "m", "input": [{"role": "user", "content": "hello"}], "store": False}


def test_it_is_one_of_the_adapters() -> None:
    """The shape's name in a credential finds this adapter."""
    assert ADAPTERS[ApiCompatibility.OPENAI_RESPONSES] is OPENAI_RESPONSES


def test_a_plain_question_is_a_model_and_its_input() -> None:
    """Nothing is sent that was not asked for, but `store: false`, which is documented."""
    assert sent(a_call()) == MINIMAL
    assert sent(a_call(), stream=True) == {**MINIMAL, "stream": True}


def test_every_kind_of_message_and_part_has_its_item() -> None:
    """System and developer keep their roles, parts their names, calls and results become items of their own."""
    messages = (
        SystemMessage("Be brief."),
        DeveloperMessage("Use tools.", {"type": "message"}),
        UserMessage(
            (
                TextPart("Look:", {"x": 1}),
                ImagePart(url="https://h/i.png", detail="low"),
                ImagePart(data=b"\x00", media_type="image/png"),
                FilePart(file_id="f1"),
                FilePart(url="https://h/d.pdf"),
                FilePart(data=b"%", media_type="application/pdf", filename="d.pdf"),
                FilePart(url="data:text/plain;base64,QQ=="),
            )
        ),
        AssistantMessage("Hm.", refusal="No.", reasoning="kept to itself", tool_calls=(ToolCall("c1", "weather", ""),)),
        ToolMessage("c1", "weather", (TextPart("21"), TextPart(" °C"))),
        ToolMessage("c2", content=(TextPart("broken"),), is_error=True),
        ToolMessage("c3", content=(ImagePart(url="https://h/map.png"),), is_error=True),
        AssistantMessage("Done.", options={"phase": "final_answer"}),
        AssistantMessage(),
    )
    assert sent(a_call(messages=messages))["input"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Use tools.", "type": "message"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look:", "x": 1},
                {"type": "input_image", "image_url": "https://h/i.png", "detail": "low"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
                {"type": "input_file", "file_id": "f1"},
                {"type": "input_file", "file_url": "https://h/d.pdf"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,JQ==", "filename": "d.pdf"},
                {"type": "input_file", "file_data": "data:text/plain;base64,QQ=="},
            ],
        },
        {
            "type": "message",
            "id": "msg_3",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "Hm.", "annotations": []},
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "21 °C"},
        {"type": "function_call_output", "call_id": "c2", "output": "Error: broken"},
        {
            "type": "function_call_output",
            "call_id": "c3",
            "output": [
                {"type": "input_text", "text": "Error: "},
                {"type": "input_image", "image_url": "https://h/map.png", "detail": "auto"},
            ],
        },
        {
            "type": "message",
            "id": "msg_7",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Done.", "annotations": []}],
            "phase": "final_answer",
        },
        {
            "type": "message",
            "id": "msg_8",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "", "annotations": []}],
        },
    ]


def test_options_of_a_message_without_text_go_to_its_first_call() -> None:
    """An assistant's options reach the wire even when it said nothing."""
    message = AssistantMessage(tool_calls=(ToolCall("c1", "f", "{}"),), options={"x": 1})
    assert sent(a_call(messages=(message,)))["input"] == [
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "x": 1}
    ]


def test_sound_is_refused_by_its_path() -> None:
    """What the shape has no part for never leaves, and the refusal names the field."""
    messages = (SystemMessage("s"), UserMessage((TextPart("t"), AudioPart(b"\x00", "wav"))))
    with pytest.raises(NotSupportedByApi) as refused:
        OPENAI_RESPONSES.request(a_call(messages=messages), False)
    assert [violation.field for violation in refused.value.violations] == ["messages[1].user.content[1].audio"]
    with pytest.raises(NotSupportedByApi, match=r"^messages\[0\]\.tool\.content\[0\]\.audio: "):
        OPENAI_RESPONSES.request(a_call(messages=(ToolMessage("c", content=(AudioPart(b"", "wav"),)),)), False)


ENCRYPTED = {"include": ["reasoning.encrypted_content"]}
LOGGED = {"include": ["message.output_text.logprobs"]}
SCHEMA: JsonObject = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}}
ROWS: list[tuple[str, JsonValue, dict[str, Any]]] = [
    ("temperature", 0.5, {"temperature": 0.5}),
    ("top_p", 0.9, {"top_p": 0.9}),
    ("max_output_tokens", 16, {"max_output_tokens": 16}),
    ("max_completion_tokens", 16, {"max_output_tokens": 16}),
    ("max_tokens", 16.0, {"max_output_tokens": 16}),
    ("store", True, {"store": True}),
    ("store", False, {"store": False}),
    ("response_format", {"type": "text"}, {"text": {"format": {"type": "text"}}}),
    ("response_format", {"type": "json_object"}, {"text": {"format": {"type": "json_object"}}}),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": True}},
        {
            "text": {
                "format": {"type": "json_schema", "name": "n", "description": "d", "schema": SCHEMA, "strict": True}
            }
        },
    ),
    (
        "response_format",
        {"type": "json_schema", "schema": SCHEMA},
        {"text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}},
    ),
    ("reasoning_effort", "low", {"reasoning": {"effort": "low"}, **ENCRYPTED}),
    ("service_tier", "flex", {"service_tier": "flex"}),
    ("user", "u-1", {"user": "u-1"}),
    ("metadata", {"k": "v"}, {"metadata": {"k": "v"}}),
    ("top_logprobs", 2, {"top_logprobs": 2, **LOGGED}),
    ("logprobs", True, LOGGED),
    ("logprobs", False, {}),
    ("parallel_tool_calls", False, {"parallel_tool_calls": False}),
    ("verbosity", "low", {"text": {"verbosity": "low"}}),
    ("truncation", "auto", {"truncation": "auto"}),
    ("prompt_cache_key", "k", {"prompt_cache_key": "k"}),
]


@pytest.mark.parametrize("spelling", ["{}", "model.{}", "model.parameters"])
@pytest.mark.parametrize(("name", "value", "expected"), ROWS)
def test_each_parameter_has_its_place(name: str, value: JsonValue, expected: dict[str, Any], spelling: str) -> None:
    """Every documented parameter, in all three spellings, stands where the API wants it."""
    given: JsonObject = {spelling: {name: value}} if spelling == "model.parameters" else {spelling.format(name): value}
    assert sent(a_call(given)) == {**MINIMAL, **expected}


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({"max_tokens": 1, "max_completion_tokens": 2, "max_output_tokens": 3}, 3),
        ({"max_completion_tokens": 2, "max_tokens": 1}, 2),
    ],
)
def test_of_several_limits_the_more_specific_one_wins(given: JsonObject, limit: int) -> None:
    """Three names of one limit make one field."""
    assert sent(a_call(given)) == {**MINIMAL, "max_output_tokens": limit}


REFUSED = ["stop", "seed", "n", "top_k", "frequency_penalty", "presence_penalty", "logit_bias"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_api_lacks_is_refused_or_sent_as_it_is(name: str) -> None:
    """A known parameter without a place is refused by its path, unless it was given to be sent verbatim."""
    value: JsonValue = {"50256": -100} if name == "logit_bias" else ["END"] if name == "stop" else 1
    with pytest.raises(NotSupportedByApi) as refused:
        OPENAI_RESPONSES.request(a_call({f"model.{name}": value}), False)
    assert [violation.field for violation in refused.value.violations] == [f'model_parameters["model.{name}"]']
    assert sent(a_call({"model.parameters": {name: value}})) == {**MINIMAL, name: value}


def test_parameters_of_the_apis_own_meet_ours_by_merging() -> None:
    """`reasoning.summary` and `text.verbosity` given as objects stand beside what we put there."""
    given: JsonObject = {
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "model.parameters": {"reasoning": {"summary": "auto"}, "text": {"verbosity": "low"}},
    }
    assert sent(a_call(given)) == {
        **MINIMAL,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        **ENCRYPTED,
    }


def test_a_request_leaves_the_call_as_it_was() -> None:
    """Asking twice sends the same bytes: merging never writes into what the caller gave."""
    call = a_call({"response_format": {"type": "json_object"}, "model.parameters": {"text": {"format": {"x": 1}}}})
    assert OPENAI_RESPONSES.request(call, False).body == OPENAI_RESPONSES.request(call, False).body
    assert call.parameters.values["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"reasoning_effort": "low", "store": True}, None),
        ({"model.parameters": {"reasoning": {"summary": "auto"}}}, ["reasoning.encrypted_content"]),
        (
            {"reasoning_effort": "low", "logprobs": True, "model.parameters": {"include": ["a", "b"]}},
            ["a", "b", "message.output_text.logprobs", "reasoning.encrypted_content"],
        ),
        (
            {"reasoning_effort": "low", "model.parameters": {"include": ["reasoning.encrypted_content"]}},
            ["reasoning.encrypted_content"],
        ),
    ],
)
def test_encrypted_reasoning_is_asked_for_where_it_can_be_given(given: JsonObject, expected: list[str] | None) -> None:
    """Only of a model that is known to reason, only where nothing is stored, and beside what the caller included."""
    assert sent(a_call(given)).get("include") == expected


def test_encrypted_reasoning_is_not_asked_for_where_it_cannot_come_back() -> None:
    """A contract without room for it gets none that nobody asked for; what was asked for stays."""
    reasons: JsonObject = {"reasoning_effort": "low"}
    given: JsonObject = {**reasons, "model.parameters": {"include": ["reasoning.encrypted_content"]}}

    assert "include" not in sent(replace(a_call(reasons), returns_state=False))
    assert sent(replace(a_call(given), returns_state=False))["include"] == ["reasoning.encrypted_content"]


def test_what_the_endpoint_refused_before_is_left_out() -> None:
    """Fields that we add by ourselves go when an endpoint is known to refuse them; those asked for stay."""
    omitted = frozenset({"store", "include"})
    assert sent(a_call({"reasoning_effort": "low"}, omitted=omitted)) == {
        "model": "m",
        "input": MINIMAL["input"],
        "reasoning": {"effort": "low"},
    }
    asked = sent(a_call({"store": False, "top_logprobs": 1}, omitted=omitted))
    assert asked == {**MINIMAL, "top_logprobs": 1, **LOGGED}


def test_what_is_added_is_named_so_that_a_refusal_can_be_learned() -> None:
    """An endpoint that refuses a field of ours is asked again without it; one that was asked for is the client's."""
    reasons: JsonObject = {"reasoning_effort": "low"}
    omitted = frozenset({"store", "include"})
    first = OPENAI_RESPONSES.request(a_call(reasons), False)
    again = OPENAI_RESPONSES.request(a_call(reasons, omitted=omitted), False)
    given = OPENAI_RESPONSES.request(a_call({"store": False}), False)

    assert (first.added, first.left_out) == (omitted, frozenset())
    assert (again.added, again.left_out) == (frozenset(), omitted)
    assert (given.added, given.left_out) == (frozenset(), frozenset())


def test_tools_are_flat_and_not_strict_unless_asked() -> None:
    """Left out, `strict` would mean true in this API and make optional arguments required."""
    tools = (
        WEATHER,
        ToolDefinition("now", strict=True),
        ToolDefinition("odd", strict=False, options={"type": "custom", "format": {"type": "text"}}),
    )
    assert sent(a_call(tools=tools))["tools"] == [
        {
            "type": "function",
            "name": "weather",
            "description": "Tells the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            "strict": False,
        },
        {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}, "strict": True},
        {
            "type": "custom",
            "name": "odd",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
            "format": {"type": "text"},
        },
    ]


def test_schemas_keep_the_order_of_their_keys() -> None:
    """Models follow the order in which properties are written."""
    schema = '{"type":"object","properties":{"z":{},"a":{},"m":{}},"required":["z"]}'
    tool = ToolDefinition("f", parameters=json.loads(schema))
    format_ = '{"type":"json_schema","json_schema":{"name":"n","schema":' + schema + "}}"
    body = OPENAI_RESPONSES.request(a_call({"response_format": format_}, tools=(tool,)), False).body.decode()
    assert body.count(schema) == 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ("none", "none"),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "function", "name": "weather"}),
        ({"type": "function", "name": "weather"}, {"type": "function", "name": "weather"}),
        ('{"type":"web_search"}', {"type": "web_search"}),
    ],
)
def test_tool_choice_goes_with_tools_only(given: JsonValue, expected: JsonValue) -> None:
    """The choice has this API's form, and without tools it is dropped, as documented."""
    assert sent(a_call({"tool_choice": given}, tools=(WEATHER,)))["tool_choice"] == expected
    assert sent(a_call({"tool_choice": given})) == MINIMAL


@pytest.mark.parametrize(
    "given",
    [{"tool_choice": "sometimes"}, {"response_format": {"type": "xml"}}, {"response_format": {"type": "json_schema"}}],
)
def test_unreadable_parameters_are_refused(given: JsonObject) -> None:
    """A word or a format that no endpoint knows is the asker's fault, named by its path."""
    with pytest.raises(RequestInvalid, match=r'^model_parameters\["(tool_choice|response_format)"\]: '):
        OPENAI_RESPONSES.request(a_call(given), False)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:1", "http://h:1/v1/"),
        ("http://h:1/v1/", "http://h:1/v1/"),
        ("http://h:1/v1/responses", "http://h:1/v1/"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1/"),
        ("http://h:1/v1/models", "http://h:1/v1/"),
        ("http://h:1/openai/v1?api-version=2", "http://h:1/openai/v1/?api-version=2"),
    ],
)
def test_the_base_url_may_be_typed_in_many_ways(base: str, url: str) -> None:
    """Whatever part of the URL was pasted, both operations are found."""
    root, _, query = url.partition("?")
    tail = f"?{query}" if query else ""
    call = a_call(base_url=base)
    assert OPENAI_RESPONSES.request(call, False).url == f"{root}responses{tail}"
    models = OPENAI_RESPONSES.models_request(call.credential, "")
    assert (models.method, models.url, models.body) == ("GET", f"{root}models{tail}", b"")


def test_the_credentials_headers_win() -> None:
    """The caller's headers go out as they are, ours only where there is none of the name."""
    request = OPENAI_RESPONSES.request(a_call(), True)
    assert (request.method, dict(request.headers)) == (
        "POST",
        {
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json",
            "Authorization": "Bearer k",
        },
    )
    models = OPENAI_RESPONSES.models_request(replace(a_call().credential, headers={"accept": "a/b"}), "")
    assert dict(models.headers) == {"accept": "a/b"}


def test_an_exact_url_is_called_as_it_is() -> None:
    """Where the credential says so, nothing is added to the URL."""
    call = a_call()
    call = replace(call, credential=replace(call.credential, base_url="http://h/ask?k=1", exact_url=True))
    assert OPENAI_RESPONSES.request(call, False).url == "http://h/ask?k=1"


def test_a_model_list_is_read() -> None:
    """The list has OpenAI's form."""
    page = OPENAI_RESPONSES.decode_models(b'{"object":"list","data":[{"id":"m","owned_by":"o","created":1}]}')
    assert [(model.id, model.owned_by, model.provider_fields) for model in page.models] == [("m", "o", {"created": 1})]
    assert page.next == ""


def test_the_conversation_is_the_input() -> None:
    """Two questions in a row stay two items."""
    assert sent(a_call(messages=HELLO * 2))["input"] == [{"role": "user", "content": "hello"}] * 2
