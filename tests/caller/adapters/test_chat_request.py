"""What leaves for Chat Completions: always checked on the whole JSON body."""

import base64
import json
from typing import Any

import pytest

from caller.credentials import parse_credential
from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis.chat_completions.adapter import OPENAI_CHAT_COMPLETIONS, OPENAI_COMPATIBLE
from caller.custom_llm.apis.chat_completions.state import STATE_SHAPE
from caller.errors import CallerError, NotSupportedByApi, RequestInvalid
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
from tests.recordings_reader import receive

BOTH = pytest.mark.parametrize("adapter", [OPENAI_CHAT_COMPLETIONS, OPENAI_COMPATIBLE], ids=lambda it: it.api.value)
HI = UserMessage((TextPart("Hi"),))
HI_WIRE = {"role": "user", "content": "Hi"}
TOOL = ToolDefinition("weather", "Tells it", {"type": "object", "properties": {"z": {}, "a": {}}})
TOOL_WIRE = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells it",
        "parameters": {"type": "object", "properties": {"z": {}, "a": {}}},
    },
}


def request(
    *messages: Message,
    adapter: Any = OPENAI_COMPATIBLE,
    stream: bool = False,
    tools: tuple[ToolDefinition, ...] = (),
    credential: dict[str, Any] | None = None,
    omitted: frozenset[str] = frozenset(),
    **parameters: Any,
) -> HttpRequest:
    raw = {"apiCompatibility": adapter.api.value, "baseUrl": "http://127.0.0.1:8000/v1"} | (credential or {})
    call = ResolvedCall(
        parse_credential(raw),
        merge_parameters({"model.name": "m", **parameters}),
        messages or (HI,),
        tools,
        demands=dict.fromkeys(omitted, ""),
    )
    made: HttpRequest = adapter.request(call, stream)
    return made


def body(*messages: Message, **given: Any) -> Any:
    return json.loads(request(*messages, **given).body)


def sent(*messages: Message, **given: Any) -> Any:
    found = body(*messages, **given)
    assert set(found) == {"model", "messages"}
    return found["messages"]


# -- the envelope ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_plain_chat(adapter: Any) -> None:
    """Nothing is sent that nobody asked for."""
    made = request(adapter=adapter)

    assert (made.method, made.url) == ("POST", "http://127.0.0.1:8000/v1/chat/completions")
    assert made.headers == {"Content-Type": "application/json", "Accept": "application/json"}
    assert json.loads(made.body) == {"model": "m", "messages": [HI_WIRE]}


@BOTH
def test_a_stream_asks_for_its_usage(adapter: Any) -> None:
    """A stream has `stream` and asks for the usage behind its end."""
    made = request(adapter=adapter, stream=True)

    assert made.headers["Accept"].startswith("text/event-stream")
    assert json.loads(made.body) == {
        "model": "m",
        "messages": [HI_WIRE],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_stream_options_that_were_asked_for_are_kept() -> None:
    """The caller's own word on them is the last, refused or not."""
    options = {"include_usage": False, "include_obfuscation": False}
    for omitted in (frozenset[str](), frozenset({"stream_options"})):
        given = {"model.parameters": {"stream_options": options}}
        assert body(stream=True, omitted=omitted, **given)["stream_options"] == options
    assert body(stream=True, stream_options={"x": 1})["stream_options"] == {"include_usage": True, "x": 1}


def test_the_headers_of_the_credential_win() -> None:
    """Whatever their case; a header never goes out twice."""
    made = request(credential={"headers": {"authorization": "Bearer k", "ACCEPT": "x/y", "api-key": "k"}})

    assert made.headers == {
        "Content-Type": "application/json",
        "authorization": "Bearer k",
        "ACCEPT": "x/y",
        "api-key": "k",
    }
    assert "Bearer" not in repr(made)


def test_an_exact_url_is_used() -> None:
    """Without any rule."""
    assert request(credential={"baseUrl": "http://h/x?y=z", "exactUrl": True}).url == "http://h/x?y=z"


# -- parameters ------------------------------------------------------------------------------------------------------

SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
ROWS: list[tuple[str, Any, Any]] = [
    ("temperature", 0.4, 0.4),
    ("temperature", "0.4", 0.4),
    ("top_p", 1.0, 1),
    ("top_p", "0.9", 0.9),
    ("max_tokens", 100.0, 100),
    ("max_tokens", "100", 100),
    ("max_completion_tokens", 64.0, 64),
    ("max_completion_tokens", "64", 64),
    ("frequency_penalty", -0.5, -0.5),
    ("frequency_penalty", "0.5", 0.5),
    ("presence_penalty", 1.5, 1.5),
    ("presence_penalty", "1", 1),
    ("seed", 7.0, 7),
    ("seed", "7", 7),
    ("stop", ["a", "b"], ["a", "b"]),
    ("stop", '["a", "b"]', ["a", "b"]),
    ("stop", "END", ["END"]),
    ("response_format", {"type": "json_object"}, {"type": "json_object"}),
    ("response_format", {"type": "text"}, {"type": "text"}),
    ("response_format", json.dumps(SCHEMA), SCHEMA),
    ("reasoning_effort", "low", "low"),
    ("user", "42", "42"),
    ("user", 42.0, "42"),
    ("metadata", {"tenant": "t"}, {"tenant": "t"}),
    ("metadata", '{"tenant": "t"}', {"tenant": "t"}),
    ("top_k", 20.0, 20),
    ("chat_template_kwargs", {"enable_thinking": False}, {"enable_thinking": False}),
    ("guided_choice", ["a", "b"], ["a", "b"]),
    ("n", "2", 2),
    ("logit_bias", '{"5": -100}', {"5": -100}),
    ("store", "true", True),
    ("service_tier", "flex", "flex"),
    ("verbosity", "low", "low"),
    ("logprobs", True, True),
    ("parallel_tool_calls", False, False),
    ("repetition_penalty", "1.1", "1.1"),
]


@BOTH
@pytest.mark.parametrize(("name", "given", "wire"), ROWS)
@pytest.mark.parametrize("place", ["{}", "model.{}", "model.parameters", "text"])
def test_each_parameter_in_each_spelling(adapter: Any, name: str, given: Any, wire: Any, place: str) -> None:
    """Bare, `model.*`, `model.parameters` and its JSON text: the same field of the same type leaves."""
    inner = {name: given}
    parameters = {"model.parameters": inner, "text": {}}.get(place, {place.format(name): given})
    if place in ("model.parameters", "text"):
        parameters = {"model.parameters": inner if place != "text" else json.dumps(inner)}

    found = body(adapter=adapter, **parameters)

    assert found == {"model": "m", "messages": [HI_WIRE], name: wire}
    assert type(found[name]) is type(wire)


@pytest.mark.parametrize("given", [5.0, "5"])
def test_top_logprobs_bring_logprobs(given: Any) -> None:
    """OpenAI refuses the one without the other; who said no to logprobs keeps that."""
    assert body(top_logprobs=given) == {"model": "m", "messages": [HI_WIRE], "top_logprobs": 5, "logprobs": True}
    assert body(top_logprobs=given, logprobs=False)["logprobs"] is False


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_call_of_a_custom_tool_goes_back_as_one(streamed: bool) -> None:
    """Its input is any text: as the arguments of a function they would be emptied."""
    said = {"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
    call = ResolvedCall(
        parse_credential({"baseUrl": "http://127.0.0.1:8000/v1"}), merge_parameters({"model.name": "m"}), (HI,)
    )
    if streamed:
        pieces = (
            {"index": 0, **said, "custom": {"name": "shell", "input": "ls"}},
            {"index": 0, "custom": {"input": " -l"}},
        )
        deltas = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
        answer = "".join(f"data: {json.dumps(delta)}\n\n" for delta in deltas) + "data: [DONE]\n\n"
    else:
        answer = json.dumps({"choices": [{"message": {"tool_calls": [said]}, "finish_reason": "tool_calls"}]})
    received = receive(OPENAI_COMPATIBLE, call, answer.encode())

    assert received.error is None
    (choice,) = received.completion.choices
    assert [(made.name, made.arguments) for made in choice.message.tool_calls] == [("shell", "ls -l")]
    assert sent(HI, choice.message) == [HI_WIRE, {"role": "assistant", "tool_calls": [said]}]


NAMED = {"type": "function", "function": {"name": "weather"}}


@BOTH
@pytest.mark.parametrize("choice", ["auto", "required", "none", NAMED])
def test_a_tool_choice_needs_tools(adapter: Any, choice: Any) -> None:
    """It is applied when tools are present, and left out without them, as documented."""
    assert body(adapter=adapter, tool_choice=choice) == {"model": "m", "messages": [HI_WIRE]}
    assert body(adapter=adapter, tools=(TOOL,), **{"model.tool_choice": choice}) == {
        "model": "m",
        "messages": [HI_WIRE],
        "tools": [TOOL_WIRE],
        "tool_choice": choice,
    }


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        ({"type": "tool", "name": "weather"}, NAMED),
        ({"type": "function", "name": "weather"}, NAMED),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "allowed_tools", "allowed_tools": {}}, {"type": "allowed_tools", "allowed_tools": {}}),
    ],
)
def test_a_tool_choice_in_the_form_of_another_api_is_translated(given: Any, wire: Any) -> None:
    """A fallback's endpoint may speak another API than the one whose form the client knows."""
    assert body(tools=(TOOL,), tool_choice=given)["tool_choice"] == wire


def test_a_word_that_is_no_tool_choice_is_refused() -> None:
    """The violation names the spelling that was used."""
    with pytest.raises(RequestInvalid) as raised:
        body(tools=(TOOL,), **{"model.tool_choice": "always"})

    assert [violation.field for violation in raised.value.violations] == ['model_parameters["model.tool_choice"]']


def test_a_parameter_of_another_api_is_refused_unless_verbatim() -> None:
    """`max_output_tokens` is not Chat's; inside `model.parameters` it goes out as it is."""
    with pytest.raises(NotSupportedByApi) as raised:
        body(max_output_tokens=5)

    assert "max_tokens" in raised.value.violations[0].description
    assert body(**{"model.parameters": {"max_output_tokens": 5}})["max_output_tokens"] == 5


def test_the_later_place_wins_on_the_wire() -> None:
    """Bare, then `model.*`, then `model.parameters`."""
    assert body(temperature=1, **{"model.temperature": 0.5, "model.parameters": {"temperature": 0.1}}) == {
        "model": "m",
        "messages": [HI_WIRE],
        "temperature": 0.1,
    }


# -- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("adapter", "role"), [(OPENAI_CHAT_COMPLETIONS, "developer"), (OPENAI_COMPATIBLE, "system")])
def test_rules(adapter: Any, role: str) -> None:
    """Self-hosted templates know no `developer`: the compatible shape sends `system`, the strict one what was said."""
    messages = (SystemMessage("s"), DeveloperMessage("d", {"name": "n"}), HI)

    assert sent(*messages, adapter=adapter) == [
        {"role": "system", "content": "s"},
        {"role": role, "content": "d", "name": "n"},
        HI_WIRE,
    ]


def test_text_is_one_string() -> None:
    """Templates of many servers refuse lists where a string would do."""
    assert sent(UserMessage((TextPart("a"), TextPart("b")), {"name": "x"})) == [
        {"role": "user", "content": "ab", "name": "x"}
    ]


def test_every_kind_of_content() -> None:
    """Text with options, pictures, sound and files, each as OpenAI documents it; options are merged into the part."""
    data = b"\x00\x01"
    text = base64.b64encode(data).decode()
    content = (
        TextPart("a", {"cache_control": {"type": "ephemeral"}}),
        ImagePart(url="https://h/i.png", detail="low"),
        ImagePart(data=data, media_type="image/png", options={"image_url": {"detail": "high"}}),
        AudioPart(data, "wav"),
        FilePart(file_id="f1"),
        FilePart(data=data, media_type="application/pdf", filename="a.pdf"),
        FilePart(url="data:text/plain;base64,aGk="),
    )

    assert sent(UserMessage(content)) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "https://h/i.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}", "detail": "high"}},
                {"type": "input_audio", "input_audio": {"data": text, "format": "wav"}},
                {"type": "file", "file": {"file_id": "f1"}},
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{text}", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
            ],
        }
    ]


REFUSED = [
    (UserMessage((TextPart("a"), FilePart(url="https://h/a.pdf"))), "messages[0].user.content[1].file.url"),
    (ToolMessage("c", "", (TextPart("a"), ImagePart(url="https://h/i"))), "messages[0].tool.content[1]"),
]


@pytest.mark.parametrize(("message", "path"), REFUSED)
def test_what_the_api_cannot_carry_is_refused_by_its_path(message: Message, path: str) -> None:
    """Nothing is dropped in silence."""
    with pytest.raises(NotSupportedByApi) as raised:
        body(message)

    assert [violation.field for violation in raised.value.violations] == [path]


def test_the_assistants_messages() -> None:
    """Text, a refusal, calls; with calls alone there is no content, which TGI would take for the whole message."""
    call = ToolCall("c1", "weather", '{"a": 1 }')
    wire_call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1 }'}}

    assert sent(
        AssistantMessage("t"),
        AssistantMessage("t", tool_calls=(call,), options={"name": "x"}),
        AssistantMessage(tool_calls=(call,)),
        AssistantMessage(refusal="no"),
        AssistantMessage(reasoning="hm"),
    ) == [
        {"role": "assistant", "content": "t"},
        {"role": "assistant", "content": "t", "tool_calls": [wire_call], "name": "x"},
        {"role": "assistant", "tool_calls": [wire_call]},
        {"role": "assistant", "content": "", "refusal": "no"},
        {"role": "assistant", "content": ""},
    ]


def test_tool_results() -> None:
    """One string, parts with options as a list, and an error that the model can read."""
    marked = TextPart("b", {"cache_control": {}})

    assert sent(
        ToolMessage("c1", "weather", (TextPart("21"), TextPart(" °C"))),
        ToolMessage("c1", "", (TextPart("gone"),), is_error=True),
        ToolMessage("c1", "", (TextPart("a"), marked), is_error=True, options={"x": 1}),
        ToolMessage("c1"),
    ) == [
        {"role": "tool", "tool_call_id": "c1", "content": "21 °C"},
        {"role": "tool", "tool_call_id": "c1", "content": "Error: gone"},
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [
                {"type": "text", "text": "Error: "},
                {"type": "text", "text": "a"},
                {"type": "text", "text": "b", "cache_control": {}},
            ],
            "x": 1,
        },
        {"role": "tool", "tool_call_id": "c1", "content": ""},
    ]


def test_tools() -> None:
    """A schema keeps the order of its keys; none means an empty object; options are merged deep."""
    bare = ToolDefinition("now", strict=True, options={"function": {"parameters": {"properties": {"a": 1}}}, "x": 1})
    plain = ToolDefinition("now")
    made = request(tools=(TOOL, bare, plain))

    assert json.loads(made.body)["tools"] == [
        TOOL_WIRE,
        {
            "type": "function",
            "function": {"name": "now", "parameters": {"type": "object", "properties": {"a": 1}}, "strict": True},
            "x": 1,
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert made.body.index(b'"z"') < made.body.index(b'"a"')


def test_making_a_request_twice_gives_the_same() -> None:
    """A further attempt sends what the first one sent: nothing of the call is changed by making a request."""
    parameters = merge_parameters(
        {"model.name": "m", "model.parameters": {"stream_options": {}, "metadata": {"a": "b"}, "x": {"y": 1}}}
    )
    call = ResolvedCall(
        parse_credential({"baseUrl": "http://h"}),
        parameters,
        (HI,),
        (ToolDefinition("t", options={"function": {"a": 1}}),),
    )
    before = repr(call)
    first = OPENAI_COMPATIBLE.request(call, True)

    assert OPENAI_COMPATIBLE.request(call, True) == first
    assert OPENAI_COMPATIBLE.request(call, False).body != first.body
    assert repr(call) == before
    assert dict(parameters.values) == {"stream_options": {}, "metadata": {"a": "b"}, "x": {"y": 1}}


# -- state, and what endpoints refuse --------------------------------------------------------------------------------

CALL = ToolCall("c1", "weather", "{}")
STATE = seal(
    STATE_SHAPE,
    {
        "message": {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        "tool_calls": [{"extra_content": {"google": {"thought_signature": "s"}}}],
    },
    "t",
    (CALL,),
)


@BOTH
def test_state_is_sent_back(adapter: Any) -> None:
    """What a model must get back unread stands where it came from."""
    (message,) = sent(AssistantMessage("t", tool_calls=(CALL,), provider_state=STATE), adapter=adapter)

    assert message["reasoning_details"] == [{"type": "reasoning.text", "text": "hm"}]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}


def test_state_of_a_changed_message_is_not_sent() -> None:
    """Text or calls that differ from what the model said have no state."""
    for changed in (
        AssistantMessage("T", tool_calls=(CALL,), provider_state=STATE),
        AssistantMessage("t", tool_calls=(ToolCall("c1", "weather", "{ }"),), provider_state=STATE),
        AssistantMessage("t", provider_state=b"garbage"),
    ):
        (message,) = sent(changed)
        assert set(message) <= {"role", "content", "tool_calls"}
        assert all(set(call) == {"id", "type", "function"} for call in message.get("tool_calls", ()))


def test_what_we_add_by_ourselves_is_known() -> None:
    """The optional fields of ours are named, and left out where an endpoint is known to refuse them."""
    messages = (DeveloperMessage("d"), AssistantMessage("t", tool_calls=(CALL,), provider_state=STATE))
    ours = frozenset({"stream_options", "developer_as_system", "reasoning_details", "extra_content"})

    made = request(*messages, stream=True)
    bare = request(*messages, stream=True, omitted=ours)

    assert (made.added, made.left_out) == (ours, frozenset())
    assert (bare.added, bare.left_out) == (frozenset(), ours)
    assert json.loads(bare.body) == {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "d"},
            {
                "role": "assistant",
                "content": "t",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
            },
        ],
        "stream": True,
    }


def test_nothing_of_the_callers_is_optional() -> None:
    """What the caller asked for is never among what may be left out."""
    asked: dict[str, Any] = {name: given for name, given, _ in ROWS} | {"max_tokens": 5}

    assert request(tools=(TOOL,), stream=True, **asked).added == {"stream_options"}


@BOTH
@pytest.mark.parametrize("page", ["", "2"])
def test_the_model_list_is_asked_for(adapter: Any, page: str) -> None:
    """One GET beside the chat, with the credential's headers."""
    credential = parse_credential({"baseUrl": "http://h/v1/chat/completions?v=1", "headers": {"A": "b"}})
    made = adapter.models_request(credential, page)

    assert (made.method, made.url, made.body) == ("GET", "http://h/v1/models?v=1", b"")
    assert made.headers == {"Accept": "application/json", "A": "b"}


def test_a_refusal_is_one_of_our_errors() -> None:
    """Every refusal is a CallerError with a violation."""
    with pytest.raises(CallerError) as raised:
        body(response_format="{")

    assert raised.value.violations
