"""The two spellings of Chat Completions as adapters. No I/O.

`openai_chat_completions` is the API as OpenAI documents it, strict and predictable. `openai_compatible` is what other
servers make of it (vLLM, Ollama, LM Studio, TGI, …); it differs in what is sent: the `developer` role goes out as
`system`, and optional fields that an endpoint refused once are left out afterwards. Other demands (`changes`) are the
same for both.
"""

from functools import partial

from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Adapter
from caller.custom_llm.apis.chat_completions.decoder import ChatDecoder
from caller.custom_llm.apis.chat_completions.request import PARAMETERS, chat_request, models_request
from caller.custom_llm.apis.openai_models import decode_models


def _adapter(api: ApiCompatibility) -> Adapter:
    return Adapter(
        api=api,
        parameters=PARAMETERS,
        request=partial(chat_request, api=api),
        decoder=ChatDecoder,
        models_request=models_request,
        decode_models=decode_models,
    )


OPENAI_CHAT_COMPLETIONS = _adapter(ApiCompatibility.OPENAI_CHAT_COMPLETIONS)
OPENAI_COMPATIBLE = _adapter(ApiCompatibility.OPENAI_COMPATIBLE)
