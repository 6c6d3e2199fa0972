"""A raw HTTP/1.1 endpoint that answers as a case says, byte for byte. Each play has a port of its own.

It knows sockets and the `endpoint` of a case; what is right or wrong is `judge`'s.
"""

import asyncio
import base64
import http
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

_LIMIT = 32 * 1024 * 1024
_MAX_WAIT = 20.0
_HELD = 30.0
_EVENT_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:")
_OPEN_ENDS = ("chunked", "cut", "reset", "hold")


@dataclass(frozen=True)
class Sent:
    """One request as it came. Header names are lower case; `body` is None where it is no JSON."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Endpoint:
    """What one play of a case meets."""

    entries: list[dict[str, Any]]
    sent: list[Sent] = field(default_factory=list)
    port: int = 0
    _used: dict[str, int] = field(default_factory=dict)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._writers.add(writer)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            while await self._exchange(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    def abort(self) -> None:
        """Break what is still open."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _request(reader)
        self.sent.append(request)
        return await _answer(self._pick(request), reader, writer)

    def _pick(self, request: Sent) -> Mapping[str, Any]:
        """The entry whose `when` fits; those of one `when` are used in order, and the last one again."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for entry in self.entries:
            groups.setdefault(json.dumps(entry.get("when") or {}, sort_keys=True), []).append(entry)
        for when, group in sorted(groups.items(), key=lambda item: item[0] == "{}"):
            if all(_fits(key, wanted, request) for key, wanted in json.loads(when).items()):
                turn = self._used.get(when, 0)
                self._used[when] = turn + 1
                return group[min(turn, len(group) - 1)]
        return {"status": 500, "parts": ['{"error":{"message":"the case has no answer for this request"}}']}


@asynccontextmanager
async def listening(entries: list[dict[str, Any]], used: set[int]) -> AsyncIterator[Endpoint]:
    """An endpoint on a port of loopback that is free and not among the `used` ones, to which it is added: what the
    service has learned of one case's endpoint must not meet another's."""
    endpoint = Endpoint(entries)
    while True:
        server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, limit=_LIMIT)
        endpoint.port = server.sockets[0].getsockname()[1]
        if endpoint.port not in used:
            break
        server.close()
    used.add(endpoint.port)
    try:
        yield endpoint
    finally:
        server.close()
        endpoint.abort()


def pointed(value: Any, pointer: str) -> tuple[bool, Any]:
    """What a JSON pointer leads to, and whether anything is there; a list takes negative numbers."""
    for step in (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return False, None
    return True, value


def _fits(key: str, wanted: Any, request: Sent) -> bool:
    if key == "path":
        return wanted in request.path
    _, value = pointed(request.body, key if key.startswith("/") else f"/{key}")
    if wanted is None or wanted == "*":
        return (value is None) == (wanted is None)
    return bool((value or False) == wanted if isinstance(wanted, bool) else value == wanted)


async def _request(reader: asyncio.StreamReader) -> Sent:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    with suppress(ValueError):
        return Sent(first.split(" ")[1], headers, json.loads(body))
    return Sent(first.split(" ")[1], headers, None)


def _pieces(entry: Mapping[str, Any]) -> list[bytes | float]:
    """Bytes, and seconds to wait. Half a surrogate in a text is one byte; `raw` is base64."""
    raw = entry.get("raw")
    if raw is None:
        parts = entry.get("parts", [])
        return [part.encode("utf-8", "surrogateescape") if isinstance(part, str) else float(part) for part in parts]
    parts = raw if isinstance(raw, list) else [raw]
    return [base64.b64decode(part) if isinstance(part, str) else float(part) for part in parts]


def _head(entry: Mapping[str, Any], end: str, pieces: Iterable[bytes | float], *, stream: bool) -> bytes:
    status = entry.get("status", 200)
    headers: dict[str, Any] = {"content-type": "text/event-stream" if stream else "application/json"}
    if end == "length":
        headers["content-length"] = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    elif end in _OPEN_ENDS:
        headers["transfer-encoding"] = "chunked"
    else:
        headers["connection"] = "close"
    headers |= {name.lower(): value for name, value in entry.get("headers", {}).items()}  # null takes one away
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Odd"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode()


async def _answer(entry: Mapping[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send the entry; tells whether the connection goes on."""
    pieces = _pieces(entry)
    first = next((piece for piece in pieces if isinstance(piece, bytes)), b"")
    stream = first.lstrip(b"\xef\xbb\xbf \r\n").startswith(_EVENT_STARTS)
    end = entry.get("end") or ("chunked" if stream else "length")
    whole = first.startswith(b"HTTP/")
    chunked = end in _OPEN_ENDS and not whole
    if not whole:
        writer.write(_head(entry, end, pieces, stream=stream))
    for piece in pieces:
        if isinstance(piece, bytes):
            if piece:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            await asyncio.sleep(0.003)  # a read of its own
        else:
            await asyncio.sleep(min(piece, _MAX_WAIT))
    if end == "chunked" and chunked:
        writer.write(b"0\r\n\r\n")
    elif end == "hold":
        await asyncio.wait_for(reader.read(), _HELD)
    elif end == "reset":
        await asyncio.sleep(0.05)  # what was sent has arrived
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    return end in ("length", "chunked")
