"""`openai_chat_completions`: Chat Completions as OpenAI documents it, strict and predictable. No I/O."""

from functools import partial

from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Adapter
from caller.custom_llm.adapters.chat_decoder import ChatDecoder, decode_chat
from caller.custom_llm.adapters.chat_models import decode_models
from caller.custom_llm.adapters.chat_request import chat_request, models_request

_API = ApiCompatibility.OPENAI_CHAT_COMPLETIONS

OPENAI_CHAT_COMPLETIONS = Adapter(
    api=_API,
    request=partial(chat_request, api=_API),
    decoder=ChatDecoder,
    decode_response=decode_chat,
    models_request=models_request,
    decode_models=decode_models,
)
