"""From an answer that is an error to the error to raise: the same for every API shape. Pure, and it never raises.

Which error it is, is decided in `error_codes`; what the body says, in `error_body`. Here both meet, and the text is
made: what happened, the endpoint's own words, and what to do about it. The text holds no query string and nothing
that looks like a key; what the attempt knows to be secret is taken out later (see `redaction.Redactor`), so foreign
words are kept whole until then (see `caller.errors.ForeignText`).
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.custom_llm.base_url import without_query
from caller.custom_llm.errors.code_table import Kind
from caller.custom_llm.errors.error_body import ErrorBody, parsed, plain_text, read_body, read_value
from caller.custom_llm.errors.error_codes import kind_of
from caller.custom_llm.errors.in_band import holds_answer, is_error
from caller.custom_llm.errors.redaction import one_line, sanitized
from caller.custom_llm.errors.retry_hints import request_id_of, retry_after_of, should_retry_of
from caller.custom_llm.errors.url_hints import url_hint
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
    ForeignText,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    RequestTooLarge,
    Retry,
    StreamInterrupted,
    clipped,
)
from caller.json_types import JsonObject, JsonValue, object_of

_KEY_REMEDY: Final = (
    "Put the key into the credential's headers as the endpoint wants it, usually `Authorization: Bearer <key>`;"
    " a server of your own has to be set up to accept that header."
)

# What happened, and what to do about it.
_TEXTS: Final[Mapping[Kind, tuple[str, str]]] = {
    EndpointUnauthenticated: ("the endpoint refused the credential", _KEY_REMEDY),
    EndpointForbidden: (
        "the endpoint does not allow this with this credential",
        "Ask for the right at the provider, look at its plan and regions, or use another key.",
    ),
    EndpointNotFound: ("the endpoint found nothing at the called URL", ""),
    ModelNotFound: (
        "the endpoint does not know the model",
        "Check the model's name; ListModels shows the names that the endpoint knows.",
    ),
    EndpointRejected: ("the endpoint rejected the request", "Change what it names and try again."),
    RequestTooLarge: (
        "the request is larger than the endpoint's limit for a whole minute",
        "Send fewer or shorter messages, or ask for fewer tokens; trying again does not help.",
    ),
    EndpointPrecondition: (
        "the endpoint cannot do what was asked",
        "Check the base URL and what the endpoint supports.",
    ),
    ContextLengthExceeded: (
        "the conversation is too long for the model",
        "Send fewer or shorter messages, ask for fewer tokens, or use a model with a larger context.",
    ),
    ContentFiltered: ("the endpoint's content filter refused the request", "Change the messages."),
    QuotaExhausted: (
        "the endpoint's account is used up",
        "Check plan, limits and billing at the provider; trying again does not help.",
    ),
    EndpointRateLimited: ("the endpoint limits the rate of requests", "Send fewer requests, or later."),
    EndpointOverloaded: ("the endpoint is overloaded or not ready", "Try again later."),
    EndpointError: ("the endpoint failed", "Look into its log, or try again later."),
    ProtocolError: (
        "the answer is not what its API promises",
        (
            "If the server speaks another API, choose that apiCompatibility or put a compatibility layer such as"
            " LiteLLM in front of it."
        ),
    ),
    StreamInterrupted: ("the endpoint stopped in the middle of its answer", "Try again."),
}

_MAX_URL_BYTES = 200
_MAX_WORDS = 300
_MAX_REASON = 600
_MAX_FINISH_WORD = 100
_MAX_CODE = 100
_MAX_READ = 4096
_NEGATIVE: Final = re.compile(r"-\d{1,9}")


def endpoint_error(status: int, headers: Mapping[str, str], body: bytes, *, url: str, sent: bytes = b"") -> CallerError:
    """The error that an answer with an error status means. Returns it; never raises.

    Args:
        status: of the HTTP answer, 200 excepted.
        headers: any mapping that finds names whatever their case.
        body: as it came, decompressed; may be cut.
        url: the full URL that was called; its query is not shown.
        sent: the request's body. A negative number of tokens that stands in it is the client's own; one that does not
            was computed by the endpoint, out of a conversation that is too long.

    """
    if 300 <= status < 400:
        return _redirect(status, headers, url)
    said = read_body(body)
    message = _NEGATIVE.sub(lambda found: "" if found[0].encode() in sent else found[0], said.message[:_MAX_READ])
    kind = kind_of(status, (*said.words, _amazon_code(headers)), message)
    error = kind(
        _text(kind, (str(status),), said.message or _phrase(status), _remedy(kind, status, url)),
        http_status=status,
        endpoint_code=sanitized(said.code),
        endpoint_request_id=request_id_of(headers) or one_line(said.request_id),
        url=_bare_url(url),
    )
    if kind.retry is not Retry.NEVER:
        error.retry_after = retry_after_of(headers, said.value)
    error.final = should_retry_of(headers) is False
    return error


def in_band_error(frame: JsonObject, *, event: str = "", url: str = "") -> CallerError | None:
    """The error that a frame of a 200 stream is, or that a 200 answer is; None for any other frame.

    `event` is the frame's SSE name. Usage and output in the same frame are the adapter's to read first.
    """
    if event != "error" and not is_error(frame):
        return None
    return failure(frame, url=url)


def in_band_body_error(body: bytes, url: str) -> CallerError | None:
    """The error that a whole 200 body is (possibly in a list), or None where it is none or no JSON."""
    value = parsed(body)
    return failure(value, url=url) if is_error(_first_of(value)) else None


def instead_of_answer(error: CallerError, body: bytes, url: str) -> CallerError | None:
    """What the endpoint said where `error` says that an answer, or its end, is missing; None where it said nothing.

    Words without any sign of an error (`{"message": "Forbidden"}`) are no proof: they are shown in `error`'s text, and
    decide its class only where they have a meaning.
    """
    value = parsed(body)
    frame = _first_of(value)
    if is_error(frame):
        return failure(value, url=url)
    said = ErrorBody() if holds_answer(frame) else read_value(value)
    if not said.message.strip():
        return None
    if kind_of(said.status, said.words, said.message) is not EndpointError:
        return failure(value, url=url)
    return _with_words(error, said.message)


def foreign_answer(error: ProtocolError, api: ApiCompatibility, *, event: str = "", url: str = "") -> CallerError:
    """The error that plain text means where JSON belongs. `event` is the SSE name under which it came."""
    text = plain_text(error.received or b"")
    if not text or text.startswith(("{", "[")):  # broken JSON: what the model said may be in it
        return ProtocolError(f"{error.message}. {FACTS[api].remedy}", url=_bare_url(url))
    page = (error.received or b"").lstrip().startswith(b"<")  # says many things, and none about our request
    if event == "error" or (not page and kind_of(None, (), text) is not EndpointError):
        return failure(text, url=url)
    return _with_words(ProtocolError(f"{error.message}. {FACTS[api].remedy}", url=_bare_url(url)), text)


def _with_words(error: CallerError, words: str) -> CallerError:
    """The same error, its text with what the endpoint said."""
    said = ForeignText(sanitized(words).removesuffix("."), _MAX_WORDS)
    kind = StreamInterrupted if isinstance(error, StreamInterrupted) else ProtocolError
    return kind(("the endpoint said: ", said, ". ", *error.parts), http_status=200, url=error.url, usage=error.usage)


def _first_of(value: JsonValue) -> JsonObject:
    return object_of(value[0] if isinstance(value, list) and value else value)


def failure(value: JsonValue, *, url: str = "") -> CallerError:
    """The error that JSON of a 200 answer means when it is already known to be one (a failed Responses object)."""
    said = read_value(value)
    kind = kind_of(said.status, said.words, said.message)
    return kind(
        _text(kind, _sign(said), said.message or "it gave no reason", _remedy(kind, 200, url)),
        http_status=200,
        endpoint_code=sanitized(said.code),
        endpoint_request_id=one_line(said.request_id),
        retry_after=None if kind.retry is Retry.NEVER else retry_after_of({}, value),
        url=_bare_url(url),
    )


def finish_reason_error(kind: Kind, raw: str, said: str = "") -> CallerError:
    """The error that a finish reason means; `said` is what the endpoint adds to it."""
    lead, remedy = _TEXTS[kind]
    words = (": ", ForeignText(sanitized(said).removesuffix("."), _MAX_REASON)) if said else ()
    reason = ForeignText(sanitized(raw), _MAX_FINISH_WORD)
    text = (f'{lead}: it ended with the finish reason "', reason, '"', *words, f". {remedy}")
    return kind(text, http_status=200, endpoint_code=reason.words)


def _amazon_code(headers: Mapping[str, str]) -> str:
    """AWS names the error in a header; the body has the text only: `ThrottlingException:http://…`."""
    return headers.get("x-amzn-errortype", "").partition(":")[0]


def _redirect(status: int, headers: Mapping[str, str], url: str) -> CallerError:
    target = sanitized(_without_query(headers.get("location", "")))
    never = "; redirects are never followed, the credential would go with them"
    return ProtocolError(
        (
            f"the endpoint answered with a redirect ({status}){' to ' if target else ''}",
            ForeignText(target, _MAX_URL_BYTES),
            f"{never}. Called: {_bare_url(url)}. Put the final address into the credential's base URL.",
        ),
        http_status=status,
        endpoint_request_id=request_id_of(headers),
        url=_bare_url(url),
    )


def _sign(said: ErrorBody) -> tuple[str | ForeignText, ...]:
    code = sanitized(said.code)
    return ("in a 200 answer, ", ForeignText(code, _MAX_CODE)) if code else ("in a 200 answer",)


def _remedy(kind: Kind, status: int, url: str) -> str:
    remedy = _TEXTS[kind][1]
    if not url or (kind is not EndpointNotFound and status != 405):
        return remedy or "Check the base URL."
    hint = one_line(url_hint(url)) or remedy or "Check the base URL and the apiCompatibility."
    return f"Called: {_bare_url(url)}. {clipped(hint, 2 * _MAX_URL_BYTES)}"


def _text(kind: Kind, sign: Sequence[str | ForeignText], message: str, remedy: str) -> tuple[str | ForeignText, ...]:
    """The remedy always fits: the endpoint's words are what is clipped."""
    words = (sanitized(message) or "no text").removesuffix(".")
    return f"{_TEXTS[kind][0]} (", *sign, "): ", ForeignText(words), f". {remedy}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no text"


def _bare_url(url: str) -> str:
    """Without the query; `""` for what is no URL. A redirect may name a path only."""
    return clipped(_without_query(url), _MAX_URL_BYTES)


def _without_query(url: str) -> str:
    try:
        return one_line(without_query(url))
    except ValueError:
        return ""
