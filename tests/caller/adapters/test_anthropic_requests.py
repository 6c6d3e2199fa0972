"""Requests of the Anthropic Messages API: the whole JSON that leaves, and what is refused before anything leaves."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import HttpRequest, ModelPage, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.apis.anthropic.adapter import ANTHROPIC_MESSAGES
from caller.errors import CallerError, EndpointUnauthenticated, NotSupportedByApi, ProtocolError, RequestInvalid
from caller.fold import Folder
from caller.messages import (
    AssistantMessage,
    AudioPart,
    DeveloperMessage,
    FilePart,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from caller.parameters import merge_parameters
from caller.provider_state import seal
from caller.verification import Model

HI = UserMessage((TextPart("hi"),))
TOOL = ToolDefinition("f", "does", {"type": "object", "properties": {"z": {}, "a": {}}})
TOOL_WIRE = {"name": "f", "description": "does", "input_schema": TOOL.parameters}


def credential(
    base_url: str = "http://127.0.0.1:1", headers: Mapping[str, str] | None = None, *, exact: bool = False
) -> Credential:
    return Credential(ApiCompatibility.ANTHROPIC_MESSAGES, base_url, headers or {"x-api-key": "k"}, exact)


def request(
    *messages: Message,
    tools: tuple[ToolDefinition, ...] = (),
    stream: bool = False,
    cred: Credential | None = None,
    **parameters: Any,
) -> HttpRequest:
    merged = merge_parameters({"model.name": "c"} | {key.replace("__", "."): parameters[key] for key in parameters})
    call = ResolvedCall(cred or credential(), merged, messages or (HI,), tools)
    return ANTHROPIC_MESSAGES.request(call, stream)


def body(*messages: Message, **kwargs: Any) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(request(*messages, **kwargs).body)
    return sent


def messages_sent(*messages: Message) -> list[Any]:
    sent: list[Any] = body(*messages)["messages"]
    return sent


def refused(*messages: Message, kind: type[CallerError] = NotSupportedByApi, **kwargs: Any) -> tuple[str, str]:
    """The field and the advice of a refusal."""
    with pytest.raises(kind) as caught:
        request(*messages, **kwargs)
    (violation,) = caught.value.violations
    return violation.field, violation.description


def test_the_shape_is_registered() -> None:
    """Credentials that name the shape get this adapter."""
    assert ADAPTERS[ApiCompatibility.ANTHROPIC_MESSAGES] is ANTHROPIC_MESSAGES


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h", "http://h/v1/messages"),
        ("http://h/v1", "http://h/v1/messages"),
        ("http://h/v1/messages?x=1", "http://h/v1/messages?x=1"),
        ("http://h/anthropic", "http://h/anthropic/v1/messages"),
        ("http://h/v1/models", "http://h/v1/messages"),
    ],
)
def test_the_url_is_joined_from_every_common_base(base: str, url: str) -> None:
    """A host, an API root and the full URL all lead to the same place."""
    assert url == request(cred=credential(base)).url


def test_an_exact_url_is_called_as_it_is() -> None:
    """The rules can be switched off."""
    assert request(cred=credential("http://h/odd", exact=True)).url == "http://h/odd"


def test_headers_name_the_version_unless_the_credential_does() -> None:
    """Authentication is the credential's alone; its headers win in any case of their names."""
    given = request(
        stream=True, cred=credential(headers={"Authorization": "Bearer k", "Anthropic-Version": "2099-01-01"})
    )

    assert request().headers == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "k",
    }
    assert given.headers == {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        "Anthropic-Version": "2099-01-01",
        "Authorization": "Bearer k",
    }
    assert (given.method, request().method) == ("POST", "POST")


def test_a_small_call_is_small() -> None:
    """Nothing is sent that was not asked for, but the count that the API demands."""
    plain = {"model": "c", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]}

    assert plain == body()
    assert plain | {"stream": True} == body(stream=True)


def test_a_whole_conversation() -> None:
    """Rules on top, neighbours merged, all results of a turn first, what is empty left out."""
    sent = body(
        SystemMessage("Be brief."),
        HI,
        UserMessage((TextPart(""), TextPart("Weather?"), ImagePart(url="https://h/a.png", detail="auto"))),
        AssistantMessage("Looking."),
        AssistantMessage(
            "\n\n",
            reasoning="not sent",
            tool_calls=(ToolCall("t1", "f", '{"z":1,"a":2}'), ToolCall("t2", "g", ""), ToolCall("t3", "g", "[1]")),
        ),
        ToolMessage("t1", "f", (TextPart("1"),)),
        UserMessage((TextPart("go on"),)),
        ToolMessage("t2", "g", (TextPart("no"),), is_error=True),
        ToolMessage("t3", "g"),
        UserMessage((TextPart(""),)),
        DeveloperMessage("Now in Italian."),
        AssistantMessage("So: "),
        tools=(TOOL,),
    )

    assert sent == {
        "model": "c",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Now in Italian."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "text", "text": "Weather?"},
                    {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"z": 1, "a": 2}},
                    {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
                    {"type": "tool_use", "id": "t3", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "1"},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
                    {"type": "tool_result", "tool_use_id": "t3"},
                    {"type": "text", "text": "go on"},
                ],
            },
            {"role": "assistant", "content": "So:"},
        ],
        "tools": [TOOL_WIRE],
    }


def test_one_rule_is_a_string_and_options_make_blocks() -> None:
    """`options` of messages, parts and tools stand in their wire objects."""
    cached: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
    tool = ToolDefinition("f", options=cached)
    sent = body(
        SystemMessage("s", options=cached),
        UserMessage((TextPart("x", options=cached),), options={"name": "n"}),
        AssistantMessage("", tool_calls=(ToolCall("t1", "f", "{}"),)),
        ToolMessage("t1", content=(TextPart("1"), TextPart("2", options=cached)), options=cached),
        tools=(tool,),
    )

    assert body(SystemMessage("s"), HI)["system"] == "s"
    assert "system" not in body(SystemMessage(""), HI)
    assert [{"type": "text", "text": "s"} | cached] == sent["system"]
    assert {"role": "user", "content": [{"type": "text", "text": "x"} | cached], "name": "n"} == sent["messages"][0]
    results = [{"type": "text", "text": "1"}, {"type": "text", "text": "2"} | cached]
    assert [{"type": "tool_result", "tool_use_id": "t1", "content": results} | cached] == sent["messages"][2]["content"]
    assert [{"name": "f", "input_schema": {"type": "object", "properties": {}}} | cached] == sent["tools"]


def test_a_refusal_of_the_past_is_sent_as_text() -> None:
    """There is no block for it; the conversation keeps what was said."""
    said = [{"type": "text", "text": "Well."}, {"type": "text", "text": "I cannot."}]

    assert messages_sent(HI, AssistantMessage(refusal="I cannot."))[1] == {"role": "assistant", "content": "I cannot."}
    assert {"role": "assistant", "content": said} == messages_sent(HI, AssistantMessage("Well.", "I cannot."))[1]


def test_pictures_and_documents_in_every_form() -> None:
    """URLs stay URLs, data URLs and bytes become base64, plain text its characters, ids references."""
    (message,) = messages_sent(
        UserMessage(
            (
                ImagePart(data=b"\x89PNG", media_type="image/png"),
                ImagePart(url="data:image/gif;base64,R0lG"),
                FilePart(data=b"%PDF", media_type="application/pdf", filename="a.pdf"),
                FilePart(url="https://h/b.pdf"),
                FilePart(url="data:application/pdf;base64,JVBERg=="),
                FilePart(data="è".encode(), media_type="text/markdown"),
                FilePart(file_id="file_1"),
                FilePart(file_id="file_2", media_type="image/png"),
                FilePart(data=b"\x89PNG", media_type="image/png"),
            )
        )
    )

    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    png = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    assert [
        {"type": "image", "source": png},
        {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
        {"type": "document", "source": pdf, "title": "a.pdf"},
        {"type": "document", "source": {"type": "url", "url": "https://h/b.pdf"}},
        {"type": "document", "source": pdf},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "è"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_2"}},
        {"type": "image", "source": png},
    ] == message["content"]


def test_a_tool_may_answer_with_a_picture() -> None:
    """Results carry blocks."""
    call = AssistantMessage("", tool_calls=(ToolCall("t1", "f", "{}"),))
    sent = messages_sent(HI, call, ToolMessage("t1", content=(TextPart("see"), ImagePart(url="https://h/a.png"))))

    picture = {"type": "image", "source": {"type": "url", "url": "https://h/a.png"}}
    assert [{"type": "text", "text": "see"}, picture] == sent[2]["content"][0]["content"]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (AudioPart(b"x", "wav"), "audio"),
        (ImagePart(url="https://h/a.png", detail="low"), "image.detail"),
        (ImagePart(url="data:image/png,%89"), "image.url"),
        (ImagePart(data=b"x"), "image.media_type"),
        (FilePart(data=b"x", media_type="application/zip"), "file.media_type"),
        (FilePart(url="https://h/a.txt", media_type="text/plain"), "file.url"),
        (FilePart(data=b"\xff", media_type="text/plain"), "file.data"),
        (FilePart(data=b"x", media_type="image/png", filename="a.png"), "file.filename"),
    ],
)
def test_parts_that_cannot_be_carried_are_refused_by_name(part: Any, field: str) -> None:
    """The field's path stands in the refusal, for users and for tools."""
    tool = ToolMessage("t1", content=(part,))

    assert f"messages[1].user.content[1].{field}" == refused(HI, UserMessage((TextPart("x"), part)))[0]
    assert f"messages[1].tool.content[0].{field}" == refused(HI, tool)[0]


def test_a_conversation_of_rules_only_is_refused() -> None:
    """The API answers somebody."""
    assert refused(SystemMessage("Be brief."))[0] == "messages"


@pytest.mark.parametrize("style", ["{}", "model__{}"])
@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("temperature", 0.4, {"temperature": 0.4}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("top_k", 20, {"top_k": 20}),
        ("max_tokens", 7, {"max_tokens": 7}),
        ("max_completion_tokens", 8, {"max_tokens": 8}),
        ("max_output_tokens", 9.0, {"max_tokens": 9}),
        ("stop", ["a", "b"], {"stop_sequences": ["a", "b"]}),
        ("stop", "a", {"stop_sequences": ["a"]}),
        ("reasoning_effort", "high", {"output_config": {"effort": "high"}}),
        ("user", "u", {"metadata": {"user_id": "u"}}),
        ("metadata", {"user_id": "v"}, {"metadata": {"user_id": "v"}}),
        ("service_tier", "auto", {"service_tier": "auto"}),
        ("response_format", {"type": "text"}, {}),
        ("tool_choice", "auto", {}),
        ("parallel_tool_calls", False, {}),
        ("thinking", {"type": "disabled"}, {"thinking": {"type": "disabled"}}),
    ],
)
def test_each_parameter_has_its_own_place(style: str, name: str, value: Any, sent: dict[str, Any]) -> None:
    """Both spellings of every known parameter, and unknown ones, checked on the whole body."""
    plain = {"model": "c", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]}

    assert plain | sent == body(**{style.format(name): value})
    assert plain | sent == body(model__parameters={name: value})


@pytest.mark.parametrize(
    "name",
    [
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "n",
        "verbosity",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "store",
    ],
)
def test_parameters_that_the_api_lacks_are_refused(name: str) -> None:
    """Given directly they are refused by name; inside model.parameters they go out as they are."""
    value: Any = {"verbosity": "low", "logprobs": True, "store": True, "logit_bias": {"1": 2}}.get(name, 1)

    assert f'model_parameters["model.{name}"]' == refused(**{f"model__{name}": value})[0]
    assert value == body(model__parameters={name: value})[name]


def test_the_more_specific_count_wins_and_thinking_makes_room() -> None:
    """Of three names for one number one is sent; the default leaves room for a thinking budget."""
    assert body(max_tokens=1, max_completion_tokens=2, max_output_tokens=3)["max_tokens"] == 3
    assert body(max_tokens=1, max_completion_tokens=2)["max_tokens"] == 2
    thinking = {"type": "enabled", "budget_tokens": 8000}
    assert body(thinking=thinking)["max_tokens"] == 12096
    assert body(thinking=thinking, max_tokens=9000)["max_tokens"] == 9000


def test_user_and_metadata_meet() -> None:
    """Both stand in one object; metadata's own user_id says more."""
    assert body(user="u", metadata={"team": "t"})["metadata"] == {"user_id": "u", "team": "t"}
    assert body(user="u", metadata={"user_id": "v"})["metadata"] == {"user_id": "v"}


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"tool_choice": {"type": "tool", "name": "f"}}, {"type": "tool", "name": "f"}),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_tool_choice_in_every_form(parameters: dict[str, Any], sent: Any) -> None:
    """The common words become the API's objects; without tools nothing is sent."""
    assert sent == body(tools=(TOOL,), **parameters).get("tool_choice")
    assert "tool_choice" not in body(**parameters)


def test_an_unknown_word_for_tool_choice_is_refused() -> None:
    """Also without tools: it is a mistake in any case."""
    assert refused(tool_choice="maybe", kind=RequestInvalid)[0] == 'model_parameters["tool_choice"]'


def test_tools_in_every_form() -> None:
    """Schemas keep the order of their keys; strict has its field; a tool that the endpoint runs has no schema."""
    search = ToolDefinition("web_search", options={"type": "web_search_20250305", "max_uses": 2})
    tools = (TOOL, ToolDefinition("g", strict=True), ToolDefinition("h", parameters={"properties": {"a": {}}}), search)

    sent = body(tools=tools)["tools"]

    assert sent == [
        TOOL_WIRE,
        {"name": "g", "input_schema": {"type": "object", "properties": {}}, "strict": True},
        {"name": "h", "input_schema": {"type": "object", "properties": {"a": {}}}},
        {"name": "web_search", "type": "web_search_20250305", "max_uses": 2},
    ]
    assert list(sent[0]["input_schema"]["properties"]) == ["z", "a"]


def test_a_json_schema_is_carried_in_its_order() -> None:
    """Given as JSON text, the schema reaches the endpoint as it was written, beside other output settings."""
    schema = '{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}}}'
    wanted = f'{{"type":"json_schema","json_schema":{{"name":"n","strict":true,"schema":{schema}}}}}'

    sent = request(response_format=wanted, reasoning_effort="low").body.decode()

    assert {"effort": "low", "format": {"type": "json_schema", "schema": json.loads(schema)}} == json.loads(sent)[
        "output_config"
    ]
    assert schema in sent


def test_the_description_of_a_schema_goes_with_it() -> None:
    """The API has one place for it: the schema."""
    inner = {"name": "n", "description": "d", "schema": {"type": "object"}}

    sent = body(response_format={"type": "json_schema", "json_schema": inner})

    assert sent["output_config"]["format"]["schema"] == {"type": "object", "description": "d"}


def test_json_without_a_schema_is_refused() -> None:
    """There is no such mode; the refusal says what to give instead."""
    field, advice = refused(response_format={"type": "json_object"})

    assert field == 'model_parameters["response_format"]'
    assert "json_schema" in advice
    assert refused(response_format={"type": "xml"}, kind=RequestInvalid)[0] == 'model_parameters["response_format"]'


STATE = [
    {"type": "thinking", "thinking": "hm \U0001d11e", "signature": "Eq/+=="},
    {"type": "redacted_thinking", "data": "gA=="},
    {"type": "text", "text": "\n\n"},
    {"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {"z": 1, "a": 2}},
]


def test_state_is_returned_byte_exact() -> None:
    """An unchanged message goes back as the blocks it consisted of, and its results name the ids it had."""
    wire = json.dumps({"content": STATE, "stop_reason": "tool_use"}).encode()
    call = ResolvedCall(credential(), merge_parameters({"model.name": "c"}), (HI,))
    folder = Folder(1000)
    for event in ANTHROPIC_MESSAGES.decoder(call).whole(wire):
        folder.feed(event)
    said = folder.completion().choices[0].message

    sent = messages_sent(HI, said, ToolMessage("functions.f:0", content=(TextPart("1"),)))

    assert [STATE[0], STATE[1], STATE[3]] == sent[1]["content"]
    assert '{"z":1,"a":2}' in request(HI, said).body.decode()
    assert sent[2]["content"] == [{"type": "tool_result", "tool_use_id": "functions.f:0", "content": "1"}]


def test_changed_and_foreign_state_is_left_out() -> None:
    """A message that was edited, or that another shape made, is built from its fields; reasoning stays behind."""
    calls = (ToolCall("functions.f:0", "f", "{}"),)
    content: dict[str, Any] = {"content": STATE}
    rebuilt = [
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {}},
    ]

    for shape, text in (("anthropic_messages", "other"), ("gemini_generate_content", "x")):
        state = seal(shape, content, text, calls)
        message = AssistantMessage("x", reasoning="hm", tool_calls=calls, provider_state=state)
        sent = messages_sent(HI, message, ToolMessage("functions.f:0"))
        assert rebuilt == sent[1]["content"]
        assert sent[2]["content"] == [{"type": "tool_result", "tool_use_id": "functions_f_0"}]


def test_nothing_of_the_call_is_changed() -> None:
    """A call that is sent twice is the same call: values that were merged belong to the request alone."""
    tool = ToolDefinition("f", options={"input_schema": {"properties": {"x": {}}}})
    choice = {"type": "tool", "name": "f"}

    first = request(tools=(tool,), tool_choice=choice, parallel_tool_calls=False, metadata={"user_id": "u"})

    assert choice == {"type": "tool", "name": "f"}
    assert (
        first.body
        == request(tools=(tool,), tool_choice=choice, parallel_tool_calls=False, metadata={"user_id": "u"}).body
    )
    assert body(tools=(ToolDefinition("g"),))["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


def test_models_are_read_page_by_page() -> None:
    """Each page names the next one, until there is none."""
    first = ANTHROPIC_MESSAGES.models_request(credential("http://h/v1/messages"), "")
    second = ANTHROPIC_MESSAGES.models_request(credential("http://h"), "c 1")
    page = {
        "data": [{"type": "model", "id": "c1", "display_name": "C", "created_at": "t"}],
        "has_more": True,
        "last_id": "c1",
    }

    assert (first.method, first.url) == ("GET", "http://h/v1/models?limit=1000")
    assert second.url == "http://h/v1/models?limit=1000&after_id=c+1"
    assert first.headers == {"Accept": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "k"}
    c1 = Model("c1", "", {"display_name": "C", "created_at": "t"})
    assert ModelPage((c1,), "c1") == ANTHROPIC_MESSAGES.decode_models(json.dumps(page).encode())
    assert ModelPage((c1,), "c1") == ANTHROPIC_MESSAGES.decode_models(json.dumps(page | {"last_id": None}).encode())
    assert ModelPage((c1,)) == ANTHROPIC_MESSAGES.decode_models(json.dumps(page | {"has_more": False}).encode())
    assert ModelPage(()) == ANTHROPIC_MESSAGES.decode_models(b'{"data": [], "has_more": true, "last_id": "x"}')


def test_an_openai_model_list_is_understood() -> None:
    """Gateways list models in that form whatever shape they are asked in."""
    listed = b'{"object":"list","data":[{"id":"m","object":"model","owned_by":"o","type":"chat"}]}'

    assert ModelPage((Model("m", "o", {"type": "chat"}),)) == ANTHROPIC_MESSAGES.decode_models(listed)
    with pytest.raises(ProtocolError):
        ANTHROPIC_MESSAGES.decode_models(b"{}")
    with pytest.raises(EndpointUnauthenticated):
        ANTHROPIC_MESSAGES.decode_models(b'{"type":"error","error":{"type":"authentication_error","message":"no"}}')
