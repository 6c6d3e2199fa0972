"""Loopback listeners and a name service of our own: what the egress guard is tried against.

A socket for anything but loopback fails the test on the spot, so that a broken guard reaches nobody.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
from aiohttp import AddrInfoType, ClientConnectorError, ClientSession, ClientTimeout, DummyCookieJar
from aiohttp.abc import AbstractResolver, ResolveResult

from caller.custom_llm.http.connector import make_connector
from caller.custom_llm.http.egress import denied_by
from caller.custom_llm.http.egress_policy import EgressDenied, EgressPolicy

OTHER_HOMES: Final = ("127.0.0.2", "127.0.0.3", "::1")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HAS_IPV6: Final = _has_ipv6()


def needs_ipv6(address: str) -> None:
    """Skip the test where this machine has no ::1 and `address` can only be reached over IPv6."""
    if ":" in address and not HAS_IPV6:
        pytest.skip("this machine has no IPv6 loopback")


class Dns(AbstractResolver):
    """Stands in for name lookup: each name has its answers, the last one for good."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.closed = False

    def says(self, name: str, *answers: Iterable[str]) -> None:
        self.answers[name] = [list(answer) for answer in answers]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family  # a name's answers are of both families
        known = self.answers.get(host.rstrip("."))
        if known is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answer = known.pop(0) if len(known) > 1 else known[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in answer
        ]

    async def close(self) -> None:
        self.closed = True


@dataclass
class World:
    """Loopback, listening at one port of several addresses, and a name service."""

    dns: Dns = field(default_factory=Dns)
    port: int = 0
    arrived: list[str] = field(default_factory=list)
    sockets_for: list[str] = field(default_factory=list)
    arrival: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    hold: asyncio.Event | None = None  # answers wait for it

    def open_socket(self, info: AddrInfoType) -> socket.socket:
        """The safety net of these tests: whatever the guard lets through, no packet leaves loopback."""
        address = ipaddress.ip_address(info[4][0])
        inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        assert (inner or address) in ipaddress.ip_network("127.0.0.0/8") or address == ipaddress.ip_address("::1")
        self.sockets_for.append(str(inner or address))
        return socket.socket(info[0], info[1], info[2])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived.append(writer.get_extra_info("sockname")[0].removeprefix("::ffff:"))
        self.arrival.release()
        if self.hold is not None:
            await self.hold.wait()
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        status = f"302 Found\r\nLocation: {target[4:]}" if target.startswith("/to/") else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhere".encode())
        writer.close()
        await writer.wait_closed()

    def session(
        self, policy: EgressPolicy, proxy: tuple[str, int] | None = None, resolver: AbstractResolver | None = None
    ) -> ClientSession:
        asked = resolver if resolver is not None else self.dns
        connector = make_connector(policy, resolver=asked, inner_factory=self.open_socket, proxy=proxy)
        return ClientSession(connector=connector, timeout=ClientTimeout(total=10), cookie_jar=DummyCookieJar())

    async def get(self, policy: EgressPolicy, host: str, scheme: str = "http") -> str:
        async with self.session(policy) as session, session.get(f"{scheme}://{host}:{self.port}/v1") as response:
            return await response.text()

    async def denied(self, policy: EgressPolicy, host: str, scheme: str = "http") -> EgressDenied:
        """Call `host`, which must be refused before there was a socket, let alone a connection."""
        with pytest.raises(ClientConnectorError) as caught:
            await self.get(policy, host, scheme)
        denied = denied_by(caught.value)

        assert denied is not None
        assert denied.reason
        assert not self.sockets_for
        assert not self.arrived
        return denied


@asynccontextmanager
async def loopback_world() -> AsyncIterator[World]:
    """A world that listens at 127.0.0.1, 127.0.0.2, 127.0.0.3 and ::1, all at one port."""
    made = World()
    async with AsyncExitStack() as listening:
        first = await listening.enter_async_context(await asyncio.start_server(made.serve, "127.0.0.1", 0))
        made.port = first.sockets[0].getsockname()[1]
        for home in OTHER_HOMES if HAS_IPV6 else OTHER_HOMES[:-1]:
            await listening.enter_async_context(await asyncio.start_server(made.serve, home, made.port))
        yield made
