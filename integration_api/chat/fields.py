"""What every part of a request is read with. Pure."""

from google.protobuf import struct_pb2

from caller.errors import Violation
from caller.json_types import JsonObject
from integration_api.codec.bounds import Violations
from integration_api.codec.structs import NotJsonError, struct_to_object


def need(value: str | bytes, path: str, violations: Violations) -> None:
    """Note that a value is empty which must not be."""
    if not value:
        violations.append(Violation(path, "must not be empty"))


def struct_object(path: str, struct: struct_pb2.Struct, violations: Violations) -> JsonObject:
    """A Struct as JSON; an empty one where it holds what JSON cannot, or too much, which is a violation."""
    try:
        return struct_to_object(struct, budget=violations.budget)
    except NotJsonError as error:
        violations.append(Violation(path, str(error)))
        return {}
