"""From the base URL that a person typed to the URL that is called. One pure function; it opens nothing.

People paste a bare host, the API root, or the whole URL of the operation. The rules:

1. Spaces around it and a fragment are cut off; the query is kept and goes behind the joined path.
2. A path that already ends with the operation is called as it is.
3. An empty path gets the API's default version (`/v1`, Gemini `/v1beta`) and the operation.
4. Any other path gets the operation only. The native SDKs of Anthropic and Gemini add the version themselves, so
   their bases often end before it: there the version is added unless the path has one.
5. Doubled slashes are collapsed: some servers (LM Studio) do not find `/v1//models`.

`exactUrl` in a credential switches the rules off. Never are several URLs tried with one request: an endpoint that
answers 200 to anything would be taken for a success.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

# Where Azure serves OpenAI's models, and others.
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
# How many joined URLs are remembered; those with a query, where keys can be, are not.
_MEMORY = 512
# A URL without a query or a user: it can be repeated as it is.
_WITHOUT_SECRETS = re.compile(r"https?://[a-z0-9.:-]+/[A-Za-z0-9._~/:-]*")
_SLASHES = re.compile(r"/{2,}")
# One digit and then anything: with `\d+` every way to split the digits would be tried where the rest does not match.
_VERSION = re.compile(r"/v\d[a-z0-9]*(?=/|$)", re.IGNORECASE)
_LAST_VERSION = re.compile(r"/v\d[a-z0-9]*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)  # each is there once
class Operation:
    """One operation of an API, as a URL sees it.

    `path` is appended to the API root (`chat/completions`). `version` is what an API root is assumed to end with.
    `roots_have_version`: False where base URLs are commonly typed without the version even if they have a path.
    `siblings` are endings of other operations of the same API, cut off when a base ends with one of them.
    `whole` matches a path that is a whole operation where its URL holds a name (Gemini's model); its group `root` is
    the API root. `drops` are pieces of a query (`alt=sse`) that belong to another operation than this one.
    """

    path: str
    version: str = "v1"
    roots_have_version: bool = True
    siblings: tuple[str, ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    whole: re.Pattern[str] | None = None
    drops: tuple[str, ...] = ()


def join(base_url: str, operation: Operation, *, exact: bool = False) -> str:
    """The URL of an operation. `exact` returns the base as it is, without its fragment."""
    if not exact and "?" not in base_url:
        return _joined(base_url, operation)
    if exact:
        return without_fragment(base_url)
    return _joined_parts(urlsplit(base_url.strip()), operation)


@lru_cache(maxsize=_MEMORY)
def _joined(base_url: str, operation: Operation) -> str:
    return _joined_parts(urlsplit(base_url.strip()), operation)


def _joined_parts(parts: SplitResult, operation: Operation) -> str:
    root = _root(_SLASHES.sub("/", parts.path).rstrip("/"), operation)
    return _unsplit(parts, f"{_versioned(root, operation)}/{operation.path}", operation)


def without_fragment(base_url: str) -> str:
    """A base URL as it is called, whatever operation is added to it: its origin and its query stand in it."""
    return urlunsplit(urlsplit(base_url.strip())._replace(fragment=""))


def without_query(url: str) -> str:
    """A URL as errors and logs may repeat it: without query and fragment, where keys can be."""
    if "?" not in url and "@" not in url and _is_plain(url):
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]))


@lru_cache(maxsize=_MEMORY)
def _is_plain(url: str) -> bool:
    return _WITHOUT_SECRETS.fullmatch(url) is not None


def is_azure(host: str) -> bool:
    """Whether a host, in lower case, is one of Azure's AI services: each customer has one of their own."""
    return host.endswith(_AZURE)


def _root(path: str, operation: Operation) -> str:
    """The API root: the path without the operation, or a sibling of it, at its end."""
    for ending in (operation.path, *operation.siblings):
        if path == f"/{ending}" or path.endswith(f"/{ending}"):
            root = path[: -len(ending) - 1]
            # `http://host/chat/completions` names its operation fully: DeepSeek and others have no version.
            return root or "/"
    found = operation.whole.fullmatch(path) if operation.whole is not None else None
    return found["root"] or "/" if found else path


def _versioned(root: str, operation: Operation) -> str:
    if root == "/":
        return ""
    if not root:
        return f"/{operation.version}"
    has_version = (_LAST_VERSION if operation.version == "v1" else _VERSION).search(root)
    if operation.roots_have_version or has_version:
        return root
    return f"{root}/{operation.version}"


def _unsplit(parts: SplitResult, path: str, operation: Operation) -> str:
    query = parts.query
    if operation.drops:
        query = "&".join(piece for piece in query.split("&") if piece not in operation.drops)
    missing = [
        (key, value) for key, value in operation.query if key not in dict(parse_qsl(query, keep_blank_values=True))
    ]
    if missing:
        query = "&".join(filter(None, [query, urlencode(missing)]))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
