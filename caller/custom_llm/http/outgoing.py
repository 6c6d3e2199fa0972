"""One request to an endpoint as it leaves: aiohttp's request, without what ours never has.

aiohttp makes every request ready for cookies, redirects, compression, forms, tracing and more, and writes its body in a
task of its own. Ours have headers that were checked and a body of bytes: head and body leave in one write. A request
through a proxy, and a body that is not copied into the socket's buffer in one piece, go aiohttp's way.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Final

from aiohttp import ClientConnectionResetError, ClientRequest, ClientResponse, HttpVersion11, InvalidURL
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict
from yarl import URL

from caller.custom_llm.http.exchange import Exchange
from caller.custom_llm.http.pieces import Pieces
from caller.custom_llm.http.protocol import EndpointProtocol

# From here on a body is read piece by piece as it leaves: the whole of it would be copied into the socket's buffer.
PIECEWISE_BYTES: Final = 256 * 1024


# A body of so many bytes waits for its endpoint to read; smaller ones fit into the socket.
_LARGE_BODY: Final = 64 * 1024


_NO_TIMER: Final = TimerNoop()
_NO_DEFAULTS: Final[CIMultiDict[str]] = CIMultiDict()
# What is the same in every request; there is no session, and nothing asks for it.
_ALIKE: Final[Mapping[str, object]] = {
    "_session": None,
    "version": HttpVersion11,
    "chunked": None,
    "compress": None,
    "length": None,
    "server_hostname": None,
    "response_class": ClientResponse,
    "_timer": _NO_TIMER,
    "_ssl": True,
    "proxy": None,
    "proxy_auth": None,
    "proxy_headers": None,
    "_body": None,
}


class EndpointRequest(ClientRequest):
    """A request that notifies its connection when it begins and when it has been written."""

    def __init__(
        self,
        method: str,
        url: URL,
        *,
        loop: asyncio.AbstractEventLoop,
        headers: Mapping[str, str],
        defaults: CIMultiDict[str] = _NO_DEFAULTS,
        body: bytes = b"",
        proxy: URL | None = None,
        proxy_headers: Mapping[str, str] | None = None,
    ) -> None:
        """`headers` are each there once, and replace those of `defaults`; `Host` and `Content-Length` are made here.

        Raises:
            InvalidURL: it names no host.
        """
        if proxy is not None:
            both = defaults.copy()
            both.update(headers)
            super().__init__(
                method, url, loop=loop, headers=both, data=_sendable(body), proxy=proxy, proxy_headers=proxy_headers
            )
            return
        host = url.host_port_subcomponent
        if not host:
            raise InvalidURL(url)
        # All that aiohttp's own constructor sets; a test holds both to the same names.
        vars(self).update(_ALIKE)
        self.original_url = self.url = url
        self.method = method
        self.loop = loop
        self._traces = []
        self.headers = CIMultiDict(Host=host)
        self.headers.update(defaults)
        self.headers.update(headers)
        self._whole = body
        if body or method == "POST":
            self.headers["Content-Length"] = str(len(body))
            if len(body) > PIECEWISE_BYTES:
                self.update_body_from_data(Pieces(body))

    @property
    def in_one_write(self) -> bool:
        """Whether head and body leave together; else it is `send` that sends it."""
        return self._body is None and self.proxy is None

    def write(self, protocol: EndpointProtocol, exchange: Exchange) -> None:
        """Write all of it.

        Raises:
            ClientConnectionResetError: the connection is closed.
        """
        protocol.begin(exchange)
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        transport.write(self._head() + self._whole)
        protocol.note_written()

    async def send(self, conn: Connection) -> ClientResponse:
        """Write it aiohttp's way; the answer, of which nothing is here yet."""
        response = await super().send(conn)
        if not self._body and isinstance(conn.protocol, EndpointProtocol):
            conn.protocol.note_written()
        return response

    def _head(self) -> bytes:
        lines = "\r\n".join(map(": ".join, self.headers.items()))
        text = f"{self.method} {self.url.raw_path_qs} HTTP/1.1\r\n{lines}"
        breaks = len(self.headers)
        if text.count("\n") != breaks or text.count("\r") != breaks:
            raise ValueError("a header holds a line break")
        return f"{text}\r\n\r\n".encode()

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """What leaves piece by piece, or through a proxy."""
        begun = monotonic()
        await super().write_bytes(writer, conn, content_length)
        if isinstance(conn.protocol, EndpointProtocol):
            large = (content_length or 0) > _LARGE_BODY
            conn.protocol.note_written(monotonic() - begun if large else 0.0)


def _sendable(body: bytes) -> bytes | Pieces | None:
    return Pieces(body) if len(body) > PIECEWISE_BYTES else body or None
