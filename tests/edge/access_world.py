"""What the tests of access share: token lines, files that are replaced as operators do it, and calls with a token."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.reading import Failure, fail
from tests.patience import within

UNKNOWN_CALLER = (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED")
FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVICE_OVERLOADED")


def token_line(name: str, token: str) -> str:
    return f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"


def replaced(path: Path, content: bytes | str | None) -> None:
    """Put a new file in the place of one, in one step; None takes it away."""
    if content is None:
        path.unlink()
        return
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
    fresh.replace(path)


class MountedSecrets:
    """A directory as Kubernetes mounts secrets: links to files below `..data`, itself a link that is swapped."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._versions = 0
        place.mkdir()

    def swap(self, files: dict[str, str]) -> None:
        """Publish new content, all at once."""
        self._versions += 1
        version = self.place / f"..version-{self._versions}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_text(content)
        link = self.place / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.place / "..data")
        for name in files:
            if not (self.place / name).is_symlink():
                (self.place / name).symlink_to(os.path.join("..data", name))  # noqa: PTH118 -- a relative link
        for path in self.place.iterdir():
            if path.is_symlink() and not path.exists():
                path.unlink()


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[Server, ChatServiceStub]]:
    """A server with these settings, and a stub of it without TLS."""
    async with (
        Server(Settings(**{"port": 0, "shutdown_grace": 1.0, **settings})) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield server, ChatServiceStub(channel)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


class TokenClient:
    """Asks one server for one small chat with the sandbox."""

    def __init__(self, stub: ChatServiceStub, sandbox: Sandbox) -> None:
        self._stub = stub
        self._request = chat_request(sandbox.url, "echo", "here")

    async def ask(self, token: str | None = None) -> pb.ChatResponse:
        answer = await self._stub.Chat(self._request, metadata=() if token is None else bearer(token), timeout=10)
        assert isinstance(answer, pb.ChatResponse)
        assert answer.choices[0].message.text == "here"
        return answer

    async def refused(self, token: str | None = None) -> Failure:
        return await fail(self._stub.Chat(self._request, metadata=() if token is None else bearer(token), timeout=10))

    async def knows(self, token: str) -> bool:
        """Whether a call with the token is let in."""
        try:
            await self.ask(token)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise
        return True


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until the server has seen a changed file: it looks once a second."""
    async with asyncio.timeout(within(seconds)):
        while not await holds():  # noqa: ASYNC110 -- the server tells nobody when it looked
            await asyncio.sleep(0.1)
