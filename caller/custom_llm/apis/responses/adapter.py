"""`openai_responses`: OpenAI's Responses API and the servers that speak it. No I/O."""

from caller.custom_llm.adapter import Adapter
from caller.custom_llm.apis.openai_models import decode_models
from caller.custom_llm.apis.responses.decoder import ResponsesDecoder
from caller.custom_llm.apis.responses.request import API, PARAMETERS, models_request, responses_request

OPENAI_RESPONSES = Adapter(
    api=API,
    parameters=PARAMETERS,
    request=responses_request,
    decoder=ResponsesDecoder,
    models_request=models_request,
    decode_models=decode_models,
)
