"""What one check found, and which check an error belongs to. Values and one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from caller import errors
from caller.errors import CallerError
from caller.remedies import remedy_of


@dataclass(frozen=True, slots=True)
class Finding:
    """How a check went. `took` in seconds; None: as long as the check itself took."""

    status: str
    observed: str
    remedy: str = ""
    took: float | None = None


def passed(observed: str, *, took: float | None = None) -> Finding:
    """As it should be."""
    return Finding("PASS", observed, "", took)


def warned(observed: str, remedy: str, *, took: float | None = None) -> Finding:
    """Usable, but something is odd."""
    return Finding("WARN", observed, remedy, took)


def failed(observed: str, remedy: str, *, took: float | None = None) -> Finding:
    """Not usable."""
    return Finding("FAIL", observed, remedy, took)


def skipped(observed: str, remedy: str = "") -> Finding:
    """Not made."""
    return Finding("SKIP", observed, remedy)


def failed_with(error: CallerError, *, took: float | None = None) -> Finding:
    """Not usable, in the words of the error."""
    return failed(error.message, remedy_of(error), took=took)


# Which check reports an error of a chat; the others that need the chat say so. The nearest parent counts.
_BLAMED: Final[Mapping[type[CallerError], str]] = MappingProxyType(
    {
        CallerError: "chat",
        errors.EndpointUnreachable: "reach",
        errors.ConnectTimeout: "reach",
        errors.EgressDenied: "reach",
        errors.EndpointTls: "tls",
        errors.EndpointNotFound: "path",
        errors.EndpointUnauthenticated: "auth",
        errors.EndpointForbidden: "auth",
        errors.ModelNotFound: "model",
        errors.ProtocolError: "structure",
    }
)
# No HTTP answer came from there.
UNREACHED: Final = frozenset({"reach", "tls"})


def blamed(error: CallerError) -> str:
    """The id of the check that reports this error."""
    return next(_BLAMED[parent] for parent in type(error).__mro__ if parent in _BLAMED)
