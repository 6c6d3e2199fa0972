"""Text of an endpoint, made fit to be shown: one line, printable, no secrets. Pure functions.

Endpoints repeat what they were sent: "Incorrect API key provided: sk-…". What looks like a key is taken out without
knowing any key (`sanitized`); what the caller knows to be secret is taken out by value (`redacted`). It knows no
error and no HTTP.
"""

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MARK = "***"

# Enough for every text that is shown, and a bound for the expressions below.
_MAX_CHARS = 4096
_MIN_SECRET = 4
# So many characters of a key in a row are too many; what is shorter than the second is no key that parts are made of.
_PART = 8
_LONG = 12

_SCHEMES = frozenset({"bearer", "basic", "token", "key", "apikey", "api-key"})

# C0 and C1 controls, line separators, zero-width and direction marks (they can make a log line lie), surrogates.
_UNPRINTABLE = re.compile(
    "[\\s\\x00-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ud800-\\udfff]+"
)

_KEYS = (
    # `Authorization: Basic dXNlcjpwYXNz`, also inside JSON inside a string
    (re.compile(r"""(?i)\b(authorization\\?["']?\s*[:=]\s*\\?["']?)(?:[a-z]+\s+)?[^\s"',;)}\\]+"""), rf"\1{MARK}"),
    (re.compile(r"""(?i)\b(bearer\s+)(?!(?:auth|authentication|token|tokens|scheme)\b)[^\s"',;)}\\]+"""), rf"\1{MARK}"),
    # `Incorrect API key provided: abc`, `"api_key": "abc"`
    (
        re.compile(
            r"""(?i)((?:api[-_ ]?key|access[-_ ]?token|secret|password)(?:\s(?:provided|is|was))?"""
            r"""\\?["']?\s*[:=]\s*\\?["']?)[^\s"'&,;)}\\]+"""
        ),
        rf"\1{MARK}",
    ),
    # in a query or a form; not `unknown key: top_k`
    (re.compile(r"""(?i)\b((?:key|token|sig|signature)=)[^\s"'&,;)}\\]+"""), rf"\1{MARK}"),
    (re.compile(r"://[^/\s@]+@"), f"://{MARK}@"),
    # prefixes of well-known providers' keys; the provider's own stars are part of it
    (re.compile(r"\bsk-[\w*.-]{3,}[\w*]"), MARK),
    (re.compile(r"\b(?:pk|rk|gsk|xai|pplx|nvapi|csk|hf|r8|fw|tgp|AIza)[-_]?[A-Za-z0-9_*-]{20,}"), MARK),
)
_RUN = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_HEX = re.compile(r"[0-9a-fA-F]{32}")
_SEGMENT = re.compile(r"[A-Za-z0-9]+")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def one_line(text: str) -> str:
    """The text without control characters, every run of blanks one space."""
    return _UNPRINTABLE.sub(" ", text).strip()


def sanitized(text: str) -> str:
    """The beginning of the text as one line, without anything that looks like a key."""
    begin = one_line(text[: 4 * _MAX_CHARS])
    line = begin[:_MAX_CHARS]
    if len(begin) > _MAX_CHARS or len(text) > 4 * _MAX_CHARS:
        # At a blank: half a key would not look like one.
        line = line.rpartition(" ")[0] or line
    for pattern, replacement in _KEYS:
        line = pattern.sub(replacement, line)
    return _RUN.sub(_run, line)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without any of the values: as they are, URL-encoded, JSON-escaped, in base64, and of `Basic` what it
    holds.

    Give header values as they are sent: of `Bearer abcd` the key alone is replaced too. A text may have been clipped,
    or broken into lines, in the middle of a key: eight characters of one in a row are taken out as well. Short values
    are left alone, they would tear ordinary words: keys behind a scheme below four characters, others below eight.
    """
    given = [secret.strip() for secret in secrets]
    for whole in sorted(given, key=len, reverse=True):
        if len(whole) >= _PART:
            text = text.replace(whole, MARK)
    forms = sorted(_forms(given), key=len, reverse=True)
    for form in forms:
        text = text.replace(form, MARK)
    for form in forms:
        if len(form) >= _LONG:
            text = _without_parts(text, form)
    return text


def _forms(secrets: Iterable[str]) -> set[str]:
    """Every form in which one of the values could come back."""
    forms: set[str] = set()
    for secret in secrets:
        scheme, _, key = secret.partition(" ")
        known = scheme.lower() in _SCHEMES
        values = {key.strip()} if known else {secret}
        least = _MIN_SECRET if known else _PART
        if scheme.lower() == "basic":
            pair = _decoded(key.strip())
            values |= {pair, pair.partition(":")[2]}
        for value in (each for each in values if len(each) >= least):
            coded = base64.b64encode(value.encode("utf-8", "replace")).decode().rstrip("=")
            escaped = json.dumps(value)[1:-1]
            safe = value.encode("utf-8", "replace").decode()
            forms |= {value, quote(safe, safe=""), quote_plus(safe), escaped, escaped.replace("/", "\\/"), coded}
    return forms


def _decoded(key: str) -> str:
    try:
        return base64.b64decode(key + "==").decode("utf-8", "replace")
    except ValueError:
        return ""


def _without_parts(text: str, secret: str) -> str:
    """The text without runs of eight characters or more that stand in the secret."""
    parts = {secret[at : at + _PART] for at in range(len(secret) - _PART + 1)}
    kept: list[str] = []
    at = 0
    while at < len(text):
        end = at
        while text[end : end + _PART] in parts:
            end += 1
        if end == at:
            kept.append(text[at])
            at += 1
        else:
            kept.append(MARK)
            at = end + _PART - 1
    return "".join(kept)


def _run(match: re.Match[str]) -> str:
    """A long run of letters and digits: a key, unless it reads like words (a model's name, a class, a path)."""
    run = match[0]
    segments = _SEGMENT.findall(run)
    mixed = any(len(part) >= 24 and not part.isalpha() for part in segments)
    letters = sum(map(len, segments))
    # Random letters change between small, capital and digit every one or two; words do so rarely.
    wordlike = letters >= 2.5 * len(_PIECE.findall(run))
    # Joined: a UUID, too, is a key at some gateways.
    return run if wordlike and not mixed and not _HEX.search("".join(segments)) else MARK
