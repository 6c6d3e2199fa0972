"""The key under which a client shares with others: its identity, or its address where nobody said who calls.

It knows gRPC's way of writing addresses, and nothing of calls.
"""

import ipaddress
from functools import lru_cache
from urllib.parse import unquote

# All who come over a Unix socket are one: gRPC tells nothing of them.
LOCAL = "address unix"
# A host of IPv6 has a whole network of this length to itself.
_IPV6_NETWORK = 64


def address_key(peer: str) -> str:
    """The key of an anonymous client. `peer` is what gRPC calls it: `ipv4:10.0.0.1:4711`, `ipv6:[2001:db8::1]:4711`
    (perhaps with its brackets percent-encoded), `unix:…`. Ports do not count, and of IPv6 the network only. The key has
    a space, which names of tokens and certificates do not have."""
    return _key(peer.rpartition(":")[0])


@lru_cache(maxsize=4096)
def _key(address: str) -> str:
    scheme, _, host = address.partition(":")
    if scheme == "ipv4":
        return f"address {host}"
    if scheme != "ipv6":
        return LOCAL
    try:
        parsed = ipaddress.IPv6Address(unquote(host).strip("[]").partition("%")[0])
    except ValueError:
        return f"address {host}"
    if parsed.ipv4_mapped is not None:
        return f"address {parsed.ipv4_mapped}"
    if parsed.is_loopback:
        return f"address {parsed}"
    return f"address {ipaddress.IPv6Network((parsed, _IPV6_NETWORK), strict=False)}"
