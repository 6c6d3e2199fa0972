"""The connector that endpoints are called with: aiohttp's way of making connections, our pool, names and guard.

Rule: of aiohttp's TCPConnector the making of a connection is used (addresses raced, TLS, proxies) and nothing else.
Which connection is used again is `idle_pool`'s business, whether one is clean its protocol's, where a socket may lead
`egress`'s. What a request needs beyond aiohttp's values is in `exchange`.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientRequest,
    ClientTimeout,
    SocketFactoryType,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from caller.custom_llm.base_url import without_query
from caller.custom_llm.http.addresses import literal
from caller.custom_llm.http.egress import GuardedResolver, check_request, denied_by, open_socket, socket_factory
from caller.custom_llm.http.egress_policy import EgressDenied, EgressPolicy
from caller.custom_llm.http.exchange import CURRENT, Exchange
from caller.custom_llm.http.idle_pool import DEFAULT_LIMITS, IdlePool, PoolKey, PoolLimits
from caller.custom_llm.http.idle_times import announced_seconds
from caller.custom_llm.http.lookups import result
from caller.custom_llm.http.names import LONGEST_TTL, Names
from caller.custom_llm.http.protocol import EndpointProtocol
from caller.deadline import DeadlineTimer
from caller.errors import ConnectTimeout
from caller.warming import ConnectionTimes

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey

# The process, or the machine, has no descriptor left.
OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})


class EndpointConnector(TCPConnector):
    """The only connector that endpoints are called with; see `make_connector`.

    Every refusal of the egress guard leaves it as one kind of exception, `ClientConnectorError` with an `EgressDenied`
    as its `os_error`, whichever check found it: an unknown name and a forbidden one are the same to whoever called.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolver: AbstractResolver | None,
        inner_factory: SocketFactoryType,
        limits: PoolLimits,
        dns_ttl: float,
        ssl_context: ssl.SSLContext | None,
        proxy: tuple[str, int] | None,
    ) -> None:
        self._policy = policy
        self._proxied = proxy is not None
        sockets = policy if proxy is None else EgressPolicy.only(*proxy)
        guarded = GuardedResolver(sockets, resolver)
        super().__init__(
            resolver=guarded,
            socket_factory=socket_factory(sockets, inner_factory),
            limit=0,  # how many calls may run is decided by admission, not here
            limit_per_host=0,
            ssl=ssl_context if ssl_context is not None else True,
        )
        self._names = Names(guarded, ttl=dns_ttl)
        self._idle: IdlePool[EndpointProtocol] = IdlePool(limits)
        self._keys: dict[ResponseHandler, PoolKey] = {}  # of the connections in use
        self._factory = cast("partial[ResponseHandler]", partial(EndpointProtocol, self._loop))

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109 -- aiohttp's signature
        """The same as `acquire`, in aiohttp's form: no session that is given this connector goes around the guard."""
        del traces
        protocol = await self.acquire(req, timeout, CURRENT.get() or Exchange())
        return Connection(self, req.connection_key, protocol, self._loop)

    async def acquire(
        self,
        req: ClientRequest,
        timeout: ClientTimeout,  # noqa: ASYNC109 -- aiohttp's value
        exchange: Exchange,
    ) -> EndpointProtocol:
        """A clean kept connection, or a new one. A kept one was allowed when it was made: its key has all that the
        policy asks for."""
        key = _pool_key(req, exchange)
        protocol = self._idle.take(key)
        if protocol is None:
            self._check(req)
            begun = monotonic()
            try:
                protocol = await self._connected(req, timeout, exchange)
            finally:
                exchange.blocked += monotonic() - begun
        else:
            exchange.reused = True
            if req.proxy:
                self._update_proxy_auth_header_and_build_proxy_req(req)  # writes the proxy's header into the request
        self._keys[protocol] = key
        self._acquired.add(protocol)
        return protocol

    async def open_ahead(
        self,
        req: ClientRequest,
        timeout: ClientTimeout,  # noqa: ASYNC109 -- aiohttp's value
        exchange: Exchange,
        number: int,
    ) -> ConnectionTimes | None:
        """Make a connection for later requests like this one, which is not sent, and keep it idle; None where `number`
        of them are ready, or none would be kept."""
        key = _pool_key(req, exchange)
        if self._idle.ready(key) >= number or not self._idle.keeps(key):
            return None
        self._check(req)
        began = monotonic()
        made = await self._connected(req, timeout, exchange)
        self._idle.put_unused(key, made)
        resolved = exchange.resolved or began
        return ConnectionTimes(resolved - began, made.connected_at - resolved, made.made_at - made.connected_at)

    @property
    def idle(self) -> int:
        """How many connections are kept idle."""
        return len(self._idle)

    def ready(self, req: ClientRequest, exchange: Exchange) -> int:
        """How many idle connections are kept for requests like this one, those apart that end soon."""
        return self._idle.ready(_pool_key(req, exchange))

    def _check(self, req: ClientRequest) -> None:
        try:
            check_request(self._policy, req, proxied=self._proxied)
        except EgressDenied as refused:
            raise ClientConnectorError(req.connection_key, refused) from refused

    async def _connected(
        self,
        req: ClientRequest,
        timeout: ClientTimeout,  # noqa: ASYNC109 -- aiohttp's value
        exchange: Exchange,
    ) -> EndpointProtocol:
        server = req.proxy or req.url
        exchange.host = server.raw_host
        token = CURRENT.set(exchange)
        try:
            with DeadlineTimer() as timer:
                if timeout.connect is not None:
                    due = asyncio.get_running_loop().time() + timeout.connect
                    timer.arm(due, partial(_no_connection, req.url, timeout.connect))
                try:
                    made = await self._create_connection(req, [], timeout)
                except OSError as error:
                    if _errno(error) not in OUT_OF_DESCRIPTORS or exchange.ahead or not self._idle:
                        raise
                    self._idle.drop_all()  # an idle connection is worth less than a call
                    await asyncio.sleep(0)
                    made = await self._create_connection(req, [], timeout)
        except OSError as error:
            self._names.forget(server.raw_host or "", server.port or 0)
            denied = denied_by(error)
            if denied is None:
                raise
            raise ClientConnectorError(req.connection_key, denied) from error
        finally:
            CURRENT.reset(token)
        assert isinstance(made, EndpointProtocol)  # noqa: S101 -- our factory made it
        exchange.opened = True
        if self._closed:
            made.close()
            raise ClientConnectionError("Connector is closed.")
        peer = made.transport.get_extra_info("peername") if made.transport is not None else None
        if peer is not None and exchange.host is not None:
            self._names.note(exchange.host, exchange.attempted, str(peer[0]))
        return made

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        del key
        self.give_back(protocol, should_close)

    def give_back(self, protocol: ResponseHandler, should_close: bool) -> None:
        """A request has ended: its connection is kept if it is clean."""
        if self._closed:
            return
        self._acquired.discard(protocol)
        ours = self._keys.pop(protocol, None)
        if ours is None or not isinstance(protocol, EndpointProtocol):
            protocol.close()
        elif should_close or not protocol.reusable:
            lost = protocol.hung_up
            protocol.close()
            if lost:
                self._idle.lost(ours, protocol.idled)  # what is tried next has a connection of its own
        else:
            self._idle.put(ours, protocol, announced_seconds(protocol.keep_alive) if protocol.keep_alive else None)

    async def _resolve_host(self, host: str, port: int, traces: Sequence[Trace] | None = None) -> list[ResolveResult]:
        del traces
        if literal(host) is not None:
            return [result(host, port, host)]
        exchange = CURRENT.get() or Exchange()
        found = await self._names.addresses(host, port, exchange.client)
        exchange.resolved = monotonic()
        return found

    def clear_dns_cache(self, host: str | None = None, port: int | None = None) -> None:
        """Forget what names lead to; all of them, whatever is given."""
        del host, port
        self._names.clear()

    def _close(self, *, abort_ssl: bool = False) -> list[Awaitable[object]]:
        self._idle.close()
        self._keys.clear()
        return super()._close(abort_ssl=abort_ssl)

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, and the resolver."""
        await super().close(abort_ssl=abort_ssl)
        await self._names.close()


def make_connector(
    policy: EgressPolicy,
    *,
    resolver: AbstractResolver | None = None,
    inner_factory: SocketFactoryType = open_socket,
    limits: PoolLimits = DEFAULT_LIMITS,
    dns_ttl: float = LONGEST_TTL,
    ssl_context: ssl.SSLContext | None = None,
    proxy: tuple[str, int] | None = None,
) -> EndpointConnector:
    """A connector that connects only where `policy` allows; call it inside the running event loop.

    `resolver` looks names up (the system's own by default; closed with the connector), `inner_factory` makes the
    sockets that are allowed, `limits` bound what is kept idle, `dns_ttl` (seconds, at most 30) is how long a name's
    addresses are remembered, `ssl_context` replaces the default trust. `proxy` is the host and port of the one proxy
    that requests must name: the operator chose it, so it may be private, though never a metadata or link-local address
    (ValueError if written as one).
    """
    return EndpointConnector(
        policy,
        resolver=resolver,
        inner_factory=inner_factory,
        limits=limits,
        dns_ttl=dns_ttl,
        ssl_context=ssl_context,
        proxy=proxy,
    )


def _pool_key(req: ClientRequest, exchange: Exchange) -> PoolKey:
    """Of aiohttp's own key what differs among our requests: TLS and the proxy are the same for all."""
    url = req.url
    origin = (url.raw_host, url.port, url.scheme == "https")
    return PoolKey(exchange.partition, origin, exchange.client)


def _no_connection(url: URL, seconds: float) -> ConnectTimeout:
    where = without_query(str(url))
    return ConnectTimeout(f"no connection to {where} within {seconds:g} s", url=where)


def _errno(error: OSError) -> int | None:
    return error.os_error.errno if isinstance(error, ClientConnectorError) else error.errno
