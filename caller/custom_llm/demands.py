"""Demands: what an endpoint's rejections taught about the form in which it takes a request.

Servers that speak one API differ in what they accept: optional fields, where rules stand, what must come back. Where a
rejection names such a thing, the request is changed in that one point and made again. A change that succeeded is kept:
later calls leave changed. `demand_table` says which words of a rejection mean which change; what the change does to a
request is the shape's business (`apis/*/changes.py`).

Bounded: an hour, and so many entries; the one used longest ago goes first. An entry is for one endpoint, model and
credential, of which only a digest is kept: nobody's calls are steered by what another's endpoint said.
"""

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import msgspec
from msgspec.structs import replace

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Adapter, HttpRequest, ResolvedCall
from caller.custom_llm.demand_table import CONTEXT, DIFFERENCE, INPUT, NAMES, TABLE
from caller.errors import CallerError, ContextLengthExceeded, EndpointError, EndpointRejected

LIFETIME = 3600.0  # seconds
MAX_ENTRIES = 4096
# So many rejections of one call teach; the next one stands.
MAX_LESSONS = 4
# 200: an error in a good answer (vLLM's builds of January 2026). 500: llama.cpp's and Ollama's chat templates.
_STATUSES = (400, 422, 200, 500)
_TEACHING = (EndpointRejected, EndpointError, ContextLengthExceeded)
_MAX_TEXT = 16 * 1024  # characters of a rejection that are read
# So many changes are tried for one rejection: each makes the request again, and nothing else runs meanwhile.
_MAX_TRIES = 4


class Demands:
    """The memory. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._secret = secrets.token_bytes(32)
        self.learned = 0  # demands, in all; while there is none, nobody need ask further
        self._entries: OrderedDict[bytes, tuple[float, Mapping[str, str]]] = OrderedDict()

    def key(self, credential: Credential, model: str) -> bytes:
        """The digest of endpoint, model and credential. It means nothing outside of this process."""
        parts = [credential.api.value, credential.base_url, credential.exact_url, model]
        headers = sorted((name.lower(), value) for name, value in credential.headers.items())
        return hashlib.blake2b(msgspec.json.encode([parts, headers]), key=self._secret, digest_size=16).digest()

    def known(self, key: bytes) -> Mapping[str, str]:
        """The form of each point that the endpoint is known to demand."""
        entry = self._entries.get(key)
        if entry is None:
            return {}
        if entry[0] <= self._clock():
            del self._entries[key]
            return {}
        self._entries.move_to_end(key)
        return entry[1]

    def learn(self, key: bytes, demands: Mapping[str, str]) -> None:
        """Remember further demands; a new form of a point replaces the old one."""
        self.learned += len(demands)
        self._entries[key] = (self._clock() + LIFETIME, {**self.known(key), **demands})
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)


def taught(
    adapter: Adapter, call: ResolvedCall, request: HttpRequest, error: CallerError, rejection: bytes, *, stream: bool
) -> tuple[str, str] | None:
    """The point and its form that a rejection of `request` demands, or None: it teaches nothing that would change the
    request. `rejection` is the body of the rejection.
    """
    for point, form in islice(_demanded(adapter.api, request, error, rejection), _MAX_TRIES):
        changed = adapter.request(replace(call, demands={**call.demands, point: form}), stream)
        if changed.body != request.body:
            return point, form
    return None


def _demanded(
    api: ApiCompatibility, request: HttpRequest, error: CallerError, rejection: bytes
) -> Iterator[tuple[str, str]]:
    """The points and forms that the words of a rejection may mean, the likely first."""
    too_long = type(error) is ContextLengthExceeded
    if type(error) not in _TEACHING or error.after_output or error.http_status not in _STATUSES:
        return
    text = f"{error.message} {rejection[:_MAX_TEXT].decode('utf-8', 'replace')}"
    if not too_long and api is not ApiCompatibility.OPENAI_CHAT_COMPLETIONS:  # what it adds is documented there
        yield from ((name, "") for name in sorted(request.added) if _names(name, text))
    left = _left_of_context(text)
    if left:
        yield "default_max_tokens", left
    for row in TABLE:
        found = row.words.search(text) if api in row.shapes and (row.too_long or not too_long) else None
        if found is not None:
            yield row.point, found[found.lastindex or 0].lower() if row.form is None else row.form


def _names(field: str, text: str) -> bool:
    return re.compile(NAMES.get(field, rf"\b{re.escape(field)}\b"), re.IGNORECASE).search(text) is not None


def _left_of_context(text: str) -> str:
    """What a context leaves for the answer, as a rejection says it; empty where it does not."""
    difference, context, given = DIFFERENCE.search(text), CONTEXT.search(text), INPUT.search(text)
    left = 0
    if difference is not None:
        left = int(difference[1]) - int(difference[2])
    elif context is not None and given is not None:
        left = int(context[1]) - int(given[1])
    return str(left) if left > 0 else ""
