"""Every known parameter, and what each family of shapes sends for it: written by hand, so that a slip in a table of
the shapes is noticed. A family that is missing in a row lacks the parameter.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.contract.situations import FORMAT, FORMAT_ON_THE_WIRE

Json = Any

_LOGPROBS = {"include": ["message.output_text.logprobs"]}
_BIAS: Json = {"50256": -100}
_USER_ID: Json = {"user_id": "u-2"}


@dataclass(frozen=True)
class Row:
    """A parameter's value, the same value as a string, and the fields of the body in each family that has it."""

    value: Json
    text: str
    wire: dict[str, dict[str, Json]]


def _config(**fields: Json) -> dict[str, Json]:
    return {"generationConfig": fields}


def _same(name: str, value: Json, *families: str) -> dict[str, dict[str, Json]]:
    """The families in which a parameter has its own name at the top of the body."""
    return {family: {name: value} for family in families}


ROWS: dict[str, Row] = {
    "temperature": Row(
        0.5,
        "0.5",
        {**_same("temperature", 0.5, "chat", "responses", "anthropic"), "gemini": _config(temperature=0.5)},
    ),
    "top_p": Row(
        0.25, " 0.25 ", {**_same("top_p", 0.25, "chat", "responses", "anthropic"), "gemini": _config(topP=0.25)}
    ),
    "top_k": Row(20, "20", {**_same("top_k", 20, "chat", "anthropic"), "gemini": _config(topK=20)}),
    "max_tokens": Row(
        64,
        "64",
        {
            **_same("max_tokens", 64, "chat", "anthropic"),
            "responses": {"max_output_tokens": 64},
            "gemini": _config(maxOutputTokens=64),
        },
    ),
    "max_completion_tokens": Row(
        65,
        "65",
        {
            "chat": {"max_completion_tokens": 65},
            "responses": {"max_output_tokens": 65},
            "anthropic": {"max_tokens": 65},
            "gemini": _config(maxOutputTokens=65),
        },
    ),
    "max_output_tokens": Row(
        66,
        "66",
        {
            "responses": {"max_output_tokens": 66},
            "anthropic": {"max_tokens": 66},
            "gemini": _config(maxOutputTokens=66),
        },
    ),
    "frequency_penalty": Row(0.5, "0.5", {"chat": {"frequency_penalty": 0.5}, "gemini": _config(frequencyPenalty=0.5)}),
    "presence_penalty": Row(
        -0.5, "-5e-1", {"chat": {"presence_penalty": -0.5}, "gemini": _config(presencePenalty=-0.5)}
    ),
    "seed": Row(7, "7", {"chat": {"seed": 7}, "gemini": _config(seed=7)}),
    "n": Row(1, "1", {"chat": {"n": 1}, "gemini": _config(candidateCount=1)}),
    "stop": Row(
        ["END", "\n"],
        '["END", "\\n"]',
        {
            "chat": {"stop": ["END", "\n"]},
            "anthropic": {"stop_sequences": ["END", "\n"]},
            "gemini": _config(stopSequences=["END", "\n"]),
        },
    ),
    "tool_choice": Row(
        "required",
        "required",
        {
            **_same("tool_choice", "required", "chat", "responses"),
            "anthropic": {"tool_choice": {"type": "any"}},
            "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
        },
    ),
    "parallel_tool_calls": Row(
        False,
        "false",
        {
            **_same("parallel_tool_calls", False, "chat", "responses"),
            "anthropic": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        },
    ),
    "response_format": Row(FORMAT, json.dumps(FORMAT), FORMAT_ON_THE_WIRE),
    "reasoning_effort": Row(
        "low",
        "low",
        {
            "chat": {"reasoning_effort": "low"},
            "responses": {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]},
            "anthropic": {"output_config": {"effort": "low"}},
            "gemini": _config(thinkingConfig={"thinkingLevel": "LOW", "includeThoughts": True}),
        },
    ),
    "verbosity": Row("low", "low", {"chat": {"verbosity": "low"}, "responses": {"text": {"verbosity": "low"}}}),
    "user": Row(
        "u-1", "u-1", {**_same("user", "u-1", "chat", "responses"), "anthropic": {"metadata": {"user_id": "u-1"}}}
    ),
    "metadata": Row(_USER_ID, json.dumps(_USER_ID), _same("metadata", _USER_ID, "chat", "responses", "anthropic")),
    "logprobs": Row(
        True, "true", {"chat": {"logprobs": True}, "responses": _LOGPROBS, "gemini": _config(responseLogprobs=True)}
    ),
    "top_logprobs": Row(
        2,
        "2",
        {
            "chat": {"top_logprobs": 2, "logprobs": True},
            "responses": {"top_logprobs": 2, **_LOGPROBS},
            "gemini": _config(logprobs=2, responseLogprobs=True),
        },
    ),
    "logit_bias": Row(_BIAS, json.dumps(_BIAS), {"chat": {"logit_bias": _BIAS}}),
    "store": Row(True, "True", _same("store", True, "chat", "responses")),
    "service_tier": Row("auto", "auto", _same("service_tier", "auto", "chat", "responses", "anthropic")),
}


@dataclass(frozen=True)
class Spelling:
    """One way to write a parameter. `field` is its path in a violation; `nested`: inside `model.parameters`."""

    given: dict[str, Json]
    field: str
    nested: bool = False


def spellings(name: str) -> Iterator[Spelling]:
    """Every documented way to write a parameter: bare, `model.*`, and inside `model.parameters`, which is an object or
    JSON text; each with the value, and with the value as a string."""
    row = ROWS[name]
    inside = f'model_parameters["model.parameters"]["{name}"]'
    for value in (row.value, row.text):
        yield Spelling({name: value}, f'model_parameters["{name}"]')
        yield Spelling({f"model.{name}": value}, f'model_parameters["model.{name}"]')
        yield Spelling({"model.parameters": {name: value}}, inside, nested=True)
        yield Spelling({"model.parameters": json.dumps({name: value})}, inside, nested=True)


def added(body: dict[str, Json], fields: dict[str, Json]) -> dict[str, Json]:
    """The body with further fields; an object meets an object by merging."""
    merged = dict(body)
    for key, value in fields.items():
        present = merged.get(key)
        merged[key] = added(present, value) if isinstance(present, dict) and isinstance(value, dict) else value
    return merged
