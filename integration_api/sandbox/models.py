"""The model lists: every script, in the shape of each API.

Rule: pure; pages are cut as each API cuts them (OpenAI has none, Anthropic by `after_id`, Gemini by `pageToken`).
"""

from collections.abc import Mapping
from typing import Final

from integration_api.sandbox.api_format import ModelList
from integration_api.sandbox.check import refuse
from integration_api.sandbox.script import SCRIPTS, Entry, ScriptError, UnknownScriptError, parse
from integration_api.sandbox.wire import JsonObject

_MADE: Final = 1_767_225_600  # 2026-01-01T00:00:00Z


def openai(_: Mapping[str, str]) -> JsonObject:
    """The list in the shape of OpenAI."""
    return {"object": "list", "data": [openai_model(name) for name in SCRIPTS]}


def openai_model(name: str) -> JsonObject:
    """One model in it."""
    return {"id": name, "object": "model", "created": _MADE, "owned_by": "sandbox"}


def anthropic(query: Mapping[str, str]) -> JsonObject:
    """A page in the shape of Anthropic. Raises RefusedError."""
    names = list(SCRIPTS)
    limit = _whole(query, "limit", 20, 1000)
    after, before = query.get("after_id"), query.get("before_id")
    for given in (after, before):
        if given is not None and given not in SCRIPTS:
            raise refuse(f"unknown cursor: {given}")
    start = names.index(after) + 1 if after else 0
    end = names.index(before) if before else len(names)
    if before and not after:
        start, more = max(end - limit, 0), end > limit
    else:
        more = end - start > limit
    page = names[start:end][:limit]
    return {
        "data": [anthropic_model(name) for name in page],
        "has_more": more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def anthropic_model(name: str) -> JsonObject:
    """One model in it."""
    return {
        "type": "model",
        "id": name,
        "display_name": _entry(name).does,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def gemini(query: Mapping[str, str]) -> JsonObject:
    """A page in the shape of Gemini. Raises RefusedError."""
    names = list(SCRIPTS)
    size = _whole(query, "pageSize", 50, 1000)
    token = query.get("pageToken", "")
    start = names.index(token) if token in SCRIPTS else 0
    if token and not start:
        raise refuse("Page token is not valid.", "pageToken")
    more: JsonObject = {"nextPageToken": names[start + size]} if start + size < len(names) else {}
    return {"models": [gemini_model(name) for name in names[start : start + size]], **more}


def gemini_model(name: str) -> JsonObject:
    """One model in it."""
    return {
        "name": f"models/{name}",
        "version": "1",
        "displayName": name,
        "description": _entry(name).does,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
    }


OPENAI: Final = ModelList(openai, openai_model)
ANTHROPIC: Final = ModelList(anthropic, anthropic_model)
GEMINI: Final = ModelList(gemini, gemini_model)


def known(name: str) -> bool:
    """Whether a request for this model would be answered."""
    try:
        parse(name)
    except (UnknownScriptError, ScriptError):
        return False
    return True


def _entry(name: str) -> Entry:
    return SCRIPTS[name.partition(":")[0]]


def _whole(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= most):
        raise refuse(f"{name}: must be a whole number from 1 to {most}", name)
    return int(text)
