"""Which of our errors is it? Tables from status, codes and a few words of text to the class.

The order of trust: a code that can mean one thing only, then the HTTP status, then codes that say more than a vague
status, then generic codes, then the text, and the text for three things only: an unknown model, a conversation that
is too long, a content filter. Text is never read for anything else: a failure that mentions "policy" is no refusal.
It knows no JSON and no header.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from caller.errors import (
    CallerError,
    ContentFiltered,
    ContextLengthExceeded,
    EndpointError,
    EndpointForbidden,
    EndpointNotFound,
    EndpointOverloaded,
    EndpointPrecondition,
    EndpointRateLimited,
    EndpointRejected,
    EndpointUnauthenticated,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
)

Kind: TypeAlias = type[CallerError]

# Words that `error_body` makes out of structure; no endpoint sends them like this.
QUOTA_PER_DAY: Final = "quota violation per day"
FLAGGED_INPUT: Final = "input flagged by moderation"
MINIMAX: Final = "base_resp "

_STATUS: Final[Mapping[int, Kind]] = {
    400: EndpointRejected,
    401: EndpointUnauthenticated,
    402: QuotaExhausted,
    403: EndpointForbidden,
    404: EndpointNotFound,
    408: EndpointOverloaded,
    413: EndpointRejected,
    422: EndpointRejected,
    429: EndpointRateLimited,
    502: EndpointOverloaded,
    503: EndpointOverloaded,
    504: EndpointOverloaded,
    **dict.fromkeys(range(520, 527), EndpointOverloaded),  # Cloudflare: the server behind it does not answer
    529: EndpointOverloaded,  # Anthropic
}


def _key(word: str) -> str:
    """`rate_limit_error`, `RateLimitError` and `RATE-LIMIT` are one word."""
    return re.sub(r"[^a-z0-9]", "", word.lower()).removesuffix("exception").removesuffix("error")


def _table(rows: Mapping[Kind, str]) -> dict[str, Kind]:
    return {_key(word): kind for kind, words in rows.items() for word in words.split()}


# They mean one thing only and beat every status. The five-digit codes are FastChat's, which answers 400 to all.
_DECISIVE: Final[Mapping[str, Kind]] = {
    **_table(
        {
            ModelNotFound: "model_not_found model_not_found_error model_not_exist unknown_model invalid_model"
            " DeploymentNotFound 40301",
            ContextLengthExceeded: "context_length_exceeded context_length_error context_window_exceeded"
            " exceed_context_size_error model_context_window_exceeded 40303",
            ContentFiltered: "content_filter content_filtered content_policy_violation ResponsibleAIPolicyViolation"
            " image_content_policy_violation moderation_blocked data_inspection_failed",
            QuotaExhausted: "insufficient_quota insufficient_balance insufficient_credits insufficient_funds"
            " billing_error billing_hard_limit_reached billing_not_active quota_exceeded exceeded_current_quota_error"
            " budget_exceeded payment_required 42902",
            EndpointUnauthenticated: "invalid_api_key incorrect_api_key api_key_invalid expired_api_key 40101 40102",
            EndpointRateLimited: "rate_limit_exceeded 42901",
            EndpointForbidden: "40103",
            EndpointOverloaded: "42903 insufficient_system_resource model_loading",
            EndpointRejected: "40001 40302",
            EndpointError: "50001 50002 50003 50004 50005 50006",
        }
    ),
    _key(QUOTA_PER_DAY): QuotaExhausted,
    _key(FLAGGED_INPUT): ContentFiltered,
    **{
        _key(f"{MINIMAX}{number}"): kind
        for number, kind in {
            1001: EndpointOverloaded,  # timeout
            1002: EndpointRateLimited,
            1004: EndpointUnauthenticated,
            1008: QuotaExhausted,  # balance
            1026: ContentFiltered,  # input
            1027: ContentFiltered,  # output
            1039: EndpointRateLimited,  # tokens per minute
            2013: EndpointRejected,
            2049: EndpointUnauthenticated,
        }.items()
    },
}

# They say more than a vague status, and no more than any other.
_TELLING: Final[Mapping[str, Kind]] = _table(
    {
        EndpointUnauthenticated: "authentication_error auth_error unauthorized unauthenticated invalid_token",
        EndpointForbidden: "permission_error permission_denied forbidden access_denied",
        EndpointRateLimited: "rate_limit_error rate_limit_reached too_many_requests throttling_error throttled",
        EndpointOverloaded: "overloaded_error engine_overloaded unavailable_error service_unavailable unavailable"
        " timeout_error request_timeout gateway_timeout deadline_exceeded",
    }
)
_VAGUE: Final = frozenset({None, 400, 422, 500})

# They say no more than a status; read only where there is none.
_GENERIC: Final[Mapping[str, Kind]] = _table(
    {
        EndpointRejected: "invalid_request_error BadRequestError UnprocessableEntityError INVALID_ARGUMENT"
        " FAILED_PRECONDITION OUT_OF_RANGE validation_error request_too_large",
        EndpointNotFound: "not_found_error not_found",
        EndpointRateLimited: "resource_exhausted",
        EndpointPrecondition: "conflict_error not_supported_error NotImplementedError UNIMPLEMENTED",
        EndpointError: "api_error server_error internal_server_error internal_error generation incomplete_generation",
    }
)
# Parts of codes that nobody has listed yet; read only where nothing else says anything.
_PARTS: Final[tuple[tuple[str, Kind], ...]] = (
    ("quota", QuotaExhausted),
    ("ratelimit", EndpointRateLimited),
    ("contextlength", ContextLengthExceeded),
    ("authenticat", EndpointUnauthenticated),
    ("permission", EndpointForbidden),
    ("modelnotfound", ModelNotFound),
    ("notfound", EndpointNotFound),
    ("overload", EndpointOverloaded),
    ("unavailable", EndpointOverloaded),
    ("timeout", EndpointOverloaded),
    ("invalid", EndpointRejected),
    ("badrequest", EndpointRejected),
)

_RATE: Final = re.compile(
    r"rate.?limit|too many requests|throttl|(tokens|requests) per (min|day)|\bTPM\b", re.IGNORECASE
)
_TOO_LONG_WORDS: Final = (
    r"prompt is too long",  # Anthropic
    r"maximum context length",  # OpenAI, vLLM, SGLang, FastChat, Mistral
    r"exceed(s|ed)? (the |this model's )?(available )?context (window|size|length)",  # OpenAI, llama.cpp
    r"exceeded max context length",  # Ollama
    r"input token count.{0,80}exceeds the maximum",  # Gemini
    r"maximum prompt length is",  # xAI
    r"reduce the length of the (messages|input|prompt)",  # Groq, OpenAI
    r"longer than the model'?s context length",  # Together
    r"greater than the context length",  # LM Studio
    r"context window exceeds limit",  # MiniMax
    r"exceeded model token limit",  # Kimi
    r"token count.{0,60}exceeds the limit of \d",  # Copilot
    r"input is too long for requested model",  # Bedrock
    r"maximum allowed input length",  # Poolside
    r"tokens \+ `?max_new_tokens`? must be <=|`?inputs`? must have less than \d+ tokens",  # TGI
    r"ContextWindowExceededError|context_length_exceeded|exceed_context_size_error",  # said by a gateway
)
_TOO_LONG: Final = re.compile("|".join(_TOO_LONG_WORDS), re.IGNORECASE)
_FILTERED: Final = re.compile(
    r"content management policy|ResponsibleAIPolicyViolation|ContentPolicyViolationError", re.IGNORECASE
)
_NO_MODEL: Final = re.compile(
    r"\bmodels?\b[^\n]{0,160}?\b((was |is )?not found|does ?n[o']t exist|not exist\b|is not a valid model)"
    r"|\b(no such|unknown) model\b|is not a valid model id"
    r"|^model: \S+$",  # Anthropic's whole text
    re.IGNORECASE,
)
_NO_ROUTE: Final = re.compile(r"^Unexpected endpoint or method", re.IGNORECASE)  # LM Studio, with any status

# Text is read for a class only where the status allows it; None: neither status nor code said anything.
_TEXTS: Final[tuple[tuple[re.Pattern[str], Kind, frozenset[Kind | None]], ...]] = (
    (_NO_ROUTE, EndpointNotFound, frozenset({None, EndpointRejected, EndpointError})),
    (_TOO_LONG, ContextLengthExceeded, frozenset({None, EndpointRejected, EndpointError})),
    (_FILTERED, ContentFiltered, frozenset({None, EndpointRejected})),
    (_NO_MODEL, ModelNotFound, frozenset({None, EndpointRejected, EndpointNotFound})),
)
_MAX_TEXT = 8192


def kind_of_status(status: int) -> Kind:
    """What an HTTP status alone means. What is neither an error nor a success is no answer of any API."""
    if status in _STATUS:
        return _STATUS[status]
    if 400 <= status < 500:
        return EndpointPrecondition
    return EndpointError if 500 <= status < 600 else ProtocolError


def kind_of(status: int | None, words: Iterable[str], text: str) -> Kind:
    """The class of an error.

    Args:
        status: of HTTP, or a number in the body that stands for one; None where there is none.
        words: codes, types and reasons, the most telling first.
        text: the endpoint's message.

    """
    keys = [key for key in map(_key, words) if key]
    decisive = _first(_DECISIVE, keys)
    if decisive is not None:
        return decisive
    kind = None if status is None else kind_of_status(status)
    if status in _VAGUE:
        kind = _first(_TELLING, keys) or kind
    if kind is None:
        kind = _first(_GENERIC, keys) or _by_part(keys)
    return _by_text(kind, text[:_MAX_TEXT]) or kind or EndpointError


def _first(table: Mapping[str, Kind], keys: Iterable[str]) -> Kind | None:
    return next((table[key] for key in keys if key in table), None)


def _by_part(keys: Iterable[str]) -> Kind | None:
    joined = " ".join(keys)
    return next((kind for part, kind in _PARTS if part in joined), None)


def _by_text(kind: Kind | None, text: str) -> Kind | None:
    for pattern, meaning, among in _TEXTS:
        if kind in among and pattern.search(text):
            limited = meaning is ContextLengthExceeded and _RATE.search(text)
            return None if limited else meaning
    return None
