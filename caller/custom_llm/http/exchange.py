"""What the transport and its connector must know of one request, and aiohttp's calls cannot carry.

Rule: one context variable, set while a connection is made for one request. The tasks that look a name up and race
addresses inherit it, so it also names the host that a socket is for. Nothing is remembered between requests.
"""

from contextvars import ContextVar
from time import monotonic
from typing import Final

import msgspec


class Exchange(msgspec.Struct):
    """One request on its way to an endpoint.

    `client` is who asked for it, `partition` says with whom its connection may be shared. The connector fills in the
    rest: `host`, which the running attempt is for, `attempted`, the addresses tried for it in their order,
    `reused`, whether the connection was a kept one, `opened`, whether one was made, and `resolved`, when the host's
    addresses were there, in `time.monotonic()`; 0 for no lookup. `ahead`: no request follows, the connection is for
    later ones. `blocked` are the seconds in which a connection was made or the endpoint did not take the request. The
    connection's own are, in `time.monotonic()`, `written`, when the request had left, 0 before, and `arrived`, when
    something last came of the endpoint.
    """

    client: str = ""
    partition: bytes = b""
    host: str | None = None
    attempted: list[str] = msgspec.field(default_factory=list)
    reused: bool = False
    opened: bool = False
    resolved: float = 0.0
    ahead: bool = False
    blocked: float = 0.0
    written: float = 0.0
    arrived: float = 0.0

    def waited(self, answered: bool) -> float:
        """Seconds that were waited for the endpoint up to the head of its answer, or up to now where none came."""
        if not self.written:
            return self.blocked
        end = self.arrived if answered else monotonic()
        return self.blocked + max(0.0, end - self.written)


_NOBODY: Final = Exchange()
CURRENT: Final[ContextVar[Exchange | None]] = ContextVar("endpoint_exchange", default=None)


def current_client() -> str:
    """The client of the running request; empty outside of one."""
    return (CURRENT.get() or _NOBODY).client


def current_host() -> str | None:
    """The host that the running attempt to connect is for; None outside of one."""
    return (CURRENT.get() or _NOBODY).host
