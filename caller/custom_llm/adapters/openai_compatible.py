"""`openai_compatible`: servers that speak Chat Completions in their own way (vLLM, Ollama, LM Studio, TGI, …). No I/O.

It differs from the strict shape in what is sent: the `developer` role goes out as `system`, and optional fields that an
endpoint refused once are left out afterwards.
"""

from functools import partial

from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Adapter
from caller.custom_llm.adapters.chat_decoder import ChatDecoder, decode_chat
from caller.custom_llm.adapters.chat_models import decode_models
from caller.custom_llm.adapters.chat_request import chat_request, models_request

_API = ApiCompatibility.OPENAI_COMPATIBLE

OPENAI_COMPATIBLE = Adapter(
    api=_API,
    request=partial(chat_request, api=_API),
    decoder=ChatDecoder,
    decode_response=decode_chat,
    models_request=models_request,
    decode_models=decode_models,
    learns=True,
)
