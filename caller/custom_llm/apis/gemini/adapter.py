"""`gemini_generate_content`: Google's Gemini API, Vertex AI, and gateways that speak it. No I/O.

Authentication is the credential's headers (`x-goog-api-key`, or a Bearer token on Vertex AI). The list of models comes
page by page. Source: Gemini API reference (`models.list`).
"""

from caller.credentials import Credential
from caller.custom_llm.adapter import Adapter, HttpRequest, ModelPage
from caller.custom_llm.apis.gemini.decoder import GeminiDecoder
from caller.custom_llm.apis.gemini.model import API, models_operation
from caller.custom_llm.apis.gemini.request import PARAMETERS, gemini_request
from caller.custom_llm.apis.parsing import parse_document
from caller.custom_llm.apis.shared import get_json
from caller.custom_llm.base_url import join
from caller.custom_llm.errors.endpoint_errors import in_band_error
from caller.errors import ProtocolError
from caller.json_types import objects_of, text_of, without
from caller.verification import Model

_NAME = frozenset({"name"})
_LIST_KEYS = frozenset({"models", "nextPageToken"})


def models_request(credential: Credential, page: str) -> HttpRequest:
    """The request for one page of the model list."""
    return get_json(join(credential.base_url, models_operation(page)), credential.headers)


def decode_models(body: bytes) -> ModelPage:
    """One page. Google leaves out lists that are empty.

    Raises:
        ProtocolError: not a model list.
        CallerError: the answer holds an error.
    """
    answer = parse_document(body)
    error = in_band_error(answer)
    if error is not None:
        raise error
    models = answer.get("models")
    if not isinstance(models, list) and not (models is None and answer.keys() <= _LIST_KEYS):
        raise ProtocolError("the endpoint's model list has no `models`; does baseUrl end with the API's root?")
    return ModelPage(
        tuple(
            Model(text_of(member.get("name")).removeprefix("models/"), "", without(member, _NAME))
            for member in objects_of(models)
        ),
        text_of(answer.get("nextPageToken")),
    )


GEMINI_GENERATE_CONTENT = Adapter(
    api=API,
    parameters=PARAMETERS,
    request=gemini_request,
    decoder=GeminiDecoder,
    models_request=models_request,
    decode_models=decode_models,
)
