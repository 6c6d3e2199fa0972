"""The ways to write an IPv4 address so that it does not look like one."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final


def _bits(address: str) -> int:
    return int(ipaddress.ip_address(address))


def _ipv6(bits: int) -> str:
    return str(ipaddress.IPv6Address(bits))


EMBEDDINGS: Final[dict[str, Callable[[str], str]]] = {
    "mapped": lambda a: f"::ffff:{a}",
    "mapped in hexadecimal": lambda a: _ipv6(0xFFFF << 32 | _bits(a)),
    "mapped in full": lambda a: ipaddress.IPv6Address(f"::ffff:{a}").exploded,
    "translated": lambda a: f"::ffff:0:{a}",
    "NAT64": lambda a: f"64:ff9b::{a}",
    "local NAT64": lambda a: f"64:ff9b:1::{a}",
    "local NAT64 in a subnet": lambda a: f"64:ff9b:1:fffe::{a}",
    "6to4": lambda a: _ipv6(0x2002 << 112 | _bits(a) << 80 | 1),
    "Teredo client": lambda a: _ipv6(0x2001 << 112 | _bits("8.8.8.8") << 64 | (~_bits(a) & 0xFFFF_FFFF)),
    "Teredo server": lambda a: _ipv6(0x2001 << 112 | _bits(a) << 64 | (~_bits("8.8.8.8") & 0xFFFF_FFFF)),
    "ISATAP": lambda a: _ipv6(_bits("2606:4700::5efe:0:0") | _bits(a)),
    "ISATAP, universal": lambda a: _ipv6(_bits("2606:4700::200:5efe:0:0") | _bits(a)),
    "ISATAP in 6to4": lambda a: _ipv6(0x2002_0808_0808 << 80 | 0x5EFE << 32 | _bits(a)),
}


def numeric_forms(address: str) -> Iterator[str]:
    """What the C library, a proxy or another parser of URLs may take for the same IPv4 address."""
    bits = _bits(address)
    a, b, c, d = (int(part) for part in address.split("."))
    yield from (f"{bits}", f"0x{bits:x}", f"0X{bits:08X}", f"0{bits:o}", f"{bits + 2**32}")
    yield from (f"{a}.{bits & 0xFFFFFF}", f"{a}.{b}.{bits & 0xFFFF}", f"0x{a:x}.{bits & 0xFFFFFF}")
    yield from (f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:04}.{b:04}.{c:04}.{d:04}")
    yield from (f"{a}.{b}.{c}.0x{d:x}", f"0{a:o}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d}.", f"{a}.{b}.{c}.{d}..")
    yield from (f"{a + 256}.{b}.{c}.{d}", f"{a}.{b}.{c}.{d}.0", f"0{a:o}.{bits & 0xFFFFFF}.")
