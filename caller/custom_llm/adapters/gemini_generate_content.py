"""`gemini_generate_content`: Google's Gemini API, Vertex AI, and gateways that speak it. No I/O.

Authentication is the credential's headers (`x-goog-api-key`, or a Bearer token on Vertex AI).
"""

from caller.custom_llm.adapter import Adapter
from caller.custom_llm.adapters.gemini_decoder import GeminiDecoder, decode_gemini
from caller.custom_llm.adapters.gemini_model import API
from caller.custom_llm.adapters.gemini_models import decode_models, models_request
from caller.custom_llm.adapters.gemini_request import gemini_request

GEMINI_GENERATE_CONTENT = Adapter(
    api=API,
    request=gemini_request,
    decoder=GeminiDecoder,
    decode_response=decode_gemini,
    models_request=models_request,
    decode_models=decode_models,
)
