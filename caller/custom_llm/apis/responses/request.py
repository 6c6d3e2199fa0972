"""A call as a Responses request: parameters, tools and headers around the input items. No I/O.

Two things are sent that nobody asked for, each because the service keeps no conversation and promises none is kept:

* `store: false`, the documented default of this service (the API's own default keeps every answer).
* `include: ["reasoning.encrypted_content"]`: an answer that is not stored can only be continued with its reasoning
  when the reasoning comes along encrypted. Models that do not reason refuse the request for it (OpenAI: 400), so it
  is sent only where the model is known to reason: `reasoning` is among the parameters, or encrypted reasoning of an
  earlier turn goes back; and only where the client can bring it back.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import HttpRequest, ResolvedCall
from caller.custom_llm.apis.responses.changes import changed
from caller.custom_llm.apis.responses.input import input_items, replays_encrypted
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
)
from caller.custom_llm.base_url import Operation, join
from caller.custom_llm.request_body import MappedParameters, mapped_to, merged, set_path
from caller.json_types import JsonObject, JsonValue, list_of, object_of
from caller.messages import ToolDefinition
from caller.parameters import Parameters

API = ApiCompatibility.OPENAI_RESPONSES
RESPONSES = Operation("responses", siblings=("models", "chat/completions"))
MODELS = Operation("models", siblings=("responses", "chat/completions"))
# Where each known parameter that the API has stands in the body.
PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "max_tokens": "max_output_tokens",
        "max_completion_tokens": "max_output_tokens",
        "max_output_tokens": "max_output_tokens",
        "tool_choice": "tool_choice",
        "parallel_tool_calls": "parallel_tool_calls",
        "response_format": "text.format",
        "reasoning_effort": "reasoning.effort",
        "verbosity": "text.verbosity",
        "user": "user",
        "metadata": "metadata",
        "logprobs": "include",
        "top_logprobs": "top_logprobs",
        "store": "store",
        "service_tier": "service_tier",
    }
)

_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
# They mean the same here; of several the later in this list wins.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_TRANSLATED = frozenset({*_LIMITS, "tool_choice", "response_format", "logprobs"})


def responses_request(call: ResolvedCall, stream: bool) -> HttpRequest:
    """The HTTP request of a call.

    Raises:
        NotSupportedByApi: something that this shape cannot carry.
        RequestInvalid: a parameter that cannot be read.
    """
    mapped = mapped_to(call.parameters, API, PARAMETERS)
    adapted: set[str] = set()
    items = input_items(call.messages, adapted, without_reasoning="encrypted_reasoning" in call.demands)
    body: JsonObject = {"model": call.parameters.model, "input": [*items]}
    if call.tools:
        body["tools"] = tools_json(call, "responses", _tools)
    _parameters(body, call, mapped)
    merged(body, mapped.rest)
    ours: set[str] = set()  # what nobody asked for
    if "store" not in body:
        ours.add("store")
        if "store" not in call.demands:
            body["store"] = False
    reasons = bool(body.get("reasoning")) or replays_encrypted(items)
    if _include(body, call, mapped, encrypted=call.returns_state and reasons):
        ours.add("include")
    if stream:
        body["stream"] = True
    adapted |= changed(body, call)
    credential = call.credential
    url = join(credential.base_url, RESPONSES, exact=credential.exact_url)
    changes = OwnChanges(
        frozenset(ours - call.demands.keys()), frozenset(ours & call.demands.keys()), frozenset(adapted)
    )
    return post_json(url, credential.headers, body, stream=stream, changes=changes)


def models_request(credential: Credential, page: str) -> HttpRequest:
    """The request for the model list, which has one page."""
    del page
    return get_json(join(credential.base_url, MODELS), credential.headers)


def _parameters(body: JsonObject, call: ResolvedCall, mapped: MappedParameters) -> None:
    known = mapped.known
    for name, value in known.items():
        if name not in _TRANSLATED:
            set_path(body, PARAMETERS[name], value)
    for name in _LIMITS:
        if name in known:
            body["max_output_tokens"] = known[name]
    if "response_format" in known:
        set_path(body, PARAMETERS["response_format"], _format(object_of(known["response_format"]), call.parameters))
    choice = _tool_choice(call.parameters)
    if call.tools and choice is not None:  # documented: applied only when tools are present
        body["tool_choice"] = choice


def _format(response_format: JsonObject, parameters: Parameters) -> JsonObject:
    """`text.format`: the schema stands beside the type, not inside a `json_schema` object."""
    schema = json_schema_of(response_format, parameters.path("response_format"))
    if schema is None:
        return dict(response_format)
    wire: JsonObject = {"type": "json_schema", "name": schema.name}
    if schema.description:
        wire["description"] = schema.description
    wire["schema"] = schema.schema
    if schema.strict is not None:
        wire["strict"] = schema.strict
    return wire


def _tool_choice(parameters: Parameters) -> JsonValue:
    choice = tool_choice_of(parameters)
    if choice is None:
        return None
    if choice.kind is ToolChoiceKind.NAMED:
        return {"type": "function", "name": choice.name}
    return choice.value if choice.kind is ToolChoiceKind.OTHER else choice.kind.value


def _include(body: JsonObject, call: ResolvedCall, mapped: MappedParameters, *, encrypted: bool) -> bool:
    """True where reasoning is, or would be, asked for that nobody asked for."""
    wanted: list[JsonValue] = []
    if "top_logprobs" in mapped.known or mapped.known.get("logprobs") is True:
        wanted.append(_LOGPROBS)
    given = body.get("include")
    ours = encrypted and body.get("store") is not True and (given is None or isinstance(given, list))
    ours = ours and _ENCRYPTED not in list_of(given)
    if ours and "include" not in call.demands:
        wanted.append(_ENCRYPTED)
    if wanted and (given is None or isinstance(given, list)):
        body["include"] = [*(given or []), *(name for name in wanted if name not in (given or []))]
    return ours


def _tools(tools: Sequence[ToolDefinition]) -> list[JsonValue]:
    return [hosted(tool) or _tool(tool) for tool in tools]


def _tool(tool: ToolDefinition) -> JsonValue:
    wire: JsonObject = {"type": "function", "name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    wire["parameters"] = dict(NO_ARGUMENTS if tool.parameters is None else tool.parameters)
    # Left out, `strict` means true in this API (unlike in Chat Completions): optional properties become required.
    wire["strict"] = bool(tool.strict)
    return merged(wire, tool.options)
