"""Every known parameter, with a value, and the ways to write it; what each family of shapes sends for it stands in
`families`, written by hand, so that a slip in a table of the shapes is noticed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.contract.families.family import BIAS, FORMAT, STOPS, USER_ID, Json


@dataclass(frozen=True)
class Row:
    """A parameter's value, and the same value as a string."""

    value: Json
    text: str


ROWS: dict[str, Row] = {
    "temperature": Row(0.5, "0.5"),
    "top_p": Row(0.25, " 0.25 "),
    "top_k": Row(20, "20"),
    "max_tokens": Row(64, "64"),
    "max_completion_tokens": Row(65, "65"),
    "max_output_tokens": Row(66, "66"),
    "frequency_penalty": Row(0.5, "0.5"),
    "presence_penalty": Row(-0.5, "-5e-1"),
    "seed": Row(7, "7"),
    "n": Row(1, "1"),
    "stop": Row(STOPS, '["END", "\\n"]'),
    "tool_choice": Row("required", "required"),
    "parallel_tool_calls": Row(False, "false"),
    "response_format": Row(FORMAT, json.dumps(FORMAT)),
    "reasoning_effort": Row("low", "low"),
    "verbosity": Row("low", "low"),
    "user": Row("u-1", "u-1"),
    "metadata": Row(USER_ID, json.dumps(USER_ID)),
    "logprobs": Row(True, "true"),
    "top_logprobs": Row(2, "2"),
    "logit_bias": Row(BIAS, json.dumps(BIAS)),
    "store": Row(True, "True"),
    "service_tier": Row("auto", "auto"),
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
