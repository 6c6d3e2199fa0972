"""What the operator allows the service to connect to: the policy, its allowlist, and the refusal.

Rule: pure. A policy is a value that answers two questions, before any name lookup (`check_url`) and for one numeric
address (`refusal`). It opens no socket, asks no resolver and does not know aiohttp; what an address *is* stands in
`addresses`.

| mode | allowed |
|---|---|
| `open` | public, private and loopback addresses, over http or https |
| `public-only` | public addresses over https (http too with `allow_http`), and what the allowlist adds |
| `allowlist` | what the allowlist names, over http or https |

Metadata, link-local, multicast, broadcast, unspecified and reserved addresses are allowed by none of them, nor by an
entry of the allowlist, nor as the answer of a listed name.
"""

from __future__ import annotations

import enum
import errno
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self, assert_never

from caller.custom_llm.http.addresses import Kind, Network, classify, literal, never_reachable, readings

_NOT_ALLOWED: Final = "the address is not allowed by the egress policy"
_NEVER: Final = "the address is not allowed by any egress policy"
_NOT_HTTP: Final = "only http and https addresses may be called"
_PLAIN_HTTP: Final = "plain http is not allowed by the egress policy public-only, https is"
_MALFORMED: Final = "the host is neither a name nor an IP address in its plain form"

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_ANY_PORT: Final = range(1, 65536)
# Names at which clouds answer questions about the machine itself: Google, Amazon (in EC2's own DNS), Azure, Oracle,
# Tencent, Equinix; the bare ones hold within a search domain.
_METADATA_NAMES: Final = frozenset(
    {
        *("metadata", "metadata.google.internal", "metadata.goog", "metadata.google", "metadata.internal"),
        *("metadata.azure.internal", "metadata.azure.com", "metadata.oraclecloud.com", "metadata.tencentyun.com"),
        *("metadata.platformequinix.com", "metadata.packet.net", "instance-data", "instance-data.ec2.internal"),
    }
)


class EgressDenied(OSError):
    """The egress policy does not allow a connection.

    The text can be shown to anyone: it depends on what was asked for and on the policy, never on what a name lookup
    or the network answered. `reason` is for the operator's log only.
    """

    reason: str

    def __init__(self, reason: str, text: str = _NOT_ALLOWED) -> None:
        super().__init__(errno.EACCES, text)
        self.reason = reason


class Mode(enum.StrEnum):
    """What is allowed where the allowlist is silent."""

    OPEN = "open"
    PUBLIC_ONLY = "public-only"
    ALLOWLIST = "allowlist"


# The text for a name that leads elsewhere.
_ALLOWS: Final = {
    Mode.OPEN: "the name leads to an address that no policy allows, such as link-local or metadata ones",
    Mode.PUBLIC_ONLY: "the name has to lead to public addresses, or be on the list of egress_allow",
    Mode.ALLOWLIST: "the name, or all that it leads to, has to be on the list of egress_allow",
}


@dataclass(frozen=True, slots=True)
class HostEntry:
    """An allowed host name (lower case); with `subdomains`, every name below it and not the name itself."""

    name: str
    subdomains: bool = False
    ports: range = _ANY_PORT

    def matches(self, name: str, port: int) -> bool:
        """Whether `name` (lower case, without a final dot) at `port` is meant."""
        return port in self.ports and (name.endswith(f".{self.name}") if self.subdomains else name == self.name)


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """Allowed addresses."""

    network: Network
    ports: range = _ANY_PORT


Entry = HostEntry | NetworkEntry


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Which endpoints may be called. `allow_http` matters in the mode `public-only` alone."""

    mode: Mode = Mode.OPEN
    allow: tuple[Entry, ...] = ()
    allow_http: bool = False

    @classmethod
    def parse(cls, mode: str, allow: Iterable[str] = (), *, allow_http: bool = False) -> Self:
        """The policy an operator wrote.

        An entry of `allow` is a host name (`llm.internal`), every name below one (`*.example.com`), an address or a
        CIDR block (`10.0.0.0/8`, `fd00::/8`), each with an optional port or range of ports (`llm.internal:8000`,
        `10.0.0.0/8:8000-9000`, `[fd00::/8]:443`). Blank entries are skipped. Raises ValueError naming the entry that
        cannot be read or could never be reached, and for an allowlist under `open`, which would restrict nothing.
        """
        try:
            known = Mode(mode)
        except ValueError:
            raise ValueError(f"egress policy {mode!r} is not one of {', '.join(Mode)}") from None
        entries = tuple(parse_entry(entry.strip()) for entry in allow if entry.strip())
        if entries and known is Mode.OPEN:
            raise ValueError("an egress allowlist restricts nothing under the policy open: choose allowlist")
        return cls(known, entries, allow_http)

    @classmethod
    def only(cls, host: str, port: int) -> Self:
        """The policy that allows one host at one port, wherever it is; for a proxy. ValueError if nothing can."""
        return cls(Mode.ALLOWLIST, (parse_entry(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),))

    def check_url(self, scheme: str, host: str, port: int) -> None:
        """Refuse what can be refused before any name lookup; raises `EgressDenied`.

        `host` is as it stands on the wire: lower case, a name in its `xn--` form (`raw_host` of a yarl URL).
        """
        if scheme not in ("http", "https"):
            raise EgressDenied(f"scheme {scheme[:20]!r}", _NOT_HTTP)
        if scheme == "http" and self.mode is Mode.PUBLIC_ONLY and not self.allow_http:
            raise EgressDenied("plain http", _PLAIN_HTTP)
        if port not in _ANY_PORT:
            raise EgressDenied(f"port {port}")
        try:
            address = literal(host)
        except ValueError:
            raise EgressDenied("malformed host", _MALFORMED) from None
        if address is not None:
            self.check_address(str(address), port)
            return
        if not _NAME.fullmatch(_plain(host)):
            raise EgressDenied("malformed host", _MALFORMED)
        if not self._may_resolve(host, port):
            raise EgressDenied(f"{host}:{port}: not on the allowlist", self._denied("not on the list of egress_allow"))

    def check_address(self, address: str, port: int, host: str | None = None) -> None:
        """Refuse an address that must not be connected to; raises `EgressDenied`. `host`: the name that led there.

        The text says what an address is that was given as one; of a name only what is allowed, whatever it led to.
        """
        reason = self.refusal(address, port, host)
        if reason is None:
            return
        if host is not None and literal(host) is None:
            raise EgressDenied(f"{host} leads to {reason}", self._denied(_ALLOWS[self.mode]))
        verdict = classify(address)
        what = (
            f"{verdict.reason} address"
            if verdict.kind is not Kind.PUBLIC
            else "address that egress_allow does not have"
        )
        raise EgressDenied(reason, f"{_NEVER}: {what}" if verdict.kind.never else self._denied(what))

    def unresolved(self, host: str, why: object) -> EgressDenied:
        """The refusal for a name without an address, in the words for one that leads where nobody may call."""
        return EgressDenied(f"{host}: lookup failed, {why}", self._denied(_ALLOWS[self.mode]))

    def _denied(self, what: str) -> str:
        return f"{_NOT_ALLOWED} {self.mode}: {what}"

    def check_proxied(self, host: str, port: int) -> None:
        """Refuse what must not reach a proxy, which resolves names by itself; raises `EgressDenied`."""
        if _plain(host) in _METADATA_NAMES:
            raise EgressDenied(f"{host}: cloud metadata, by name")
        if self.mode is Mode.ALLOWLIST and literal(host) is None and not self.names(host, port):
            raise EgressDenied(f"{host}: not on the allowlist by name, and the proxy hides its addresses")

    def refusal(self, address: str, port: int, host: str | None = None) -> str | None:
        """Why `address` at `port` must not be connected to, or None if it may; `host` is the name that led there."""
        verdict = classify(address)
        if verdict.kind.never:
            return f"{address}: {verdict.reason}"
        if (host is not None and self.names(host, port)) or self._lists(address, port):
            return None
        match self.mode:
            case Mode.OPEN:
                return None
            case Mode.PUBLIC_ONLY:
                return None if verdict.kind is Kind.PUBLIC else f"{address}: {verdict.reason}"
            case Mode.ALLOWLIST:
                return f"{address}:{port}: not on the allowlist"
            case _:
                assert_never(self.mode)

    def names(self, host: str, port: int) -> bool:
        """Whether the allowlist has this host at this port by its name."""
        name = _plain(host)
        return any(isinstance(entry, HostEntry) and entry.matches(name, port) for entry in self.allow)

    def hides_unknown(self, host: str, port: int) -> bool:
        """Whether a name without an address must answer like a forbidden one, so as not to map the inner network."""
        return self.mode is not Mode.OPEN and not self.names(host, port)

    def _may_resolve(self, host: str, port: int) -> bool:
        """Whether some answer of a lookup could be allowed: blocks are judged by the answers, not by the name."""
        listed = any(isinstance(entry, NetworkEntry) and port in entry.ports for entry in self.allow)
        return self.mode is not Mode.ALLOWLIST or listed or self.names(host, port)

    def _lists(self, address: str, port: int) -> bool:
        networks = [entry.network for entry in self.allow if isinstance(entry, NetworkEntry) and port in entry.ports]
        return bool(networks) and all(
            any(reading in network for network in networks) for reading in readings(ipaddress.ip_address(address))
        )


def parse_entry(text: str) -> Entry:
    """One entry of an allowlist, as `EgressPolicy.parse` describes it; raises ValueError naming the entry."""
    try:
        target, ports = _split_ports(text)
        return _network_entry(target, ports) or _host_entry(target, ports)
    except ValueError as error:
        raise ValueError(f"egress allowlist entry {text!r}: {error}") from None


def _plain(host: str) -> str:
    return host.removesuffix(".").lower()


def _split_ports(text: str) -> tuple[str, range]:
    if text.startswith("["):
        target, closing, rest = text[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")):
            raise ValueError("expected [address] or [address]:port")
        return target, _ports(rest[1:]) if rest else _ANY_PORT
    if text.count(":") == 1:
        target, _, rest = text.partition(":")
        return target, _ports(rest)
    return text, _ANY_PORT


def _ports(text: str) -> range:
    found = _PORTS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a port or a range of ports")
    first = int(found[1])
    last = int(found[2] or first)
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"{text!r} is not a port or a range of ports from 1 to 65535")
    return range(first, last + 1)


def _network_entry(target: str, ports: range) -> NetworkEntry | None:
    """The entry if `target` is an address or a block, None if it can only be a name."""
    if "/" not in target and ":" not in target and literal(target) is None:
        return None
    network = ipaddress.ip_network(target)
    reason = never_reachable(network)
    if reason is not None:
        raise ValueError(f"never allowed ({reason})")
    if readings(network.network_address) != (network.network_address,):
        raise ValueError("has IPv4 addresses embedded: list those instead")
    return NetworkEntry(network, ports)


def _host_entry(target: str, ports: range) -> HostEntry:
    name = _plain(target)
    subdomains = name.startswith("*.")
    name = name.removeprefix("*.")
    if not _NAME.fullmatch(name):
        raise ValueError("not a host name (write names that are not ASCII in their xn-- form), address or CIDR block")
    return HostEntry(name, subdomains, ports)
