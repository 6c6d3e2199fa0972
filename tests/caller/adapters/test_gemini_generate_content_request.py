"""Requests of Gemini's generateContent: the whole JSON that leaves, and what is refused before anything leaves."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from caller.credentials import Credential
from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.apis.gemini.model import API
from caller.errors import NotSupportedByApi, RequestInvalid
from caller.events import ProviderState
from caller.messages import (
    AssistantMessage,
    AudioPart,
    ContentPart,
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
from caller.parameters import KNOWN, merge_parameters
from caller.provider_state import seal

ADAPTER = ADAPTERS[API]
HOST = "https://generativelanguage.googleapis.com"
HI = UserMessage((TextPart("Hi"),))
HI_WIRE = {"role": "user", "parts": [{"text": "Hi"}]}
WEATHER = ToolDefinition("weather", "The weather.", {"type": "object", "properties": {"z": {}, "a": {}}})
WEATHER_WIRE = {
    "name": "weather",
    "description": "The weather.",
    "parametersJsonSchema": {"type": "object", "properties": {"z": {}, "a": {}}},
}


def call_of(
    *messages: Message,
    model: str = "gemini-2.5-flash",
    base: str = HOST,
    exact: bool = False,
    tools: tuple[ToolDefinition, ...] = (),
    headers: Mapping[str, str] | None = None,
    **parameters: Any,
) -> ResolvedCall:
    credential = Credential(API, base, headers or {}, exact)
    return ResolvedCall(credential, merge_parameters({"model.name": model, **parameters}), messages or (HI,), tools)


def sent(call: ResolvedCall, *, stream: bool = False) -> HttpRequest:
    return ADAPTER.request(call, stream)


def body_of(*messages: Message, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(sent(call_of(*messages, **options)).body)
    return body


def contents_of(*messages: Message, **options: Any) -> list[Any]:
    contents: list[Any] = body_of(*messages, **options)["contents"]
    return contents


def test_a_plain_question_is_sent_with_nothing_that_was_not_asked_for() -> None:
    """A question goes out as one content and nothing else."""
    request = sent(call_of(headers={"x-goog-api-key": "k", "accept": "text/plain"}))

    assert request.method == "POST"
    assert json.loads(request.body) == {"contents": [HI_WIRE]}
    assert request.headers == {"Content-Type": "application/json", "x-goog-api-key": "k", "accept": "text/plain"}


@pytest.mark.parametrize(
    ("base", "root"),
    [
        (HOST, f"{HOST}/v1beta"),
        (f"{HOST}/", f"{HOST}/v1beta"),
        (f"{HOST}/v1beta", f"{HOST}/v1beta"),
        (f"{HOST}/v1beta/", f"{HOST}/v1beta"),
        (f"{HOST}/v1", f"{HOST}/v1"),
        (f"{HOST}/v1alpha/models", f"{HOST}/v1alpha"),
        (f"{HOST}/v1beta/models/gemini-2.5-flash:generateContent", f"{HOST}/v1beta"),
        (f"{HOST}/v1beta/models/another:streamGenerateContent?alt=sse", f"{HOST}/v1beta"),
        (f"{HOST}/v1beta/tunedModels/another:generateContent", f"{HOST}/v1beta"),
        ("http://proxy:4000/gemini", "http://proxy:4000/gemini/v1beta"),
        ("http://proxy:4000/models", "http://proxy:4000"),
        (
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google",
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google",
        ),
        (
            "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/x/publishers/google/models/g:generateContent",
            "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/x/publishers/google",
        ),
    ],
)
def test_every_usual_form_of_the_base_url_finds_the_operation(base: str, root: str) -> None:
    """Host, API root, list of models, whole operation and Vertex root all lead to the operation that is needed."""
    call = call_of(base=base)

    assert sent(call).url == f"{root}/models/gemini-2.5-flash:generateContent"
    assert sent(call, stream=True).url == f"{root}/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert ADAPTER.models_request(call.credential, "").url == f"{root}/models?pageSize=1000"


def test_a_query_of_the_base_url_is_kept_and_an_exact_url_is_called_as_it_is() -> None:
    """A query that belongs to the endpoint stays; `exactUrl` switches all rules off."""
    exact = call_of(base="http://h/x:generateContent?alt=sse&k=1#f", exact=True)

    assert sent(exact).url == "http://h/x:generateContent?alt=sse&k=1"
    assert sent(call_of(base=f"{HOST}?k=1&alt=sse", model="g")).url == f"{HOST}/v1beta/models/g:generateContent?k=1"
    stream = sent(call_of(base=f"{HOST}?alt=sse", model="g"), stream=True)
    assert stream.url == f"{HOST}/v1beta/models/g:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-x", "models/gemini-x"),
        ("models/gemini-x", "models/gemini-x"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("publishers/google/models/g", "publishers/google/models/g"),
        ("llama3:8b", "models/llama3%3A8b"),
        ("a b%ü", "models/a%20b%25%C3%BC"),
    ],
)
def test_the_models_name_is_taken_in_every_form(model: str, path: str) -> None:
    """A name with a prefix goes out as it is, another below `models/`; what a URL cannot hold is percent-encoded."""
    assert sent(call_of(model=model)).url == f"{HOST}/v1beta/{path}:generateContent"


@pytest.mark.parametrize(
    "model", ["../x", "a/../b", "a?b", "a#b", "a&b", "a\nb", "a\x00b", "/a", "models/", "a//b", "a\\b"]
)
def test_a_models_name_that_would_change_the_url_is_refused(model: str) -> None:
    """A name never leads to another URL than the model's."""
    with pytest.raises(RequestInvalid) as refused:
        sent(call_of(model=model))

    assert [violation.field for violation in refused.value.violations] == ['model_parameters["model.name"]']


def test_system_and_developer_messages_are_the_instruction_and_roles_alternate() -> None:
    """Rules go on top in their order, and neighbours of one role become one content."""
    body = body_of(
        SystemMessage("Be brief."),
        HI,
        DeveloperMessage("Be kind."),
        UserMessage((TextPart("a"), TextPart("b", {"videoMetadata": {"fps": 1}}))),
        AssistantMessage("Yes."),
        AssistantMessage(),
        AssistantMessage("", refusal="No."),
        HI,
    )

    assert body == {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "a"}, {"text": "b", "videoMetadata": {"fps": 1}}]},
            {"role": "model", "parts": [{"text": "Yes."}, {"text": "No."}]},
            HI_WIRE,
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
    }


def test_a_conversation_of_rules_only_is_refused() -> None:
    """Gemini takes no request without contents, so none is sent."""
    with pytest.raises(NotSupportedByApi) as refused:
        sent(call_of(SystemMessage("Be brief.")))

    assert refused.value.violations[0].field == "messages"


def test_results_stand_together_first_and_in_the_order_of_the_calls() -> None:
    """However results come, one user content holds them in the order of the calls, with names and without made-up
    ids."""
    calls = (ToolCall("1", "f", '{"b":1,"a":2}'), ToolCall("2", "g", ""), ToolCall("3", "h", "[1"))
    contents = contents_of(
        HI,
        AssistantMessage("", tool_calls=calls),
        ToolMessage("3", content=(TextPart("no"), TextPart("pe")), is_error=True),
        UserMessage((TextPart("And?"),)),
        ToolMessage("1", name="other", content=(TextPart(' {"t": 21} '),)),
        ToolMessage("2", content=(TextPart("21 °C"),), options={"functionResponse": {"willContinue": False}}),
    )

    assert contents == [
        HI_WIRE,
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"b": 1, "a": 2}}},
                {"functionCall": {"name": "g", "args": {}}},
                {"functionCall": {"name": "h", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "other", "response": {"t": 21}}},
                {"functionResponse": {"name": "g", "response": {"output": "21 °C"}, "willContinue": False}},
                {"functionResponse": {"name": "h", "response": {"error": "nope"}}},
                {"text": "And?"},
            ],
        },
    ]


def test_ids_that_come_again_are_told_apart_by_their_turn() -> None:
    """Servers that number calls anew in each turn do not mix up the results."""
    contents = contents_of(
        HI,
        AssistantMessage("", tool_calls=(ToolCall("c", "f", "{}"), ToolCall("c", "g", "{}"))),
        ToolMessage("c", content=(TextPart("1"),)),
        ToolMessage("c", content=(TextPart("2"),)),
        AssistantMessage("", tool_calls=(ToolCall("c", "h", "{}"),)),
        ToolMessage("c", content=(TextPart("3"),)),
    )

    names = [[part["functionResponse"]["name"] for part in content["parts"]] for content in (contents[2], contents[4])]
    assert names == [["f", "g"], ["h"]]


def test_a_result_of_no_known_tool_is_refused() -> None:
    """Gemini wants the tool's name with each result: one that nobody knows is refused with its path."""
    with pytest.raises(RequestInvalid) as refused:
        sent(call_of(HI, ToolMessage("x", content=(TextPart("1"),))))

    assert refused.value.violations[0].field == "messages[1].tool.name"
    named = contents_of(HI, ToolMessage("x", name="f", content=(TextPart("1"),)))
    assert named[0]["parts"][0] == {"functionResponse": {"name": "f", "response": {"output": "1"}}}


PNG = base64.b64encode(b"png").decode()


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (ImagePart(data=b"png", media_type="image/png"), {"inlineData": {"mimeType": "image/png", "data": PNG}}),
        (ImagePart(url=f"data:image/png;base64,{PNG}"), {"inlineData": {"mimeType": "image/png", "data": PNG}}),
        (
            ImagePart(url=f"data:;base64,{PNG}", media_type="image/webp", detail="auto"),
            {"inlineData": {"mimeType": "image/webp", "data": PNG}},
        ),
        (
            ImagePart(url="https://h/a.JPG?x=1.png"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://h/a.JPG?x=1.png"}},
        ),
        (
            ImagePart(url="https://h/a", media_type="image/png", options={"mediaResolution": {"level": "L"}}),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://h/a"}, "mediaResolution": {"level": "L"}},
        ),
        (ImagePart(url="https://h.pdf"), {"fileData": {"fileUri": "https://h.pdf"}}),
        (AudioPart(b"png", "wav"), {"inlineData": {"mimeType": "audio/wav", "data": PNG}}),
        (AudioPart(b"png", "MP3"), {"inlineData": {"mimeType": "audio/mp3", "data": PNG}}),
        (FilePart(data=b"png", filename="a.pdf"), {"inlineData": {"mimeType": "application/pdf", "data": PNG}}),
        (
            FilePart(url="gs://bucket/film.mp4"),
            {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/film.mp4"}},
        ),
        (FilePart(file_id=f"{HOST}/v1beta/files/x"), {"fileData": {"fileUri": f"{HOST}/v1beta/files/x"}}),
    ],
)
def test_pictures_sounds_and_files_are_sent_as_data_or_by_uri(part: ContentPart, wire: dict[str, Any]) -> None:
    """Bytes go inline with their type, URLs as file data with the type that is known of them."""
    assert contents_of(UserMessage((part,))) == [{"role": "user", "parts": [wire]}]


@pytest.mark.parametrize(
    ("part", "field", "kind"),
    [
        (ImagePart(url="https://h/a.png", detail="low"), "image.detail", NotSupportedByApi),
        (ImagePart(data=b"x"), "image.media_type", RequestInvalid),
        (ImagePart(url="data:image/svg+xml,<svg/>"), "image.url", RequestInvalid),
        (AudioPart(b"x", ""), "audio.format", RequestInvalid),
        (FilePart(file_id="file-1"), "file.file_id", NotSupportedByApi),
        (FilePart(data=b"x", filename="noending"), "file.media_type", RequestInvalid),
    ],
)
def test_media_that_gemini_cannot_read_is_refused_with_its_path(
    part: ContentPart, field: str, kind: type[Exception]
) -> None:
    """Nothing is dropped: what has no counterpart is refused before anything is sent."""
    with pytest.raises(kind) as refused:
        sent(call_of(HI, UserMessage((TextPart("x"), part))))

    assert getattr(refused.value, "violations")[0].field == f"messages[1].user.content[1].{field}"  # noqa: B009 -- typed as Exception


def test_a_tools_result_may_hold_pictures_but_no_sound() -> None:
    """Pictures and files stand beside the response's text; sounds and options on text are refused."""
    asked = AssistantMessage("", tool_calls=(ToolCall("1", "f", "{}"),))
    picture = ImagePart(data=b"png", media_type="image/png")
    result = ToolMessage("1", content=(TextPart("see"), picture))

    assert contents_of(HI, asked, result)[2]["parts"] == [
        {
            "functionResponse": {
                "name": "f",
                "response": {"output": "see"},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}],
            }
        }
    ]
    for part, field in ((AudioPart(b"x", "wav"), "audio"), (TextPart("x", {"a": 1}), "provider_options")):
        with pytest.raises(NotSupportedByApi) as refused:
            sent(call_of(HI, asked, ToolMessage("1", content=(part,))))
        assert refused.value.violations[0].field == f"messages[2].tool.content[0].{field}"


def test_tools_are_declared_with_json_schema_in_the_order_written() -> None:
    """One list of declarations; a tool without parameters has none, and options reach the declaration."""
    tools = (WEATHER, ToolDefinition("now", strict=False), ToolDefinition("x", options={"behavior": "BLOCKING"}))
    request = sent(call_of(tools=tools))

    assert json.loads(request.body)["tools"] == [
        {"functionDeclarations": [WEATHER_WIRE, {"name": "now"}, {"name": "x", "behavior": "BLOCKING"}]}
    ]
    assert b'{"z":{},"a":{}}' in request.body
    with pytest.raises(NotSupportedByApi) as refused:
        sent(call_of(tools=(WEATHER, ToolDefinition("now", strict=True))))
    assert refused.value.violations[0].field == "tools[1].strict"


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        ("none", {"mode": "NONE"}),
        ({"type": "function", "function": {"name": "weather"}}, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
        ({"mode": "VALIDATED"}, {"mode": "VALIDATED"}),
        ({"functionCallingConfig": {"mode": "VALIDATED"}}, {"mode": "VALIDATED"}),
    ],
)
def test_tool_choice_becomes_a_mode_only_where_there_are_tools(choice: Any, wire: Any) -> None:
    """Each choice has its mode; without tools it is left out, as documented."""
    assert body_of(tools=(WEATHER,), tool_choice=choice)["toolConfig"] == {"functionCallingConfig": wire}
    assert body_of(tool_choice=choice) == {"contents": [HI_WIRE]}


def test_a_tool_choice_that_nobody_knows_is_refused() -> None:
    """A misspelt word does not reach the endpoint."""
    with pytest.raises(RequestInvalid):
        sent(call_of(tools=(WEATHER,), tool_choice="sometimes"))


SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}}
CONFIGS: list[tuple[str, Any, dict[str, Any]]] = [
    ("temperature", 0.5, {"temperature": 0.5}),
    ("temperature", "1", {"temperature": 1}),
    ("top_p", 0.9, {"topP": 0.9}),
    ("top_k", 20.0, {"topK": 20}),
    ("max_tokens", 7, {"maxOutputTokens": 7}),
    ("max_completion_tokens", 7, {"maxOutputTokens": 7}),
    ("max_output_tokens", 7, {"maxOutputTokens": 7}),
    ("frequency_penalty", 0.1, {"frequencyPenalty": 0.1}),
    ("presence_penalty", 0.1, {"presencePenalty": 0.1}),
    ("seed", 3, {"seed": 3}),
    ("n", 2, {"candidateCount": 2}),
    ("stop", "END", {"stopSequences": ["END"]}),
    ("stop", '["a","b"]', {"stopSequences": ["a", "b"]}),
    ("logprobs", True, {"responseLogprobs": True}),
    ("top_logprobs", 5, {"logprobs": 5, "responseLogprobs": True}),
    ("response_format", {"type": "text"}, {"responseMimeType": "text/plain"}),
    ("response_format", {"type": "json_object"}, {"responseMimeType": "application/json"}),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}},
        {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
    ),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA}},
        {"responseMimeType": "application/json", "responseJsonSchema": {**SCHEMA, "description": "d"}},
    ),
]


@pytest.mark.parametrize(("name", "value", "config"), CONFIGS)
def test_each_known_parameter_has_its_place_in_every_spelling(name: str, value: Any, config: dict[str, Any]) -> None:
    """Bare, as `model.*` and inside `model.parameters` a parameter lands in the same field of generationConfig."""
    wanted = {"contents": [HI_WIRE], "generationConfig": config}

    for spelled in ({name: value}, {f"model.{name}": value}, {"model.parameters": {name: value}}):
        assert body_of(**spelled) == wanted


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-3-pro-preview", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-flash-latest", "Minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("models/gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
    ],
)
def test_reasoning_effort_is_a_level_or_on_older_models_a_budget(
    model: str, effort: str, thinking: dict[str, Any]
) -> None:
    """The words mean what Google's own compatible route makes of them, and the thoughts are asked for."""
    body = body_of(model=model, reasoning_effort=effort)

    assert body == {"contents": [HI_WIRE], "generationConfig": {"thinkingConfig": thinking}}


def test_every_parameter_of_the_table_is_sent_or_refused() -> None:
    """A known parameter that Gemini lacks is refused when given directly and sent verbatim from `model.parameters`."""
    values: dict[str, Any] = {
        "parallel_tool_calls": True,
        "verbosity": "low",
        "user": "u",
        "metadata": {"a": "b"},
        "logit_bias": {"1": 2},
        "store": True,
        "service_tier": "flex",
    }
    lacking = {name for name in KNOWN if name not in ADAPTER.parameters}

    assert lacking == set(values)
    for name in lacking:
        with pytest.raises(NotSupportedByApi) as refused:
            sent(call_of(**{name: values[name]}))
        assert refused.value.violations[0].field == f'model_parameters["{name}"]'
        assert body_of(**{"model.parameters": {name: values[name]}}) == {"contents": [HI_WIRE], name: values[name]}


def test_geminis_own_parameters_go_where_gemini_reads_them() -> None:
    """Fields of generationConfig go there under their own names, everything else to the top of the body; nothing that
    the caller gave is changed on the way."""
    given: dict[str, Any] = {
        "topP": 0.5,
        "thinkingConfig": {"includeThoughts": False},
        "responseModalities": ["TEXT"],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 5}, "novel": 1},
        "safetySettings": [{"category": "C", "threshold": "OFF"}],
        "cachedContent": "cachedContents/1",
        "toolConfig": {"includeServerSideToolInvocations": True},
    }
    asked: dict[str, Any] = {"temperature": 1, "tool_choice": {"mode": "VALIDATED"}, "model.parameters": given}
    call = call_of(tools=(WEATHER,), **asked)
    wanted = {
        "contents": [HI_WIRE],
        "tools": [{"functionDeclarations": [WEATHER_WIRE]}],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "includeServerSideToolInvocations": True},
        "generationConfig": {
            "temperature": 1,
            "topP": 0.5,
            "thinkingConfig": {"includeThoughts": False, "thinkingBudget": 5},
            "responseModalities": ["TEXT"],
            "novel": 1,
        },
        "safetySettings": [{"category": "C", "threshold": "OFF"}],
        "cachedContent": "cachedContents/1",
    }

    assert json.loads(sent(call).body) == wanted
    assert json.loads(sent(call).body) == wanted
    assert given["thinkingConfig"] == {"includeThoughts": False}


@pytest.mark.parametrize(
    ("model", "signed"),
    [
        ("gemini-3-pro-preview", True),
        ("models/gemini-flash-latest", True),
        ("gemini-2.5-flash", False),
        ("gemma", False),
    ],
)
def test_calls_of_another_model_get_the_documented_placeholder_where_it_is_needed(model: str, *, signed: bool) -> None:
    """Gemini 3 refuses calls without a signature: the first call of a foreign turn carries Google's placeholder; for
    older models nothing is added."""
    foreign = seal("anthropic_messages", {"content": []}, "", ())
    calls = (ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"))
    contents = contents_of(HI, AssistantMessage("Well", tool_calls=calls, provider_state=foreign), model=model)

    mark = {"thoughtSignature": "skip_thought_signature_validator"} if signed else {}
    assert contents[1]["parts"] == [
        {"text": "Well"},
        {"functionCall": {"name": "f", "args": {}}, **mark},
        {"functionCall": {"name": "g", "args": {}}},
    ]


def test_foreign_changed_and_forged_state_is_ignored() -> None:
    """State of another shape, of a text that was changed, or of other calls does not reach the endpoint."""
    parts: list[Any] = [{"text": "Native", "thoughtSignature": "c2ln"}]
    native = seal(API.value, {"parts": parts}, "Well", ())
    forged = seal(API.value, {"parts": [{"functionCall": {"name": "f"}}]}, "Well", ())
    odd = seal(API.value, {"parts": "no list"}, "Well", ())
    foreign = seal("openai_responses", {"parts": parts}, "Well", ())

    def said(text: str, state: bytes) -> Any:
        return contents_of(HI, AssistantMessage(text, provider_state=state))[1]["parts"]

    assert said("Well", native) == parts
    assert said("Well!", native) == [{"text": "Well!"}]
    for state in (forged, odd, foreign, b"junk"):
        assert said("Well", state) == [{"text": "Well"}]


def test_native_ids_go_back_with_calls_and_results() -> None:
    """Where the endpoint gave ids, state brings them back, and the results carry the same."""
    native: list[Any] = [
        {"text": "Plan", "thought": True},
        {"functionCall": {"id": "n1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "n2", "name": "g"}},
    ]
    calls = (ToolCall("n1", "f", '{"a":1}'), ToolCall("n2", "g", "{}"))
    state = ProviderState(API.value, {"parts": native})
    message = AssistantMessage(
        "", reasoning="Plan", tool_calls=calls, provider_state=seal(state.shape, state.content, "", calls)
    )
    contents = contents_of(
        HI,
        message,
        ToolMessage("n2", content=(TextPart("2"),)),
        ToolMessage("n1", content=(TextPart("1"),)),
        model="gemini-3-pro",
    )

    assert contents[1:] == [
        {"role": "model", "parts": native},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "n1", "name": "f", "response": {"output": "1"}}},
                {"functionResponse": {"id": "n2", "name": "g", "response": {"output": "2"}}},
            ],
        },
    ]
