"""The class of an endpoint's error: from status, codes and words, by the tables of codes and of words.

The order of trust: a code that can mean one thing only, then the HTTP status, then codes that say more than a vague
status, then generic codes, then parts of codes. Words are read last, and only for what the table lists for the error
so far: a refused request may turn out to be a conversation that is too long, a failure never a refusal. It knows no
JSON and no header.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from caller.custom_llm.errors.code_table import (
    DECISIVE,
    DECISIVE_PARTS,
    GENERIC,
    PARTS,
    QUOTA_PER_MINUTE,
    TELLING,
    Kind,
    key_of,
)
from caller.custom_llm.errors.word_table import MEANINGS
from caller.errors import (
    EndpointError,
    EndpointForbidden,
    EndpointNotFound,
    EndpointOverloaded,
    EndpointPrecondition,
    EndpointRateLimited,
    EndpointRejected,
    EndpointUnauthenticated,
    ProtocolError,
    QuotaExhausted,
    RequestTooLarge,
)

_STATUS: Final[Mapping[int, Kind]] = {
    400: EndpointRejected,
    401: EndpointUnauthenticated,
    402: QuotaExhausted,
    403: EndpointForbidden,
    404: EndpointNotFound,
    408: EndpointOverloaded,
    413: EndpointRejected,
    422: EndpointRejected,
    425: EndpointOverloaded,  # Too Early: the same again, without TLS's early data
    429: EndpointRateLimited,
    502: EndpointOverloaded,
    503: EndpointOverloaded,
    504: EndpointOverloaded,
    **dict.fromkeys(range(520, 527), EndpointOverloaded),  # Cloudflare: the server behind it does not answer
    529: EndpointOverloaded,  # Anthropic
}
_VAGUE: Final = frozenset({None, 400, 422, 500})
_MAX_TEXT = 4096
# Codes in the text of a gateway that repeats an error, as JSON or as Python shows it: `{'code': 'content_filter'}`.
_QUOTED: Final = re.compile(r"""\\?['"](?:code|type|status|reason)\\?['"]\s?:\s?\\?['"]([A-Za-z][\w.-]{2,60})\\?['"]""")
_MAX_QUOTED = 8
# OpenAI, Groq: "Limit 6000, Used 12, Requested 9210".
_LIMIT: Final = re.compile(r"\blimit:? (\d{1,12}),? (?:used:? \d{1,12},? )?requested:? (\d{1,12})", re.IGNORECASE)


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
    known, begin = tuple(words), text[:_MAX_TEXT]
    kind = _by_code(status, [key for key in map(key_of, known) if key], begin)
    return _by_text(kind, begin, per_minute=QUOTA_PER_MINUTE in known) or kind or EndpointError


def _by_code(status: int | None, keys: list[str], text: str) -> Kind | None:
    decisive = _first(DECISIVE, keys) or _by_part(DECISIVE_PARTS, keys)
    if decisive is None:
        decisive = _first(DECISIVE, map(key_of, _QUOTED.findall(text)[:_MAX_QUOTED]))
    if decisive is not None:
        return decisive
    kind = None if status is None else kind_of_status(status)
    if status in _VAGUE:
        kind = _first(TELLING, keys) or kind
    return kind or _first(GENERIC, keys) or _by_part(PARTS, keys)


def _first(table: Mapping[str, Kind], keys: Iterable[str]) -> Kind | None:
    return next((table[key] for key in keys if key in table), None)


def _by_part(parts: Iterable[tuple[str, Kind]], keys: Iterable[str]) -> Kind | None:
    joined = " ".join(keys)
    return next((kind for part, kind in parts if part in joined), None)


def _by_text(kind: Kind | None, text: str, *, per_minute: bool) -> Kind | None:
    """What the words say, or None where they say no more than code and status."""
    if kind is EndpointRateLimited and _never_fits(text):
        return RequestTooLarge
    unless = f"{text} {QUOTA_PER_MINUTE}" if per_minute else text
    for meaning in MEANINGS:
        if (
            kind in meaning.among
            and meaning.words.search(text)
            and (meaning.unless is None or not meaning.unless.search(unless))
        ):
            return meaning.kind
    return None


def _never_fits(text: str) -> bool:
    found = _LIMIT.search(text)
    return found is not None and int(found[2]) > int(found[1])
