"""Where each known parameter stands on the wire of each API shape: one table, which docs/parameters.md shows.

A dotted name is a path into nested objects. A shape that is missing in a row lacks the parameter: given directly it is
refused, given inside `model.parameters` it goes out as it is. Parameters that are not in the table go into the body
under their own names. Values that need more than a path (`stop`, `tool_choice`, `response_format`, …) are translated
by the shape's adapter and only named here.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from caller.credentials import ApiCompatibility
from caller.errors import NotSupportedByApi, Violation
from caller.json_types import JsonObject, JsonValue
from caller.parameters import Parameters

_CHAT = ApiCompatibility.OPENAI_CHAT_COMPLETIONS
_COMPATIBLE = ApiCompatibility.OPENAI_COMPATIBLE
_RESPONSES = ApiCompatibility.OPENAI_RESPONSES
_ANTHROPIC = ApiCompatibility.ANTHROPIC_MESSAGES
_GEMINI = ApiCompatibility.GEMINI_GENERATE_CONTENT


def _row(chat: str = "", responses: str = "", anthropic: str = "", gemini: str = "") -> Mapping[ApiCompatibility, str]:
    names = {_CHAT: chat, _COMPATIBLE: chat, _RESPONSES: responses, _ANTHROPIC: anthropic, _GEMINI: gemini}
    return MappingProxyType({api: name for api, name in names.items() if name})


TABLE: Mapping[str, Mapping[ApiCompatibility, str]] = MappingProxyType(
    {
        "temperature": _row("temperature", "temperature", "temperature", "generationConfig.temperature"),
        "top_p": _row("top_p", "top_p", "top_p", "generationConfig.topP"),
        "top_k": _row("top_k", anthropic="top_k", gemini="generationConfig.topK"),
        "max_tokens": _row("max_tokens", "max_output_tokens", "max_tokens", "generationConfig.maxOutputTokens"),
        "max_completion_tokens": _row(
            "max_completion_tokens", "max_output_tokens", "max_tokens", "generationConfig.maxOutputTokens"
        ),
        "max_output_tokens": _row("", "max_output_tokens", "max_tokens", "generationConfig.maxOutputTokens"),
        "frequency_penalty": _row("frequency_penalty", gemini="generationConfig.frequencyPenalty"),
        "presence_penalty": _row("presence_penalty", gemini="generationConfig.presencePenalty"),
        "seed": _row("seed", gemini="generationConfig.seed"),
        "n": _row("n", gemini="generationConfig.candidateCount"),
        "stop": _row("stop", "", "stop_sequences", "generationConfig.stopSequences"),
        "tool_choice": _row("tool_choice", "tool_choice", "tool_choice", "toolConfig.functionCallingConfig"),
        "parallel_tool_calls": _row(
            "parallel_tool_calls", "parallel_tool_calls", "tool_choice.disable_parallel_tool_use"
        ),
        "response_format": _row(
            "response_format", "text.format", "output_config.format", "generationConfig.responseJsonSchema"
        ),
        "reasoning_effort": _row(
            "reasoning_effort",
            "reasoning.effort",
            "output_config.effort",
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        "verbosity": _row("verbosity", "text.verbosity"),
        "user": _row("user", "user", "metadata.user_id"),
        "metadata": _row("metadata", "metadata", "metadata"),
        "logprobs": _row("logprobs", "include", "", "generationConfig.responseLogprobs"),
        "top_logprobs": _row("top_logprobs", "top_logprobs", "", "generationConfig.logprobs"),
        "logit_bias": _row("logit_bias"),
        "store": _row("store", "store"),
        "service_tier": _row("service_tier", "service_tier", "service_tier"),
    }
)


class MappedParameters(msgspec.Struct, frozen=True):
    """Parameters as one shape has them.

    `known` are those of the table that the shape has, by our names; `rest` goes into the body under its own names.
    """

    known: Mapping[str, JsonValue]
    rest: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


def mapped_to(parameters: Parameters, api: ApiCompatibility) -> MappedParameters:
    """The parameters as a shape has them.

    Raises:
        NotSupportedByApi: a known parameter that the shape lacks was given directly.
    """
    known: JsonObject = {}
    rest: JsonObject = {}
    violations: list[Violation] = []
    for name, value in parameters.values.items():
        row = TABLE.get(name)
        if row is not None and api in row:
            known[name] = value
        elif row is None or name in parameters.verbatim:
            rest[name] = value
        else:
            violations.append(Violation(parameters.path(name), _advice(name, api)))
    if violations:
        raise NotSupportedByApi(f"{violations[0].field}: {violations[0].description}", violations=violations)
    return MappedParameters(known, rest)


def _advice(name: str, api: ApiCompatibility) -> str:
    if name == "max_output_tokens":
        return f"{api.value} has no such parameter; use max_tokens or max_completion_tokens"
    return f"{api.value} has no such parameter; put it into model.parameters to send it as it is"


def set_path(body: JsonObject, path: str, value: JsonValue) -> None:
    """Set `a.b.c` in nested objects, making those that are missing. A value in the way that is no object stays."""
    *parents, last = path.split(".")
    for parent in parents:
        below = body.setdefault(parent, {})
        if not isinstance(below, dict):
            return
        body = below
    body[last] = value


def merged(body: JsonObject, rest: Mapping[str, JsonValue]) -> JsonObject:
    """The body with further fields: an object meets an object by merging, anything else replaces."""
    for name, value in rest.items():
        present = body.get(name)
        if isinstance(present, dict) and isinstance(value, dict):
            body[name] = merged(dict(present), value)  # it may be the client's own object
        else:
            body[name] = value
    return body
