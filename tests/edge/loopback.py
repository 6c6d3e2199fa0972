"""Loopback helpers for tests of time and endings: endpoints by hand, a cable to cut, and a count of what is left."""

import asyncio
import gc
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from caller.custom_llm.http.connector import make_connector
from caller.custom_llm.http.egress import open_socket
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.transport import Transport
from integration_api.server import Server, transport_settings
from integration_api.settings import Settings
from tests.patience import within

# A client that takes a kilobyte at a time, so that a reader who stops is noticed soon.
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))


async def until(holds: Callable[[], bool], seconds: float = 5.0, what: str = "") -> None:
    """Wait for something that has no event; bounded."""
    try:
        async with asyncio.timeout(within(seconds)):
            while not holds():  # noqa: ASYNC110 -- what is waited for tells nobody
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within(seconds):g} s: {what or holds}") from None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class CuttableProxy:
    """A TCP connection in two halves, between a client and a port; it can be cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._oldest: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None
        self.port = 0
        self.accepted = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await asyncio.sleep(0)

    @property
    def open(self) -> bool:
        """Whether a connection is there."""
        return bool(self._writers)

    def cut(self) -> None:
        """Both ends see a reset, and nobody listens any more."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()

    def cut_oldest(self) -> None:
        """The connection that was made first is reset, and nobody listens any more."""
        if self._server is not None:
            self._server.close()
        if self._oldest is not None:
            self._oldest.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._oldest = self._oldest or writer
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        self._writers -= {writer, back}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


class ScriptedServer:
    """An HTTP endpoint whose every byte a test writes: `talk(reader, writer, number of the connection)`."""

    def __init__(self, talk: Talk, tls: ssl.SSLContext | None = None) -> None:
        self._talk = talk
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.accepted = 0
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.accepted += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._talk(reader, writer, self.accepted)
        finally:
            writer.transport.abort()
            self.connections -= 1
            self._tasks.discard(task)

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request, head and body, and remember it."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
        self.requests.append(head + body)
        return head + body


def answer(body: str, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    """An HTTP answer of known length."""
    raw = body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


def chat_answer(text: str = "fine") -> bytes:
    """A whole chat completion."""
    return answer(
        '{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"stop",'
        f'"message":{{"role":"assistant","content":"{text}"}}}}]}}'
    )


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def token(text: str) -> bytes:
    """One event of a streamed chat completion."""
    return f'data: {{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}\n\n'.encode()


STREAM_END = (
    b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


class FloodEndpoint(ScriptedServer):
    """An endpoint that writes tokens for ever; `stuck` is set once nobody has taken any for a while."""

    def __init__(self, size: int = 4096, patience: float = 0.15) -> None:
        super().__init__(self._pour)
        self._token = token("x" * size)
        self.patience = patience
        self.stuck = asyncio.Event()

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await self.request(reader)
        writer.transport.set_write_buffer_limits(high=16384)
        writer.write(STREAM_HEAD)
        gone = asyncio.ensure_future(reader.read())  # ends when the client hangs up
        try:
            while not gone.done():
                writer.write(self._token)
                drained = asyncio.ensure_future(writer.drain())
                done, _pending = await asyncio.wait(
                    {drained, gone}, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    self.stuck.set()
                    await asyncio.wait({drained, gone}, return_when=asyncio.FIRST_COMPLETED)
                if drained.done():
                    drained.result()
                else:
                    drained.cancel()
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)


class SilentNames(AbstractResolver):
    """A name lookup that does not answer until it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.release = asyncio.Event()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del host, port, family  # it answers nobody
        self.asked.set()
        await self.release.wait()
        raise socket.gaierror(socket.EAI_NONAME, "never mind")

    async def close(self) -> None:
        self.release.set()


@dataclass
class FullBacklog:
    """A port whose backlog is full: connections to it are neither made nor refused."""

    port: int
    tried: asyncio.Event = field(default_factory=asyncio.Event)

    def open_socket(self, info: AddrInfoType) -> socket.socket:
        """The socket factory that tells when a connection is tried."""
        self.tried.set()
        return open_socket(info)


@asynccontextmanager
async def deaf() -> AsyncIterator[FullBacklog]:
    """A listener that never accepts, filled up."""
    listener = socket.socket()
    fillers: list[socket.socket] = []
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            fillers.append(filler)
            filler.connect_ex(listener.getsockname())
        await asyncio.sleep(0)
        yield FullBacklog(listener.getsockname()[1])
    finally:
        for each in (*fillers, listener):
            each.close()


def server_with(
    settings: Settings,
    resolver: AbstractResolver | None = None,
    factory: Callable[[AddrInfoType], socket.socket] = open_socket,
) -> Server:
    """A server of ours whose transport asks `resolver` for addresses and `factory` for sockets."""
    connector = make_connector(EgressPolicy.parse("open", []), resolver=resolver, inner_factory=factory)
    return Server(settings, transport=Transport(transport_settings(settings), connector=connector))


def descriptors(pid: int | str = "self") -> int:
    """How many file descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def resident(pid: int | str = "self") -> int:
    """Resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class LeakCheck:
    """What runs now, to be compared with what runs later."""

    def __init__(self) -> None:
        gc.collect()
        self._tasks = len(asyncio.all_tasks())
        self._descriptors = descriptors()

    def none(self) -> bool:
        return len(asyncio.all_tasks()) <= self._tasks and descriptors() <= self._descriptors

    async def gone(self, seconds: float = 3.0) -> None:
        """Wait until nothing is left beyond what there was."""
        await until(self.none, seconds, f"{len(asyncio.all_tasks())} tasks (were {self._tasks}), {descriptors()} fds")
