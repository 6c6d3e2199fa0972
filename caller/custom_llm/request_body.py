"""Parameters, and objects of the client's own, in the body of a request.

Which known parameters a shape has, and where, is a table in its own folder: a parameter's name, and the path of its
field. A known one that is missing there is refused where it is given directly; inside `model.parameters` it goes out as
it is, and so do parameters that nobody knows. Values that need more than a path (`stop`, `tool_choice`,
`response_format`, …) are translated by the shape, and only named in its table. docs/parameters.md shows all tables.
"""

from collections.abc import Mapping

import msgspec

from caller.credentials import ApiCompatibility
from caller.errors import NotSupportedByApi, Violation
from caller.json_types import JsonObject, JsonValue
from caller.parameters import KNOWN, Parameters


class MappedParameters(msgspec.Struct, frozen=True):
    """Parameters as one shape has them.

    `known` are those of its table, by our names; `rest` goes into the body under its own names.
    """

    known: Mapping[str, JsonValue]
    rest: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)


def mapped_to(parameters: Parameters, api: ApiCompatibility, fields: Mapping[str, str]) -> MappedParameters:
    """The parameters as a shape has them; `fields` is its table.

    Raises:
        NotSupportedByApi: a known parameter that the shape lacks was given directly.
    """
    known: JsonObject = {}
    rest: JsonObject = {}
    violations: list[Violation] = []
    for name, value in parameters.values.items():
        if name in fields:
            known[name] = value
        elif name not in KNOWN or name in parameters.verbatim:
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
