"""What was learned about endpoints: optional fields that we add by ourselves and that one of them refuses.

Servers that speak Chat Completions differ in which optional fields they take; a refusal (400, 422) that names a field
of ours is answered by one more try without it, and remembered. Fields that the caller asked for are not optional.

Bounded: an hour, and so many entries; the one used longest ago goes first. An entry is for one endpoint, model and
credential, of which only a digest is kept: nobody's calls are steered by what another's endpoint said.
"""

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from caller.credentials import Credential
from caller.errors import CallerError, EndpointRejected

LIFETIME = 3600.0  # seconds
MAX_ENTRIES = 4096
_REFUSED = (400, 422, 200)  # 200: an error in a good answer (vLLM's builds of January 2026)
# How a refusal names a field where it does not say its plain name.
_NAMES = {
    "stream_options": r"stream[ _]?options|include_usage",
    "developer_as_system": r"role\b.{0,80}\bsystem\b|\bsystem\b.{0,80}\brole",
}


class RefusedFields:
    """The memory. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._secret = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, tuple[float, frozenset[str]]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether anything was learned: most calls need not ask further."""
        return bool(self._entries)

    def key(self, credential: Credential, model: str) -> bytes:
        """The digest of endpoint, model and credential. It means nothing outside of this process."""
        parts = [credential.api.value, credential.base_url, credential.exact_url, model]
        headers = sorted((name.lower(), value) for name, value in credential.headers.items())
        return hashlib.blake2b(msgspec.json.encode([parts, headers]), key=self._secret, digest_size=16).digest()

    def omitted(self, key: bytes) -> frozenset[str]:
        """The fields that are known to be refused."""
        entry = self._entries.get(key)
        if entry is None:
            return frozenset()
        if entry[0] <= self._clock():
            del self._entries[key]
            return frozenset()
        self._entries.move_to_end(key)
        return entry[1]

    def learn(self, key: bytes, fields: frozenset[str]) -> None:
        """Remember further refused fields."""
        self._entries[key] = (self._clock() + LIFETIME, self.omitted(key) | fields)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)


def refused_fields(error: CallerError, body: bytes, added: Iterable[str]) -> frozenset[str]:
    """Which of the fields that we added by ourselves the endpoint's refusal names. `body` is the refusal's own."""
    if type(error) is not EndpointRejected or error.http_status not in _REFUSED or error.after_output:
        return frozenset()
    text = f"{error.message} {body.decode('utf-8', 'replace')}"
    return frozenset(
        name for name in added if re.search(_NAMES.get(name, rf"\b{re.escape(name)}\b"), text, re.IGNORECASE)
    )
