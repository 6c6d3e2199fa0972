"""The credential: parsed and validated from the key-value object that clients send.

It holds secrets (header values, perhaps a key in the URL's query), so its repr shows none of them, and no
violation repeats a value.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote_plus, urlsplit

import msgspec

from caller.errors import CredentialInvalid, Violation
from caller.json_types import JsonValue, holds_more_values
from caller.printing import PartlyPrinted

# Where the key-value object stands in a request, and where typed fields do. A violation names a field as it was given.
PATH = "credential.value"
TYPED_PATH = "credential.endpoint"
MAX_HEADERS = 64
MAX_HEADER_BYTES = 8190  # what common servers read of one header line
MAX_URL_BYTES = 2048
MAX_PORT = 65_535


class ApiCompatibility(Enum):
    """The API shapes, by the names that credentials use."""

    __hash__ = object.__hash__  # each is there once; Enum's own is a call of Python's

    OPENAI_CHAT_COMPLETIONS = "openai_chat_completions"
    OPENAI_COMPATIBLE = "openai_compatible"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    GEMINI_GENERATE_CONTENT = "gemini_generate_content"


_APIS = {api.value: api for api in ApiCompatibility}
DEFAULT_API = ApiCompatibility.OPENAI_CHAT_COMPLETIONS
_API_NAMES = ", ".join(api.value for api in ApiCompatibility)
# What older credentials hold.
LEGACY_APIS: Mapping[str, ApiCompatibility] = MappingProxyType({"openai": ApiCompatibility.OPENAI_CHAT_COMPLETIONS})

# Each key with the spelling that wins where both are present first.
KEYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "apiCompatibility": ("api_compatibility", "apiCompatibility"),
        "baseUrl": ("base_url", "baseUrl"),
        "headers": ("headers", "headers"),
        "exactUrl": ("exact_url", "exactUrl"),
    }
)
_EXACT = frozenset(KEYS["exactUrl"])
KNOWN_KEYS = frozenset(spelling for spellings in KEYS.values() for spelling in spellings)
KEY = "key"  # of credentials for providers' rows, which say into which header it goes; `custom-llm` has headers only

# RFC 9110 token, and field values without control characters.
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")  # half a pair of surrogates cannot be sent
# What nearly every base URL is: nothing in it can be wrong but its port, and nothing needs a parser.
_PLAIN_URL = re.compile(
    r"(https?)://((?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,20}\.?)(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]{0,1024})?"
)
# How many of them are remembered.
_REMEMBERED = 512
# What parts the labels of a name (RFC 3490, 3.1), and how long one may be (RFC 1035, 2.3.4).
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_MAX_LABEL = 63
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NOT_IN_A_URL = re.compile(r"[\s\\\x00-\x20\x7f\ud800-\udfff]")
# Headers that frame the message, steer proxies or change the encoding: they are the transport's.
FORBIDDEN_HEADERS = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "content-encoding",
        "proxy-authorization",
        "proxy-authenticate",
        "proxy-connection",
        "cookie",
    }
)


# Parameters of a URL that say which API is meant.
_PUBLIC_IN_QUERY = frozenset({"alt", "api-version", "version"})


def is_public_in_query(name: str) -> bool:
    """Whether a parameter of a URL is no secret, and says nothing of who asks."""
    return name in _PUBLIC_IN_QUERY


# Headers that say how to answer, not who asks: their values are words of our own texts, too.
_PUBLIC_HEADERS = frozenset(
    {"accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta", "openai-beta", "x-portkey-provider"}
)


@dataclass(frozen=True, slots=True)
class CredentialDefaults:
    """What a provider's row completes a credential with. An empty `base_url` has to be given. A credential's `key` goes
    into `key_header`, behind `key_scheme` where there is one."""

    api: ApiCompatibility
    base_url: str
    key_header: str = "Authorization"
    key_scheme: str = "Bearer"


class Credential(PartlyPrinted, msgspec.Struct, frozen=True):
    """A validated credential. `exact_url`: `base_url` is the whole URL and is called as it is. A `key` for a
    provider's row stands among the `headers`, too."""

    HIDDEN = frozenset({"base_url", "headers", "key"})

    api: ApiCompatibility
    base_url: str
    headers: Mapping[str, str]
    exact_url: bool = False
    key: str = ""

    @property
    def endpoint(self) -> str:
        """Host and port that it leads to, lower case: the key to count by."""
        url = self.base_url
        plain = "" if "?" in url or "@" in url else _plain_endpoint(url)
        if plain:
            return plain
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        return f"{host}:{parts.port or (80 if parts.scheme == 'http' else 443)}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may repeat: the values of the headers and of the URL's query, as written and decoded."""
        in_headers = [value for name, value in self.headers.items() if name.lower() not in _PUBLIC_HEADERS]
        keys = (self.key,) if self.key else ()
        if "?" not in self.base_url:
            return (*keys, *in_headers)
        written = [part.partition("=")[::2] for part in urlsplit(self.base_url).query.split("&")]
        in_query = [value for name, value in written if name not in _PUBLIC_IN_QUERY]
        return (*keys, *in_headers, *in_query, *(unquote_plus(value) for value in in_query))


def parse_credential(
    raw: Mapping[str, JsonValue], defaults: CredentialDefaults | None = None, path: str = PATH
) -> Credential:
    """Validate a credential object.

    Args:
        raw: the object as it came; of a key with two spellings either one.
        defaults: those of the provider's row, None for `custom-llm`.
        path: where the object stands in the request: `PATH`, or `TYPED_PATH` with keys that are names of fields.

    Raises:
        CredentialInvalid: with one violation per field that is malformed, none of which repeats a value.
    """
    known = KNOWN_KEYS if defaults is None else KNOWN_KEYS | {KEY}
    violations: list[Violation] = [_unknown_key(key, path) for key in raw if key not in known]
    api = _api(raw, path, violations, DEFAULT_API if defaults is None else defaults.api)
    base_url = _base_url(raw, path, violations, "" if defaults is None else defaults.base_url)
    headers = _headers(raw, path, violations)
    exact = False if _EXACT.isdisjoint(raw) else _exact_url(raw, path, violations)
    key = "" if defaults is None else _key(raw, path, defaults, headers, violations)
    if violations:
        first = violations[0]
        raise CredentialInvalid(f"{first.field}: {first.description}", violations=violations)
    return Credential(api, base_url, MappingProxyType(headers), exact, key)


def _find(raw: Mapping[str, JsonValue], key: str) -> tuple[str, JsonValue]:
    """Whichever spelling is present, and its value; an empty one for none."""
    for spelling in KEYS[key]:
        if spelling in raw:
            return spelling, raw[spelling]
    return "", None


def _path_of(within: str, key: str, spelling: str) -> str:
    """Where a key stands, or should stand."""
    return f"{within}.{spelling or (KEYS[key][0] if within == TYPED_PATH else key)}"


def _unknown_key(key: str, path: str) -> Violation:
    hint = (
        'keys travel as headers, for example "headers": {"Authorization": "Bearer …"}; `key` is for providers by name'
        if "key" in key.lower() or "token" in key.lower() or "auth" in key.lower()
        else "known are apiCompatibility, baseUrl, headers and exactUrl"
    )
    return Violation(f"{path}.{_printable(key)}", f"unknown key; {hint}")


def _api(
    raw: Mapping[str, JsonValue], within: str, violations: list[Violation], default: ApiCompatibility
) -> ApiCompatibility:
    spelling, value = _find(raw, "apiCompatibility")
    if not spelling:
        return default
    name = value.strip() if isinstance(value, str) else ""
    known = LEGACY_APIS.get(name) or _APIS.get(name)
    if known is not None:
        return known
    wrong = "unknown compatibility; must be one of" if name else "must be a non-empty string when given: one of"
    violations.append(Violation(_path_of(within, "apiCompatibility", spelling), f"{wrong} {_API_NAMES}"))
    return default


def _base_url(raw: Mapping[str, JsonValue], within: str, violations: list[Violation], default: str) -> str:
    spelling, value = _find(raw, "baseUrl")
    if default and not spelling:
        return default
    url = value.strip() if isinstance(value, str) else ""
    wrong = _wrong_with_url(url) if url else "must be a non-empty string, for example http://localhost:8000/v1"
    if wrong:
        violations.append(Violation(_path_of(within, "baseUrl", spelling), wrong))
    return url


@lru_cache(maxsize=_REMEMBERED)
def _plain_endpoint(url: str) -> str:
    """Host and port of a URL that has nothing unusual and nothing wrong; empty for any other. It remembers them: not
    to be called with those that may hold keys."""
    plain = _PLAIN_URL.fullmatch(url)
    if plain is None or not 0 < int(plain[3] or 1) <= MAX_PORT:
        return ""
    scheme, host, port = plain.groups()
    return f"{host.rstrip('.')}:{int(port or 0) or _DEFAULT_PORTS[scheme]}"


def _wrong_with_url(url: str) -> str:
    """What is wrong with a base URL, in words that do not repeat it; empty when nothing is."""
    if "?" not in url and "@" not in url and _plain_endpoint(url):
        return ""
    if len(url.encode("utf-8", "replace")) > MAX_URL_BYTES:
        return f"must be at most {MAX_URL_BYTES} bytes"
    if _NOT_IN_A_URL.search(url):
        return "must not contain spaces, control characters or backslashes"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL; for example http://localhost:8000/v1"
    if not parts.netloc.isascii() and any(unicodedata.category(character) == "Cf" for character in parts.netloc):
        return "its host must not contain invisible characters, such as a soft hyphen or a zero-width space"
    if parts.scheme not in ("http", "https") or "://" not in url:
        return "must start with http:// or https://"
    if not parts.hostname or port == 0:
        return "must name a host, for example http://localhost:8000/v1"
    if "@" in parts.netloc:
        return "must not hold a user or password; authentication travels as a header"
    if not parts.netloc.startswith("[") and not all(map(_is_label, _DOTS.split(parts.hostname.removesuffix(".")))):
        return f"its host must not hold an empty part between dots, nor one of more than {_MAX_LABEL} characters"
    return ""


def _is_label(label: str) -> bool:
    """Whether a part of a host's name can be looked up, as it stands on the wire: in `xn--` form (RFC 5891, 4.4)."""
    size = len(label) if label.isascii() else len("xn--") + len(label.encode("punycode"))
    return 0 < size <= _MAX_LABEL


def _headers(raw: Mapping[str, JsonValue], within: str, violations: list[Violation]) -> dict[str, str]:
    spelling, value = _find(raw, "headers")
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    path = _path_of(within, "headers", spelling)
    if isinstance(value, str):  # what the dashboard stores
        if holds_more_values(value, 2 * MAX_HEADERS):
            violations.append(Violation(path, f"must hold at most {MAX_HEADERS} headers"))
            return {}
        try:
            value = {} if (read := json.loads(value)) is None else read
        except (ValueError, RecursionError):
            violations.append(Violation(path, "must be a map of strings, or JSON text of one"))
            return {}
    if not isinstance(value, dict):
        violations.append(Violation(path, "must be a map of strings, or JSON text of one"))
        return {}
    if len(value) > MAX_HEADERS:
        violations.append(Violation(path, f"must hold at most {MAX_HEADERS} headers"))
        return {}
    headers: dict[str, str] = {}
    seen: set[str] = set()
    for name, text in value.items():
        wrong = _wrong_with_header(name, text) or ("is given twice" if name.lower() in seen else "")
        seen.add(name.lower())
        if wrong:
            violations.append(Violation(f'{path}["{_printable(name)}"]', wrong))
        elif isinstance(text, str):
            headers[name] = text.strip(" \t")
    return headers


def _wrong_with_header(name: str, value: JsonValue) -> str:
    if not _HEADER_NAME.fullmatch(name):
        return "is not a legal header name"
    if name.lower() in FORBIDDEN_HEADERS:
        return "is set by the HTTP client itself and cannot be given"
    if not isinstance(value, str):
        return "must be a string"
    if not _HEADER_VALUE.fullmatch(value):
        return "has a value with control characters"
    if len(name) + len(value.encode("utf-8", "replace")) > MAX_HEADER_BYTES:
        return f"must be at most {MAX_HEADER_BYTES} bytes"
    return ""


def _printable(name: str) -> str:
    """A name as an error may repeat it: short, printable. A name can be a mispasted secret."""
    return name if _HEADER_NAME.fullmatch(name) and len(name) <= 64 else "…"


def _exact_url(raw: Mapping[str, JsonValue], within: str, violations: list[Violation]) -> bool:
    spelling, value = _find(raw, "exactUrl")
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    if value is not None:
        violations.append(Violation(_path_of(within, "exactUrl", spelling), "must be true or false"))
    return False


def _key(
    raw: Mapping[str, JsonValue],
    within: str,
    defaults: CredentialDefaults,
    headers: dict[str, str],
    violations: list[Violation],
) -> str:
    """The key of a provider's row; it is put into its header."""
    if KEY not in raw:
        return ""
    value, path = raw[KEY], f"{within}.{KEY}"
    key = value.strip() if isinstance(value, str) else ""
    scheme = f"{defaults.key_scheme} " if defaults.key_scheme else ""
    wrong = _wrong_with_header(defaults.key_header, scheme + key)
    if not key:
        wrong = "must be a non-empty string when given"
    elif scheme and key.lower().startswith(scheme.lower()):
        wrong = f"is the key alone: {defaults.key_scheme} is put before it"
    elif defaults.key_header.lower() in {name.lower() for name in headers}:
        wrong = f"stands for the header {defaults.key_header}, which is given, too"
    if wrong:
        violations.append(Violation(path, wrong))
        return ""
    headers[defaults.key_header] = scheme + key
    return key
