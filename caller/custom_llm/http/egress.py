"""The egress guard: a connector for aiohttp that connects only where the policy allows.

Rule: it decides nothing by itself, `egress_policy` does; it asks at the three places where aiohttp can be asked, and
it knows nothing of chat.

1. `GuardedConnector.connect` - every request, also on a pooled connection or after a redirect: scheme, host, port.
2. `GuardedResolver` - every name lookup: one forbidden answer spoils all, so Happy Eyeballs cannot pick another.
3. The socket factory - every attempt to connect: the numeric address that the socket is for. This is the last word;
   it holds for literal addresses, which never meet a resolver, and for answers that changed in between.

The socket factory is given an address and no name, but under an allowlist a name may lead where its address alone may
not. The connector therefore leaves the host of the running attempt in a context variable, which the tasks of Happy
Eyeballs inherit. Nothing is remembered between attempts, so no caller profits from another one's allowed name, and
without the variable an address is judged alone.

Behind a proxy sockets lead to the proxy only, and it resolves the names: there the first check is ours, the judgement
of what a name leads to is the proxy's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Final

from aiohttp import AddrInfoType, ClientConnectorError, ClientRequest, ClientTimeout, SocketFactoryType, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from caller.custom_llm.http.addresses import literal
from caller.custom_llm.http.egress_policy import EgressDenied, EgressPolicy, Mode

_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

# These releases leak TLS transports that the peer does not close (cpython PR 118960); aiohttp can clean up behind them.
_LEAKS_TLS: Final = sys.version_info < (3, 12, 8) or (3, 13, 0) <= sys.version_info < (3, 13, 1)


# The host that the running `connect` is for.
_HOST: Final[ContextVar[str | None]] = ContextVar("egress_host", default=None)


class ThreadedLookup(AbstractResolver):
    """The system's name lookup, in threads of its own: slow names cannot stall the rest of the process.

    At most `threads` lookups run at once; one that takes longer than `timeout` seconds, waiting for a thread included,
    fails. Every failure is a `socket.gaierror`.
    """

    def __init__(self, *, threads: int = 16, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="name-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`, both families unless one is asked for."""
        lookup = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        try:
            async with asyncio.timeout(self._timeout):
                infos = await asyncio.get_running_loop().run_in_executor(self._threads, lookup)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {self._timeout:g} s") from None
        except UnicodeError:  # a label that is empty or too long never reaches the C library
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        return [_result(host, port, _numeric(address)) for _, _, _, _, address in infos]

    async def close(self) -> None:
        """Start no more lookups; a thread that waits for the C library ends with its answer."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
                raise EgressDenied(f"{host}: lookup failed, {error}") from error
            raise
        for address in addresses:
            reason = self._policy.refusal(address, port, host)
            if reason is not None:
                raise EgressDenied(f"{host} leads to {reason}")
        return [_result(host, port, address) for address in addresses]

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
        reason: str | None = "not an internet socket"
        if family in (socket.AF_INET, socket.AF_INET6):
            reason = policy.refusal(_numeric(address), address[1], _HOST.get())
        if reason is not None:
            raise EgressDenied(reason)
        return inner(info)

    return guarded


class GuardedConnector(TCPConnector):
    """The only connector that endpoints are called with; see `make_connector`.

    Every refusal leaves it as one kind of exception, `ClientConnectorError` with an `EgressDenied` as its `os_error`,
    whichever of the three checks found it: callers cannot tell an unknown name from a forbidden one.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolver: AbstractResolver | None,
        inner_factory: SocketFactoryType,
        keepalive_timeout: float,
        ssl_context: ssl.SSLContext | None,
        proxy: tuple[str, int] | None,
    ) -> None:
        self._policy = policy
        self._proxied = proxy is not None
        sockets = policy if proxy is None else EgressPolicy.only(*proxy)
        self._guarded_resolver = GuardedResolver(sockets, resolver)
        super().__init__(
            resolver=self._guarded_resolver,
            socket_factory=socket_factory(sockets, inner_factory),
            limit=0,  # how many calls may run is decided by admission, not here
            limit_per_host=0,
            ttl_dns_cache=10,
            keepalive_timeout=keepalive_timeout,
            ssl=ssl_context if ssl_context is not None else True,
            enable_cleanup_closed=_LEAKS_TLS,
        )

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109 -- aiohttp's signature
        try:
            self._check(req)
        except EgressDenied as refused:
            raise ClientConnectorError(req.connection_key, refused) from refused
        token = _HOST.set((req.proxy or req.url).raw_host)
        try:
            return await super().connect(req, traces, timeout)
        except OSError as error:
            denied = denied_by(error)
            if denied is None:
                raise
            raise ClientConnectorError(req.connection_key, denied) from error
        finally:
            _HOST.reset(token)

    def _check(self, request: ClientRequest) -> None:
        scheme, host, port = request.url.scheme, request.url.raw_host or "", request.url.port or 0
        self._policy.check_url(scheme, host, port)
        if request.proxy is None:
            return
        if not self._proxied:
            raise EgressDenied("a proxy that is not configured")
        unjudged = literal(host) is None and not self._policy.names(host, port)
        if unjudged and self._policy.mode is Mode.ALLOWLIST:
            raise EgressDenied(f"{host}: not on the allowlist by name, and the proxy hides its addresses")

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, and the resolver."""
        await super().close(abort_ssl=abort_ssl)
        await self._guarded_resolver.close()


def make_connector(
    policy: EgressPolicy,
    *,
    resolver: AbstractResolver | None = None,
    inner_factory: SocketFactoryType = open_socket,
    keepalive_timeout: float = 15.0,
    ssl_context: ssl.SSLContext | None = None,
    proxy: tuple[str, int] | None = None,
) -> TCPConnector:
    """A connector that connects only where `policy` allows; call it inside the running event loop.

    `resolver` looks names up (the system's own by default; closed with the connector), `inner_factory` makes the
    sockets that are allowed, `keepalive_timeout` (seconds) is how long an idle connection is kept, `ssl_context`
    replaces the default trust. `proxy` is the host and port of the one proxy that requests must name: the operator
    chose it, so it may be private, though never a metadata or link-local address (ValueError if written as one).
    """
    return GuardedConnector(
        policy,
        resolver=resolver,
        inner_factory=inner_factory,
        keepalive_timeout=keepalive_timeout,
        ssl_context=ssl_context,
        proxy=proxy,
    )


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


def _result(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=_NUMERIC
    )


def _numeric(address: tuple[object, ...]) -> str:
    """The address of a socket address; a scope that IPv6 keeps apart is put back, for a zone is never allowed."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] and "%" not in host else host
