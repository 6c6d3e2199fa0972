"""What differs between the API shapes beside their requests and answers: one record per shape, and every shape has one.

The type checker sees to that: a further shape without a record does not pass. It knows no request and no answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, assert_never

from caller.credentials import ApiCompatibility

_CHAT_REMEDY: Final = (
    "The endpoint has to answer as the chosen API does: a chat completion needs `choices` with"
    " `choices[0].message.content`. If the server speaks another API, choose that apiCompatibility or put a"
    " compatibility layer such as LiteLLM in front of it."
)
_BEARER: Final = ("Authorization", "Bearer")
# vLLM and most; OpenRouter; Azure and Groq.
_ROOTS: Final = ("/v1", "/api/v1", "/openai/v1")


@dataclass(frozen=True, slots=True)
class ApiFacts:
    """The facts of one API shape.

    Attributes:
        key_header: the header that a key goes into where the API is spoken as its own provider does, and the word
            before the key.
        remedy: what an endpoint has to do that does not answer as this API does.
        operation: how the path of a chat's URL ends, or of Gemini's goes on; what stands before it is the API's root.
        roots: the paths of API roots on a host, the common ones first.
        limit: the model parameter that limits the tokens of an answer.
        vendor: whose API it is, in the words of OpenTelemetry's conventions for GenAI (`gen_ai.provider.name`).
    """

    key_header: tuple[str, str]
    remedy: str
    operation: str
    vendor: str
    roots: tuple[str, ...] = _ROOTS
    limit: str = "max_tokens"


def _facts(api: ApiCompatibility) -> ApiFacts:
    match api:
        case ApiCompatibility.OPENAI_CHAT_COMPLETIONS:  # it refuses the older name of the limit for its newer models
            return ApiFacts(_BEARER, _CHAT_REMEDY, "/chat/completions", "openai", limit="max_completion_tokens")
        case ApiCompatibility.OPENAI_COMPATIBLE:
            return ApiFacts(_BEARER, _CHAT_REMEDY, "/chat/completions", "openai")
        case ApiCompatibility.OPENAI_RESPONSES:
            remedy = (
                "The endpoint has to answer as the Responses API does, with `output` items; if the server speaks"
                " another API, choose that apiCompatibility."
            )
            return ApiFacts(_BEARER, remedy, "/responses", "openai")
        case ApiCompatibility.ANTHROPIC_MESSAGES:
            remedy = (
                "If the server does not speak the Anthropic Messages API, choose the apiCompatibility that it speaks."
            )
            return ApiFacts(("x-api-key", ""), remedy, "/messages", "anthropic")
        case ApiCompatibility.GEMINI_GENERATE_CONTENT:
            remedy = (
                "A generateContent answer needs `candidates[0].content.parts`. If the server speaks another API, choose"
                " that apiCompatibility."
            )
            roots = ("/v1beta", "/api/v1beta", "/v1")
            return ApiFacts(("x-goog-api-key", ""), remedy, "/models/", "gcp.gemini", roots)
        case _:
            assert_never(api)


FACTS: Final[Mapping[ApiCompatibility, ApiFacts]] = MappingProxyType({api: _facts(api) for api in ApiCompatibility})
