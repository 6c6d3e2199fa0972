"""Chat endpoints written by hand on sockets: what no HTTP library would send is sent here."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ssl import SSLContext
from typing import TypeAlias

_BACKLOG = 4096


@dataclass(frozen=True)
class Asked:
    """One HTTP request: header names in lower case, and the body."""

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def model(self) -> str:
        """The model that is asked for; empty where the body names none."""
        return str(json.loads(self.body).get("model", "")) if self.body else ""


class Connection:
    """One connection of the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> Asked | None:
        """The next request, None at the end of the connection."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.rstrip("\r\n").split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (entry.partition(":") for entry in rest)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Asked(line, headers, body)

    def stop_reading(self) -> None:
        """Read nothing more, so that the socket's buffers fill."""
        assert isinstance(self.writer.transport, asyncio.ReadTransport)
        self.writer.transport.pause_reading()

    async def send(self, *pieces: bytes) -> None:
        """Write, and wait until most of it is on its way."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()


Handler: TypeAlias = Callable[[Connection], Awaitable[None]]


@asynccontextmanager
async def serve(handler: Handler, tls: SSLContext | None = None) -> AsyncIterator[int]:
    """An endpoint on a free port of loopback, until the block ends; every connection is given to `handler`."""
    running: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await handler(Connection(reader, writer))
        finally:
            running.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, backlog=_BACKLOG, ssl=tls, limit=2**20)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=2)


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """One whole JSON response."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def completion(text: str) -> bytes:
    """A Chat Completions answer."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": choices}).encode()


def answer(text: str, status: str = "200 OK") -> Handler:
    """Answers every request with these words; one for the model `hang` never."""
    whole = response(completion(text), status)

    async def handle(connection: Connection) -> None:
        while asked := await connection.request():
            if asked.model == "hang":
                await asyncio.sleep(600)
            await connection.send(whole)

    return handle


async def hang(connection: Connection) -> None:
    """Reads a request, and says nothing."""
    await connection.request()
    await connection.reader.read()


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def delta(text: str) -> bytes:
    """One event with a piece of text."""
    return b"data: " + json.dumps({"id": "1", "choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


STREAM_END = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
