"""Model parameters: merged from the three names that each may have, once, and read as their documented types.

This module knows names and types. Where a parameter stands on the wire of an API shape is in
the table of the shape, in its folder.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from caller.errors import RequestInvalid, Violation
from caller.json_types import JsonObject, JsonValue, deeper_than, with_whole_numbers

PATH = "model_parameters"
TYPED_PATH = "model"
NESTED = "model.parameters"
MAX_MODEL_CHARS = 512
MAX_DEPTH = 100  # of JSON given as text: what a protobuf Struct may hold
# They are fields of the request itself; a parameter of the same name would contradict them.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "messages": "the conversation is the request's `messages`",
        "input": "the conversation is the request's `messages`",
        "contents": "the conversation is the request's `messages`",
        "stream": "call Chat or StreamChat instead",
        "tools": "tools are the request's `tools`",
        "model": "the model is given as `model.name`",
    }
)


class Parameters(msgspec.Struct, frozen=True):
    """Merged parameters.

    `values` holds each parameter under its bare name, read as its type. `verbatim` names those that were given inside
    `model.parameters`: what an API shape lacks goes out as it is when it is one of these, and is refused otherwise.
    `paths` says where each was given, for violations.
    """

    model: str
    values: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)
    verbatim: frozenset[str] = frozenset()
    paths: Mapping[str, str] = msgspec.field(default_factory=dict)

    def path(self, name: str) -> str:
        """The field path under which the parameter was given."""
        return self.paths.get(name, f'{PATH}["{name}"]')


# Python reads more than numbers as numbers: `1_000`, `nan`, digits of other scripts.
_NUMBER = re.compile(r"[+-]?([0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
_LARGEST = 2.0**1023


class _UnreadableError(Exception):
    """A value is not of its parameter's type; the text says what is expected."""


def _number(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        value = _number_from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        raise _UnreadableError("must be a number")
    return with_whole_numbers(value)


def _number_from_text(text: str) -> int | float:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise _UnreadableError("must be a number")
    try:
        return int(text)  # a seed may be larger than what a double holds exactly
    except ValueError:
        return float(text)


def _integer(value: JsonValue) -> JsonValue:
    try:
        value = _number(value)
    except _UnreadableError:
        raise _UnreadableError("must be a whole number") from None
    if not isinstance(value, int):
        raise _UnreadableError("must be a whole number")
    return value


def _boolean(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _UnreadableError("must be true or false")
    return value


def _text(value: JsonValue) -> JsonValue:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(with_whole_numbers(value))
    if not isinstance(value, str):
        raise _UnreadableError("must be a string")
    return value


def _from_json(value: JsonValue, expected: str) -> JsonValue:
    """JSON text read as JSON, its keys in the order written; other values as they are."""
    if not isinstance(value, str):
        return with_whole_numbers(value)
    try:
        parsed: JsonValue = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise _UnreadableError(expected) from None
    if deeper_than(parsed, MAX_DEPTH):
        raise _UnreadableError(f"is nested more than {MAX_DEPTH} levels deep")
    return parsed


def _object(value: JsonValue) -> JsonValue:
    value = _from_json(value, "must be an object, or JSON text of one")
    if not isinstance(value, dict):
        raise _UnreadableError("must be an object, or JSON text of one")
    return value


def _format(value: JsonValue) -> JsonValue:
    value = _object(value)
    if not value:  # endpoints refuse it
        raise _UnreadableError('must not be empty: it has a "type"')
    return value


def _text_list(value: JsonValue) -> JsonValue:
    expected = "must be a list of strings"
    if isinstance(value, str):
        value = _from_json(value, expected) if value.lstrip().startswith("[") else [value]
    if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
        raise _UnreadableError(expected)
    if not value:  # endpoints refuse it
        raise _UnreadableError("must hold at least one string")
    return value


def _text_map(value: JsonValue) -> JsonValue:
    value = _from_json(value, "must be an object of strings")
    if not isinstance(value, dict) or not all(isinstance(member, str) for member in value.values()):
        raise _UnreadableError("must be an object of strings")
    return value


def _word_or_object(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return value
    return _object(value)


# Every parameter that we know by name, with the reader of its documented type.
KNOWN: Mapping[str, Callable[[JsonValue], JsonValue]] = MappingProxyType(
    {
        "temperature": _number,
        "top_p": _number,
        "top_k": _integer,
        "max_tokens": _integer,
        "max_completion_tokens": _integer,
        "max_output_tokens": _integer,
        "frequency_penalty": _number,
        "presence_penalty": _number,
        "seed": _integer,
        "n": _integer,
        "stop": _text_list,
        "tool_choice": _word_or_object,
        "parallel_tool_calls": _boolean,
        "response_format": _format,
        "reasoning_effort": _text,
        "verbosity": _text,
        "user": _text,
        "metadata": _text_map,
        "logprobs": _boolean,
        "top_logprobs": _integer,
        "logit_bias": _object,
        "store": _boolean,
        "service_tier": _text,
    }
)


def object_from_text(text: str) -> JsonObject | None:
    """A JSON object read from text, its keys in the order written; None when it is not one."""
    try:
        value = _object(text)
    except _UnreadableError:
        return None
    return value if isinstance(value, dict) else None


def overridden(raw: Mapping[str, JsonValue], own: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Parameters with some of their own over them: a name that `own` gives under any of the three wins over all
    that `raw` gives under it. Both are as they came; what is unreadable stays so."""
    if not own:
        return raw
    unreadable: list[Violation] = []
    inner, own_inner = _nested(raw, []), _without_nulls(_nested(own, unreadable))
    outer = _without_nulls({key: value for key, value in own.items() if key != NESTED})
    names = {*map(_bare, outer), *own_inner}
    merged: JsonObject = {key: value for key, value in raw.items() if key != NESTED and _bare(key) not in names}
    merged |= outer
    nested: JsonObject = {key: value for key, value in inner.items() if key not in names} | own_inner
    if unreadable:
        merged[NESTED] = own[NESTED]
    elif nested:
        merged[NESTED] = nested
    return merged


def _without_nulls(given: JsonObject) -> JsonObject:
    """Without the nulls of parameters that we know: null means "not given" there. Others are sent as they are."""
    return {key: value for key, value in given.items() if value is not None or _bare(key) not in KNOWN}


def _bare(key: str) -> str:
    """The name that a key gives; the model's own name is none of the parameters'."""
    return key if key in ("model.name", "model.id") else key.removeprefix("model.")


def merge_parameters(raw: Mapping[str, JsonValue], typed: frozenset[str] = frozenset()) -> Parameters:
    """Merge bare names, `model.*` and `model.parameters`: of one name given twice the later of these wins. `typed` are
    the bare names, and `model.name`, that were given as fields of the request.

    Raises:
        RequestInvalid: with one violation per unreadable or refused parameter, or without `model.name`.
    """
    violations: list[Violation] = []
    nested = _nested(raw, violations) if NESTED in raw else {}
    values: JsonObject = {}
    paths: dict[str, str] = {}
    if len(raw) > ("model.name" in raw):
        merged = _given_anywhere(raw, nested, typed)
        for name, (path, value) in merged.items():
            _read(name, path, value, values, violations)
        paths = {name: path for name, (path, _) in merged.items()}
    model_path = f'{PATH}["model.name"]'
    if "model.name" in typed:
        paths["model.name"] = model_path = f"{TYPED_PATH}.name"
    model = _model(raw, model_path, violations)
    if violations:
        raise RequestInvalid(f"{violations[0].field}: {violations[0].description}", violations=violations)
    return Parameters(model, MappingProxyType(values), frozenset(nested), MappingProxyType(paths))


def _given_anywhere(
    raw: Mapping[str, JsonValue], nested: JsonObject, typed: frozenset[str]
) -> dict[str, tuple[str, JsonValue]]:
    """Each name with the path and the value that hold for it."""
    given = _without_nulls({key: value for key, value in raw.items() if key not in ("model.id", "model.name", NESTED)})
    bare = {
        key: (f"{TYPED_PATH}.{key}" if key in typed else f'{PATH}["{key}"]', value)
        for key, value in given.items()
        if not key.startswith("model.")
    }
    dotted = {
        key.removeprefix("model."): (f'{PATH}["{key}"]', value)
        for key, value in given.items()
        if key.startswith("model.")
    }
    inner = {key: (f'{PATH}["{NESTED}"]["{key}"]', value) for key, value in _without_nulls(nested).items()}
    return bare | dotted | inner


def _model(raw: Mapping[str, JsonValue], path: str, violations: list[Violation]) -> str:
    model = raw.get("model.name")
    name = model.strip() if isinstance(model, str) else ""
    advice = "" if name else "must be a non-empty string: the model to ask"
    if advice and "model.id" in raw:
        advice += "; `model.id` is a selector's value and is not sent"
    if len(name) > MAX_MODEL_CHARS:
        advice = f"must be at most {MAX_MODEL_CHARS} characters"
    if advice:
        violations.append(Violation(path, advice))
    return name


def _nested(raw: Mapping[str, JsonValue], violations: list[Violation]) -> JsonObject:
    value = raw.get(NESTED)
    if value is None or value == "":
        return {}
    try:
        parsed = _object(value)
    except _UnreadableError as unreadable:
        violations.append(Violation(f'{PATH}["{NESTED}"]', str(unreadable)))
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _read(name: str, path: str, value: JsonValue, values: JsonObject, violations: list[Violation]) -> None:
    if name in REFUSED:
        violations.append(Violation(path, f"cannot be a parameter: {REFUSED[name]}"))
        return
    reader = KNOWN.get(name)
    try:
        values[name] = with_whole_numbers(value) if reader is None else reader(value)
    except _UnreadableError as unreadable:
        violations.append(Violation(path, str(unreadable)))
