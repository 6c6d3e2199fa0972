"""Whether JSON fits the types of an official SDK, with nothing taken on trust.

The SDKs' request types are TypedDicts. Validators that know them are lazy: they do not look into an Iterable and let
unknown keys pass. This walks every value, wants every required key and refuses every key that the types do not have.
The answers' types are pydantic models: they are validated strictly, and what comes back out must be what went in.
"""

import collections.abc
import json
import types
import typing
import warnings
from functools import cache
from typing import Annotated, Any, Literal, Union

import typing_extensions as more
from pydantic import BaseModel, TypeAdapter, ValidationError

Json = Any

_WRAPPERS = (Annotated, typing.Required, typing.NotRequired, more.Required, more.NotRequired)
_REQUIRED = (typing.Required, more.Required)
_NOT_REQUIRED = (typing.NotRequired, more.NotRequired)


def problems(value: Json, kind: Any, path: str = "$") -> list[str]:
    """What does not fit, each with its path; empty where all does."""
    if kind is Any or kind is object:
        return []
    origin = typing.get_origin(kind)
    if origin in _WRAPPERS:
        return problems(value, typing.get_args(kind)[0], path)
    if origin in (Union, types.UnionType):
        return _of_union(value, typing.get_args(kind), path)
    if origin is Literal:
        fits = any(type(value) is type(word) and value == word for word in typing.get_args(kind))
        return [] if fits else [f"{path}: {value!r} is none of {typing.get_args(kind)}"]
    if more.is_typeddict(kind):
        return _of_object(value, kind, path)
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        return _of_map(value, typing.get_args(kind)[1], path)
    if isinstance(origin, type) and typing.get_args(kind) and hasattr(origin, "__iter__"):
        return _of_list(value, typing.get_args(kind)[0], path)
    return _of_scalar(value, kind, path)


def _of_scalar(value: Json, kind: Any, path: str) -> list[str]:
    expected = {float: (int, float), None: (type(None),)}.get(kind, (kind,))
    fits = kind in (str, int, float, bool, None, type(None)) and isinstance(value, expected)
    if isinstance(value, bool) and kind is not bool:
        fits = False
    return [] if fits else [f"{path}: {type(value).__name__} instead of {kind}"]


def _of_union(value: Json, arms: tuple[Any, ...], path: str) -> list[str]:
    """The arm that fits, or what is wrong in the one that comes nearest."""
    found = [problems(value, arm, path) for arm in arms]
    return min(found, key=lambda wrong: (bool(wrong), len(wrong), -max(map(len, wrong), default=0)))


def _of_list(value: Json, kind: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: {type(value).__name__} instead of a list"]
    return [wrong for at, member in enumerate(value) for wrong in problems(member, kind, f"{path}[{at}]")]


def _of_map(value: Json, kind: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {type(value).__name__} instead of an object"]
    return [wrong for key, member in value.items() for wrong in problems(member, kind, f"{path}.{key}")]


def _of_object(value: Json, kind: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: {type(value).__name__} instead of an object"]
    hints, required = _fields(kind)
    wrong = [f"{path}.{key}: unknown in {kind.__name__}" for key in value.keys() - hints.keys()]
    wrong += [f"{path}.{key}: missing in {kind.__name__}" for key in required - value.keys()]
    for key in value.keys() & hints.keys():
        wrong += problems(value[key], hints[key], f"{path}.{key}")
    return sorted(wrong)


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The fields of a TypedDict and the names of those that must be there.

    `__required_keys__` alone does not tell: it is made before the SDKs' postponed annotations can be read.
    """
    hints = more.get_type_hints(kind, include_extras=True)
    required = {
        key
        for key, hint in hints.items()
        if _marked(hint, _REQUIRED) or (key in kind.__required_keys__ and not _marked(hint, _NOT_REQUIRED))
    }
    return hints, frozenset(required)


def _marked(hint: Any, marks: tuple[Any, ...]) -> bool:
    origin = typing.get_origin(hint)
    return origin in marks or (origin is Annotated and _marked(typing.get_args(hint)[0], marks))


def model_problems(value: Json, kind: Any, allowed: frozenset[str] = frozenset()) -> list[str]:
    """What an SDK's answer type refuses, does not know, or loses. `allowed`: keys that it need not know."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Google's enums only warn of a word that they do not know
            model = _adapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as refused:
        return [f"{error['loc']}: {error['msg']}" for error in refused.errors(include_url=False)]
    except (UserWarning, AttributeError) as refused:  # the same enums fail like this on what is no word
        return [str(refused)]
    wrong = [name for name in _unknown(model) if name not in allowed]
    back = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return wrong if wrong or _one_alphabet(back) == _one_alphabet(value) else [f"it became {back}"]


def _one_alphabet(value: Json) -> Json:
    """The value with base64 in one of its two alphabets: pydantic reads both and writes that of URLs."""
    if isinstance(value, dict):
        return {key: _one_alphabet(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_one_alphabet(member) for member in value]
    return value.replace("+", "-").replace("/", "_") if isinstance(value, str) else value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _unknown(value: Any) -> list[str]:
    """The names of all fields that a model took without knowing them, at any depth."""
    if isinstance(value, list):
        return [name for member in value for name in _unknown(member)]
    if isinstance(value, dict):
        return [name for member in value.values() for name in _unknown(member)]
    if not isinstance(value, BaseModel):
        return []
    inner = [name for field in type(value).model_fields for name in _unknown(getattr(value, field))]
    return [*(value.model_extra or {}), *inner]
