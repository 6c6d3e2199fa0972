"""`anthropic_messages`: Anthropic's Messages API, and the servers that speak it (vLLM, Ollama, llama.cpp, LiteLLM, …).
No I/O.
"""

from dataclasses import replace

from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Adapter, ModelPage
from caller.custom_llm.apis.anthropic.decoder import AnthropicDecoder
from caller.custom_llm.apis.anthropic.request import PARAMETERS, messages_request, models_request
from caller.custom_llm.apis.openai_models import decode_models as decode_openai_models
from caller.custom_llm.apis.parsing import parse
from caller.json_types import object_of, text_of
from caller.verification import Model


def decode_models(body: bytes) -> ModelPage:
    """One page. Anthropic's list is OpenAI's with `has_more` and `last_id`; gateways often send OpenAI's own.

    Raises:
        ProtocolError: not a model list.
        CallerError: the answer holds an error.
    """
    page = decode_openai_models(body)
    answer = object_of(parse(body))
    following = ""
    if answer.get("has_more") is True and page.models:
        following = text_of(answer.get("last_id")) or page.models[-1].id
    return ModelPage(tuple(_without_type(model) for model in page.models), following)


def _without_type(model: Model) -> Model:
    """Every member says that it is a model."""
    fields = model.provider_fields
    if fields.get("type") != "model":
        return model
    return replace(model, provider_fields={key: value for key, value in fields.items() if key != "type"})


ANTHROPIC_MESSAGES = Adapter(
    api=ApiCompatibility.ANTHROPIC_MESSAGES,
    parameters=PARAMETERS,
    request=messages_request,
    decoder=AnthropicDecoder,
    models_request=models_request,
    decode_models=decode_models,
)
