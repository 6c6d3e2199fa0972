"""What an IP address is: public, private, loopback, or one that nobody may be sent to.

Rule: pure functions over one constant table. This module knows no policy, no name lookup and no socket. It does not
ask `ipaddress` whether an address is global or private: that answer differs between patch releases of Python and
passes addresses in which a forbidden IPv4 address is embedded.

The table follows the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates), the multicast
blocks, and the addresses at which clouds answer questions about the machine itself. Two readings of ours:

* an address that may be forwarded but is not global (RFC 1918, shared address space, unique local, benchmarking,
  which some development proxies hand out) is PRIVATE;
* of IPv6 only 2000::/3, the global unicast block, can be PUBLIC: what is not assigned yet is FORBIDDEN.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, assert_never

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Kind(enum.IntEnum):
    """What an address is, from the mildest to the strictest: where several hold, the greatest counts."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    FORBIDDEN = 3
    LINK_LOCAL = 4
    METADATA = 5

    @property
    def never(self) -> bool:
        """Whether no policy may allow it."""
        match self:
            case Kind.PUBLIC | Kind.PRIVATE | Kind.LOOPBACK:
                return False
            case Kind.FORBIDDEN | Kind.LINK_LOCAL | Kind.METADATA:
                return True
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one address: its kind, and why in a few words for the operator's log."""

    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class _Special:
    network: Network
    verdict: Verdict


def _rows(kind: Kind, **reasons: str) -> Iterator[_Special]:
    """One row for each network; `reasons` maps a reason (underscores for spaces) to its networks."""
    for reason, networks in reasons.items():
        verdict = Verdict(kind, reason.replace("_", " "))
        for network in networks.split():
            yield _Special(ipaddress.ip_network(network), verdict)


_TABLE: Final[tuple[_Special, ...]] = (
    *_rows(
        Kind.METADATA,
        # AWS, Google, Azure, Oracle and others; ECS; EKS; AWS DNS and time; Tencent; Scaleway; Alibaba; Azure's wire
        # server, a public address; Oracle classic.
        cloud_metadata=(
            "169.254.169.254 169.254.170.2 169.254.170.23 169.254.169.253 169.254.169.123 169.254.0.23 169.254.42.42"
            " 100.100.100.200 168.63.129.16 192.0.0.192"
            # AWS's own services (metadata, EKS, DNS, time); Google; Oracle; Scaleway; Akamai; Alibaba; OpenStack.
            " fd00:ec2::/32 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 fd00:a9fe:a9fe::1 fd00:100::100:200"
            " fe80::a9fe:a9fe"
        ),
    ),
    *_rows(Kind.LINK_LOCAL, link_local="169.254.0.0/16 fe80::/10"),
    *_rows(Kind.LOOPBACK, loopback="127.0.0.0/8 ::1"),
    *_rows(
        Kind.PRIVATE,
        private_use="10.0.0.0/8 172.16.0.0/12 192.168.0.0/16",
        shared_address_space="100.64.0.0/10",
        unique_local="fc00::/7",
        benchmarking="198.18.0.0/15",
    ),
    *_rows(
        Kind.FORBIDDEN,
        unspecified="0.0.0.0 ::",
        this_network="0.0.0.0/8",
        multicast="224.0.0.0/4 ff00::/8",
        broadcast="255.255.255.255",
        reserved="240.0.0.0/4",
        documentation="192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
        protocol_assignments="192.0.0.0/24 2001::/23",
        relay_anycast="192.88.99.0/24",
        discard_only="100::/64 100:0:0:1::/64",
        site_local="fec0::/10",
        segment_routing="5f00::/16",
    ),
)

_NOT_ASSIGNED: Final = Verdict(Kind.FORBIDDEN, "not assigned")
_PUBLIC: Final = Verdict(Kind.PUBLIC, "public")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")

# Prefixes followed by the whole IPv4 address in the last 32 bits: IPv4-mapped, IPv4-translated (SIIT, RFC 2765),
# IPv4-compatible, the well-known NAT64 prefix (RFC 6052).
_IPV4_LAST: Final = tuple(IPv6Network(n) for n in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96"))
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
# The interface identifiers of ISATAP (RFC 5214), universal bit clear and set, under any prefix.
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)


# Every request is judged, and most go to the few addresses that went before.
_KEPT: Final = 4096


@lru_cache(_KEPT)
def classify(address: str) -> Verdict:
    """Judge one numeric address as a socket or a resolver names it; what cannot be read is FORBIDDEN.

    An address with IPv4 addresses embedded is judged by them, the strictest counting.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return Verdict(Kind.FORBIDDEN, "not an IP address")
    if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
        return Verdict(Kind.LINK_LOCAL, "address with a zone")
    return max((_judge(reading, parsed) for reading in readings(parsed)), key=lambda verdict: verdict.kind)


def readings(address: Address) -> tuple[Address, ...]:
    """The addresses that packets sent to `address` may end at: itself, or the IPv4 addresses embedded in it.

    IPv4-mapped, -translated and -compatible, NAT64 (well-known and local-use prefix), 6to4 and Teredo stand for the
    embedded address alone; an ISATAP address counts as itself and as the embedded one.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    bits = int(address)
    isatap = (_ipv4(bits),) if bits >> 32 & 0xFFFF_FFFF in _ISATAP else ()
    return (*(_embedded(address, bits) or (address,)), *isatap)


def never_reachable(network: Network) -> str | None:
    """Why no policy can allow any address of `network`, or None if it can allow some."""
    for row in _TABLE:
        inside = network.network_address in row.network and network.prefixlen >= row.network.prefixlen
        if inside and row.verdict.kind.never:
            return row.verdict.reason
    return None


@lru_cache(_KEPT)
def literal(host: str) -> Address | None:
    """The address a URL's host spells (IPv6 with or without brackets), or None if it is a name.

    Raises ValueError for what is neither: a host whose last label is a number and which is not four plain decimal
    numbers (the C library reads `127.1`, `0x7f.1`, `0177.0.0.1` and `2130706433` as addresses, and so may a proxy),
    an IPv6 address with a zone, a host that is not ASCII (on the wire a name is in its `xn--` form).
    """
    if not host.isascii():
        raise ValueError("not ASCII")
    if host.startswith("[") or ":" in host:
        inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if "%" in inner:
            raise ValueError("address with a zone")
        return IPv6Address(inner)
    if not _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return None
    address = IPv4Address(host)
    if str(address) != host:
        raise ValueError("not a plain dotted address")
    return address


_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def _judge(address: Address, whole: Address) -> Verdict:
    found = [row.verdict for row in _TABLE if address in row.network]
    if not found and isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        found.append(_NOT_ASSIGNED)
    verdict = max(found, key=lambda one: one.kind, default=_PUBLIC)
    return verdict if address == whole else Verdict(verdict.kind, f"{verdict.reason}, embedded in IPv6")


def _ipv4(bits: int) -> IPv4Address:
    return IPv4Address(bits & 0xFFFF_FFFF)


def _embedded(address: IPv6Address, bits: int) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that the prefix of `address` says are in it."""
    if address in _SIX_TO_FOUR:
        return (_ipv4(bits >> 80),)
    if address in _TEREDO:
        # The server, and the client behind its translator, whose bits are inverted (RFC 4380).
        return (_ipv4(bits >> 64), _ipv4(~bits))
    if address in _LOCAL_NAT64:
        return tuple(_local_nat64(bits))
    if any(address in network for network in _IPV4_LAST) and bits > 1:  # :: and ::1 are themselves
        return (_ipv4(bits),)
    return ()


def _local_nat64(bits: int) -> Iterator[IPv4Address]:
    """Every reading of an address under 64:ff9b:1::/48, whose operator chose the prefix length (RFC 6052, 2.2).

    The IPv4 address starts after the prefix and skips bits 64 to 71, which are zero, as is everything behind it.
    """
    if bits & 0xFFFF_FFFF:
        yield _ipv4(bits)
    if bits >> 56 & 0xFF:
        return
    without_u = (bits >> 64 << 56) | (bits & (1 << 56) - 1)  # 120 bits
    for prefix in (48, 56, 64):
        behind = 120 - prefix - 32
        if not without_u & (1 << behind) - 1:
            yield _ipv4(without_u >> behind)
