"""A call as a Gemini generateContent request. No I/O.

Source of the wire facts: Gemini API reference; deviations name the server.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis.gemini.contents import Conversation
from caller.custom_llm.apis.gemini.model import API, before_gemini_3, chat_operation, wants_signatures
from caller.custom_llm.apis.shared import (
    OwnChanges,
    ToolChoiceKind,
    hosted,
    json_schema_of,
    post_json,
    tool_choice_of,
    tools_json,
    unsupported,
)
from caller.custom_llm.base_url import join
from caller.custom_llm.request_body import mapped_to, merged, set_path
from caller.json_types import JsonObject, JsonValue, object_of
from caller.messages import ToolDefinition
from caller.parameters import Parameters

# Where each known parameter that the API has stands in the body.
PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "max_tokens": "generationConfig.maxOutputTokens",
        "max_completion_tokens": "generationConfig.maxOutputTokens",
        "max_output_tokens": "generationConfig.maxOutputTokens",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "presence_penalty": "generationConfig.presencePenalty",
        "seed": "generationConfig.seed",
        "n": "generationConfig.candidateCount",
        "stop": "generationConfig.stopSequences",
        "tool_choice": "toolConfig.functionCallingConfig",
        "response_format": "generationConfig.responseJsonSchema",
        "reasoning_effort": "generationConfig.thinkingConfig.thinkingLevel",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
    }
)
_CONFIG = "generationConfig"
_CALLING = "toolConfig.functionCallingConfig"
# The fields of generationConfig: a parameter of such a name goes there, any other to the body's top level.
CONFIG_FIELDS = frozenset(
    {
        "temperature",
        "topP",
        "topK",
        "candidateCount",
        "maxOutputTokens",
        "stopSequences",
        "seed",
        "presencePenalty",
        "frequencyPenalty",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "responseLogprobs",
        "thinkingConfig",
        "speechConfig",
        "imageConfig",
        "mediaResolution",
        "audioTimestamp",
        "enableAffectiveDialog",
        "enableEnhancedCivicAnswers",
        "modelSelectionConfig",
        "routingConfig",
    }
)
_MODES = MappingProxyType({ToolChoiceKind.AUTO: "AUTO", ToolChoiceKind.REQUIRED: "ANY", ToolChoiceKind.NONE: "NONE"})
# Tokens that Google's own OpenAI-compatible route gives the words on models before Gemini 3.
_BUDGETS = MappingProxyType({"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576})


def gemini_request(call: ResolvedCall, stream: bool) -> HttpRequest:
    """The HTTP request of a call.

    Raises:
        NotSupportedByApi: something that this shape cannot carry.
        RequestInvalid: a parameter that cannot be read, or a model name that cannot stand in a URL.
    """
    model = call.parameters.model
    operation = chat_operation(model, call.parameters.path("model.name"), stream=stream)
    mapped = mapped_to(call.parameters, API, PARAMETERS)
    conversation = Conversation(call.messages, sign=wants_signatures(model))
    if "system_messages" in call.demands:
        conversation.rules_into_user()
    body: JsonObject = {"contents": conversation.contents}
    if conversation.system:
        body["systemInstruction"] = {"parts": conversation.system}
    if call.tools:
        body["tools"] = tools_json(call, "gemini", _tools)
    _tool_choice(body, call)
    for name, value in mapped.known.items():
        _parameter(body, name, value, call.parameters)
    config = body.get(_CONFIG)
    if isinstance(config, dict) and "top_logprobs" in mapped.known:
        config.setdefault("responseLogprobs", True)
    merged(body, _sorted(mapped.rest))
    credential = call.credential
    url = join(credential.base_url, operation, exact=credential.exact_url)
    changes = OwnChanges(adapted=frozenset(conversation.adapted))
    return post_json(url, credential.headers, body, stream=stream, changes=changes)


def _parameter(body: JsonObject, name: str, value: JsonValue, parameters: Parameters) -> None:
    match name:
        case "tool_choice":
            pass  # stands beside the tools
        case "response_format":
            _response_format(body, object_of(value), parameters.path(name))
        case "reasoning_effort":
            set_path(body, f"{_CONFIG}.thinkingConfig", _thinking(str(value), parameters.model))
        case _:
            set_path(body, PARAMETERS[name], value)


def _response_format(body: JsonObject, wanted: JsonObject, path: str) -> None:
    """The schema's name and `strict` have no counterpart: Gemini's output always follows the schema."""
    schema = json_schema_of(wanted, path)
    plain = wanted.get("type") == "text"
    set_path(body, f"{_CONFIG}.responseMimeType", "text/plain" if plain else "application/json")
    if schema is not None:
        described: JsonObject = dict(schema.schema)
        if schema.description:
            described.setdefault("description", schema.description)
        set_path(body, f"{_CONFIG}.responseJsonSchema", described)


def _thinking(effort: str, model: str) -> JsonObject:
    """Whoever asks for reasoning wants to see it: `includeThoughts` comes with every effort but `none`."""
    word = effort.strip().lower()
    if word == "none":
        return {"thinkingBudget": 0}
    if word in _BUDGETS and before_gemini_3(model):
        return {"thinkingBudget": _BUDGETS[word], "includeThoughts": True}
    return {"thinkingLevel": word.upper(), "includeThoughts": True}


def _sorted(rest: Mapping[str, JsonValue]) -> JsonObject:
    """Further parameters under their own names, each where Gemini reads it."""
    body: JsonObject = {name: value for name, value in rest.items() if name not in CONFIG_FIELDS}
    config: JsonObject = {name: value for name, value in rest.items() if name in CONFIG_FIELDS}
    return merged({_CONFIG: config}, body) if config else body


def _tool_choice(body: JsonObject, call: ResolvedCall) -> None:
    choice = tool_choice_of(call.parameters)
    if choice is None or not call.tools:
        return  # documented: applied only when tools are present
    if choice.kind is ToolChoiceKind.NAMED:
        set_path(body, _CALLING, {"mode": "ANY", "allowedFunctionNames": [choice.name]})
    elif choice.kind is ToolChoiceKind.OTHER:
        given = object_of(choice.value)
        set_path(body, _CALLING, given.get("functionCallingConfig") or given)
    else:
        set_path(body, _CALLING, {"mode": _MODES[choice.kind]})


def _tools(tools: Sequence[ToolDefinition]) -> list[JsonValue]:
    """All functions in one entry of the list, each tool that Google runs in one of its own."""
    declared = [_tool(number, tool) for number, tool in enumerate(tools) if tool.hosted is None]
    functions: list[JsonValue] = [{"functionDeclarations": declared}] if declared else []
    return functions + [wire for wire in map(hosted, tools) if wire is not None]


def _tool(number: int, tool: ToolDefinition) -> JsonValue:
    """Always `parametersJsonSchema`: `parameters` takes a part of JSON Schema only. It is left out for a function
    without parameters."""
    if tool.strict:
        advice = 'Gemini has no strict tools; the tool_choice {"mode": "VALIDATED"} makes it keep to the schemas'
        raise unsupported(f"tools[{number}].strict", advice)
    declaration: JsonObject = {"name": tool.name}
    if tool.description:
        declaration["description"] = tool.description
    if tool.parameters is not None:
        declaration["parametersJsonSchema"] = tool.parameters
    return merged(declaration, tool.options)
