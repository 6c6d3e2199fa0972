"""The egress guard at real sockets: what is forbidden never connects, what is allowed does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable

import pytest
from aiohttp import ClientConnectorError, ClientError, ClientSession, InvalidURL, TCPConnector
from aiohttp.abc import ResolveResult

from caller.custom_llm.http.egress import GuardedResolver, denied_by, socket_factory
from caller.custom_llm.http.egress_policy import EgressDenied, EgressPolicy
from tests.caller.guarded_world import Dns, World, loopback_world, needs_ipv6
from tests.caller.spelled import EMBEDDINGS, numeric_forms

OPEN = EgressPolicy.parse("open")
PUBLIC_ONLY = EgressPolicy.parse("public-only", allow_http=True)
# As much as an operator can allow: every address, and every name that the tests use.
WIDEST = EgressPolicy.parse("allowlist", ["0.0.0.0/0", "::/0", "localhost", "*.test"])
POLICIES = {"open": OPEN, "public-only": PUBLIC_ONLY, "widest": WIDEST}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with loopback_world() as made:
        yield made


def _url_host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _embedded(addresses: Iterable[str]) -> list[str]:
    return [_url_host(embed(address)) for address in addresses for embed in EMBEDDINGS.values()]


NEVER = (
    "169.254.169.254 169.254.170.2 169.254.1.1 100.100.100.200 168.63.129.16 192.0.0.192 0.0.0.0 0.1.2.3 224.0.0.1"
    " 239.255.255.250 240.0.0.1 255.255.255.255 192.0.2.1 198.51.100.1 203.0.113.1 192.88.99.1 fd00:ec2::254"
    " fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 fe80::1 fe80::a9fe:a9fe febf::1 ff02::1 ff05::2 ::"
    " fec0::1 100::1 2001:db8::1 3fff::1 4000::1 ::a9fe:a9fe ::169.254.169.254 2001:1::1"
)
NEVER_HOSTS = [
    *map(_url_host, NEVER.split()),
    *_embedded(["169.254.169.254", "100.100.100.200", "168.63.129.16", "0.0.0.0", "255.255.255.255"]),
]
INNER = (
    "127.0.0.1 127.0.0.2 127.255.255.254 10.0.0.1 172.16.0.1 192.168.1.1 100.64.0.1 198.18.0.1 ::1 fd12:3456::1 fc00::1"
)
INNER_HOSTS = [
    *map(_url_host, INNER.split()),
    *_embedded(["127.0.0.1", "127.0.0.2", "10.0.0.1", "192.168.1.1"]),
    *("[::127.0.0.1]", "[::7f00:2]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]"),
    # yarl makes plain digits and dots of these before anyone can object.
    *("\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021"),
]
MALFORMED = [
    *(form for address in ("127.0.0.1", "127.0.0.2", "169.254.169.254") for form in numeric_forms(address)),
    *("localhost.0x7f", "test.1", "127.0.0.1%00", "%31%32%37.0.0.1", "[::1%1]", "[::1%25lo]", "[fe80::1%25eth0]"),
    *("[::ffff:127.0.0.1%251]", "a..test", ".test", "test..", "-a.test", "a-.test", "a_b!.test", "a" * 64 + ".test"),
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("host", NEVER_HOSTS)
async def test_what_nobody_may_reach_is_reached_by_nobody(world: World, host: str, policy: str) -> None:
    """Metadata, link-local, multicast and reserved addresses are refused in every spelling, under every policy."""
    await world.denied(POLICIES[policy], host)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("host", MALFORMED)
async def test_odd_hosts_are_reached_by_nobody(world: World, host: str, policy: str) -> None:
    """A host that some parser takes for an address is refused before anything looks it up."""
    world.dns.says(host, ["127.0.0.1"])

    denied = await world.denied(POLICIES[policy], host)

    assert denied.reason == "malformed host"


@pytest.mark.parametrize("host", INNER_HOSTS)
async def test_the_inner_network_is_closed_to_public_only(world: World, host: str) -> None:
    """A public deployment connects to no private and no loopback address, however it is written."""
    await world.denied(PUBLIC_ONLY, host)


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.2]", "\uff11\uff12\uff17.0.0.2", "localhost"])
async def test_the_same_spellings_connect_where_they_may(world: World, host: str) -> None:
    """The listeners hear what the guard lets through, so that silence above is the guard's doing."""
    needs_ipv6(host)
    world.dns.says("localhost", ["127.0.0.2"])

    assert await world.get(OPEN, host) == "here"
    assert world.arrived == world.sockets_for == ["::1" if host == "[::1]" else "127.0.0.2"]


ANSWERS = {
    "public-only": [
        ["127.0.0.1"],
        ["127.0.0.2"],
        ["::1"],
        ["10.1.2.3"],
        ["192.168.0.10"],
        ["172.31.0.1"],
        ["100.64.1.1"],
        ["fd12:3456::1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::10.0.0.1"],
        ["2002:7f00:1::1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["8.8.8.8", "1.1.1.1", "10.0.0.1"],
        ["2606:4700::1111", "127.0.0.2"],
        ["8.8.8.8", "::1"],
        ["8.8.8.8", "::ffff:127.0.0.1"],
    ],
    "open": [
        ["169.254.169.254"],
        ["127.0.0.1", "169.254.169.254"],
        ["169.254.170.2", "127.0.0.1"],
        ["127.0.0.1", "100.100.100.200"],
        ["127.0.0.1", "168.63.129.16"],
        ["127.0.0.1", "fd00:ec2::254"],
        ["::1", "fe80::1"],
        ["127.0.0.1", "fe80::1%2"],
        ["127.0.0.1", "::1%1"],
        ["127.0.0.1", "0.0.0.0"],
        ["127.0.0.1", "::"],
        ["127.0.0.1", "224.0.0.1"],
        ["127.0.0.1", "255.255.255.255"],
        ["127.0.0.1", "::ffff:169.254.169.254"],
        ["127.0.0.1", "64:ff9b::a9fe:a9fe"],
        ["127.0.0.1", "64:ff9b:1::a9fe:a9fe"],
        ["127.0.0.1", "2002:a9fe:a9fe::1"],
        ["127.0.0.1", "::169.254.169.254"],
        ["127.0.0.1", "127.1"],
        ["127.0.0.1", "2130706433"],
        ["127.0.0.1", "localhost"],
        ["127.0.0.1", ""],
    ],
}
ANSWERS["widest"] = ANSWERS["open"]


@pytest.mark.parametrize(("policy", "answer"), [(name, answer) for name in ANSWERS for answer in ANSWERS[name]])
async def test_one_bad_answer_spoils_a_name(world: World, policy: str, answer: list[str]) -> None:
    """A name with one forbidden address among its answers is refused, wherever in the answers it stands."""
    world.dns.says("mixed.test", answer)

    await world.denied(POLICIES[policy], "mixed.test")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_tls_makes_no_difference(world: World, scheme: str) -> None:
    """A forbidden address is refused before a handshake as before a request."""
    await world.denied(PUBLIC_ONLY, "127.0.0.2", scheme)
    await world.denied(OPEN, "169.254.169.254", scheme)


@pytest.mark.parametrize("host", ["127.0.0.1", "8.8.8.8", "name.test"])
async def test_public_only_asks_for_https(world: World, host: str) -> None:
    """Plain http is refused under public-only, and the text says so."""
    world.dns.says("name.test", ["8.8.8.8"])

    assert "https" in str(await world.denied(EgressPolicy.parse("public-only"), host))


LISTS = [
    (["llm.test"], "other.test", ["127.0.0.1"]),
    (["llm.test"], "a.llm.test", ["127.0.0.1"]),
    (["llm.test"], "xllm.test", ["127.0.0.1"]),
    (["*.llm.test"], "llm.test", ["127.0.0.1"]),
    (["*.llm.test"], "xllm.test", ["127.0.0.1"]),
    (["llm.test:1"], "llm.test", ["127.0.0.1"]),
    (["llm.test:1-1023"], "llm.test", ["127.0.0.1"]),
    (["llm.test"], "127.0.0.1", []),
    (["127.0.0.1"], "127.0.0.2", []),
    (["127.0.0.1:1"], "127.0.0.1", []),
    (["127.0.0.1"], "llm.test", ["127.0.0.2"]),
    (["127.0.0.1"], "llm.test", ["127.0.0.1", "127.0.0.2"]),
    (["127.0.0.0/31"], "[::ffff:127.0.0.2]", []),
    (["[::1]:1"], "[::1]", []),
    (["::/0"], "[::ffff:127.0.0.1]", []),
    ([], "127.0.0.1", []),
    ([], "llm.test", ["127.0.0.1"]),
]


@pytest.mark.parametrize(("allow", "host", "answer"), LISTS)
async def test_what_is_not_listed_is_refused(world: World, allow: list[str], host: str, answer: list[str]) -> None:
    """Under an allowlist nothing else is reached: no neighbour, no other port, no name that merely ends alike."""
    world.dns.says(host, answer)

    await world.denied(EgressPolicy.parse("allowlist", allow), host)


async def test_a_name_that_moves_is_judged_again(world: World) -> None:
    """A name that was allowed and then answers with a forbidden address is refused (DNS rebinding)."""
    policy = EgressPolicy.parse("allowlist", ["127.0.0.1"])
    world.dns.says("moves.test", ["127.0.0.1"], ["127.0.0.2"], ["169.254.169.254"])
    async with world.session(policy) as session:
        assert isinstance(session.connector, TCPConnector)
        async with session.get(f"http://moves.test:{world.port}/") as response:
            assert response.status == 200
        for _ in range(2):
            session.connector.clear_dns_cache()
            with pytest.raises(ClientConnectorError) as caught:
                await session.get(f"http://moves.test:{world.port}/")
            assert denied_by(caught.value)

    assert world.arrived == world.sockets_for == ["127.0.0.1"]


async def test_an_answer_cannot_change_after_it_was_judged(world: World) -> None:
    """A resolver that edits its answer once it was checked edits its own copy."""

    class Editing(Dns):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            self.last = await super().resolve(host, port, family)
            return self.last

    inner = Editing()
    inner.says("edited.test", ["127.0.0.1"])
    judged = await GuardedResolver(EgressPolicy.parse("allowlist", ["127.0.0.1"]), inner).resolve("edited.test", 80)
    inner.last[0]["host"] = "169.254.169.254"
    inner.last[0]["port"] = 1

    assert [(answer["host"], answer["port"]) for answer in judged] == [("127.0.0.1", 80)]


@pytest.mark.parametrize(
    "answer", [["127.0.0.2"], ["::1", "127.0.0.2"], ["169.254.169.254"], ["::ffff:127.0.0.2"], ["fe80::1%1"]]
)
async def test_the_socket_has_the_last_word(world: World, answer: list[str]) -> None:
    """Even behind a resolver that checks nothing, no socket is made for a forbidden address."""
    world.dns.says("moves.test", answer)
    guarded = socket_factory(EgressPolicy.parse("allowlist", ["127.0.0.1", "moves.test:1"]), world.open_socket)
    async with ClientSession(connector=TCPConnector(resolver=world.dns, socket_factory=guarded)) as session:
        with pytest.raises(ClientConnectorError) as caught:
            await session.get(f"http://moves.test:{world.port}/")

    assert denied_by(caught.value)
    assert not world.arrived
    assert not world.sockets_for


async def test_happy_eyeballs_finds_only_what_is_allowed(world: World) -> None:
    """Behind a resolver that checks nothing, the attempts at forbidden addresses fail and the allowed one is used."""
    world.dns.says("mixed.test", ["127.0.0.2", "::1", "127.0.0.1"])
    guarded = socket_factory(EgressPolicy.parse("allowlist", ["127.0.0.1"]), world.open_socket)
    async with (
        ClientSession(connector=TCPConnector(resolver=world.dns, socket_factory=guarded)) as session,
        session.get(f"http://mixed.test:{world.port}/") as response,
    ):
        assert response.status == 200

    assert world.arrived == world.sockets_for == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_UNIX, ("/run/docker.sock", 0)), (socket.AF_INET6, ("2606:4700::1111", 443, 0, 2))],
)
def test_only_plain_internet_sockets_are_made(family: int, address: tuple[object, ...]) -> None:
    """A socket of another family, such as a Unix one, is refused, and so is one for an address with a zone."""
    with pytest.raises(EgressDenied):
        socket_factory(OPEN)((family, socket.SOCK_STREAM, 0, "", address))


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://127.0.0.2/", "http://2130706433/", "ftp://a/"]
)
async def test_a_redirect_does_not_lead_around_the_guard(world: World, target: str) -> None:
    """A client that follows redirects is checked at every hop."""
    async with world.session(EgressPolicy.parse("allowlist", ["127.0.0.1"])) as session:
        with pytest.raises((ClientError, InvalidURL)) as caught:
            await session.get(f"http://127.0.0.1:{world.port}/to/{target}")

    assert world.arrived == world.sockets_for == ["127.0.0.1"]
    assert denied_by(caught.value) or target.startswith("ftp")


ALLOWED = [
    (OPEN, "127.0.0.1", []),
    (OPEN, "127.0.0.3", []),
    (OPEN, "[::1]", []),
    (OPEN, "[0:0:0:0:0:0:0:1]", []),
    (OPEN, "[::ffff:127.0.0.1]", []),
    (OPEN, "[::ffff:7f00:2]", []),
    (OPEN, "localhost", ["127.0.0.1"]),
    (OPEN, "LOCALHOST", ["::1", "127.0.0.1"]),
    (OPEN, "llm.internal.test", ["127.0.0.2"]),
    (OPEN, "llm.internal.test.", ["127.0.0.2"]),
    (OPEN, "under_score.test", ["127.0.0.1"]),
    (OPEN, "b\u00fccher.test", ["127.0.0.1"]),
    (OPEN, "1password.test", ["127.0.0.1", "127.0.0.2", "::1"]),
    (OPEN, "mapped.test", ["::ffff:127.0.0.1"]),
    (EgressPolicy.parse("allowlist", ["llm.test"]), "llm.test", ["127.0.0.1"]),
    (EgressPolicy.parse("allowlist", ["LLM.test."]), "llm.TEST", ["127.0.0.1"]),
    (EgressPolicy.parse("allowlist", ["llm.test:1024-65535"]), "llm.test.", ["::1"]),
    (EgressPolicy.parse("allowlist", ["*.llm.test"]), "a.llm.test", ["127.0.0.1", "127.0.0.2"]),
    (EgressPolicy.parse("allowlist", ["*.llm.test"]), "a.b.llm.test", ["127.0.0.3"]),
    (EgressPolicy.parse("allowlist", ["127.0.0.1"]), "127.0.0.1", []),
    (EgressPolicy.parse("allowlist", ["127.0.0.1"]), "[::ffff:127.0.0.1]", []),
    (EgressPolicy.parse("allowlist", ["127.0.0.0/8"]), "any.test", ["127.0.0.1", "127.0.0.3"]),
    (EgressPolicy.parse("allowlist", ["127.0.0.0/8:1024-65535"]), "127.0.0.2", []),
    (EgressPolicy.parse("allowlist", ["::1"]), "[::1]", []),
    (EgressPolicy.parse("allowlist", ["[::1]:1024-65535", "x.test"]), "v6.test", ["::1"]),
    (EgressPolicy.parse("public-only", ["llm.test"], allow_http=True), "llm.test", ["127.0.0.1"]),
    (EgressPolicy.parse("public-only", ["127.0.0.2"], allow_http=True), "127.0.0.2", []),
]


@pytest.mark.parametrize(("policy", "host", "answer"), ALLOWED)
async def test_what_is_allowed_connects(world: World, policy: EgressPolicy, host: str, answer: list[str]) -> None:
    """Self-hosted endpoints are reached by address and by name, as the policy says."""
    needs_ipv6("".join(answer[:1]) or host)
    world.dns.says(host.lower().rstrip(".").encode("idna").decode() if answer else host, answer)

    assert await world.get(policy, host) == "here"
    assert len(world.arrived) == 1


@pytest.mark.parametrize("policy", [PUBLIC_ONLY, EgressPolicy.parse("allowlist", ["10.9.0.0/16"])])
async def test_unknown_and_forbidden_names_answer_alike(world: World, policy: EgressPolicy) -> None:
    """Nobody can map the inner network by asking which names exist: type and text are the same."""
    world.dns.says("there.test", ["10.1.2.3"])
    world.dns.says("empty.test", [])
    told = set()
    for host in ("there.test", "absent.test", "empty.test"):
        with pytest.raises(ClientConnectorError) as caught:
            await world.get(policy, host)
        told.add((type(caught.value), str(caught.value).replace(host, "HOST"), str(denied_by(caught.value))))

    assert len(told) == 1


@pytest.mark.parametrize("policy", [OPEN, EgressPolicy.parse("allowlist", ["*.test"])])
@pytest.mark.parametrize("host", ["absent.test", "empty.test"])
async def test_an_unknown_name_is_plainly_unknown_where_nothing_is_hidden(
    world: World, policy: EgressPolicy, host: str
) -> None:
    """Where the name was allowed anyway, the caller remembers_refusals that it does not resolve."""
    world.dns.says("empty.test", [])
    with pytest.raises(ClientConnectorError) as caught:
        await world.get(policy, host)

    assert denied_by(caught.value) is None
    assert isinstance(caught.value.os_error, socket.gaierror)


async def test_a_name_of_one_caller_is_no_door_for_another(world: World) -> None:
    """While a listed name's private address is in use, the bare address and other names stay refused."""
    world.dns.says("llm.test", ["127.0.0.1"])
    world.dns.says("other.test", ["127.0.0.1"])
    policy = EgressPolicy.parse("public-only", ["llm.test"], allow_http=True)
    async with world.session(policy) as session:

        async def call(host: str) -> str:
            try:
                async with session.get(f"http://{host}:{world.port}/") as response:
                    return await response.text()
            except ClientConnectorError as error:
                return "denied" if denied_by(error) else "failed"

        told = await asyncio.gather(*(call(host) for host in ["llm.test", "other.test", "127.0.0.1"] * 20))

    assert told == ["here", "denied", "denied"] * 20
    assert len(world.arrived) == 20
