"""Where the API of a host may be, other than where it was looked for. The same host only: a key goes nowhere else.

Rule: few requests, and those for model lists, which cost nothing.
"""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.check.session import Session, listed
from caller.errors import EndpointForbidden, EndpointUnauthenticated

_ENDING: Final = re.compile(r"/(?:v\d[a-z0-9]*(?:/openai)?|api|openai)(?:/.*)?$", re.IGNORECASE)
_MOST: Final = 6


def other_roots(base_url: str, api: ApiCompatibility) -> tuple[str, ...]:
    """Base URLs on the same host to try instead, the likely ones first."""
    parts = urlsplit(base_url.strip())
    path = parts.path.rstrip("/")
    before = _ENDING.sub("", path)
    roots = FACTS[api].roots
    paths = [path + roots[0], *(each for root in roots for each in (before + root, root))]
    return tuple(dict.fromkeys(_with(parts, each) for each in paths if each != path))[:_MOST]


def _with(parts: SplitResult, path: str) -> str:
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


async def working(session: Session) -> str:
    """The base URL on the same host that answers as this API does; empty where none was found."""
    credential = session.credential
    for url in () if credential.exact_url else other_roots(credential.base_url, credential.api):
        other = Credential(credential.api, url, credential.headers)
        found = await listed(session.exchanges, session.adapter, other)
        if found.models or isinstance(found.error, EndpointUnauthenticated | EndpointForbidden):
            parts = urlsplit(url)
            return urlunsplit(parts._replace(query=""))
    return ""
