"""What a row of the table is: what is sent, the bounds that must hold, and what an attack finds around it."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc

from acceptance.hostile.server import Server
from bench.processes import reason_of
from integration_api.unified_provider_pb2_grpc import UnifiedProviderServiceStub
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

MIB = 2**20
CHAT = "/integration_api.v1.ChatService/Chat"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
# The tokens of rows with authentication.
HONEST, GREEDY = "honest-token", "greedy-token"


@dataclass(frozen=True)
class Honest:
    """What the honest client saw; times in milliseconds."""

    calls: int
    chat: float
    health: float
    busy: float
    own: float
    failures: list[str]

    @property
    def longest(self) -> float:
        return max(self.chat, self.health)


@dataclass
class World:
    """What an attack has: the server, a channel to it, and where faults go."""

    server: Server
    channel: grpc.aio.Channel
    honest_endpoint: str
    # Ends the honest client before the attack ends the server.
    finish: Callable[[], Awaitable[Honest]]
    faults: list[str] = field(default_factory=list)

    @property
    def chat(self) -> ChatServiceStub:
        return ChatServiceStub(self.channel)

    @property
    def unified(self) -> UnifiedProviderServiceStub:
        return UnifiedProviderServiceStub(self.channel)  # type: ignore[no-untyped-call] # generated

    async def chats(self, requests: Iterable[pb.ChatRequest], *, seconds: float, token: str = "") -> Counter[str]:
        """How these calls end, all at once."""
        metadata = bearer(token)
        calls = [self.chat.Chat(request, timeout=seconds, metadata=metadata) for request in requests]
        return Counter(await asyncio.gather(*(outcome(call) for call in calls)))

    async def streams(self, requests: Iterable[pb.ChatRequest], *, seconds: float, token: str = "") -> Counter[str]:
        """How these streams end, all at once."""
        metadata = bearer(token)
        calls = [self.chat.StreamChat(request, timeout=seconds, metadata=metadata) for request in requests]
        return Counter(await asyncio.gather(*(outcome(read_all(call)) for call in calls)))

    def expect(self, right: object, fault: str) -> None:
        """A fault, unless something is so."""
        if not right:
            self.faults.append(fault)

    def log_lines(self) -> list[dict[str, Any]]:
        """The server's log, where it goes to a file."""
        lines = self.server.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


Attack: TypeAlias = Callable[[World], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What must hold. Times in seconds but `wait` in milliseconds; memory in MiB above what was before."""

    wait: float = 250
    cpu: float = 3.0
    peak: float = 100
    after: float = 60
    descriptors: int = 20
    stop: float = 4.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attack. `fault` is its number in the list of faults that it was found with."""

    name: str
    fault: str
    sent: str
    attack: Attack
    bounds: Bounds = Bounds()
    flags: tuple[str, ...] = ()
    auth: bool = False  # two clients with a token each; the honest one is one of them
    pipe: bool = False  # standard error is a small pipe that nobody reads
    names: bool = False  # a name server that answers for the honest endpoint's name only
    certificate: bool = False  # endpoints have a certificate that the server trusts
    longest: float = 50.0  # seconds for the attack
    storm: bool = False  # what gRPC needs for so many calls by itself is measured beside it
    # Seconds from the attack's end to the look at memory and descriptors; free memory is given back every two seconds.
    settle: float = 3.0


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a client with this token."""
    return (("authorization", f"Bearer {token}"),) if token else ()


async def outcome(call: Awaitable[object]) -> str:
    """How a call ends, in a word or two."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        reason = reason_of(error)
        return f"{error.code().name} {reason}" if reason else f"{error.code().name} ({(error.details() or '')[:60]})"
    return "OK"


async def read_all(call: "grpc.aio.UnaryStreamCall[pb.ChatRequest, pb.StreamChatResponse]") -> None:
    """A stream, to its end."""
    async for _ in call:
        pass


def told(endings: Counter[str]) -> str:
    """Endings and how many of each."""
    return ", ".join(f"{number} x {ending}" for ending, number in endings.most_common(3))
