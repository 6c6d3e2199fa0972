"""Who may share a connection: requests of one client with the same secrets.

Rule: pure. An endpoint that lies can answer the next request on a connection with what belongs to the one before it.
So a kept connection is used by one client and one set of secrets only; what is not secret (routing, tenant and trace
headers) does not count, for it would make every turn cold. Secrets are kept as a keyed digest that means nothing
outside of this process.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from caller.credentials import is_public_in_query

# `authorization` and `proxy-authorization` have `auth` in them.
_SECRET: Final = re.compile(r"auth|cookie|key|token|secret|pass|session", re.IGNORECASE)
_DIGEST_BYTES: Final = 16


@lru_cache(maxsize=1024)
def _may_be_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


class Partitions:
    """Names partitions; each instance has a key of its own."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def of(self, client: str, headers: Mapping[str, str], url: str) -> bytes:
        """The partition of a request: of its client, of its headers that may hold secrets, and of its URL's query, but
        for what only says which operation is meant: streams and whole answers of Gemini's share connections."""
        query = url.partition("#")[0].partition("?")[2] if "?" in url else ""
        if query:
            query = "&".join(each for each in query.split("&") if not is_public_in_query(each.partition("=")[0]))
        parts = [str(len(client)), client, query]  # no text but the client's has a NUL
        for name in sorted(filter(_may_be_secret, headers)):
            parts += (name.lower(), headers[name])
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=_DIGEST_BYTES).digest()
