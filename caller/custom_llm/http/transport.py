"""HTTP to the endpoint: one session, requests and their answers. Knows nothing of chat.

* No redirects, no cookies, no environment proxies; `Accept-Encoding: identity`.
* Bytes are read as they come (`readany`): aiohttp's line reader has limits that single events exceed.
* aiohttp's own timeouts are off, but for the connection: see `watchdog`.
* Leaving a response early closes its connection at once. One that was read to its end, or nearly, is kept.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from caller.call import Waits
from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.body.encoding import Inflater
from caller.custom_llm.body.turn import TurnBudget
from caller.custom_llm.http.connector import EndpointConnector, make_connector
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.exchange import CURRENT, Exchange
from caller.custom_llm.http.faults import PROXY_AUTHENTICATION, THEIRS, proxy_refusal, translated, without_frames
from caller.custom_llm.http.idle_pool import DEFAULT_LIMITS, PoolLimits
from caller.custom_llm.http.names import LONGEST_TTL
from caller.custom_llm.http.outgoing import EndpointRequest
from caller.custom_llm.http.partition import Partitions
from caller.custom_llm.http.protocol import MAX_HEADER_LINE, MAX_HEADERS
from caller.custom_llm.http.tls import endpoint_context
from caller.deadline import DeadlineTimer
from caller.errors import (
    CallerError,
    EgressDenied,
    LostReusedConnection,
    ProtocolError,
    ResponseTooLarge,
    ServiceOverloaded,
    StreamInterrupted,
)
from caller.warming import ConnectionTimes

# How long the last bytes behind an answer's end are waited for, so that its connection can be used again.
_DRAIN_SECONDS = 0.25
# How long the body of an error is waited for: its status says most of it.
_ERROR_BODY_SECONDS = 2.0
MAX_ERROR_BODY = 64 * 1024
# `none` is no encoding of RFC 9110, but said by some endpoints.
# No encoding, and what servers write there by mistake: a charset, a framing.
_PLAIN_ENCODINGS = frozenset(
    {"", "identity", "none", "utf-8", "utf8", "chunked", "plain", "text", "binary", "7bit", "8bit"}
)


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


class Response:
    """An answer whose headers are here. An async context manager: leaving it releases the connection.

    `turn` says how many bytes may be worked on before others run; who reads tells it what they took.
    """

    __slots__ = (
        "_complete",
        "_exchange",
        "_inflater",
        "_pieces",
        "_response",
        "_room",
        "_transport",
        "_waits",
        "turn",
    )

    def __init__(
        self, transport: "Transport", response: aiohttp.ClientResponse, exchange: Exchange, max_bytes: int, waits: Waits
    ) -> None:
        self._transport = transport
        self._waits = waits
        self._exchange = exchange
        self._response = response
        self._complete = False
        self._room = max_bytes
        self._pieces: Iterator[bytes] | None = None  # of what was read and is more than one turn's
        self.turn = TurnBudget()
        self._inflater: Inflater | None = None
        encoding = response.headers.get("Content-Encoding")
        encoding = encoding.strip().lower() if encoding else ""
        if encoding not in _PLAIN_ENCODINGS:
            try:
                self._inflater = Inflater(encoding, max_bytes, self.turn)
            except ProtocolError as error:
                self._pieces = _unreadable(error)  # once it is read: the status may say enough

    @property
    def reused(self) -> bool:
        """Whether its connection was a kept one."""
        return self._exchange.reused

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._response.headers

    async def read(self) -> bytes:
        """The next bytes, as they came, at most what one turn of the loop may have; empty at the end.

        Raises:
            StreamInterrupted: the connection was lost.
            ProtocolError: it is compressed in a way that was not asked for.
            ResponseTooLarge: past the bound.
        """
        while True:
            if self._pieces is not None and (piece := await self._piece(self._pieces)):
                return piece
            asked = time.monotonic()
            try:
                chunk = await self._response.content.readany()
            except THEIRS as error:
                chunk = self._before_loss(error)
            except asyncio.CancelledError:
                self._waits.seconds += time.monotonic() - asked
                raise
            arrived = self._exchange.arrived
            if arrived > asked:  # else it was here before it was asked for
                self._waits.seconds += arrived - asked
            if not chunk:
                return self._ended()
            size = len(chunk)
            self._room -= size
            if self._room < 0:
                raise ResponseTooLarge("the endpoint's answer is larger than our bounds")
            if self._inflater is not None:
                self._pieces = self._inflater.feed(chunk)
            elif size > self.turn.size:
                self._pieces = self.turn.pieces(chunk)
            else:
                self.turn.given = size
                return chunk

    async def _piece(self, pieces: Iterator[bytes]) -> bytes:
        """The next piece of what was read already; empty when there is none left."""
        await asyncio.sleep(0)  # what waits for no socket would run for as long as there is something
        piece = next(pieces, b"")
        if piece:
            self.turn.given = len(piece)
        else:
            self._pieces = None
        return piece

    def at_end(self) -> bool:
        """Whether nothing more comes, told without a wait; False where that is not certain yet."""
        if self._inflater is not None or self._pieces is not None or not self._response.content.at_eof():
            return False
        self._complete = True
        return True

    def _ended(self) -> bytes:
        if self._inflater is not None and not self._complete:
            self._inflater.close()
        self._complete = True
        return b""

    def _before_loss(self, error: BaseException) -> bytes:
        """What came before the connection was lost counts. aiohttp raises first and keeps it, and there is no public
        way to it."""
        content = self._response.content
        if content._buffer:  # noqa: SLF001 -- see above
            return content._read_nowait(-1)  # noqa: SLF001 -- see above
        lost = "the connection to the endpoint was lost inside its answer"
        raise StreamInterrupted(lost) from without_frames(error)  # aiohttp keeps this error

    async def read_error(self) -> bytes:
        """The body of an error, cut at 64 KiB and two seconds; what came of it if the rest is lost."""
        body = bytearray()
        try:
            async with DeadlineTimer() as timer:
                timer.arm(asyncio.get_running_loop().time() + _ERROR_BODY_SECONDS, _no_further)
                while len(body) < MAX_ERROR_BODY:
                    chunk = await self.read()
                    if not chunk:
                        break
                    body += chunk
        except (StreamInterrupted, ResponseTooLarge, ProtocolError, ServiceOverloaded):
            pass  # the status is known; half a message is better than none
        return bytes(body[:MAX_ERROR_BODY])

    def finish(self) -> None:
        """Nothing more is wanted of a good answer: its last bytes may be read so that the connection can be kept."""
        self._complete = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._complete:
            self._transport.drain(self._response)
        else:
            self._response.close()


class Transport:
    """One HTTP client for the whole process. Make it inside the running event loop; close it last."""

    def __init__(self, settings: TransportSettings, connector: EndpointConnector | None = None) -> None:
        """`connector` stands in for the guarded one in tests with their own name lookup."""
        self._settings = settings
        self._connector = connector or settings.connector()
        self._proxy = URL(settings.proxy) if settings.proxy else None
        self._partitions = Partitions()
        self.counts = ConnectionCounts()
        self._headers = CIMultiDict({"User-Agent": settings.user_agent, "Accept-Encoding": "identity", "Accept": "*/*"})
        self._proxy_headers = None if self._proxy is None else self._headers
        self._loop = asyncio.get_running_loop()
        self._drains: set[asyncio.Task[None]] = set()

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
        token = CURRENT.set(exchange)
        waits = waits or Waits()
        answered = False
        try:
            sent = self._sent_again if request.method == "GET" else self._sent
            timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
            response = await sent(self._outgoing(request, request.body), timeout)
            answered = True
        except THEIRS as error:
            raise self.counts.noted(
                translated(error, request.url, connect_timeout, reused=exchange.reused, proxied=self._proxy is not None)
            ) from without_frames(error)
        finally:
            CURRENT.reset(token)
            waits.seconds += exchange.waited(answered)
            self.counts.opened += exchange.opened
            self.counts.reused += exchange.reused
        if self._proxy is not None and response.status == PROXY_AUTHENTICATION:
            response.close()
            raise proxy_refusal(response.status, request.url)
        return Response(self, response, exchange, self._settings.max_body_bytes, waits)

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
        timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
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
        return self._connector.ready(self._outgoing(like, b""), exchange)

    def _outgoing(self, request: HttpRequest, body: bytes) -> EndpointRequest:
        return EndpointRequest(
            request.method,
            URL(request.url),
            loop=self._loop,
            defaults=self._headers,
            headers=request.headers,
            body=body,
            proxy=self._proxy,
            proxy_headers=self._proxy_headers,
        )

    async def _sent_again(self, request: EndpointRequest, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:  # noqa: ASYNC109 -- aiohttp's value
        """Send a request that changes nothing, again where its connection was lost (RFC 9112, 9.3.1)."""
        try:
            return await self._sent(request, timeout)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            return await self._sent(request, timeout)

    async def _sent(self, request: EndpointRequest, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:  # noqa: ASYNC109 -- aiohttp's value
        """Send a request; its answer once the head is here."""
        connection: Connection | None = None
        response: aiohttp.ClientResponse | None = None
        try:
            connection = await self._connector.connect(request, [], timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101 -- it was given a moment ago
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=MAX_HEADER_LINE,
                max_field_size=MAX_HEADER_LINE,
                max_headers=MAX_HEADERS,
            )
            response = await request.send(connection)
            await response.start(connection)
        except BaseException as error:
            if response is not None:
                response.close()
            if connection is not None:
                connection.close()
            if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError):
                raise aiohttp.ClientOSError(*error.args) from error
            raise
        return response

    def drain(self, response: aiohttp.ClientResponse) -> None:
        """Release a response, reading the few bytes behind its end where they have not come yet."""
        if response.content.at_eof():
            response.release()
            return
        task = asyncio.get_running_loop().create_task(_drained(response))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def close(self) -> None:
        """Close every connection."""
        for task in tuple(self._drains):
            task.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)
        await self._connector.close()


def _no_further() -> StreamInterrupted:
    return StreamInterrupted("the rest of an error's body did not come in time")


def _unreadable(error: ProtocolError) -> Iterator[bytes]:
    raise error
    yield b""


async def _drained(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await response.content.readany():
                pass
        response.release()
    except THEIRS:
        response.close()
    finally:
        if not response.closed:
            response.close()
