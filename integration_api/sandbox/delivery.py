"""How a reply travels: headers, bytes, pauses and closed connections.

Rule: the only module besides `server` that knows the network; what the bytes say comes from the API format.
"""

import asyncio
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from aiohttp import web

from integration_api.sandbox.api_format import ApiFormat
from integration_api.sandbox.scenario import (
    Cut,
    Delivery,
    Drop,
    Garbage,
    HttpError,
    KeepAlive,
    Page,
    Pause,
    Redirect,
    Reply,
    Request,
    Scenario,
    Shape,
    Wire,
)
from integration_api.sandbox.wire import JsonObject, dump, encode

_GZIP = 31  # zlib's window bits for the gzip format


def error_response(api_format: ApiFormat, http_error: HttpError) -> web.Response:
    """An error, in the API's format."""
    headers = dict(api_format.headers())
    if http_error.retry is not None:
        headers["Retry-After"] = f"{http_error.retry:g}"
    return json_response(api_format.error(http_error), http_error.status, headers)


def json_response(body: JsonObject, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of plain JSON."""
    raw = encode(dump(body))
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


async def deliver(request: web.Request, api_format: ApiFormat, parsed: Request, reply: Reply) -> web.StreamResponse:
    """Answers the request. Raises ConnectionError when the client is gone."""
    match reply:
        case HttpError():
            return error_response(api_format, reply)
        case Page(html):
            return web.Response(text=html, content_type="text/html")
        case Redirect(to):
            return web.Response(status=307, headers={"Location": to})
        case Drop():
            return close(request, web.Response())
        case Scenario():
            return await _send(request, api_format, parsed, reply)
        case _:
            assert_never(reply)


@dataclass(frozen=True, slots=True)
class _Body:
    """What goes out: its headers, its length where it is known, its bytes and pauses."""

    headers: Mapping[str, str]
    length: int | None
    wires: Iterator[Wire]


async def _send(request: web.Request, api_format: ApiFormat, parsed: Request, scenario: Scenario) -> web.StreamResponse:
    delivery = scenario.delivery
    await _sleep(delivery.headers_after)
    if delivery.shape is Shape.STREAM or (delivery.shape is Shape.AS_ASKED and parsed.stream):
        body = _streamed(api_format, parsed, scenario)
    else:
        if not delivery.headers_first:
            for step in scenario.steps:
                if isinstance(step, Pause):
                    await _sleep(step.seconds)
        body = _whole(api_format, parsed, scenario)
    if delivery.headers_gap:
        return await _raw(request, body, delivery.headers_gap)
    response = web.StreamResponse(headers=body.headers)
    response.content_length = body.length
    await response.prepare(request)
    pipe = _Pipe(response, delivery)
    for wire in body.wires:
        match wire:
            case bytes():
                await pipe.write(wire)
            case Pause(seconds):
                await _sleep(seconds)
            case Cut():
                return close(request, response)
            case _:
                assert_never(wire)
    await pipe.end()
    return response


def _headers(api_format: ApiFormat, content_type: str, delivery: Delivery) -> dict[str, str]:
    headers = {**api_format.headers(), "Content-Type": content_type}
    if delivery.header_bytes:
        headers["X-Sandbox-Padding"] = "x" * delivery.header_bytes
    if delivery.gzip:
        headers["Content-Encoding"] = "gzip"
    return headers


def _streamed(api_format: ApiFormat, parsed: Request, scenario: Scenario) -> _Body:
    content_type = "application/json" if parsed.json_array else "text/event-stream"
    headers = {**_headers(api_format, content_type, scenario.delivery), "Cache-Control": "no-cache"}
    return _Body(headers, None, api_format.stream(parsed, scenario))


def _whole(api_format: ApiFormat, parsed: Request, scenario: Scenario) -> _Body:
    """An answer in one piece. Where the headers go first, what happens before it is seen: pauses and blank lines."""
    headers = _headers(api_format, "application/json", scenario.delivery)
    raw = encode(dump(api_format.whole(parsed, scenario)))
    if any(isinstance(step, Garbage) for step in scenario.steps):
        raw = b"{this is not JSON" + raw
    if any(isinstance(step, Cut) for step in scenario.steps):
        return _Body(headers, len(raw), iter((raw[: len(raw) // 2], Cut())))
    if scenario.delivery.headers_first:
        return _Body(headers, None, _waited(scenario, raw))
    return _Body(headers, None if scenario.delivery.gzip else len(raw), iter((raw,)))


def _waited(scenario: Scenario, raw: bytes) -> Iterator[Wire]:
    for step in scenario.steps:
        if isinstance(step, Pause):
            yield step
        elif isinstance(step, KeepAlive):
            yield b"\n"  # white space before JSON, as DeepSeek keeps connections alive
    yield raw


@dataclass(slots=True)
class _Pipe:
    """Writes to a response, compressed or in pieces where the delivery says so."""

    response: web.StreamResponse
    delivery: Delivery
    compressor: "zlib._Compress | None" = None

    def __post_init__(self) -> None:
        if self.delivery.gzip:
            self.compressor = zlib.compressobj(wbits=_GZIP)

    async def write(self, data: bytes) -> None:
        if self.compressor is not None:
            data = self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        size = self.delivery.pieces
        if not size:
            await self.response.write(data)
            return
        for start in range(0, len(data), size):
            await self.response.write(data[start : start + size])
            await asyncio.sleep(0)  # lets the piece leave alone

    async def end(self) -> None:
        if self.compressor is not None:
            await self.response.write(self.compressor.flush())
        await self.response.write_eof()


async def _raw(request: web.Request, body: _Body, gap: float) -> web.StreamResponse:
    """Writes the head byte by byte, which aiohttp's responses cannot, and ends the body by closing."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in body.headers.items()), "Connection: close"]
    for byte in ("\r\n".join(lines) + "\r\n\r\n").encode():
        transport.write(bytes((byte,)))
        await asyncio.sleep(gap)
    for wire in body.wires:
        match wire:
            case bytes():
                transport.write(wire)
            case Pause(seconds):
                await _sleep(seconds)
            case Cut():
                break
            case _:
                assert_never(wire)
    return close(request, web.Response())


def close(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Closes the connection under a response. No await may follow: closing would be taken for the client's own."""
    if request.transport is not None:
        request.transport.close()
    return response


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
