"""The egress guard: the checks that let aiohttp connect only where the policy allows.

Rule: it decides nothing by itself, `egress_policy` does; it is called wherever aiohttp lets a check in, and it knows
nothing of chat. `connector` installs the checks:

1. `check_request` - every request, also on a pooled connection or after a redirect: scheme, host, port.
2. `GuardedResolver` - every name lookup: one forbidden answer spoils all, so Happy Eyeballs cannot pick another.
3. The socket factory - every attempt to connect: the numeric address that the socket is for. This is the last word;
   it holds for literal addresses, which never meet a resolver, and for answers that changed in between.

The socket factory is given an address and no name, but under an allowlist a name may lead where its address alone may
not. The connector therefore leaves the host of the running attempt in a context variable, which the tasks of Happy
Eyeballs inherit. Nothing is remembered between attempts, so no client profits from another one's allowed name, and
without the variable an address is judged alone.

Behind a proxy sockets lead to the proxy only, and it resolves the names: there the first check is ours, the judgement
of what a name leads to is the proxy's.
"""

from __future__ import annotations

import socket

from aiohttp import AddrInfoType, ClientConnectorError, ClientRequest, SocketFactoryType
from aiohttp.abc import AbstractResolver, ResolveResult

from caller.custom_llm.http.egress_policy import EgressDenied, EgressPolicy
from caller.custom_llm.http.exchange import CURRENT, current_host
from caller.custom_llm.http.lookups import ThreadedLookup, numeric, result


class GuardedResolver(AbstractResolver):
    """A resolver whose answers are all allowed, or else it refuses.

    Raises `EgressDenied` if any answer is forbidden, and for a name without an address where saying so would tell which
    names exist on the inner network. It owns `inner` and closes it.
    """

    def __init__(self, policy: EgressPolicy, inner: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._inner = inner if inner is not None else ThreadedLookup()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The allowed addresses of `host`, as fresh values: what was judged is what is connected to."""
        try:
            addresses = [answer["host"] for answer in await self._inner.resolve(host, port, family)]
            if not addresses:  # aiohttp takes an empty answer for its own bug
                raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        except OSError as error:
            if self._policy.hides_unknown(host, port):
                raise self._policy.unresolved(host, error) from error
            raise
        for address in addresses:
            self._policy.check_address(address, port, host)
        return [result(host, port, address) for address in addresses]

    async def close(self) -> None:
        await self._inner.close()


def open_socket(info: AddrInfoType) -> socket.socket:
    """The plain socket for one attempt to connect."""
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def socket_factory(policy: EgressPolicy, inner: SocketFactoryType = open_socket) -> SocketFactoryType:
    """A socket factory for aiohttp that raises `EgressDenied` in place of a socket for a forbidden address."""

    def guarded(info: AddrInfoType) -> socket.socket:
        family, _, _, _, address = info
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise EgressDenied("not an internet socket")
        policy.check_address(numeric(address), address[1], current_host())
        exchange = CURRENT.get()
        if exchange is not None:
            exchange.attempted.append(str(address[0]))
        return inner(info)

    return guarded


def check_request(policy: EgressPolicy, request: ClientRequest, *, proxied: bool) -> None:
    """Refuse what can be refused before there is a connection; raises `EgressDenied`."""
    scheme, host, port = request.url.scheme, request.url.raw_host or "", request.url.port or 0
    policy.check_url(scheme, host, port)
    if request.proxy is None:
        return
    if not proxied:
        raise EgressDenied("a proxy that is not configured")
    policy.check_proxied(host, port)


def denied_by(error: BaseException) -> EgressDenied | None:
    """The refusal behind an exception, searched through causes, contexts, groups and aiohttp's `os_error`."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        if isinstance(current, EgressDenied):
            return current
        seen.add(id(current))
        waiting += [current.__cause__, current.__context__]
        if isinstance(current, ClientConnectorError):
            waiting.append(current.os_error)
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
    return None
