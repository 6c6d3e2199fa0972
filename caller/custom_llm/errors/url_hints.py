"""What a called URL probably should have been. A guess for people, made from the URL alone after a 404; nothing is
called because of it.
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

from caller.api_facts import FACTS
from caller.custom_llm.base_url import is_azure

_OPERATION: Final = re.compile(f"(?:{'|'.join(sorted({facts.operation.rstrip('/') for facts in FACTS.values()}))})$")
# One digit and then anything: `\d+[a-z0-9]*` tries every way to split the digits where the rest does not match.
_VERSION: Final = re.compile(r"/v\d[a-z0-9]*(?=/|$)", re.IGNORECASE)
_TWICE: Final = re.compile(r"(/v\d[a-z0-9]*)(/v\d[a-z0-9]*)+(?=/|$)", re.IGNORECASE)
_SLASHES: Final = re.compile(r"/{2,}")
_OPERATION_TWICE: Final = re.compile(
    r"/((chat/)?completions|embeddings|responses|messages)(?=/(chat/completions|responses|(v1/)?messages)$)"
)
_OLLAMA: Final = re.compile(r"/api/(chat|generate)(/|$)")
_GEMINI_CALL: Final = re.compile(r":(stream)?generateContent$", re.IGNORECASE)
_GEMINI_HOST: Final = "generativelanguage.googleapis.com"
_OLLAMA_PORT: Final = 11434


def url_hint(url: str) -> str:
    """A sentence on what is probably wrong with the base URL, or `""`. `url` is the URL that was called; its query is
    read but never repeated.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    return next(filter(None, (hint(parts) for hint in _HINTS)), "")


def _gemini(parts: SplitResult) -> str:
    native = _GEMINI_CALL.search(parts.path)
    if native and "/openai/" in parts.path:
        return (
            "This base URL is the OpenAI-compatible one, called as Gemini's own API: choose openai_compatible, or use"
            f" the base URL {_at(parts, '/v1beta')}."
        )
    if parts.hostname == _GEMINI_HOST and not native and "/openai/" not in parts.path:
        return (
            "This base URL is that of Gemini's own API, called as OpenAI's: choose gemini_generate_content, or use the"
            f" base URL {_at(parts, '/v1beta/openai')}."
        )
    return ""


def _azure(parts: SplitResult) -> str:
    if not is_azure(parts.hostname or ""):
        return ""
    if "/openai/deployments/" in parts.path:
        if "api-version" in parse_qs(parts.query, keep_blank_values=True):
            return ""
        return "Azure's deployment URLs need the query `?api-version=…` in the base URL."
    if "/openai/v1/" in parts.path:
        return ""
    return f"The base URL is probably {_at(parts, '/openai/v1')}, or the whole deployment URL with `?api-version=…`."


def _ollama(parts: SplitResult) -> str:
    native = _OLLAMA.search(parts.path)
    # Open WebUI's chat is at /api/chat/completions.
    if not native or (parts.path.endswith("/api/chat/completions") and parts.port != _OLLAMA_PORT):
        return ""
    base = _at(parts, parts.path[: native.start()] + "/v1")
    return f"That is Ollama's own API, which is not spoken here: use the base URL {base}."


def _slashes(parts: SplitResult) -> str:
    if "//" not in parts.path:
        return ""
    return f"The path has doubled slashes: the URL is probably {_at(parts, _SLASHES.sub('/', parts.path))}."


def _twice(parts: SplitResult) -> str:
    path = _OPERATION_TWICE.sub("", parts.path)
    versions = _TWICE.search(path)
    if versions:
        path = path[: versions.start()] + versions[1] + path[versions.end() :]
    if path == parts.path:
        return ""
    return f"The path holds the same thing twice: the URL is probably {_at(parts, path)}."


def _version(parts: SplitResult) -> str:
    operation = _OPERATION.search(parts.path)
    # Azure's deployments have their version in the query.
    if not operation or _VERSION.search(parts.path) or "/deployments/" in parts.path:
        return ""
    root = parts.path[: operation.start()]
    if parts.port == _OLLAMA_PORT:
        root = root.removesuffix("/api")
    return f"The path has no version: the base URL is probably {_at(parts, root + '/v1')}."


def _at(parts: SplitResult, path: str) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


# The most certain first.
_HINTS: Final[tuple[Callable[[SplitResult], str], ...]] = (_gemini, _ollama, _azure, _slashes, _twice, _version)
