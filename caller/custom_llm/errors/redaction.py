"""Text of an endpoint, made fit to be shown: one line, printable, no secrets. Pure functions.

Endpoints repeat what they were sent: "Incorrect API key provided: sk-…". What looks like a key is taken out without
knowing any key (`sanitized`); what the attempt knows to be secret is taken out by value (`Redactor`), ahead of any
clipping. It knows no error and no HTTP.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, quote_plus

from caller.json_types import JsonValue

_TEXTLESS = (int, float, bool, type(None))
MARK = "***"

# Enough for every text that is shown, and a bound for the expressions below.
_MAX_CHARS = 4096
_MIN_SECRET = 4
# So many characters of a key in a row are too many.
_PART = 8
# So many characters of all forms are looked through for parts, the shortest forms surely: a bound on the work.
_MAX_PARTED = 256 * 1024
_FEW = 256
_FEW_FORMS = 8 * 1024
# What may be done for one JSON value, in searches for a form in a few hundred characters: a tenth of a second.
_MAX_WORK = 1_000_000

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
# Names that stand in nearly every answer: they are looked for in no list of forms.
_USUAL_NAMES = frozenset(
    {"created", "created_at", "object", "system_fingerprint", "service_tier", "usage", "provider", "integration_api"}
)
_NEVER_ENCODED = re.compile(r"[A-Za-z0-9_.~-]+")
_CODED = re.compile(r"%[0-9A-F]{2}")
# What Go's encoder escapes for pages, what .NET's does, too, and marks of HTML by their numbers.
_GO = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&"})
_NET = str.maketrans({each: f"\\u{ord(each):04X}" for each in "<>&+'`"} | {'"': "u0022"})
_NUMBERED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})
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


class Redactor:
    """Takes out of texts what is known to be secret, in every form in which it could come back: as it is, URL-encoded,
    escaped for JSON or HTML, in base64 by itself or in the middle of more, and of `Basic` what it holds.

    Give header values as they are sent: of `Bearer abcd` the key alone is replaced, too. Give texts whole, ahead of any
    clipping. What an endpoint has clipped, or broken into lines, in the middle of a key is found as well: eight
    characters of a key in a row are taken out. Short values are left alone, they would tear ordinary words: keys behind
    a scheme below four characters, others below eight.
    """

    __slots__ = ("_forms", "_joined", "_least", "_secrets")

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = secrets
        self._forms: list[str] | None = None  # the longest first; made once they are needed
        self._joined = ""
        self._least = 0

    def __call__(self, text: str) -> str:
        """The text without any of them."""
        forms = () if len(text) < _MIN_SECRET else self._made()
        return self._hidden(text, forms) if forms else text

    def in_json(self, value: JsonValue, left: list[int] | None = None) -> JsonValue:
        """The value, all its texts and names without any of them. The work is bounded, since both the secrets and the
        value can be a stranger's: a text that is beyond the bound, of which `left` is left, is taken out whole."""
        left = [_MAX_WORK] if left is None else left
        if isinstance(value, dict):
            return {
                key if key in _USUAL_NAMES else self._bounded(key, left): (
                    member if type(member) in _TEXTLESS else self.in_json(member, left)
                )
                for key, member in value.items()
            }
        if isinstance(value, list):
            return [self.in_json(member, left) for member in value]
        return self._bounded(value, left) if isinstance(value, str) else value

    def _bounded(self, text: str, left: list[int]) -> str:
        if len(text) < _MIN_SECRET:
            return text
        forms = self._made()
        if len(text) < self._least:
            return text
        left[0] -= len(forms) * (1 + len(text) // 256)
        if len(text) <= _MAX_CHARS:  # its parts are looked for, too
            left[0] -= len(text) // 4 * (1 + len(self._joined) // 2048)
        return self._hidden(text, forms) if left[0] > 0 else MARK

    def _made(self) -> list[str]:
        """All forms of the secrets."""
        if self._forms is None:
            given = [secret.strip() for secret in self._secrets]
            whole = {each for each in given if len(each) >= _PART}
            self._forms = sorted(whole | _forms(given), key=len, reverse=True)
            self._joined = "\0".join(self._forms)[-_MAX_PARTED:]
            self._least = len(self._forms[-1]) if self._forms else _MAX_CHARS
        return self._forms

    def _hidden(self, text: str, forms: Sequence[str]) -> str:
        for form in forms:
            if form in text:
                text = text.replace(form, MARK)
        # What is longer is no error's text, and was not clipped by us.
        return _without(text, self._parts_in(text)) if len(text) <= _MAX_CHARS else text

    def _parts_in(self, text: str) -> set[str]:
        """The pieces of eight characters that stand in the text and in one of the forms."""
        joined, half = self._joined, _PART // 2
        # Eight characters hold four that begin at a multiple of five: seldom is there even one such.
        quick = len(text) <= _FEW or len(joined) <= _FEW_FORMS
        if quick and not [at for at in range(0, len(text) - half + 1, half + 1) if text[at : at + half] in joined]:
            return set()
        pieces = {text[at : at + _PART] for at in range(len(text) - _PART + 1)}
        if len(pieces) <= _FEW:
            return {piece for piece in pieces if piece in joined}
        return {piece for at in range(len(joined) - _PART + 1) if (piece := joined[at : at + _PART]) in pieces}


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
            raw = value.encode("utf-8", "replace")
            forms |= {value} | _in_base64(raw)
            if not _NEVER_ENCODED.fullmatch(value):
                forms |= _encoded(value, raw)
    return forms


def _encoded(value: str, raw: bytes) -> set[str]:
    """The value as URLs, JSON and HTML write it."""
    coded = quote(raw, safe="")
    plus = quote_plus(raw)
    escaped = json.dumps(value)[1:-1]
    return {
        *(coded, plus, _CODED.sub(_lower, coded), _CODED.sub(_lower, plus)),
        # Python's JSON, PHP's, Go's and .NET's; HTML as most write it, and with numbers.
        *(escaped, escaped.replace("/", "\\/"), escaped.translate(_GO), escaped.translate(_NET)),
        *(html.escape(value, quote=False), html.escape(value), value.translate(_NUMBERED)),
    }


def _lower(match: re.Match[str]) -> str:
    return match[0].lower()


def _in_base64(raw: bytes) -> set[str]:
    """Its letters in base64, wherever it stands in what was encoded: both alphabets, all three alignments."""
    forms: set[str] = set()
    for ahead in range(3):
        coded = base64.b64encode(bytes(ahead) + raw).decode().rstrip("=")
        # The first letters hold bits of what stands ahead.
        inner = coded if not ahead else coded[ahead + 1 :]
        if len(inner) > _PART:
            forms.add(inner)
            if "+" in inner or "/" in inner:
                forms.add(inner.replace("+", "-").replace("/", "_"))
    return forms


def _decoded(key: str) -> str:
    try:
        return base64.b64decode(key + "==").decode("utf-8", "replace")
    except ValueError:
        return ""


def _without(text: str, parts: set[str]) -> str:
    """The text without runs of what stands in the parts."""
    if not parts:
        return text
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
