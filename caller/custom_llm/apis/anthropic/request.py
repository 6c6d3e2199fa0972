"""A call as an Anthropic Messages request. No I/O; the conversation is `content`'s.

Documented drops: `tool_choice`, and `parallel_tool_calls` which is a part of it here, without tools; the name of a
`response_format`, for which the API has no field.

Source of the wire facts: Anthropic's API reference and SDK; deviations name the server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis.anthropic.content import Conversation, system_of
from caller.custom_llm.apis.anthropic.media import API
from caller.custom_llm.apis.shared import (
    NO_ARGUMENTS,
    OwnChanges,
    ToolChoiceKind,
    get_json,
    hosted,
    json_schema_of,
    post_json,
    tool_choice_of,
    tools_json,
    unsupported,
    with_headers,
)
from caller.custom_llm.base_url import Operation, join
from caller.custom_llm.request_body import MappedParameters, mapped_to, merged, set_path
from caller.json_types import JsonObject, JsonValue, count_of, object_of
from caller.messages import ToolDefinition
from caller.parameters import Parameters

MESSAGES = Operation("messages", roots_have_version=False, siblings=("models",))
MODELS = Operation("models", roots_have_version=False, siblings=("messages",))
VERSION_HEADER: Mapping[str, str] = {"anthropic-version": "2023-06-01"}
# The API has no default of its own. A thinking budget is counted in `max_tokens`, so it is added to the default.
DEFAULT_MAX_TOKENS = 4096
# The most that one page may hold (Anthropic docs).
MODELS_PER_PAGE = 1000
# Where each known parameter that the API has stands in the body.
PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "max_tokens": "max_tokens",
        "max_completion_tokens": "max_tokens",
        "max_output_tokens": "max_tokens",
        "stop": "stop_sequences",
        "tool_choice": "tool_choice",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "response_format": "output_config.format",
        "reasoning_effort": "output_config.effort",
        "user": "metadata.user_id",
        "metadata": "metadata",
        "service_tier": "service_tier",
    }
)

_SHAPE = ApiCompatibility.ANTHROPIC_MESSAGES
# The first that is given counts: the more specific name wins.
_MAX_TOKENS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
_TRANSLATED = frozenset(
    {*_MAX_TOKENS, "tool_choice", "parallel_tool_calls", "response_format", "metadata", "reasoning_effort"}
)
_CHOICES: Mapping[ToolChoiceKind, str] = {
    ToolChoiceKind.AUTO: "auto",
    ToolChoiceKind.REQUIRED: "any",
    ToolChoiceKind.NONE: "none",
}


def messages_request(call: ResolvedCall, stream: bool) -> HttpRequest:
    """The HTTP request of a call.

    Raises:
        NotSupportedByApi: something that this shape cannot carry.
        RequestInvalid: a parameter that cannot be read.
    """
    mapped = mapped_to(call.parameters, _SHAPE, PARAMETERS)
    conversation = Conversation(call.messages, call.demands.get("thinking", ""))
    adapted = conversation.adapted
    body: JsonObject = {"model": call.parameters.model, "max_tokens": _max_tokens(call, adapted)}
    system = system_of(call.messages)
    if system is not None:
        body["system"] = system
    body["messages"] = conversation.wire()
    if call.tools:
        body["tools"] = tools_json(call, "anthropic", _tools)
    _tool_choice(body, call)
    for name, value in mapped.known.items():
        if name not in _TRANSLATED:
            set_path(body, PARAMETERS[name], value)
    _effort(body, mapped, adapted)
    if "metadata" in mapped.known:
        merged(body, {"metadata": mapped.known["metadata"]})
    _response_format(body, call.parameters)
    merged(body, mapped.rest)
    if stream:
        body["stream"] = True
    credential = call.credential
    url = join(credential.base_url, MESSAGES, exact=credential.exact_url)
    headers = with_headers(credential.headers, VERSION_HEADER)
    return post_json(url, headers, body, stream=stream, changes=OwnChanges(adapted=frozenset(adapted)))


def models_request(credential: Credential, page: str) -> HttpRequest:
    """The request for one page of the model list; `page` is the last id of the page before."""
    query = (("limit", str(MODELS_PER_PAGE)), *((("after_id", page),) if page else ()))
    return get_json(join(credential.base_url, replace(MODELS, query=query)), credential.headers, VERSION_HEADER)


def _max_tokens(call: ResolvedCall, adapted: set[str]) -> JsonValue:
    """What the client gave, or our default, unless the endpoint has said that it can write less."""
    values = call.parameters.values
    for name in _MAX_TOKENS:
        if values.get(name) is not None:
            return values[name]
    default = DEFAULT_MAX_TOKENS + (count_of(object_of(values.get("thinking")).get("budget_tokens")) or 0)
    demanded = call.demands.get("default_max_tokens", "")
    limit = int(demanded) if demanded.isdecimal() else 0
    if not 0 < limit < default:
        return default
    adapted.add(f"default_max_tokens: {limit}")
    return limit


def _effort(body: JsonObject, mapped: MappedParameters, adapted: set[str]) -> None:
    """The API's efforts begin with `low`, and no thinking at all is a word of another field."""
    value = mapped.known.get("reasoning_effort")
    word = value.strip().lower() if isinstance(value, str) else ""
    if word == "none":
        body["thinking"] = {"type": "disabled"}
    elif value is not None:
        if word == "minimal":
            adapted.add("reasoning_effort: low")
        set_path(body, PARAMETERS["reasoning_effort"], "low" if word == "minimal" else value)


def _tool_choice(body: JsonObject, call: ResolvedCall) -> None:
    choice = tool_choice_of(call.parameters)  # refuses words that no endpoint knows
    if not call.tools:
        return
    wire: JsonObject = {}
    if choice is not None:
        if choice.kind in _CHOICES:
            wire = {"type": _CHOICES[choice.kind]}
        elif choice.kind is ToolChoiceKind.NAMED and object_of(choice.value).get("type") != "tool":
            wire = {"type": "tool", "name": choice.name}
        else:  # an object of the API's own
            wire = dict(object_of(choice.value))
    if call.parameters.values.get("parallel_tool_calls") is False and wire.get("type") != "none":
        wire.setdefault("type", "auto")
        wire["disable_parallel_tool_use"] = True
    if wire:
        body["tool_choice"] = wire


def _response_format(body: JsonObject, parameters: Parameters) -> None:
    wanted = object_of(parameters.values.get("response_format"))
    if not wanted:
        return
    path = parameters.path("response_format")
    schema = json_schema_of(wanted, path)
    if schema is not None:
        described: JsonObject = {"description": schema.description} if schema.description else {}
        # The API has no field for the description beside the schema; a schema's own one wins.
        wire: JsonObject = schema.schema | (described if "description" not in schema.schema else {})
        set_path(body, PARAMETERS["response_format"], {"type": "json_schema", "schema": wire})
    elif wanted.get("type") == "json_object":
        raise unsupported(
            path, f"{API} has no JSON mode without a schema; give a json_schema, or ask for JSON in words"
        )


def _tools(tools: Sequence[ToolDefinition]) -> list[JsonValue]:
    return [hosted(tool) or _tool(tool) for tool in tools]


def _tool(tool: ToolDefinition) -> JsonValue:
    """A tool of the client's, or one that the endpoint runs itself: that has a `type` in its options and no schema."""
    wire: JsonObject = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if tool.parameters is not None:
        # The API refuses a schema that does not say that arguments are an object.
        wire["input_schema"] = tool.parameters if "type" in tool.parameters else {"type": "object", **tool.parameters}
    elif "type" not in tool.options:
        wire["input_schema"] = dict(NO_ARGUMENTS)
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return merged(wire, tool.options)
