"""How clients share what is bounded, and under which key each of them does."""

import pytest

from integration_api.rpc.clients import LOCAL, address_key
from integration_api.rpc.shares import Shares


def taken(shares: Shares, client: str) -> int:
    """Take for a client until it may take no more; how many it got."""
    count = 0
    while shares.allows(client) and count < 1000:
        shares.acquire(client)
        count += 1
    return count


def test_a_client_alone_leaves_some_for_whoever_comes() -> None:
    """An eighth, at least one; the next client finds it, and the first may take no more while it is above its half."""
    shares = Shares(10, 0.5)

    assert taken(shares, "a") == 9
    assert taken(shares, "b") == 1
    shares.release("a")
    assert not shares.allows("a")
    assert shares.allows("b")


def test_clients_that_come_together_have_half_each() -> None:
    """Neither takes more while the other holds some."""
    shares = Shares(10, 0.5)
    shares.acquire("a")
    shares.acquire("b")

    assert (taken(shares, "a"), taken(shares, "b")) == (4, 4)
    assert shares.full


def test_a_share_of_one_is_no_share() -> None:
    """All of it, for whoever comes first."""
    assert taken(Shares(10, 1.0), "a") == 10


def test_no_limit_stays_none() -> None:
    """Zero bounds nobody."""
    assert taken(Shares(0, 0.5), "a") == 1000


def test_what_is_larger_than_the_limit_is_held_alone() -> None:
    """One answer above the bound goes through when nothing else is held."""
    shares = Shares(10, 0.5)
    assert shares.allows("a", 50)
    shares.acquire("a", 50)
    assert not shares.allows("b", 1)
    shares.release("a", 50)
    assert (shares.total, dict(shares.held)) == (0, {})


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("ipv4:10.0.0.1:4711", "address 10.0.0.1"),
        ("ipv4:10.0.0.1:4712", "address 10.0.0.1"),
        ("ipv6:[::1]:4711", "address ::1"),
        ("ipv6:%5B::1%5D:4711", "address ::1"),
        ("ipv6:[::ffff:10.0.0.1]:1", "address 10.0.0.1"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:1", "address 2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:1", "address 2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%eth0]:1", "address fe80::/64"),
        ("unix:/run/socket", LOCAL),
        ("unix:", LOCAL),
    ],
)
def test_an_anonymous_client_is_its_address(peer: str, key: str) -> None:
    """Without the port; a host of IPv6 is its network."""
    assert address_key(peer) == key
