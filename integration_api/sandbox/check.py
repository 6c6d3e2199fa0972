"""Reading a request strictly: what is missing or of a wrong type is refused, with the name of the field.

Rule: knows JSON and the four ways it can be wrong, and no API. Unknown fields are ignored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from integration_api.sandbox.scenario import HttpError
from integration_api.sandbox.wire import Json, JsonObject


class RefusedError(Exception):
    """The request is answered with this error."""

    def __init__(self, http_error: HttpError) -> None:
        super().__init__(http_error.message)
        self.http_error = http_error


def refuse(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> RefusedError:
    """An error to raise."""
    return RefusedError(HttpError(status, message, code, param))


_NAMES: Final = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "an integer"),
    (float, "a decimal"),
    (Mapping, "an object"),
    (list, "an array"),
)


def _kind(value: Json) -> str:
    return next((name for kind, name in _NAMES if isinstance(value, kind)), "null")


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object of a request; `path` is where it stands. `null` is the same as absent, as the APIs have it."""

    value: JsonObject
    path: str = ""

    def param(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _wrong(self, name: str, expected: str) -> RefusedError:
        got = _kind(self.value.get(name))
        param = self.param(name)
        return refuse(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param, "invalid_type")

    def missing(self, name: str) -> RefusedError:
        param = self.param(name)
        return refuse(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")

    def bad(self, name: str, message: str, code: str = "invalid_value") -> RefusedError:
        param = self.param(name)
        return refuse(f"Invalid value for '{param}': {message}", param, code)

    def raw(self, name: str) -> Json:
        return self.value.get(name)

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def text(self, name: str) -> str:
        """A string, or '' when absent."""
        value = self.raw(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def need_text(self, name: str) -> str:
        """A string that must not be empty."""
        value = self.text(name)
        if not value:
            raise self.missing(name)
        return value

    def one_of(self, name: str, *allowed: str) -> str:
        value = self.need_text(name)
        if value not in allowed:
            raise self.bad(name, f"'{value}'. Supported values are: {', '.join(repr(word) for word in allowed)}.")
        return value

    def flag(self, name: str) -> bool:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "a boolean")
        return bool(value)

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "a number")
        if not low <= value <= high:
            raise self.bad(name, f"{value} is not between {low:g} and {high:g}.", "number_out_of_range")
        return value

    def whole(self, name: str, low: int, high: int = 2**31 - 1) -> int | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "an integer")
        if not low <= value <= high:
            raise self.bad(name, f"{value} is not between {low} and {high}.", "integer_out_of_range")
        return value

    def object(self, name: str) -> "Fields | None":
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self._wrong(name, "an object")
        return Fields(value, self.param(name))

    def need_object(self, name: str) -> "Fields":
        found = self.object(name)
        if found is None:
            raise self.missing(name)
        return found

    def objects(self, name: str) -> tuple["Fields", ...]:
        """An array of objects; empty when absent."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._wrong(name, "an array of objects")
        return tuple(self._items(name, value))

    def need_objects(self, name: str) -> tuple["Fields", ...]:
        if not self.has(name):
            raise self.missing(name)
        found = self.objects(name)
        if not found:
            param = self.param(name)
            raise refuse(f"Invalid '{param}': empty array. Expected at least one item.", param, "empty_array")
        return found

    def _items(self, name: str, items: list[Json]) -> Iterator["Fields"]:
        for number, item in enumerate(items):
            path = f"{self.param(name)}[{number}]"
            if not isinstance(item, Mapping):
                message = f"Invalid type for '{path}': expected an object, but got {_kind(item)} instead."
                raise refuse(message, path, "invalid_type")
            yield Fields(item, path)

    def texts(self, name: str) -> tuple[str, ...]:
        """A string or an array of strings, as stop sequences are given."""
        value = self.raw(name)
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self._wrong(name, "a string or an array of strings")
        return tuple(str(item) for item in items)
