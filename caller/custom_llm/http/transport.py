"""HTTP to endpoints: requests leave here, and come back as answers whose headers are read. Knows nothing of chat.

* No redirects, no cookies, no environment proxies; `Accept-Encoding: identity`.
* aiohttp's own timeouts are off, but for the connection: whoever sends a request times it, see `caller.deadline`.
* What goes wrong leaves as an error of ours, see `faults`. How an answer is read is in `response`.
"""

import asyncio
from dataclasses import dataclass, field
from functools import lru_cache

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from caller.call import Waits
from caller.crowds import CrowdTurns
from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.http.answer import Answer
from caller.custom_llm.http.connector import EndpointConnector, make_connector
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.exchange import Exchange
from caller.custom_llm.http.faults import PROXY_AUTHENTICATION, THEIRS, proxy_refusal, translated, without_frames
from caller.custom_llm.http.idle_pool import DEFAULT_LIMITS, PoolLimits
from caller.custom_llm.http.names import LONGEST_TTL
from caller.custom_llm.http.outgoing import EndpointRequest
from caller.custom_llm.http.partition import Partitions
from caller.custom_llm.http.protocol import MAX_HEADER_LINE, MAX_HEADERS, EndpointProtocol
from caller.custom_llm.http.response import Drains, Response
from caller.custom_llm.http.tls import endpoint_context
from caller.errors import (
    CallerError,
    EgressDenied,
    LostReusedConnection,
)
from caller.heavy import HeavyWork
from caller.warming import ConnectionTimes


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How endpoints are reached. `max_body_bytes` bounds one body, inflated; `ca_file` is trusted beside the system's
    authorities, `tls_strict` wants certificates as RFC 5280 has them; `dns_ttl` is in seconds, at most 30."""

    egress: EgressPolicy
    ca_file: str = ""
    tls_strict: bool = True
    proxy: str = field(default="", repr=False)
    pool: PoolLimits = DEFAULT_LIMITS
    dns_ttl: float = LONGEST_TTL
    max_body_bytes: int = 256 * 1024 * 1024
    user_agent: str = "integration-api"

    def connector(self) -> EndpointConnector:
        """The connector that these settings make; call it inside the running event loop."""
        proxy = URL(self.proxy) if self.proxy else None
        return make_connector(
            self.egress,
            limits=self.pool,
            dns_ttl=self.dns_ttl,
            ssl_context=endpoint_context(self.ca_file, strict=self.tls_strict),
            proxy=None if proxy is None else (proxy.raw_host or "", proxy.port or 0),
        )


@dataclass(slots=True)
class ConnectionCounts:
    """Connections to endpoints so far: made, made ahead of a request, used again, found lost when used again; and
    requests that the guard of egress refused."""

    opened: int = 0
    prewarmed: int = 0
    reused: int = 0
    lost: int = 0
    refused: int = 0

    def noted(self, failure: CallerError) -> CallerError:
        """Count a failure. It is handed through: a frame that held what it raises would be freed by the collector
        only, and with it the call."""
        self.lost += isinstance(failure, LostReusedConnection)
        self.refused += isinstance(failure, EgressDenied)
        return failure


class Transport:
    """One HTTP client for the whole process. Make it inside the running event loop; close it last."""

    def __init__(self, settings: TransportSettings, connector: EndpointConnector | None = None) -> None:
        """`connector` stands in for the guarded one in tests with their own name lookup."""
        self.heavy = HeavyWork()  # whoever else works on what is large in this event loop takes the same turns
        self.ends = CrowdTurns()  # the turns of requests that failed: thousands can in one moment
        self._settings = settings
        self._connector = connector or settings.connector()
        self._proxy = URL(settings.proxy) if settings.proxy else None
        self._partitions = Partitions()
        self.counts = ConnectionCounts()
        self._headers = CIMultiDict({"User-Agent": settings.user_agent, "Accept-Encoding": "identity", "Accept": "*/*"})
        self._proxy_headers = None if self._proxy is None else self._headers
        self._loop = asyncio.get_running_loop()
        self._drains = Drains()

    async def send(
        self, request: HttpRequest, connect_timeout: float, client: str = "", waits: Waits | None = None
    ) -> Response:
        """Send a request and wait for its answer's headers.

        `connect_timeout` in seconds; `client` is who asked us for it: connections are not shared between clients;
        `waits` counts what is waited for the endpoint, here and while the answer is read.

        Raises:
            ConnectTimeout, EndpointUnreachable, EndpointTls, EgressDenied, ProtocolError: no answer.
            ServiceOverloaded: this machine has no descriptor left.
        """
        exchange = Exchange(client, self._partitions.of(client, request.headers, request.url))
        waits = waits or Waits()
        answered = False
        try:
            sent = self._sent_again if request.method == "GET" else self._sent
            timeout = _connecting(connect_timeout)
            response = await sent(self._outgoing(request, request.body), timeout, exchange)
            answered = True
        except THEIRS as error:
            raise self.counts.noted(
                translated(error, request.url, connect_timeout, reused=exchange.reused, proxied=self._proxy is not None)
            ) from without_frames(error)
        finally:
            waits.seconds += exchange.waited(answered)
            self.counts.opened += exchange.opened
            self.counts.reused += exchange.reused
        if self._proxy is not None and response.status == PROXY_AUTHENTICATION:
            response.close()
            raise proxy_refusal(response.status, request.url)
        return Response(response, exchange, (self._drains, self.heavy), self._settings.max_body_bytes, waits)

    async def open_ahead(
        self, like: HttpRequest, connect_timeout: float, client: str, number: int
    ) -> ConnectionTimes | None:
        """Open a connection for a client's later requests like this one, which is not sent; None where `number` of them
        are ready, or none would be kept.

        Raises:
            ConnectTimeout, EndpointUnreachable, EndpointTls, EgressDenied: there is none.
            ServiceOverloaded: this machine has no descriptor left.
        """
        exchange = Exchange(client, self._partitions.of(client, like.headers, like.url), ahead=True)
        timeout = _connecting(connect_timeout)
        try:
            times = await self._connector.open_ahead(self._outgoing(like, b""), timeout, exchange, number)
        except THEIRS as error:
            raise self.counts.noted(
                translated(error, like.url, connect_timeout, reused=False, proxied=self._proxy is not None)
            ) from without_frames(error)
        finally:
            self.counts.opened += exchange.opened
            self.counts.prewarmed += exchange.opened
        return times

    @property
    def idle(self) -> int:
        """How many connections are kept idle."""
        return self._connector.idle

    def ready(self, like: HttpRequest, client: str) -> int:
        """How many idle connections are kept for a client's requests like this one, those apart that end soon."""
        exchange = Exchange(client, self._partitions.of(client, like.headers, like.url))
        try:
            request = self._outgoing(like, b"")
        except aiohttp.InvalidURL:
            return 0
        return self._connector.ready(request, exchange)

    def _outgoing(self, request: HttpRequest, body: bytes) -> EndpointRequest:
        try:
            url = URL(request.url)
        except ValueError:  # a host that has no form on the wire
            raise aiohttp.InvalidURL("") from None
        return EndpointRequest(
            request.method,
            url,
            loop=self._loop,
            defaults=self._headers,
            headers=request.headers,
            body=body,
            proxy=self._proxy,
            proxy_headers=self._proxy_headers,
        )

    async def _sent_again(
        self,
        request: EndpointRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- aiohttp's value
        exchange: Exchange,
    ) -> Answer | aiohttp.ClientResponse:
        """Send a request that changes nothing, again where its connection was lost (RFC 9112, 9.3.1)."""
        try:
            return await self._sent(request, timeout, exchange)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            return await self._sent(request, timeout, exchange)

    async def _sent(
        self,
        request: EndpointRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- aiohttp's value
        exchange: Exchange,
    ) -> Answer | aiohttp.ClientResponse:
        """Send a request; its answer once the head is here."""
        protocol: EndpointProtocol | None = None
        try:
            protocol = await self._connector.acquire(request, timeout, exchange)
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=MAX_HEADER_LINE,
                max_field_size=MAX_HEADER_LINE,
                max_headers=MAX_HEADERS,
            )
            if not request.in_one_write:
                return await self._sent_piecewise(request, protocol, exchange)
            request.write(protocol, exchange)
            message, content = await protocol.read()
        except BaseException as error:
            if protocol is not None:
                self._connector.give_back(protocol, True)
            if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError):
                raise aiohttp.ClientOSError(*error.args) from error
            raise
        return Answer(protocol, message, content, self._connector.give_back)

    async def _sent_piecewise(
        self, request: EndpointRequest, protocol: EndpointProtocol, exchange: Exchange
    ) -> aiohttp.ClientResponse:
        """What goes aiohttp's way: through a proxy, or with a body that leaves piece by piece."""
        protocol.begin(exchange)
        connection = Connection(self._connector, request.connection_key, protocol, self._loop)
        response: aiohttp.ClientResponse | None = None
        try:
            response = await request.send(connection)
            await response.start(connection)
        except BaseException:
            if response is not None:
                response.close()
            connection.close()
            raise
        return response

    async def close(self) -> None:
        """Close every connection."""
        await self._drains.close()
        await self._connector.close()


@lru_cache(maxsize=64)
def _connecting(seconds: float) -> aiohttp.ClientTimeout:
    """Aiohttp's value of a time to connect; its making costs as much as a request's."""
    return aiohttp.ClientTimeout(total=None, connect=seconds)
