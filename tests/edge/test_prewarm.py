"""`Prewarm`: connections are ready before a call needs them, for whom they are, within bounds; what fails is told."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from aiohttp import AddrInfoType, ClientSession
from google.protobuf.json_format import ParseDict

from caller.credentials import ApiCompatibility
from caller.custom_llm.http.egress import open_socket
from caller.custom_llm.http.transport import Transport
from integration_api.server import Server, transport_settings
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.access_world import UNKNOWN_CALLER, bearer, serving, token_line
from tests.edge.certificates import Authority
from tests.edge.leaping import LeapingLoop, leaping
from tests.edge.loopback import STREAM_HEAD, ScriptedServer, answer, free_port, server_with, token, until
from tests.edge.reading import fail, listen
from tests.edge.test_warm_connections import Kept, asking, endpoint_context, turn
from tests.rapida.talk import talk, text_of

DELAY = 0.075


def target(base_url: str, provider: str = "custom-llm", **credential: Any) -> msg.Target:
    """A target as JSON clients would write it."""
    value = {"baseUrl": f"{base_url}/v1", **credential}
    return ParseDict({"providerId": provider, "credential": {"value": value}}, msg.Target())


async def prewarm(
    stub: ChatServiceStub, *targets: msg.Target, connections: int = 0, **call: Any
) -> Sequence[pb.PrewarmResult]:
    """The results, of which each has its number."""
    answered = await stub.Prewarm(pb.PrewarmRequest(targets=targets, connections=connections), **call)
    assert [result.target for result in answered.results] == list(range(len(targets)))
    return answered.results


class Rejecting(ScriptedServer):
    """Refuses every request, and keeps the connection."""

    def __init__(self) -> None:
        super().__init__(self._reject)

    async def _reject(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await self.request(reader)
            writer.write(answer('{"error":{"message":"no"}}', status="400 Bad Request"))


@pytest.mark.parametrize("api", ApiCompatibility, ids=lambda api: api.value)
@pytest.mark.parametrize("query", ["", "?key=k&api-version=3"])
async def test_calls_use_what_was_opened_and_no_request_was_sent(api: ApiCompatibility, query: str) -> None:
    """In every API shape, as streams and as whole answers, with all that a credential can hold."""
    credential: dict[str, Any] = {
        "apiCompatibility": api.value,
        "headers": {"Authorization": "Bearer k", "x-api-key": "k", "X-T": "t"},
    }
    async with Rejecting() as endpoint, serving() as (_, stub):
        credential["baseUrl"] = f"{endpoint.url}/v1{query}"
        (result,) = await prewarm(stub, target("", **credential))
        assert result.ok, result.message
        await until(lambda: endpoint.connections == 1)
        assert endpoint.requests == []

        request = chat_request(endpoint.url, "m", credential={"value": credential})
        for call in (stub.StreamChat, stub.Chat):
            failure = (await listen(call(request))).failure if call is stub.StreamChat else await fail(call(request))
            assert failure is not None
            assert failure.reason == "ENDPOINT_REJECTED"
        assert (endpoint.accepted, len(endpoint.requests)) == (1, 2)


async def test_as_many_as_asked_for_are_ready_and_no_more() -> None:
    """Those that are there count: a client may ask before every conversation."""
    async with Kept() as endpoint, serving() as (_, stub):
        (first,) = await prewarm(stub, target(endpoint.url))
        (more,) = await prewarm(stub, target(endpoint.url), connections=3)
        (same,) = await prewarm(stub, target(endpoint.url), connections=3)
        await until(lambda: endpoint.connections == 3)

        assert endpoint.accepted == 3
        assert [one.ok for one in (first, more, same)] == [True] * 3
        assert [one.message for one in (first, more, same)] == [
            "1 ready, 1 opened now",
            "3 ready, 2 opened now",
            "3 ready, 0 opened now",
        ]
        assert first.HasField("connect")
        assert not same.HasField("connect")


async def test_what_was_opened_is_for_its_own_only() -> None:
    """Other secrets have connections of their own."""
    async with Kept() as endpoint, serving() as (_, stub):
        await prewarm(stub, target(endpoint.url, headers={"Authorization": "Bearer other"}))
        assert await turn(stub, endpoint) == "2"


def test_one_that_ends_soon_does_not_count() -> None:
    """It has less than half of its time left: a turn that comes late would find none."""

    async def talk(loop: LeapingLoop) -> None:
        async with Kept() as endpoint, serving() as (_, stub):
            for pause, accepted in ((35.0, 1), (20.0, 1), (0.0, 2)):
                await prewarm(stub, target(endpoint.url))
                assert endpoint.accepted == accepted
                await loop.leap(pause)

    leaping(talk)


async def test_a_host_that_cannot_be_called_is_told_by_itself() -> None:
    """Only whoever would call it can tell; the other targets are ready all the same."""
    async with Kept() as endpoint, serving() as (_, stub):
        wrong, good = await prewarm(stub, target("http://a\ue000b.example"), target(endpoint.url))

        assert (wrong.ok, wrong.reason) == (False, "CREDENTIAL_INVALID")
        assert good.ok


async def test_each_target_is_told_by_itself(tmp_path: Path) -> None:
    """With its reason and what to do about it; the good ones are ready all the same."""
    untrusted = Authority("Another").sign("endpoint")
    (tmp_path / "other.pem").write_bytes(untrusted.certificate + untrusted.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "other.pem")
    key = "sk-secret"
    wrong: list[tuple[msg.Target, str, str]] = [
        (target("http://x", "nobody"), "UNKNOWN_PROVIDER", "name a provider"),
        (msg.Target(provider_id="custom-llm"), "CREDENTIAL_INVALID", "credential.value"),
        (target("ftp://x"), "CREDENTIAL_INVALID", "baseUrl"),
        (msg.Target(provider_id="custom-llm", credential=msg.Credential(name="x")), "CREDENTIAL_NOT_FOUND", "name a"),
        (target(f"http://127.0.0.1:{free_port()}"), "ENDPOINT_UNREACHABLE", "check that the endpoint runs"),
        (target("http://169.254.169.254"), "EGRESS_DENIED", "egress_allow"),
    ]
    async with Kept() as endpoint, Kept(tls) as stranger, serving() as (_, stub):
        wrong.append((target(stranger.url, headers={"Authorization": key}), "ENDPOINT_TLS", "endpoint_ca_file"))
        results = await prewarm(stub, *(each for each, _, _ in wrong), target(endpoint.url))

        for result, (_, reason, remedy) in zip(results, wrong, strict=False):
            assert (result.ok, result.reason) == (False, reason), result
            assert remedy in result.message
            assert not result.HasField("tls")
        assert results[-1].ok
        assert key not in str(results)
        assert await turn(stub, endpoint) == "1"


@pytest.mark.parametrize(
    ("targets", "connections", "fields"),
    [(0, 1, ["targets"]), (9, 1, ["targets"]), (1, 17, ["connections"]), (9, 17, ["targets", "connections"])],
)
async def test_what_is_asked_for_is_bounded(targets: int, connections: int, fields: list[str]) -> None:
    """More is a fault of the request, and opens nothing."""
    async with Kept() as endpoint, serving() as (_, stub):
        request = pb.PrewarmRequest(targets=[target(endpoint.url)] * targets, connections=connections)
        failure = await fail(stub.Prewarm(request))

        assert failure.said == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
        assert failure.fields == fields
        assert endpoint.accepted == 0


async def test_who_calls_is_asked_first(tmp_path: Path) -> None:
    """And what one client opened is not another's."""
    tokens = tmp_path / "tokens"
    tokens.write_text(token_line("ann", "a") + token_line("bob", "b"))
    async with Kept() as endpoint, serving(auth_tokens_file=str(tokens)) as (_, stub):
        request = pb.PrewarmRequest(targets=[target(endpoint.url)])
        assert (await fail(stub.Prewarm(request))).said == UNKNOWN_CALLER
        assert endpoint.accepted == 0
        await prewarm(stub, target(endpoint.url), metadata=bearer("a"))

        received = await listen(stub.StreamChat(chat_request(endpoint.url, "m"), metadata=bearer("b")))
        assert received.text == "2"
        received = await listen(stub.StreamChat(chat_request(endpoint.url, "m"), metadata=bearer("a")))
        assert received.text == "1"


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"max_idle_per_endpoint": 2}, 2), ({"max_idle_connections": 0}, 0), ({"endpoint_keepalive": 0.0}, 0)],
)
async def test_the_bounds_of_what_is_kept_hold(settings: dict[str, Any], kept: int) -> None:
    """And are told, with their names."""
    async with Kept() as endpoint, serving(**settings) as (_, stub):
        (result,) = await prewarm(stub, target(endpoint.url), connections=4)

        assert (result.ok, result.reason) == (False, "SERVICE_OVERLOADED")
        assert result.message.startswith(f"{kept} ready")
        assert next(iter(settings)) in result.message
        assert endpoint.accepted == (4 if kept else 0)  # what would not stay is not opened
        await until(lambda: endpoint.connections == kept)


async def test_no_idle_connection_makes_way_for_one_that_nobody_needs_yet() -> None:
    """Where the process has no descriptor left: the service says so."""
    lacking = False

    def factory(info: AddrInfoType) -> socket.socket:
        if lacking:
            raise OSError(errno.EMFILE, "Too many open files")
        return open_socket(info)

    async with Kept() as endpoint, Kept() as other:
        settings = Settings(port=0, shutdown_grace=1.0)
        server = server_with(settings, factory=factory)
        async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = ChatServiceStub(channel)
            await prewarm(stub, target(endpoint.url))
            lacking = True
            (result,) = await prewarm(stub, target(other.url))
            assert (result.ok, result.reason) == (False, "SERVICE_OVERLOADED")
            assert "descriptor" in result.message
            assert await turn(stub, endpoint) == "1"


@asynccontextmanager
async def silent_tls() -> AsyncIterator[ScriptedServer]:
    """Takes connections, and says nothing: no handshake comes to its end."""

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        del writer
        while await reader.read(1024):
            pass

    async with ScriptedServer(nothing) as endpoint:
        yield endpoint


async def test_a_silent_endpoint_is_given_up() -> None:
    """After the connect timeout; and at once where the client hangs up."""
    async with silent_tls() as endpoint, serving(connect_timeout=0.2) as (_, stub):
        silent = target(endpoint.url.replace("http:", "https:"))
        (result,) = await prewarm(stub, silent)
        assert (result.ok, result.reason) == (False, "CONNECT_TIMEOUT")
        await until(lambda: endpoint.connections == 0)

    async with silent_tls() as endpoint, serving(connect_timeout=50.0) as (_, stub):
        silent = target(endpoint.url.replace("http:", "https:"))
        call = stub.Prewarm(pb.PrewarmRequest(targets=[silent], connections=3))
        await until(lambda: endpoint.connections == 3)
        call.cancel()
        await until(lambda: endpoint.connections == 0)


class Between:
    """Carries TCP to a port, every byte `delay` seconds late in each direction; `connect` wants a CONNECT first, as
    HTTP proxies do. `flights` counts how often the direction to the target began anew: round trips."""

    def __init__(self, port: int, *, delay: float = 0.0, connect: bool = False) -> None:
        self._target = port
        self._delay = delay
        self._connect = connect
        self._server = ScriptedServer(self._carry)
        self.flights = 0
        self.commands: list[str] = []
        self._upwards = False

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        if self._connect:
            self.commands.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(self._pump(reader, back, upwards=True), self._pump(there, writer, upwards=False))
        finally:
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await reader.read(65536):
            self.flights += upwards and not self._upwards
            self._upwards = upwards
            loop.call_later(self._delay, writer.write, chunk)
        loop.call_later(self._delay, writer.close)


async def test_a_proxy_is_asked_for_the_way_and_for_no_more(tmp_path: Path) -> None:
    """CONNECT for https, then TLS with the endpoint; the call takes the same connection."""
    async with (
        Kept(endpoint_context(tmp_path)) as endpoint,
        Between(endpoint.port, connect=True) as proxy,
        asking(tmp_path, endpoint_proxy=f"http://127.0.0.1:{proxy.port}") as (_, stub),
    ):
        (result,) = await prewarm(stub, target(endpoint.url))
        assert result.ok, result.message
        assert result.tls.ToTimedelta().total_seconds() > 0
        (command,) = proxy.commands
        assert command.startswith(f"CONNECT 127.0.0.1:{endpoint.port} HTTP/1.1\r\n")
        assert "\r\nUser-Agent: integration-api\r\n" in command  # as calls do it
        assert endpoint.requests == []
        assert await turn(stub, endpoint) == "1"
        (denied,) = await prewarm(stub, target("https://metadata.google.internal"))
        assert denied.reason == "EGRESS_DENIED"
        assert len(proxy.commands) == 1


async def test_the_first_turn_waits_as_long_as_the_tenth(tmp_path: Path) -> None:
    """Through TLS and 75 ms of way in each direction: one round trip, where a cold turn takes two and TCP's own."""
    async with (
        Kept(endpoint_context(tmp_path)) as endpoint,
        Between(endpoint.port, delay=DELAY) as between,
        asking(tmp_path) as (_, stub),
    ):
        url = f"https://127.0.0.1:{between.port}"

        async def round_trips(**credential: Any) -> int:
            before = between.flights
            value = {"baseUrl": url, "apiCompatibility": "openai_compatible", **credential}
            received = await listen(stub.StreamChat(chat_request("", "m", credential={"value": value})))
            assert received.failure is None, received.failure
            return between.flights - before

        assert await round_trips(headers={"Authorization": "cold"}) == 2
        (result,) = await prewarm(stub, target(url))
        assert result.ok, result.message
        assert result.tls.ToTimedelta().total_seconds() >= 2 * DELAY
        await until(lambda: endpoint.accepted == 2)
        assert [await round_trips() for _ in range(10)] == [1] * 10
        assert endpoint.accepted == 2


async def test_a_configured_stream_of_rapidas_is_warm() -> None:
    """Its first turn finds a connection; what cannot be reached is told by the turn, not by the configuration."""
    settings = Settings(port=0, shutdown_grace=1.0)
    transport = Transport(transport_settings(settings))
    async with (
        Kept() as endpoint,
        Server(settings, transport) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        talk(channel) as stream,
    ):
        assert (await stream.configure(endpoint.url)).success
        await until(lambda: transport.counts.prewarmed == 1)
        assert endpoint.requests == []
        await stream.chat("t1", "m")
        assert text_of((await stream.turn("t1"))[0]) == "1"
        assert (await stream.configure(f"http://127.0.0.1:{free_port()}")).success
        await stream.chat("t2", "m")
        assert (await stream.turn("t2"))[-1].HasField("error")


class Slow(ScriptedServer):
    """Streams the number of the connection, and no end."""

    def __init__(self) -> None:
        super().__init__(self._begin)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await self.request(reader)
        writer.write(STREAM_HEAD + token(f"{number}"))
        await reader.read()


async def test_a_barge_in_finds_a_connection() -> None:
    """It closes the one of the turn that it ends: while a turn is answered, another one is ready for the next."""
    settings = Settings(port=0, shutdown_grace=1.0)
    transport = Transport(transport_settings(settings))
    async with (
        Slow() as endpoint,
        Server(settings, transport) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        talk(channel) as stream,
    ):
        await stream.configure(endpoint.url)
        await until(lambda: transport.counts.prewarmed == 1)
        for number in (1, 2, 3):
            await stream.chat(f"t{number}", "m")
            while (frame := await stream.output()).requestId != f"t{number}":
                pass
            assert text_of(frame) == str(number)
            await until(lambda: transport.counts.prewarmed == number + 1)  # noqa: B023 -- at once
        assert transport.counts.opened == transport.counts.prewarmed == 4


async def test_a_stream_opens_ahead_for_its_newest_configuration_only() -> None:
    """However many frames come, one connection is being opened; it is given up with the stream."""
    async with silent_tls() as former, silent_tls() as newest, serving(connect_timeout=50.0) as (server, _):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel, talk(channel) as stream:
            for endpoint in (former,) * 5 + (newest,):
                await stream.configure(endpoint.url.replace("http:", "https:"))
            await until(lambda: (former.connections, newest.connections) == (0, 1))
        await until(lambda: newest.connections == 0)


async def test_metrics_count_what_was_opened_ahead() -> None:
    """Beside all that were opened."""
    port = free_port()
    async with Kept() as endpoint, serving(admin_port=port) as (_, stub):
        await prewarm(stub, target(endpoint.url), connections=2)
        await turn(stub, endpoint)

        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as got:
            told = await got.text()
    for event, count in (("prewarmed", 2), ("opened", 2), ("reused", 1)):
        assert f'integration_api_connections_total{{event="{event}"}} {count}.0' in told
    assert "integration_api_calls_total{" in told
    assert 'method="Prewarm"' in told
