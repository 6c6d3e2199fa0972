"""What an endpoint says about trying again, about its limits, and the name it gave the request. Pure functions.

Headers are any mapping that finds names whatever their case (aiohttp's is one). Nothing here decides whether a retry
is made.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from caller.custom_llm.errors.redaction import one_line
from caller.errors import clipped
from caller.json_types import JsonValue, list_of, object_of, objects_of, text_of

MAX_RETRY_AFTER: Final = 3600.0
_MAX_LIMITS = 32
_MAX_VALUE_BYTES = 200

# Ordered: the provider's own name of the request before those of gateways and of the network in front.
# OpenAI; Anthropic; OpenRouter; Azure's API management; Mistral; Cloudflare.
_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "x-generation-id",
    "apim-request-id",
    "mistral-correlation-id",
    "cf-ray",
)
_LIMIT_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-")
_LIMIT_NAMES = ("retry-after", "retry-after-ms")
_LIMITS = (*_LIMIT_PREFIXES, *_LIMIT_NAMES)

_FIELDS = ("retry_after", "retry_after_seconds", "resets_in_seconds")
_MAX_TEXT = 4096
# "22m46.848s", "20 seconds", "1 hour, 5 minutes"
_AGAIN: Final = re.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d{1,6}(?:\.\d{1,9})? ?(?:ms|h|m|s)[a-z]{0,11},? ?){1,3})", re.IGNORECASE
)
_DURATION: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?) ?(ms|h|m|s)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def request_id_of(headers: Mapping[str, str]) -> str:
    """The endpoint's name for the request, as long as it is, or `""`."""
    for name in filter(headers.__contains__, _REQUEST_IDS):
        value = one_line(headers[name])
        if value:
            return value
    return ""


def retry_after_of(headers: Mapping[str, str], body: JsonValue = None, *, now: float | None = None) -> float | None:
    """Seconds to wait before another try, from 0 to 3600, or None where the endpoint says nothing readable.

    `retry-after-ms` (OpenAI, Azure) before `retry-after` (seconds with a fraction, or an HTTP date) before the body:
    Gemini's `RetryInfo`, a field of that name, or the words "try again in 7.66s". `now` is in seconds since the epoch;
    an HTTP date is read against it, by default against the endpoint's own `date`, so that clocks may differ.
    """
    wait = _number(headers.get("retry-after-ms", ""))
    if wait is not None:
        wait /= 1000
    else:
        stated = headers.get("retry-after", "")
        wait = _number(stated)
        if wait is None:
            wait = _until(stated, headers.get("date", ""), now)
        if wait is None:
            wait = _retry_info(body)
        if wait is None:
            wait = _in_words(body)
    return None if wait is None else min(max(wait, 0.0), MAX_RETRY_AFTER)


def should_retry_of(headers: Mapping[str, str]) -> bool | None:
    """What `x-should-retry` says (OpenAI, Anthropic), or None. It overrides what the status would mean."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def rate_limit_headers(headers: Mapping[str, str], hide: Callable[[str], str]) -> dict[str, str]:
    """The limits as the endpoint writes them, names in lower case; at most 32 of at most 200 bytes. `hide` takes
    secrets out of a text.

    The values stay text: durations like `6m0s`, RFC 3339 times and Unix seconds are all in use.
    """
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not lower.startswith(_LIMITS):
            continue
        wanted = lower in _LIMIT_NAMES or lower.startswith(_LIMIT_PREFIXES)
        if wanted and lower not in found and len(lower) <= _MAX_VALUE_BYTES and len(found) < _MAX_LIMITS:
            found[lower] = clipped(hide(one_line(value)), _MAX_VALUE_BYTES)
    return found


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(date: str, sent: str, now: float | None) -> float | None:
    moment = _moment(date)
    if moment is None:
        return None
    if now is None:
        now = _moment(sent)
    return moment - (time.time() if now is None else now)


def _moment(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _in_words(body: JsonValue) -> float | None:
    """A field beside the message (Azure, Hugging Face, Codex), or what the message says (Groq, OpenAI, Azure)."""
    error = object_of(object_of(body).get("error")) or object_of(body)
    for name in _FIELDS:
        value = error.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and math.isfinite(value):
            return float(value)
    found = _AGAIN.search(text_of(error.get("message"))[:_MAX_TEXT])
    if found is None:
        return None
    return sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION.findall(found[1].lower()))


def _retry_info(body: JsonValue) -> float | None:
    """Gemini: `error.details[]` of type RetryInfo, `"retryDelay": "22s"`."""
    whole = object_of(list_of(body)[0]) if list_of(body) else object_of(body)
    for detail in objects_of(object_of(whole.get("error")).get("details")):
        delay = detail.get("retryDelay")
        if isinstance(delay, str):
            return _number(delay.strip().removesuffix("s"))
    return None
