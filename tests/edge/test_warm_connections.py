"""No turn of a conversation pays for a connection that could have been kept."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import AddrInfoType
from aiohttp.abc import ResolveResult

from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.http.connector import make_connector
from caller.custom_llm.http.egress import open_socket
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.transport import Transport, TransportSettings
from caller.errors import EgressDenied, EndpointUnreachable
from integration_api.server import Server, transport_settings
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.caller.guarded_world import Dns
from tests.edge.certificates import Authority
from tests.edge.leaping import LeapingLoop, leaping
from tests.edge.loopback import STREAM_END, ScriptedServer, chat_answer, token, until
from tests.edge.reading import listen

AUTHORITY = Authority()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"


def endpoint_context(tmp_path: Path) -> ssl.SSLContext:
    """TLS as the endpoint speaks it; its authority is in `ca.pem`."""
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    pair = AUTHORITY.sign("endpoint")
    (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tmp_path / "pair.pem")
    return made


class Kept(ScriptedServer):
    """Streams one token for every request, and closes a connection that was idle for `idle_seconds`. `accepted`
    counts the handshakes that came to their end."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, idle_seconds: float | None = None, more: str = "") -> None:
        super().__init__(self._stream, tls)
        self._idle_seconds = idle_seconds
        self._head = _HEAD + more.encode() + b"\r\n"

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self.request(reader)
            except TimeoutError:
                return
            body = token(f"{number}") + STREAM_END
            writer.write(self._head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")


@asynccontextmanager
async def asking(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Server, ChatServiceStub]]:
    """A server of ours that trusts the endpoint, and a client's stub."""
    made = Settings(port=0, shutdown_grace=1.0, endpoint_ca_file=str(tmp_path / "ca.pem"), **settings)
    async with (
        Server(made) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield server, ChatServiceStub(channel)


async def turn(stub: ChatServiceStub, endpoint: ScriptedServer) -> str:
    """One turn of a conversation: its text, the number of the connection that it came on."""
    received = await listen(stub.StreamChat(chat_request(endpoint.url, "m")))
    assert received.failure is None, received.failure
    return received.text


def test_a_pause_between_turns_costs_no_handshake(tmp_path: Path) -> None:
    """People speak in between: half a minute each time, and once nearly the whole of `endpoint_keepalive`."""

    async def talk(loop: LeapingLoop) -> None:
        async with Kept(endpoint_context(tmp_path)) as endpoint, asking(tmp_path) as (_, stub):
            for _ in range(5):
                assert await turn(stub, endpoint) == "1"
                await loop.leap(30.0)
            assert await turn(stub, endpoint) == "1"
            await loop.leap(80.0)
            assert await turn(stub, endpoint) == "1"
            await loop.leap(91.0)
            await until(lambda: endpoint.connections == 0, what="nothing is held for longer")
            assert await turn(stub, endpoint) == "2"

    leaping(talk)


def test_an_endpoint_that_closes_idle_connections_loses_no_call(tmp_path: Path) -> None:
    """After five seconds: pauses around them are answered, and the time is learned."""

    async def talk(loop: LeapingLoop) -> None:
        async with (
            Kept(endpoint_context(tmp_path), idle_seconds=5.0) as endpoint,
            asking(tmp_path, max_attempts=1) as (_, stub),
        ):
            for pause in (1.0, 4.9, 4.999, 5.0, 5.001, 6.0, 30.0, 4.5, 4.5):
                await turn(stub, endpoint)
                await loop.leap(pause)
            before = endpoint.accepted
            await turn(stub, endpoint)
            await loop.leap(2.0)
            await turn(stub, endpoint)
            assert endpoint.accepted == before + 1  # what is younger is used again

    leaping(talk)


def test_what_the_endpoint_announces_is_kept_to(tmp_path: Path) -> None:
    """`Keep-Alive: timeout=5`: used again within it, and not a second later."""

    async def talk(loop: LeapingLoop) -> None:
        async with (
            Kept(more="Keep-Alive: timeout=5, max=100\r\n") as endpoint,
            asking(tmp_path) as (_, stub),
        ):
            assert await turn(stub, endpoint) == "1"
            await loop.leap(2.0)
            assert await turn(stub, endpoint) == "1"
            await loop.leap(4.1)
            await until(lambda: endpoint.connections == 0)
            assert await turn(stub, endpoint) == "2"

    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    leaping(talk)


def test_a_connection_that_was_found_dead_teaches(tmp_path: Path) -> None:
    """The endpoint forgets it without a word: the next one is not kept for as long."""

    async def talk(loop: LeapingLoop) -> None:
        silent_after = 40.0

        async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
            last = loop.time()
            while True:
                await endpoint.request(reader)
                if loop.time() - last > silent_after:
                    return  # as a reset of what stands between
                writer.write(chat_answer(str(number)))
                last = loop.time()

        async with ScriptedServer(stream) as endpoint, asking(tmp_path) as (_, stub):
            attempts = []
            for _ in range(4):
                answered = await stub.Chat(chat_request(endpoint.url, "m"))
                attempts.append(answered.timing.attempts)
                await loop.leap(50.0)
            assert attempts == [1, 2, 1, 1]
            assert endpoint.accepted == 4

    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    leaping(talk)


class CountedDns(Dns):
    """Counts the lookups."""

    lookups = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.lookups += 1
        return await super().resolve(host, port, family)


def test_names_are_remembered_for_half_a_minute_at_most() -> None:
    """However long somebody wants it; and each connection's address is checked, the name's answer old or new."""

    async def talk(loop: LeapingLoop) -> None:
        dns = CountedDns()
        dns.says("endpoint.test", ["127.0.0.1"], ["127.0.0.2"])
        checked: list[str] = []

        def factory(info: AddrInfoType) -> socket.socket:
            checked.append(str(info[4][0]))
            return open_socket(info)

        policy = EgressPolicy.parse("allowlist", ["127.0.0.1"])
        connector = make_connector(policy, resolver=dns, inner_factory=factory, dns_ttl=300.0)
        transport = Transport(TransportSettings(policy), connector=connector)

        async def connect(client: str) -> None:
            request = HttpRequest("GET", f"http://endpoint.test:{endpoint.port}/", {})
            async with await transport.send(request, 5.0, client) as response:
                await response.read()

        async with Kept() as endpoint:
            await connect("a")
            await loop.leap(29.0)
            await connect("b")
            assert (dns.lookups, checked) == (1, ["127.0.0.1"] * 2)
            await loop.leap(2.0)
            with pytest.raises(EgressDenied):
                await connect("c")
            assert (dns.lookups, checked) == (2, ["127.0.0.1"] * 2)
            await transport.close()

    leaping(talk)


async def test_a_name_whose_addresses_are_all_dead_is_looked_up_again() -> None:
    """The endpoint moved: the next attempt finds it, and need not wait for the half minute."""
    dns = CountedDns()
    dns.says("endpoint.test", ["127.0.0.2"], ["127.0.0.1"])
    policy = EgressPolicy.parse("open")
    transport = Transport(TransportSettings(policy), connector=make_connector(policy, resolver=dns))
    async with Kept() as endpoint:
        request = HttpRequest("GET", f"http://endpoint.test:{endpoint.port}/", {})
        with pytest.raises(EndpointUnreachable):
            await transport.send(request, 5.0)
        async with await transport.send(request, 5.0) as response:
            await response.read()
    await transport.close()


async def test_the_kernel_probes_silent_connections() -> None:
    """So that nothing between forgets an idle one, and one whose endpoint is gone is noticed before it is used."""
    sockets: list[socket.socket] = []

    def factory(info: AddrInfoType) -> socket.socket:
        sockets.append(open_socket(info))
        return sockets[-1]

    policy = EgressPolicy.parse("open")
    transport = Transport(TransportSettings(policy), connector=make_connector(policy, inner_factory=factory))
    async with Kept() as endpoint, await transport.send(HttpRequest("GET", endpoint.url, {}), 5.0) as response:
        await response.read()
        (made,) = sockets
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert 0 < made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
    await transport.close()


@pytest.mark.parametrize(("keepalive", "kept"), [(None, 90.0), (20.0, 20.0), (0.0, 0.0)])
def test_the_setting_is_the_pools(keepalive: float | None, kept: float) -> None:
    """Ninety seconds, unless the operator wants another time."""
    settings = Settings() if keepalive is None else Settings(endpoint_keepalive=keepalive)

    assert transport_settings(settings).pool.idle_seconds == kept
    assert transport_settings(settings).dns_ttl == 30.0
