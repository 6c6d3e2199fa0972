"""The egress guard's surroundings: the proxy, the system's name lookup, pooling, finding a refusal."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientConnectorError

from caller.custom_llm.http.connector import make_connector
from caller.custom_llm.http.egress import GuardedResolver, denied_by
from caller.custom_llm.http.egress_policy import EgressDenied, EgressPolicy
from caller.custom_llm.http.lookups import ThreadedLookup
from tests.caller.guarded_world import World, loopback_world, needs_ipv6

PUBLIC_ONLY = EgressPolicy.parse("public-only", allow_http=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with loopback_world() as made:
        yield made


@pytest.mark.parametrize("proxy_host", ["127.0.0.2", "proxy.test", "::1"])
async def test_the_operators_proxy_may_be_private(world: World, proxy_host: str) -> None:
    """Behind a proxy the service connects to the proxy, wherever it is, and leaves the names to it."""
    needs_ipv6(proxy_host)
    world.dns.says("proxy.test", ["127.0.0.2"])
    written = f"[{proxy_host}]" if ":" in proxy_host else proxy_host
    async with (
        world.session(PUBLIC_ONLY, proxy=(proxy_host, world.port)) as session,
        session.get("http://endpoint.example/", proxy=f"http://{written}:{world.port}") as response,
    ):
        assert await response.text() == "here"

    assert world.arrived == world.sockets_for == ["::1" if proxy_host == "::1" else "127.0.0.2"]


REFUSED_BEHIND_A_PROXY = [
    (PUBLIC_ONLY, "http://169.254.169.254/", "127.0.0.2"),
    (PUBLIC_ONLY, "http://127.0.0.1/", "127.0.0.2"),
    (PUBLIC_ONLY, "http://0x7f.1/", "127.0.0.2"),
    (PUBLIC_ONLY, "http://endpoint.example/", "127.0.0.3"),  # another proxy than the operator's
    (PUBLIC_ONLY, "http://proxied.test/", None),  # past the proxy
    (PUBLIC_ONLY, "http://8.8.8.8/", None),
    (EgressPolicy.parse("allowlist", ["10.0.0.0/8", "a.example"]), "http://b.example/", "127.0.0.2"),
]


@pytest.mark.parametrize(("policy", "url", "proxy"), REFUSED_BEHIND_A_PROXY)
async def test_a_proxy_is_no_way_around(world: World, policy: EgressPolicy, url: str, proxy: str | None) -> None:
    """Forbidden literals, other proxies, connections past the proxy and names that no list has are refused."""
    world.dns.says("proxied.test", ["127.0.0.2"])
    async with world.session(policy, proxy=("127.0.0.2", world.port)) as session:
        with pytest.raises(ClientConnectorError) as caught:
            await session.get(url, proxy=f"http://{proxy}:{world.port}" if proxy else None)

    assert denied_by(caught.value)
    assert not world.arrived
    assert not world.sockets_for


async def test_a_listed_name_passes_behind_a_proxy(world: World) -> None:
    """An allowlist by name holds behind a proxy too."""
    policy = EgressPolicy.parse("allowlist", ["a.example"])
    async with (
        world.session(policy, proxy=("127.0.0.2", world.port)) as session,
        session.get("http://a.example/", proxy=f"http://127.0.0.2:{world.port}") as response,
    ):
        assert response.status == 200


async def test_a_proxy_that_is_not_configured_is_refused(world: World) -> None:
    """A proxy is the operator's choice: one that a request brings along is not used, even if it is allowed."""
    async with world.session(EgressPolicy()) as session:
        with pytest.raises(ClientConnectorError) as caught:
            await session.get("http://endpoint.example/", proxy=f"http://127.0.0.1:{world.port}")

    assert denied_by(caught.value)
    assert not world.sockets_for


async def test_no_proxy_at_a_metadata_address() -> None:
    """A proxy at an address that is never allowed is a mistake in the settings, told at once."""
    with pytest.raises(ValueError, match=r"never allowed"):
        make_connector(EgressPolicy(), proxy=("169.254.169.254", 80))


async def test_the_systems_lookup_is_guarded() -> None:
    """Without another resolver the system's is asked, in threads of its own, and judged."""
    lookup = ThreadedLookup()
    found = {answer["host"] for answer in await lookup.resolve("localhost", 80)}
    try:
        with pytest.raises(EgressDenied, match=r"not allowed"):
            await GuardedResolver(PUBLIC_ONLY, lookup).resolve("localhost", 80)
    finally:
        await lookup.close()

    assert found
    assert found <= {"127.0.0.1", "::1"}


async def test_the_default_connector_reaches_localhost(world: World) -> None:
    """The connector with the system's name lookup resolves and connects."""
    async with (
        world.session(EgressPolicy(), resolver=ThreadedLookup()) as session,
        session.get(f"http://localhost:{world.port}/") as response,
    ):
        assert response.status == 200

    assert len(world.arrived) == 1


async def test_closing_the_connector_closes_the_resolver(world: World) -> None:
    """Who opens, closes: the name service ends with the connector, and the threads of the system's lookup too."""
    lookup = ThreadedLookup()
    async with world.session(EgressPolicy()), world.session(EgressPolicy(), resolver=lookup):
        assert not world.dns.closed

    assert world.dns.closed
    with pytest.raises(RuntimeError):
        await lookup.resolve("localhost")


async def test_a_slow_lookup_fails_in_time() -> None:
    """A lookup that outlasts its time is a failed lookup, not a hanging call."""
    lookup = ThreadedLookup(timeout=0)
    with pytest.raises(socket.gaierror, match=r"no answer within 0 s"):
        await lookup.resolve("localhost")
    await lookup.close()


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..invalid"])
async def test_what_cannot_be_a_name_fails_as_a_lookup(host: str) -> None:
    """A name that never reaches the C library is reported like an unknown one."""
    lookup = ThreadedLookup()
    with pytest.raises(socket.gaierror):
        await lookup.resolve(host)
    await lookup.close()


async def test_more_streams_than_aiohttps_default_run_at_once(world: World) -> None:
    """The connector sets no limit of its own: 150 calls are all on the wire before the first is answered."""
    world.hold = asyncio.Event()
    async with world.session(EgressPolicy()) as session:

        async def call() -> int:
            async with session.get(f"http://127.0.0.1:{world.port}/") as response:
                return response.status

        calls = [asyncio.create_task(call()) for _ in range(150)]
        for _ in calls:
            await world.arrival.acquire()
        world.hold.set()
        told = await asyncio.gather(*calls)

    assert told == [200] * 150


def test_a_refusal_is_found_wherever_it_hides() -> None:
    """Causes, contexts and groups are searched, in circles too; other errors hold no refusal."""
    denied = EgressDenied("because")
    caused = ValueError()
    caused.__cause__ = denied
    during = OSError()
    during.__context__ = caused
    circle = KeyError()
    circle.__context__ = during
    during.__cause__ = circle

    for error in (
        denied,
        caused,
        during,
        circle,
        ExceptionGroup("several", [ValueError(), ExceptionGroup("", [caused])]),
    ):
        assert denied_by(error) is denied

    alone = KeyError()
    alone.__context__ = ValueError()
    alone.__context__.__context__ = alone
    assert denied_by(alone) is None
    assert denied_by(PermissionError(13, "Permission denied")) is None
