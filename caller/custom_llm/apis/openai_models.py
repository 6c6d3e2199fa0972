"""Model lists in OpenAI's form. No I/O."""

from typing import Final

from caller.custom_llm.adapter import ModelPage
from caller.custom_llm.apis.parsing import parse
from caller.custom_llm.errors.endpoint_errors import in_band_error
from caller.errors import ProtocolError
from caller.json_types import JsonObject, JsonValue, object_of, text_of, without
from caller.verification import Model

# Where a list stands: OpenAI; Ollama, Vertex AI; Cloudflare and gateways around a list of their own.
_LISTS: Final = ("data", "models", "result", "items", "list")
# Where a model's name stands. Cloudflare's `id` is a number of its own, and its names begin with `@`.
_NAMES: Final = ("id", "name", "model")
_MODEL_KEYS: Final = frozenset({"id", "owned_by", "object"})
_MARK: Final = b"\xef\xbb\xbf"


def decode_models(body: bytes) -> ModelPage:
    """The one page. Together sends a bare list, some servers a list of names; written in Go they say null for none
    (Ollama).

    Raises:
        ProtocolError: not a model list.
        CallerError: the answer holds an error.
    """
    try:
        answer: JsonValue = parse(body.removeprefix(_MARK))
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        error = in_band_error(answer)
        if error is not None:
            raise error
    members = _members(answer)
    if members is None:
        raise ProtocolError("the endpoint's model list has no `data`; does baseUrl end with the API's root?")
    models = map(_model, members)
    return ModelPage(tuple(model for model in models if model.id))


def _members(answer: JsonValue) -> list[JsonValue] | None:
    """The list, wherever it stands; None where there is none."""
    if isinstance(answer, list):
        return answer
    named = object_of(answer)
    for name in _LISTS:
        value = named.get(name)
        if isinstance(value, dict):
            if any(key in value for key in _LISTS):
                return _members(value)
            return [*value.values()] if all(isinstance(member, dict) for member in value.values()) else None
        if isinstance(value, list):
            return value
    return [] if "data" in named or "models" in named else None


def _model(member: JsonValue) -> Model:
    fields: JsonObject = member if isinstance(member, dict) else {"id": member}
    names = [text_of(fields.get(key)) for key in _NAMES]
    own = next((name for name in names[1:] if name.startswith("@")), "")
    return Model(own or next(filter(None, names), ""), text_of(fields.get("owned_by")), without(fields, _MODEL_KEYS))
