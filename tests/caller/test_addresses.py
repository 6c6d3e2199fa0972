"""What an address is, in every form it can be written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.custom_llm.http.addresses import Kind, classify, literal, never_reachable, readings
from tests.caller.spelled import EMBEDDINGS

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "2001:200::1",
    "2001:4860:4860::8888",
]

# Each kind with addresses from both ends of its blocks; the IPv4 ones are embedded in IPv6 below.
SPECIAL = {
    Kind.PRIVATE: (
        "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255 100.64.0.1 100.127.255.255"
        " 198.18.0.1 198.19.255.255 fc00::1 fd12:3456:789a::1 fdff:ffff::1"
    ),
    Kind.LOOPBACK: "127.0.0.0 127.0.0.1 127.0.0.2 127.255.255.255 ::1",
    Kind.LINK_LOCAL: "169.254.0.1 169.254.169.1 169.254.255.255 fe80::1 febf:ffff::1",
    Kind.METADATA: (
        "169.254.169.254 169.254.170.2 169.254.170.23 169.254.169.253 169.254.169.123 169.254.0.23 169.254.42.42"
        " 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe"
        " fd00:42::42 fd00:a9fe:a9fe::1 fd00:100::100:200 fe80::a9fe:a9fe"
    ),
    Kind.FORBIDDEN: (
        "0.0.0.0 0.0.0.1 0.255.255.255 192.0.0.1 192.0.0.8 192.0.0.170 192.0.2.1 192.88.99.1 198.51.100.7 203.0.113.9"
        " 224.0.0.1 233.252.0.1 239.255.255.255 240.0.0.1 255.255.255.254 255.255.255.255 :: 100::1 100:0:0:1::1"
        " 2001:1::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 3fff::1 3fff:fff:ffff::1 5f00::1 fec0::1 feff::1"
        " ff00::1 ff02::1 ff0e::1 4000::1 8000::1 e000::1 200::1 fe00::1"
    ),
}
SPECIAL_ROWS = [(kind, address) for kind, addresses in SPECIAL.items() for address in addresses.split()]
IPV4_ROWS = [(kind, address) for kind, address in SPECIAL_ROWS if "." in address]
IPV4_ROWS += [(Kind.PUBLIC, address) for address in PUBLIC if "." in address]


def _nat64_local(address: str, prefix: int) -> str:
    """The address under 64:ff9b:1::/48 that RFC 6052 makes of an IPv4 address for one prefix length."""
    without_u = int(ipaddress.IPv4Address(address)) << 120 - prefix - 32
    bits = int(ipaddress.IPv6Address("64:ff9b:1::")) | (without_u >> 56 << 64) | (without_u & (1 << 56) - 1)
    return str(ipaddress.IPv6Address(bits))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    """The neighbours of every special block are not part of it."""
    assert classify(address).kind is Kind.PUBLIC


@pytest.mark.parametrize(("kind", "address"), SPECIAL_ROWS)
def test_special_addresses_have_their_kind(kind: Kind, address: str) -> None:
    """Both ends of every special block are part of it, and the verdict says why."""
    verdict = classify(address)

    assert verdict.kind is kind
    assert verdict.reason


@pytest.mark.parametrize("form", EMBEDDINGS)
def test_an_embedded_address_is_judged_as_what_it_is(form: str) -> None:
    """Writing an IPv4 address inside an IPv6 one changes nothing about it."""
    for kind, address in IPV4_ROWS:
        judged = classify(EMBEDDINGS[form](address)).kind

        # What ends in three zeros could be of a shorter local NAT64 prefix as well: the strictest reading counts.
        vague = form.startswith("local") and address.endswith(".0.0.0")
        assert judged >= kind if vague else judged is kind, address


@pytest.mark.parametrize(("kind", "address"), [row for row in IPV4_ROWS if row[1] != "0.0.0.1"])  # that is ::1
def test_a_compatible_address_is_judged_as_what_it_is(kind: Kind, address: str) -> None:
    """The oldest embedding, ::a.b.c.d, is seen through like the others."""
    assert classify(f"::{address}").kind is kind


@pytest.mark.parametrize("prefix", [48, 56, 64])
def test_local_nat64_is_never_milder_than_what_it_leads_to(prefix: int) -> None:
    """Whichever prefix length an operator chose for NAT64, the address behind it counts."""
    for kind, address in IPV4_ROWS:
        assert classify(_nat64_local(address, prefix)).kind >= kind, (prefix, address)

    assert classify(_nat64_local("8.8.8.8", prefix)).kind is Kind.PUBLIC


NO_ADDRESS = (
    "localhost 127.1 0177.0.0.1 0x7f.0.0.1 2130706433 1.2.3 1.2.3.4.5 256.1.1.1 1.2.3.4/32 127.0.0.1. ::1:: [::1]"
    " 2606:4700::1%eth0 fe80::1%1 ::g"
)


@pytest.mark.parametrize("text", ["", " 127.0.0.1", "127.0.0.1\n", "\uff11\uff12\uff17.0.0.1", *NO_ADDRESS.split()])
def test_what_is_no_plain_address_is_never_allowed(text: str) -> None:
    """A resolver that answers with anything but a plain numeric address is not believed."""
    assert classify(text).kind.never


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(EMBEDDINGS)))
def test_no_embedding_is_milder_than_its_address(bits: int, form: str) -> None:
    """For any IPv4 address and any embedding, the IPv6 address is judged at least as strictly."""
    address = str(ipaddress.IPv4Address(bits))

    assert classify(EMBEDDINGS[form](address)).kind >= classify(address).kind


@given(st.integers(0, 2**128 - 1))
def test_every_ipv6_address_has_readings(bits: int) -> None:
    """Judging never fails, and what is outside the global unicast block is public only by what is embedded in it."""
    address = ipaddress.IPv6Address(bits)

    if classify(str(address)).kind is Kind.PUBLIC:
        assert bits >> 125 == 1 or all(isinstance(reading, ipaddress.IPv4Address) for reading in readings(address))


@pytest.mark.parametrize("host", ["localhost", "a.example", "1a.example", "0x.example", "beef", "a.b.c.d", "x1", "0xg"])
def test_names_are_not_addresses(host: str) -> None:
    """A host whose last label is not a number is a name."""
    assert literal(host) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "[::ffff:127.0.0.1]", "8.8.8.8", "255.255.255.255"])
def test_plain_addresses_are_read(host: str) -> None:
    """An address in its plain form is an address, bracketed or not."""
    assert literal(host) == ipaddress.ip_address(host.strip("[]"))


FULL_WIDTH = ("\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021")
NOT_PLAIN = (
    "127.1 127.0.1 0x7f.1 0x7f.0.0.1 0177.0.0.1 0177.1 017700000001 2130706433 0x7f000001 0X7F000001 127.0.0.1."
    " 127.0.0.01 127.0.0.0x1 1.2.3.4.5 256.0.0.1 999999999999 0 0x a.0 a.0x7f a.1. 127.0.0.1.. b\u00fccher.example"
    " [::1 ::1] [] [127.0.0.1] [localhost] fe80::1%eth0 [fe80::1%25eth0] [::1%1] 1::2::3 : a:b 12345::"
)


@pytest.mark.parametrize("host", [*NOT_PLAIN.split(), *FULL_WIDTH])
def test_odd_spellings_are_refused(host: str) -> None:
    """A host that some program would read as an address, and we would not, is read by nobody."""
    with pytest.raises(ValueError, match=r"\w"):
        literal(host)


@pytest.mark.parametrize("network", ["169.254.0.0/16", "169.254.169.254/32", "fe80::/64", "224.0.0.0/8", "0.0.0.0/32"])
def test_a_block_of_forbidden_addresses_can_never_be_reached(network: str) -> None:
    """A block that lies in a forbidden one is known as such."""
    assert never_reachable(ipaddress.ip_network(network))


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "10.0.0.0/8", "127.0.0.0/8", "160.0.0.0/4", "fd00::/8"])
def test_a_block_that_merely_holds_forbidden_addresses_is_not_refused(network: str) -> None:
    """A block with both kinds of addresses may be listed; its forbidden addresses stay forbidden."""
    assert never_reachable(ipaddress.ip_network(network)) is None
