"""HTTP to the endpoint: one session, one place where aiohttp's exceptions become ours. Knows nothing of chat.

* No redirects, no cookies, no environment proxies; `Accept-Encoding: identity`.
* Bytes are read as they come (`readany`): aiohttp's line reader has limits that single events exceed.
* aiohttp's own timeouts are off, but for the connection: see `watchdog`.
* Leaving a response early closes its connection at once. One that was read to its end, or nearly, is kept.
"""

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Self

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.base_url import without_query
from caller.custom_llm.body.encoding import Inflater
from caller.custom_llm.body.turn import TurnBudget
from caller.custom_llm.http.egress import denied_by, make_connector
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.errors import (
    CallerError,
    ConnectTimeout,
    CredentialInvalid,
    EgressDenied,
    EndpointTls,
    EndpointUnreachable,
    LostReusedConnection,
    ProtocolError,
    ResponseTooLarge,
    StreamInterrupted,
)

# What aiohttp raises. `HttpProcessingError` (a broken status line, say) is not a `ClientError`.
_THEIRS = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, ValueError)
# How long the last bytes behind an answer's end are waited for, so that its connection can be used again.
_DRAIN_SECONDS = 0.25
# How long the body of an error is waited for: its status says most of it.
_ERROR_BODY_SECONDS = 2.0
MAX_ERROR_BODY = 64 * 1024


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How endpoints are reached. `max_body_bytes` bounds one body, inflated; `ca_file` is trusted beside the system's
    authorities; `keepalive` in seconds stays below what common servers (uvicorn: 5 s) keep idle connections for."""

    egress: EgressPolicy
    ca_file: str = ""
    proxy: str = field(default="", repr=False)
    keepalive: float = 4.0
    max_body_bytes: int = 256 * 1024 * 1024
    user_agent: str = "integration-api"


class Response:
    """An answer whose headers are here. An async context manager: leaving it releases the connection.

    `turn` says how many bytes may be worked on before others run; who reads tells it what they took.
    """

    __slots__ = (
        "_complete",
        "_inflater",
        "_pieces",
        "_response",
        "_room",
        "_transport",
        "_unreadable",
        "reused",
        "turn",
    )

    def __init__(self, transport: "Transport", response: aiohttp.ClientResponse, reused: bool, max_bytes: int) -> None:
        self._transport = transport
        self._response = response
        self._complete = False
        self._room = max_bytes
        self._pieces: Iterator[bytes] | None = None  # of what was read and is more than one turn's
        self.turn = TurnBudget()
        self._inflater: Inflater | None = None
        self._unreadable: ProtocolError | None = None
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            try:
                self._inflater = Inflater(encoding, max_bytes, self.turn)
            except ProtocolError as error:
                self._unreadable = error  # the status may say enough
        self.reused = reused

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
        if self._unreadable is not None:
            raise self._unreadable
        while True:
            if self._pieces is not None:
                await asyncio.sleep(0)  # what waits for no socket would run for as long as there is something
                piece = next(self._pieces, b"")
                if piece:
                    self.turn.given = len(piece)
                    return piece
                self._pieces = None
            chunk = await self._next()
            if not chunk:
                if self._inflater is not None and not self._complete:
                    self._inflater.close()
                self._complete = True
                return b""
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

    async def _next(self) -> bytes:
        content = self._response.content
        try:
            return await content.readany()
        except _THEIRS as error:
            # What came before the connection was lost counts. aiohttp raises first and keeps it, and there is no
            # public way to it.
            if content._buffer:  # noqa: SLF001 -- see above
                return content._read_nowait(-1)  # noqa: SLF001 -- see above
            lost = "the connection to the endpoint was lost inside its answer"
            raise StreamInterrupted(lost) from error.with_traceback(None)  # aiohttp keeps this error

    async def read_error(self) -> bytes:
        """The body of an error, cut at 64 KiB and two seconds; what came of it if the rest is lost."""
        body = bytearray()
        try:
            async with asyncio.timeout(_ERROR_BODY_SECONDS):
                while len(body) < MAX_ERROR_BODY:
                    chunk = await self.read()
                    if not chunk:
                        break
                    body += chunk
        except (StreamInterrupted, ResponseTooLarge, ProtocolError, TimeoutError):
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

    def __init__(self, settings: TransportSettings, connector: aiohttp.BaseConnector | None = None) -> None:
        """`connector` stands in for the guarded one in tests with their own name lookup."""
        self._settings = settings
        self._proxy = URL(settings.proxy) if settings.proxy else None
        proxy = self._proxy
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            connector=connector
            or make_connector(
                settings.egress,
                keepalive_timeout=settings.keepalive,
                ssl_context=_ssl_context(settings.ca_file),
                proxy=None if proxy is None else (proxy.raw_host or "", proxy.port or 0),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": settings.user_agent, "Accept-Encoding": "identity"},
            trace_configs=[trace],
        )
        self._drains: set[asyncio.Task[None]] = set()

    async def send(self, request: HttpRequest, connect_timeout: float) -> Response:
        """Send a request and wait for its answer's headers.

        Raises:
            ConnectTimeout, EndpointUnreachable, EndpointTls, EgressDenied, ProtocolError: no answer.
        """
        reuse = SimpleNamespace(reused=False)
        try:
            response = await self._session.request(
                request.method,
                URL(request.url),
                data=request.body or None,
                headers=request.headers,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout),
                trace_request_ctx=reuse,
            )
        except _THEIRS as error:
            raise _translated(error, request.url, connect_timeout, reused=reuse.reused) from error.with_traceback(None)
        return Response(self, response, reuse.reused, self._settings.max_body_bytes)

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
        await self._session.close()


async def _note_reuse(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    del session
    if isinstance(context.trace_request_ctx, SimpleNamespace):
        context.trace_request_ctx.reused = True


async def _drained(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await response.content.readany():
                pass
        response.release()
    except _THEIRS:
        response.close()
    finally:
        if not response.closed:
            response.close()


def _ssl_context(ca_file: str) -> ssl.SSLContext | None:
    if not ca_file:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context


def _translated(error: BaseException, url: str, connect_timeout: float, *, reused: bool) -> CallerError:
    """Aiohttp's exception as ours. Texts name the URL without its query, and nothing of the exception's own text."""
    where = without_query(url)
    denied = denied_by(error)
    if denied is not None:
        return EgressDenied(str(denied.strerror or denied), url=where)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return EndpointTls(
            f"the TLS certificate of {where} is not trusted; set endpoint_ca_file for a private authority", url=where
        )
    if isinstance(error, aiohttp.ConnectionTimeoutError | TimeoutError):
        return ConnectTimeout(f"no connection to {where} within {connect_timeout:g} s", url=where)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return EndpointUnreachable(f"the host name of {where} cannot be resolved", url=where)
    if isinstance(error, aiohttp.ClientConnectorError):
        return EndpointUnreachable(f"no connection to {where}: is the endpoint running?", url=where)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return CredentialInvalid("credential.value.baseUrl: is not a URL that can be called")
    if isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        kind = LostReusedConnection if reused else EndpointUnreachable
        return kind(f"the connection to {where} was lost before the answer's headers", url=where)
    return ProtocolError(f"the answer of {where} is not HTTP that can be read", url=where)
