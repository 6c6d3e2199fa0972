"""What the name of a Gemini model says: where its operations are, and which generation it is. Pure.

It knows no request body. Source: Gemini API reference; the name's forms are those of Google's own SDK.
"""

import re
from urllib.parse import quote

from caller.credentials import ApiCompatibility
from caller.custom_llm.apis.shared import invalid
from caller.custom_llm.base_url import Operation

API = ApiCompatibility.GEMINI_GENERATE_CONTENT
GENERATE = "generateContent"
STREAM = "streamGenerateContent"
MAX_PAGE_SIZE = "1000"
_VERSION = "v1beta"
# A name that says where it stands goes out as it is; the last two are Vertex AI's.
_PREFIXES = ("models/", "tunedModels/", "publishers/", "projects/")
_FORBIDDEN = re.compile(r"[?#&\\\x00-\x1f\x7f-\x9f]|\.\.|//|^[/.]|/$")
_GENERATION = re.compile(r"gemini-(\d{1,3})(?!\d)")
# `…/models`, or the whole URL of an operation of any model. A name holds no further `/models/`: without that, each of
# them in a long path would be tried to the path's end.
_LIST = r"/(?:models|tunedModels)"
_WHOLE = re.compile(rf"(?P<root>.*){_LIST}(?:/(?:(?!{_LIST}/).)+:[A-Za-z]+)?")
_SSE = "alt=sse"


def chat_operation(model: str, path: str, *, stream: bool) -> Operation:
    """The operation that asks the model; `path` is where the request has its name, for violations.

    Raises:
        RequestInvalid: the name cannot stand in a URL.
    """
    if _FORBIDDEN.search(model):
        raise invalid(path, "is no model name: it must not hold '..', '//', '?', '#', '&', '\\' or control characters")
    name = model if model.startswith(_PREFIXES) else f"models/{model}"
    operation = f"{quote(name, safe='/', errors='replace')}:{STREAM if stream else GENERATE}"
    if stream:
        return _operation(operation, query=(("alt", "sse"),))
    return _operation(operation, drops=(_SSE,))


def models_operation(page: str) -> Operation:
    """The operation that lists the models; `page` is a page's token, empty for the first."""
    query = (("pageSize", MAX_PAGE_SIZE), ("pageToken", page)) if page else (("pageSize", MAX_PAGE_SIZE),)
    return _operation("models", query=query, drops=(_SSE,))


def wants_signatures(model: str) -> bool:
    """Whether the model refuses a call of its history that has no thought signature: Gemini 3 and later do. A name
    without a number (`gemini-flash-latest`) means a new one."""
    return "gemini" in model.lower() and not before_gemini_3(model)


def before_gemini_3(model: str) -> bool:
    """Whether the model is known to be older than Gemini 3: it thinks within a budget, not at a level."""
    found = _GENERATION.search(model.lower())
    return found is not None and int(found[1]) < 3


def _operation(path: str, query: tuple[tuple[str, str], ...] = (), drops: tuple[str, ...] = ()) -> Operation:
    return Operation(path, version=_VERSION, roots_have_version=False, query=query, whole=_WHOLE, drops=drops)
