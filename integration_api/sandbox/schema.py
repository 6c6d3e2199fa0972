"""The smallest JSON value that fits a JSON Schema (or Gemini's subset of OpenAPI), keys in the schema's order.

Rule: pure and total: any JSON is accepted as a schema; what is not understood gives the plainest value.
Not understood: `pattern`, `not`, `if`, conditional and unevaluated keywords.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from integration_api.sandbox.wire import Json, JsonObject

# Optional properties and list items are left out below this depth, so that recursive schemas end.
_DEEP: Final = 6
_DEEPEST: Final = 40
_LARGEST: Final = 1e15

_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "sandbox@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: Json) -> Json:
    """A value that the schema accepts."""
    return _Sampler(schema if isinstance(schema, Mapping) else {}).sample(schema, 0)


@dataclass(slots=True)
class _Sampler:
    """Walks a schema; `left` bounds the number of values, whatever a schema asks for."""

    root: JsonObject
    left: int = 20_000

    def sample(self, schema: Json, depth: int) -> Json:
        self.left -= 1
        if not isinstance(schema, Mapping) or depth > _DEEPEST or self.left < 0:
            return {} if schema is True else None
        schema = _resolved(schema, self.root)
        if "const" in schema:
            return schema["const"]
        for word in ("enum", "anyOf", "oneOf"):
            choice = schema.get(word)
            if isinstance(choice, list) and choice:
                first: Json = choice[0]
                return first if word == "enum" else self.sample(first, depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: JsonObject, depth: int) -> Json:
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return _string(schema)
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case _:
                return None

    def _object(self, schema: JsonObject, depth: int) -> Json:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return {}
        ordering, required = schema.get("propertyOrdering"), schema.get("required")
        first = [str(name) for name in ordering] if isinstance(ordering, list) else []
        names = dict.fromkeys([*(name for name in first if name in properties), *properties])
        needed = required if isinstance(required, list) else []
        return {
            name: self.sample(properties[name], depth + 1)
            for name in names
            if (depth < _DEEP or name in needed) and self.left > 0
        }

    def _array(self, schema: JsonObject, depth: int) -> Json:
        least, most = _bound(schema, "minItems", 0), _bound(schema, "maxItems", 1_000)
        fixed = schema.get("prefixItems")
        start = [self.sample(one, depth + 1) for one in fixed] if isinstance(fixed, list) else []
        wanted = min(max(least, 0 if depth >= _DEEP else 1), most, 1_000, max(self.left, 0))
        more = wanted - len(start) if "items" in schema or not start else 0
        return [*start, *(self.sample(schema.get("items", {}), depth + 1) for _ in range(more))]


def _resolved(schema: JsonObject, root: JsonObject) -> JsonObject:
    """The schema with its `$ref` followed and its `allOf` merged."""
    for _ in range(_DEEP):
        ref = schema.get("$ref")
        if not isinstance(ref, str):
            break
        schema = _pointed(ref, root)
    parts = schema.get("allOf")
    if not isinstance(parts, list):
        return schema
    merged: dict[str, Json] = {}
    for part in [*parts, {key: value for key, value in schema.items() if key != "allOf"}]:
        if isinstance(part, Mapping):
            _merge(merged, part if part.get("$ref") is None else _pointed(str(part["$ref"]), root))
    return merged


def _merge(merged: dict[str, Json], part: JsonObject) -> None:
    for key, value in part.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = {**old, **value}
        elif isinstance(old, list) and isinstance(value, list) and key == "required":
            merged[key] = [*old, *value]
        else:
            merged[key] = value


def _pointed(ref: str, root: JsonObject) -> JsonObject:
    here: Json = root
    for name in ref.removeprefix("#").split("/")[1:]:
        here = here.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _type(schema: JsonObject) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()  # Gemini writes STRING, OBJECT, …
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _string(schema: JsonObject) -> str:
    form = schema.get("format")
    text = _FORMATS.get(form, "text") if isinstance(form, str) else "text"
    least, most = _bound(schema, "minLength", 0), _bound(schema, "maxLength", 100_000)
    return text.ljust(min(least, 100_000), "x")[:most]


def _number(schema: JsonObject, *, whole: bool) -> int | float:
    step = abs(_limit(schema, "multipleOf") or 0)
    low, high = _limit(schema, "minimum"), _limit(schema, "maximum")
    above, below = _limit(schema, "exclusiveMinimum"), _limit(schema, "exclusiveMaximum")
    unit = step or (1 if whole else 0.5)
    value: int | float = 0
    if low is not None and value < low:
        value = low
    if above is not None and value <= above:
        value = above + unit
    if high is not None and value > high:
        value = high
    if below is not None and value >= below:
        value = below - unit
    if step and value % step:
        value += step - value % step
    return int(value) if whole or float(value).is_integer() else value


def _limit(schema: JsonObject, name: str) -> int | float | None:
    value = schema.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        return None
    return value


def _bound(schema: JsonObject, name: str, default: int) -> int:
    value = schema.get(name)
    if isinstance(value, str) and value.isdecimal():  # Gemini's int64 values are strings
        return int(value)
    return value if isinstance(value, int) and value >= 0 else default
