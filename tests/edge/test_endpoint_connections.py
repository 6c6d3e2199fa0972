"""Connections to endpoints: used again only when they are clean, and by whom they are for; given up at once."""

import asyncio
import errno
import socket
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import AddrInfoType

from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.http.connector import make_connector
from caller.custom_llm.http.egress import open_socket
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.transport import Transport, TransportSettings
from caller.errors import LostReusedConnection, ProtocolError, ServiceOverloaded
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.caller.guarded_world import Dns
from tests.edge.access_world import bearer, serving, token_line
from tests.edge.loopback import STREAM_HEAD, ScriptedServer, answer, chat_answer, descriptors, resident, until
from tests.edge.reading import fail
from tests.patience import within

pytestmark = pytest.mark.usefixtures("watched_loop")

SETTINGS = TransportSettings(EgressPolicy.parse("open"))
KEY = {"Authorization": "Bearer one"}


@asynccontextmanager
async def transport(**connector: Any) -> AsyncIterator[Transport]:
    made = make_connector(EgressPolicy.parse("open"), **connector) if connector else None
    transport = Transport(SETTINGS, connector=made)
    try:
        yield transport
    finally:
        await transport.close()


async def ask(
    transport: Transport,
    url: str,
    *,
    headers: Mapping[str, str] = KEY,
    client: str = "",
    body: bytes = b"{}",
) -> bytes:
    """One exchange: the body of its answer."""
    async with await transport.send(HttpRequest("POST", url, headers, body), 5.0, client) as response:
        read = bytearray()
        while chunk := await response.read():
            read += chunk
        return bytes(read)


class Numbered(ScriptedServer):
    """Answers with the number of the connection and of the request on it; `behind` follows each first answer."""

    def __init__(self, behind: bytes = b"", *, at_once: bool = True) -> None:
        super().__init__(self._numbered)
        self._behind, self._at_once = behind, at_once
        self.writers: list[asyncio.StreamWriter] = []

    async def _numbered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.writers.append(writer)
        turn = 0
        while True:
            await self.request(reader)
            turn += 1
            writer.write(answer(f"{number}.{turn}") + (self._behind if self._at_once and turn == 1 else b""))


async def test_a_clean_connection_is_used_again() -> None:
    """By the same client with the same secrets; other headers do not count."""
    async with Numbered() as endpoint, transport() as ours:
        assert await ask(ours, endpoint.url) == b"1.1"
        assert await ask(ours, endpoint.url, headers={**KEY, "X-Tenant": "t", "X-Route": "r"}) == b"1.2"


@pytest.mark.parametrize(
    "other",
    [
        {"client": "other"},
        {"headers": {"Authorization": "Bearer two"}},
        {"headers": {}},
        *({"headers": {**KEY, name: "v"}} for name in ("x-api-KEY", "Cookie", "X-Session-Id", "x-pass", "my-secret")),
        {"url": "?key=k"},
    ],
    ids=str,
)
async def test_other_clients_and_other_secrets_have_connections_of_their_own(other: dict[str, object]) -> None:
    """So that even an endpoint that lies mixes nothing between two of them."""
    async with Numbered() as endpoint, transport() as ours:
        url = endpoint.url + "/v1"
        assert await ask(ours, url) == b"1.1"
        changed = {"url": url + str(other["url"])} if "url" in other else {"url": url, **other}
        assert await ask(ours, **changed) == b"2.1"
        assert await ask(ours, url) == b"1.2"


STRAY = {
    "answer": answer("stray"),
    "408": b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "half": b"HTTP/1.1 200 OK\r\nConte",
    "garbage": b"\x00\x01\x02",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("kind", STRAY)
async def test_what_stands_behind_an_answer_is_nobodys(kind: str) -> None:
    """The answer stands, its connection goes: the next request has another one."""
    async with Numbered(STRAY[kind]) as endpoint, transport() as ours:
        assert await ask(ours, endpoint.url) == b"1.1"
        assert await ask(ours, endpoint.url) == b"2.1"


@pytest.mark.parametrize("kind", STRAY)
async def test_what_comes_while_idle_ends_the_connection(kind: str) -> None:
    """At once, also when nobody asks again."""
    async with Numbered() as endpoint, transport() as ours:
        await ask(ours, endpoint.url)
        endpoint.writers[0].write(STRAY[kind])
        await until(lambda: endpoint.connections == 0, what="the connection is dropped")
        assert await ask(ours, endpoint.url) == b"2.1"


@pytest.mark.parametrize("kind", STRAY)
async def test_what_was_not_read_yet_when_a_request_comes_is_not_its_answer(kind: str) -> None:
    """It is in the socket, and the loop has had no turn to read it: the request may be written at once."""
    async with Numbered() as endpoint, transport() as ours:
        await ask(ours, endpoint.url)
        endpoint.writers[0].write(STRAY[kind])  # leaves now: the socket's buffer is empty
        assert await ask(ours, endpoint.url) == b"2.1"


async def test_a_shift_of_answers_never_begins() -> None:
    """An endpoint that answers every request twice: each call has its own answer, whoever asks, with pauses or not."""

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            request = await endpoint.request(reader)
            said = request.partition(b"\r\n\r\n")[2].decode()
            writer.write(answer(said))
            await asyncio.sleep(0)
            writer.write(answer(f"again {said}"))

    async with ScriptedServer(twice) as endpoint, transport() as ours:
        for number in range(40):
            said = f"call {number}".encode()
            assert await ask(ours, endpoint.url, body=said) == said
            await asyncio.sleep(0.002 * (number % 3))


async def test_an_answer_before_the_request_has_left_ends_its_connection() -> None:
    """The rest of the request would be read as the next one."""

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(f"early {number}"))
        await asyncio.Event().wait()

    async with ScriptedServer(early) as endpoint, transport() as ours:
        for number in (1, 2):
            assert await ask(ours, endpoint.url, body=bytes(8_000_000)) == f"early {number}".encode()


async def test_a_lost_kept_connection_is_told_and_its_like_are_dropped() -> None:
    """The endpoint hung up on one: the retry does not meet another of the same kind."""
    gate = asyncio.Event()

    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await endpoint.request(reader)
        await gate.wait()
        writer.write(answer(str(number)))
        if number <= 3:
            await endpoint.request(reader)  # seen, and not answered

    async with ScriptedServer(one_each) as endpoint, transport() as ours:
        calls = [asyncio.create_task(ask(ours, endpoint.url)) for _ in range(3)]
        await until(lambda: endpoint.connections == 3)
        gate.set()
        await asyncio.gather(*calls)
        with pytest.raises(LostReusedConnection):
            await ask(ours, endpoint.url)
        assert await ask(ours, endpoint.url) == b"4"


async def test_two_identities_never_share_a_connection(tmp_path: Path) -> None:
    """From the token at the front to the socket at the back, though both send the same credential; and a stranger has
    neither's."""

    async def numbered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            await endpoint.request(reader)
            writer.write(chat_answer(str(number)))

    (tmp_path / "tokens").write_text(token_line("billing", "b") + token_line("voice", "v"))
    async with (
        ScriptedServer(numbered) as endpoint,
        serving(auth_tokens_file=str(tmp_path / "tokens"), allow_anonymous=True) as (_, stub),
    ):
        request = chat_request(endpoint.url, "m")
        said = []
        for who in ("b", "v", None, "b", "v", None):
            whole = await stub.Chat(request, metadata=() if who is None else bearer(who))
            said.append(whole.choices[0].message.text)

    assert said == ["1", "2", "3"] * 2


async def test_a_redirect_is_not_followed_and_a_cookie_not_sent_back(stub: ChatServiceStub) -> None:
    """The credential would go to whoever the endpoint names, and one caller's session would be another's."""

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await other.request(reader)
        writer.write(chat_answer())

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        cookie = "Set-Cookie: session=of-this-caller; Path=/\r\n"
        writer.write(
            answer("", "307 Temporary Redirect", more=f"Location: {other.url}/v1/chat/completions\r\n{cookie}")
        )
        await endpoint.request(reader)
        writer.write(chat_answer())

    async with ScriptedServer(elsewhere) as other, ScriptedServer(talk) as endpoint:
        refused = await fail(stub.Chat(chat_request(endpoint.url, "m")))
        whole = await stub.Chat(chat_request(endpoint.url, "m"))

    assert refused.reason == "ENDPOINT_PROTOCOL_ERROR"
    assert other.accepted == 0
    assert whole.choices[0].message.text == "fine"
    assert not any(b"cookie" in request.lower() for request in endpoint.requests)


async def test_what_cannot_be_sent_does_not_stay() -> None:
    """An endpoint that accepts and does not read: the calls' memory and descriptors are back within a second."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        del reader
        await asyncio.Event().wait()

    async with ScriptedServer(deaf) as endpoint, transport() as ours:
        before, memory = descriptors(), resident()
        calls = [asyncio.create_task(ask(ours, endpoint.url, body=bytes(14_000_000))) for _ in range(8)]
        await until(lambda: endpoint.connections == 8)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        began = time.monotonic()
        del calls, call
        await until(lambda: descriptors() <= before + 8, what="our sockets are closed")  # the endpoint does not notice
        await until(lambda: resident() < memory + 40_000_000, what="the requests are freed")
        assert time.monotonic() - began < within(1.0)


async def test_a_connection_that_was_made_while_the_process_was_away_is_used() -> None:
    """The time to connect passed while nothing of ours ran: what had been done by then counts."""
    away: list[float] = []

    def factory(info: AddrInfoType) -> socket.socket:
        away.append(0.4)
        asyncio.get_running_loop().call_soon(time.sleep, away[-1])
        return open_socket(info)

    async with Numbered() as endpoint, transport(inner_factory=factory) as ours:
        request = HttpRequest("POST", endpoint.url, KEY, b"{}")
        async with await ours.send(request, 0.2) as response:
            assert await response.read() == b"1.1"
    assert away == [0.4]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_bytes_that_wait_to_be_sent_hold_no_connection(cancelled: bool) -> None:
    """An endpoint that answers and does not read the request: with the call, cancelled or at its end, the socket is
    gone, while the endpoint keeps its own."""
    answered = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        del reader
        writer.write(answer("early") if not cancelled else STREAM_HEAD)
        answered.set()
        await asyncio.Event().wait()

    async with ScriptedServer(early) as endpoint, transport() as ours:
        before = descriptors()
        call = asyncio.create_task(ask(ours, endpoint.url, body=bytes(14_000_000)))
        await answered.wait()
        if cancelled:
            await asyncio.sleep(0.1)  # the buffers of both sides fill
            call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        assert call.cancelled() or call.result() == b"early"
        await until(lambda: descriptors() <= before + 1, what="our socket is closed")
        assert endpoint.connections == 1


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_endless_interim_answers_are_refused() -> None:
    """Sixteen are read; more are a fault, found before they cost anything."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        while not writer.transport.is_closing():
            writer.write(INTERIM * 4000)
            await writer.drain()

    async with ScriptedServer(endless) as endpoint, transport() as ours:
        began = time.process_time()
        with pytest.raises(ProtocolError, match=r"more than 16 interim answers"):
            await ask(ours, endpoint.url)
        assert time.process_time() - began < within(0.5)
        await until(lambda: endpoint.connections == 0)


def headers(*sizes: int) -> str:
    return "".join(f"X-{number}: {'x' * size}\r\n" for number, size in enumerate(sizes))


@pytest.mark.parametrize("cut", [0, 1, 17, 30_000])
@pytest.mark.parametrize(
    ("more", "interim", "passes"),
    [
        (headers(9000), 0, True),
        (headers(65_000), 0, True),
        (headers(*[600] * 100), 0, True),
        ("", 16, True),
        ("", 17, False),
        (headers(80_000), 0, False),
        (headers(*[30_000] * 4), 0, False),
    ],
    ids=["9k", "64k", "many", "16-interim", "17-interim", "80k", "120k"],
)
async def test_heads_are_bounded(more: str, interim: int, passes: bool, cut: int) -> None:
    """64 KiB of headers and 16 interim answers, however the bytes come."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        whole = INTERIM * interim + answer("fine", more=more)
        writer.write(whole[:cut])
        await asyncio.sleep(0.01)
        writer.write(whole[cut:])
        await endpoint.request(reader)

    async with ScriptedServer(talk) as endpoint, transport() as ours:
        if passes:
            assert await ask(ours, endpoint.url) == b"fine"
        else:
            with pytest.raises(ProtocolError):
                await ask(ours, endpoint.url)


async def test_no_descriptor_left_is_our_own_fault() -> None:
    """The endpoint is not blamed; and where idle connections hold some, those go first."""
    refusals = 0

    def factory(info: AddrInfoType) -> socket.socket:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return open_socket(info)

    async with Numbered() as endpoint, transport(inner_factory=factory) as ours:
        await ask(ours, endpoint.url, client="a")
        refusals = 1
        assert await ask(ours, endpoint.url, client="b") == b"2.1"
        await until(lambda: endpoint.connections == 1, what="the idle one has made way")
        refusals = 2
        with pytest.raises(ServiceOverloaded):
            await ask(ours, endpoint.url, client="c")


async def test_the_second_packet_does_not_wait_for_our_acknowledgement() -> None:
    """An endpoint with Nagle's algorithm on writes the head and the first token in two packets, kept alive: they take
    about as long as those of one without, and not 40 ms more, as with delayed acknowledgements."""

    async def median(nodelay: int) -> float:
        async def two_packets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
            while True:
                await endpoint.request(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
                writer.write(b"first")
                writer.write(b"token")

        gaps: list[float] = []
        async with ScriptedServer(two_packets) as endpoint, transport() as ours:
            for _ in range(12):
                began = time.monotonic()
                assert await ask(ours, endpoint.url) == b"firsttoken"
                gaps.append(time.monotonic() - began)
            assert endpoint.accepted == 1
        return statistics.median(gaps[1:])

    assert await median(nodelay=0) < await median(nodelay=1) + 0.02


async def test_an_address_that_does_not_answer_costs_its_time_once() -> None:
    """The second connection to the name does not try it first any more."""
    tried: list[str] = []

    def factory(info: AddrInfoType) -> socket.socket:
        tried.append(str(info[4][0]))
        return open_socket(info)

    dns = Dns()
    dns.says("two.test", ["127.0.0.2", "127.0.0.1"])
    async with Numbered() as endpoint, transport(inner_factory=factory, resolver=dns) as ours:
        with socket.socket() as silent:
            silent.bind(("127.0.0.2", endpoint.port))
            silent.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(silent.getsockname())
            try:
                for client in ("a", "b", "c"):
                    await ask(ours, f"http://two.test:{endpoint.port}", client=client)
            finally:
                for filler in fillers:
                    filler.close()
    assert tried == ["127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1"]
