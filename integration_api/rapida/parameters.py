"""Model parameters of Rapida's contract to the domain's. Pure.

The contract reads leniently: names in any case, numbers and JSON as text, and what says nothing is skipped. Here that
is made strict. Whether a parameter's value is good is the domain's to say.
"""

import math
from collections.abc import Mapping

from google.protobuf import any_pb2

from caller.errors import Violation
from caller.json_types import JsonObject, JsonValue, with_whole_numbers
from caller.parameters import KNOWN, NESTED, REFUSED, object_from_text
from integration_api.codec.bounds import Violations
from integration_api.codec.structs import NotJsonError
from integration_api.rapida.any_values import any_to_json, json_or_text

_NAMES = frozenset({*KNOWN, *REFUSED, "id", "name", "parameters"})
# The contract cuts fractions off these.
_WHOLE = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed", "top_k", "top_logprobs"})


def model_parameters(wire: Mapping[str, any_pb2.Any], violations: Violations, *, tools: bool) -> JsonObject:
    """`model.name`, and everything else as one `model.parameters`: there what an API shape lacks goes out as it is,
    as this contract wants. Keys in the order of their names: a map has none, and a stable body helps caches. `tools`:
    whether there are any; without them a tool choice says nothing."""
    direct: JsonObject = {}
    for key in sorted(wire):
        prefix, _, name = key.partition(".")
        if prefix.lower() != "model" or not name:
            continue
        name = _plain(name)
        if name == "id":
            continue
        try:
            direct[name] = any_to_json(wire[key], violations.budget)
        except NotJsonError as error:
            violations.append(Violation(f'modelParameters["{key[:100]}"]', str(error)))
    model = direct.pop("name", None)
    nested = _nested(direct.pop("parameters", None), violations)
    given = _without_empty({name: _unpacked(name, value) for name, value in direct.items() if not _blank(value)})
    given |= _without_empty(nested)
    if not tools:
        given.pop("tool_choice", None)
    return {"model.name": model, NESTED: given}


def _nested(value: JsonValue, violations: Violations) -> JsonObject:
    if _blank(value):
        return {}
    fields = object_from_text(value) if isinstance(value, str) else value
    if not isinstance(fields, dict):
        violations.append(Violation(f'modelParameters["{NESTED}"]', "must be an object, or JSON text of one"))
        return {}
    # Exact names come last: of two spellings they win.
    named = sorted(fields.items(), key=lambda field: field[0] == _plain(field[0]))
    return {
        _plain(name): _converted(_plain(name), member)
        for name, member in named
        if not (_plain(name) in KNOWN and _blank(member))
    }


def _plain(name: str) -> str:
    """The name of a parameter: known ones in lower case, others as they are."""
    return name.lower() if name.lower() in _NAMES else name


def _blank(value: JsonValue) -> bool:
    """Nothing, or the text that forms send for a field that was not filled in: empty, or JSON's null."""
    return value is None or (isinstance(value, str) and value.strip(" ") in ("", "null"))


def _unpacked(name: str, value: JsonValue) -> JsonValue:
    """The value of a direct parameter. Of a known one the domain reads the text."""
    if isinstance(value, str) and name not in KNOWN:
        return json_or_text(value)
    return _converted(name, value)


def _converted(name: str, value: JsonValue) -> JsonValue:
    """The value in the type of its parameter, where the contract converts and the domain would refuse."""
    if name == "stop":
        return _stop(value)
    if name == "metadata":
        return _texts(value)
    if name in _WHOLE:
        number = json_or_text(value) if isinstance(value, str) else value
        return int(number) if isinstance(number, float) and math.isfinite(number) else value
    return value


def _stop(value: JsonValue) -> JsonValue:
    """Comma-separated text as a list, JSON text of a list as that. Line breaks are good stop sequences."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json_or_text(value)
    return [piece.strip(" ") for piece in value.split(",") if piece.strip(" ")]


def _texts(value: JsonValue) -> JsonValue:
    """Metadata with its numbers and truth values as texts, without nulls."""
    fields = object_from_text(value) if isinstance(value, str) else value
    if not isinstance(fields, dict):
        return value
    return {key: _text(member) for key, member in fields.items() if member is not None}


def _text(value: JsonValue) -> JsonValue:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(with_whole_numbers(value)) if isinstance(value, int | float) else value


def _without_empty(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if not _empty(name, value)}


def _empty(name: str, value: JsonValue) -> bool:
    """Whether a value says nothing, and endpoints would refuse it: no stop sequence, a format without a type."""
    if name == "stop":
        return value == []
    if name == "response_format":
        fields = object_from_text(value) if isinstance(value, str) else value
        return isinstance(fields, dict) and all(_blank(member) for member in fields.values())
    return False
