"""Reading a request of Gemini's generateContent.

Rule: only what comes in; what goes out stands in `gemini`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from integration_api.sandbox.api_format import RawRequest, Turn, begin
from integration_api.sandbox.check import Fields, refuse
from integration_api.sandbox.scenario import Offered, Request
from integration_api.sandbox.signature import is_signed
from integration_api.sandbox.wire import Json, dump

_DATA: Final = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
)
# What Gemini's documentation offers for calls that another model made.
_ANY_SIGNATURE: Final = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})


def read(asked: RawRequest) -> Request:
    """The request. Raises RefusedError."""
    body = asked.body
    if not asked.model:
        raise refuse("Model name is missing in the URL.", "model")
    contents = body.need_objects("contents")
    system = body.object("systemInstruction")
    turns = [Turn(_text(part)) for part in system.need_objects("parts")] if system else []
    turns += _conversation(contents)
    config = body.object("generationConfig")
    schema = _config(config)
    tools = _tools(body)
    request = begin(
        asked.model,
        turns,
        f"models/{asked.model} is not found for API version v1beta, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods.",
    )
    if request.script.name == "reasoning-tool-call":
        _current_turn_is_signed(contents)
    array = asked.stream and asked.query.get("alt") != "sse"
    limit = config.whole("maxOutputTokens", 1) if config else None
    return replace(request, stream=asked.stream, schema=schema, tools=tools, limit=limit, json_array=array)


def _config(config: Fields | None) -> Json:
    """Checks the generation configuration; the schema in it."""
    if config is None:
        return None
    config.number("temperature", 0, 2)
    config.number("topP", 0, 1)
    config.number("topK", 0, 1_000_000)
    for name in ("maxOutputTokens", "candidateCount"):
        config.whole(name, 1)
    config.whole("seed", -(2**31))
    config.number("presencePenalty", -2, 2)
    config.number("frequencyPenalty", -2, 2)
    if isinstance(config.raw("stopSequences"), str):
        raise config.bad("stopSequences", "it must be an array of strings.")
    config.texts("stopSequences")
    config.object("thinkingConfig")
    if (config.whole("candidateCount", 1) or 1) > 1:
        raise refuse("Multiple candidates is not enabled for this model", config.param("candidateCount"))
    found = [name for name in ("responseJsonSchema", "responseSchema") if config.has(name)]
    if not found:
        return None
    if config.text("responseMimeType") != "application/json":
        raise refuse(
            "Function calling or schema with a response mime type other than 'application/json' is unsupported",
            config.param("responseMimeType"),
        )
    return config.need_object(found[0]).value


def _tools(body: Fields) -> tuple[Offered, ...]:
    """Checks the tools; those that are functions."""
    offered: list[Offered] = []
    for tool in body.objects("tools"):
        for declaration in tool.objects("functionDeclarations"):
            name = declaration.need_text("name")
            schemas = [declaration.object("parameters"), declaration.object("parametersJsonSchema")]
            if all(schemas):
                raise declaration.bad("parameters", "it excludes parametersJsonSchema.")
            offered.append(Offered(name, next((schema.value for schema in schemas if schema), None)))
    config = body.object("toolConfig")
    calling = config.object("functionCallingConfig") if config else None
    if calling is not None and calling.has("mode"):
        calling.one_of("mode", "AUTO", "ANY", "NONE", "VALIDATED")
    return tuple(offered)


def _conversation(contents: tuple[Fields, ...]) -> Iterator[Turn]:
    calls = 0
    for content in contents:
        role = content.one_of("role", "user", "model") if content.has("role") else "user"
        parts = content.need_objects("parts")
        results = [part for part in parts if part.has("functionResponse")]
        if len(results) != calls:
            raise refuse(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
                content.path,
            )
        calls = sum(part.has("functionCall") for part in parts)
        yield from (_result(part) for part in results)
        texts = [_text(part) for part in parts if part not in results]
        if texts:
            yield Turn("\n".join(text for text in texts if text), asked=role == "user")
    if calls:
        raise refuse("Please ensure that function call turn is followed by a function response turn.", "contents")


def _text(part: Fields) -> str:
    """The text of a part; '' for the others, and for a thought. Raises RefusedError for what is no part."""
    kinds = [name for name in _DATA if part.raw(name) is not None]
    signature = part.text("thoughtSignature")
    if len(kinds) != 1:
        raise refuse("Unable to submit request because it must have exactly one data field in each part.", part.path)
    if signature and signature not in _ANY_SIGNATURE and not is_signed(signature):
        raise refuse("Corrupted thought signature.", part.param("thoughtSignature"))
    if kinds[0] == "text":
        return "" if part.flag("thought") else part.text("text")
    inner = part.need_object(kinds[0])
    if kinds[0] == "functionCall":
        inner.need_text("name")
        inner.object("args")
    return ""


def _result(part: Fields) -> Turn:
    _text(part)
    inner = part.need_object("functionResponse")
    inner.need_text("name")
    response = inner.need_object("response").value
    return Turn(_result_text(response), result=True)


def _result_text(response: Mapping[str, Json]) -> str:
    """The text that was wrapped in an object, because this API takes no plain text."""
    if len(response) == 1:
        value = next(iter(response.values()))
        if isinstance(value, str):
            return value
    return dump(response)


def _current_turn_is_signed(contents: tuple[Fields, ...]) -> None:
    """The first call of each step after the last user text must have its signature (Gemini 3)."""
    start = 0
    for number, content in enumerate(contents):
        if content.text("role") != "model" and any(part.has("text") for part in content.objects("parts")):
            start = number
    for content in contents[start:]:
        calls = [part for part in content.objects("parts") if part.has("functionCall")]
        if calls and not calls[0].text("thoughtSignature"):
            name = calls[0].need_object("functionCall").text("name")
            raise refuse(
                f"Function call is missing a thought_signature in functionCall parts. Function call `{name}`.",
                calls[0].path,
            )
