"""Model lists in OpenAI's form. No I/O."""

from caller.call import Model
from caller.custom_llm.adapter import ModelPage
from caller.custom_llm.apis.shared import parse
from caller.custom_llm.errors.endpoint_errors import in_band_error
from caller.errors import ProtocolError
from caller.json_types import JsonValue, objects_of, text_of, without

_LISTS = frozenset({"data", "models"})
_MODEL_KEYS = frozenset({"id", "owned_by", "object"})


def decode_models(body: bytes) -> ModelPage:
    """The one page. Together sends a bare list; some servers say `models`; written in Go they say null for none
    (Ollama).

    Raises:
        ProtocolError: not a model list.
        CallerError: the answer holds an error.
    """
    try:
        answer: JsonValue = parse(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        error = in_band_error(answer)
        if error is not None:
            raise error
        members = answer.get("data") if isinstance(answer.get("data"), list) else answer.get("models")
        if members is None and not _LISTS.isdisjoint(answer):
            members = []
    else:
        members = answer
    if not isinstance(members, list):
        raise ProtocolError("the endpoint's model list has no `data`; does baseUrl end with the API's root?")
    return ModelPage(
        tuple(
            Model(
                text_of(member.get("id")) or text_of(member.get("name")),
                text_of(member.get("owned_by")),
                without(member, _MODEL_KEYS),
            )
            for member in objects_of(members)
        )
    )
