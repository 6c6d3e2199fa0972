"""What an unknown endpoint speaks, and under which base URL: at most ten requests, all to the host that was named.

First model lists, which cost nothing, find the base URL and a model; then one small chat in each API shape, the likely
ones first, until one is answered as that shape is. Redirects are not followed, so no key goes elsewhere.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility, Credential, is_public_in_query
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.base_url import is_azure
from caller.custom_llm.check import probes
from caller.custom_llm.check.exchange import Answer, Exchanges
from caller.custom_llm.check.finding import UNREACHED, blamed
from caller.custom_llm.check.shapes import SHAPES
from caller.custom_llm.check.urls import other_roots
from caller.errors import CallerError, EndpointRefused
from caller.json_types import JsonObject, object_of, objects_of, text_of
from caller.parameters import merge_parameters

MAX_REQUESTS: Final = 10
_MOST_LISTS: Final = 5
# A request on a kept connection that was lost is made again.
_MOST_FOR_ONE: Final = 2
_OPENAI: Final = ApiCompatibility.OPENAI_CHAT_COMPLETIONS
_COMPATIBLE: Final = ApiCompatibility.OPENAI_COMPATIBLE
_ANTHROPIC: Final = ApiCompatibility.ANTHROPIC_MESSAGES
_GEMINI: Final = ApiCompatibility.GEMINI_GENERATE_CONTENT
# A model that is asked where none is known: the answer shows the shape all the same.
_ANY_MODEL: Final = "default"
# Statuses with which a server says that there is no such operation here.
_NO_OPERATION: Final = frozenset({404, 405, 410, 501})


@dataclass(frozen=True, slots=True)
class Tried:
    """One request, and what came of it."""

    api: ApiCompatibility
    url: str
    observed: str
    took: float


@dataclass(frozen=True, slots=True)
class Found:
    """What the endpoint speaks, and where. `header` is where its key goes, with what stands before it. `sure`: it
    answered as this shape is; else it only knew the operation, and `observed` says what it wants."""

    api: ApiCompatibility
    base_url: str
    url: str
    header: tuple[str, str]
    model: str
    sure: bool
    observed: str


class Detection:
    """Looks for the shape of one endpoint. `found` is there once `tries` has ended."""

    def __init__(
        self,
        exchanges: Mapping[ApiCompatibility, Exchanges],
        base_url: str,
        key: str,
        headers: Mapping[str, str],
        model: str,
    ) -> None:
        """`exchanges` makes the requests of each shape. `base_url` is what a person typed; `key` goes where the shape
        wants it, unless `headers` have one there; it may be empty, as may `model`."""
        self._exchanges = exchanges
        self._base_url = base_url
        self._key = key
        self._headers = headers
        self._model = model
        self._order = _likely(base_url)
        self._bases: tuple[str, ...] = ()
        self.found: Found | None = None

    @property
    def requests(self) -> int:
        """How many were made."""
        return sum(exchanges.made for exchanges in self._exchanges.values())

    async def tries(self) -> AsyncIterator[Tried]:
        """The requests, one by one as they are answered."""
        async for tried in self._lists():
            yield tried
        if not self._bases:
            return
        for base in self._bases:
            for api in self._order:
                if self.requests > MAX_REQUESTS - _MOST_FOR_ONE or (self.found is not None and self.found.sure):
                    return
                yield await self._chat(api, base)

    async def _lists(self) -> AsyncIterator[Tried]:
        """Find the base URL that has a model list, or one that asks for a key; the typed one where none has."""
        first = self._order[0]
        api = first if first in (_GEMINI, _ANTHROPIC) else _COMPATIBLE
        reached = False
        for base in (self._base_url, *other_roots(self._base_url, api))[:_MOST_LISTS]:
            credential = self._credential(api, base)
            answer = await self._exchanges[api].get(ADAPTERS[api].models_request(credential, ""))
            error = answer.error
            yield Tried(api, answer.url, _observed(answer), answer.took)
            if error is not None and blamed(error) in UNREACHED:
                return
            reached = True
            if error is None and self._read_list(bytes(answer.body)):
                self._bases = (base,)
                return
            if error is not None and blamed(error) == "auth":
                self._bases = (base,)
                return
        if reached:
            self._bases = tuple(dict.fromkeys((self._base_url, *other_roots(self._base_url, api))))

    def _read_list(self, body: bytes) -> bool:
        """Whether it is a model list; its form shows what is likely."""
        try:
            page = object_of(json.loads(body))
        except (ValueError, RecursionError):
            return False
        members = objects_of(page.get("data")) or objects_of(page.get("models"))
        names = [text_of(member.get("id")) or text_of(member.get("name")) for member in members]
        if any(name.startswith("models/") for name in names):
            self._prefer(_GEMINI)
        elif members and members[0].get("type") == "model" and "has_more" in page:
            self._prefer(_ANTHROPIC)
        if not self._model:
            self._model = next((name.removeprefix("models/") for name in names if probes.chats(name)), "")
        return "data" in page or "models" in page

    def _prefer(self, api: ApiCompatibility) -> None:
        self._order = (api, *(each for each in self._order if each is not api))

    async def _chat(self, api: ApiCompatibility, base: str) -> Tried:
        call = ResolvedCall(
            credential=self._credential(api, base),
            parameters=merge_parameters(
                {"model.name": self._model or _ANY_MODEL, probes.limit_name(api): probes.TOKENS}
            ),
            messages=probes.CHAT.messages,
        )
        request = ADAPTERS[api].request(call, False)
        answer = await self._exchanges[api].ask(request, call, stream=False)
        observed = _observed(answer)
        sure = answer.error is None and _is_of(api, answer)
        if sure or (self.found is None and _knows_operation(answer)):
            root = _root(answer.url, api, base)
            self.found = Found(api, root, answer.url, _header(api, base), self._model, sure, observed)
        return Tried(api, answer.url, observed, answer.took)

    def _credential(self, api: ApiCompatibility, base: str) -> Credential:
        name, scheme = _header(api, base)
        given = dict(self._headers)
        if self._key and name.lower() not in {each.lower() for each in given}:
            given[name] = f"{scheme} {self._key}".strip()
        return Credential(api, base, MappingProxyType(given))


def _likely(base_url: str) -> tuple[ApiCompatibility, ...]:
    """The shapes in the order of their likelihood, by what was typed."""
    parts = urlsplit(base_url)
    host, path = parts.hostname or "", parts.path.rstrip("/").lower()
    chat = _OPENAI if host == "api.openai.com" or is_azure(host) else _COMPATIBLE
    # Anthropic's is spoken by more servers than the others.
    usual = tuple(dict.fromkeys((chat, _ANTHROPIC, *(api for api in SHAPES if api not in (_OPENAI, _COMPATIBLE)))))
    hinted = [api for api in usual if SHAPES[api].hint.search(f"{host}{path}")]
    return tuple(dict.fromkeys((*hinted, *usual)))


def _header(api: ApiCompatibility, base: str) -> tuple[str, str]:
    """Where the key goes, and what stands before it."""
    return ("api-key", "") if is_azure(urlsplit(base).hostname or "") else FACTS[api].key_header


def _knows_operation(answer: Answer) -> bool:
    """Whether the endpoint knows this operation, though it did not answer it well."""
    error = answer.error
    if error is None or (answer.status in _NO_OPERATION and blamed(error) != "model"):
        return False
    return isinstance(error, EndpointRefused) and blamed(error) in ("auth", "model", "chat")


def _is_of(api: ApiCompatibility, answer: Answer) -> bool:
    try:
        body: JsonObject = object_of(json.loads(bytes(answer.body)))
    except (ValueError, RecursionError):
        return False
    return SHAPES[api].structure(body).status != "FAIL"


def _observed(answer: Answer) -> str:
    error: CallerError | None = answer.error
    return f"HTTP {answer.status}" if error is None else error.message


def _root(url: str, api: ApiCompatibility, base: str) -> str:
    """The base URL of what was called. Of its query only what says which API is meant is kept."""
    root = url.partition(FACTS[api].operation)[0]
    query = urlsplit(base).query
    if query and all(is_public_in_query(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        return urlunsplit(urlsplit(root)._replace(query=query))
    return root
