"""Closes connections of clients that cost more than their calls: one that leaves answers unread, one that resets calls
as fast as it makes them.

gRPC's server (grpcio 1.85.3) keeps what a stream could not send for as long as its connection lives, can reset no
stream from Python, and draws no line for clients that reset theirs: closing the socket is the one way to end either. A
connection is judged by itself, so that a proxy's other connections go on; the bounds are far above what a client that
reads can reach. It knows peers as gRPC names them, and no calls.
"""

import asyncio
import os
import socket
from collections import Counter
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import unquote

import structlog

# What may wait on one connection for a client that was given up on: streams, and their bytes.
_MOST_UNREAD = 64
_MOST_UNREAD_BYTES = 16 * 1024 * 1024
# Calls that a client resets in the moment in which it makes them, on one connection, and in which time. A client that
# changes its mind about a hundred calls a second, each within a tenth of a second, is none. The time is short, since
# thousands of further ones have come once the first are counted.
EARLY_SECONDS = 0.1
_MOST_RESETS = 250
_RESET_SECONDS = 2.5
_DESCRIPTORS = Path("/dev/fd")


class Connections:
    """Counts per connection, and closes."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("integration_api.connections")
        self._clock = asyncio.get_running_loop().time
        self._unread: Counter[str] = Counter()
        self._unread_bytes: Counter[str] = Counter()
        self._resets: Counter[str] = Counter()
        self._resets_until = 0.0
        self._closing: dict[str, asyncio.Task[None]] = {}

    def left_unread(self, peer: str, size: int) -> None:
        """A client was given up on that left a frame of this size unread."""
        self._unread[peer] += 1
        self._unread_bytes[peer] += size
        if self._unread[peer] >= _MOST_UNREAD or self._unread_bytes[peer] >= _MOST_UNREAD_BYTES:
            self._close(peer, "answers that its client does not read")

    def gone(self, peer: str, size: int) -> None:
        """Such a frame was read at last, or went with its stream."""
        for counts, amount in ((self._unread, 1), (self._unread_bytes, size)):
            counts[peer] -= amount
            if counts[peer] <= 0:
                del counts[peer]

    def reset(self, peer: str) -> None:
        """A client reset a call that it had only just made."""
        now = self._clock()
        if now >= self._resets_until:
            self._resets.clear()
            self._resets_until = now + _RESET_SECONDS
        self._resets[peer] += 1
        if self._resets[peer] == _MOST_RESETS:
            self._close(peer, "calls that its client resets at once")

    def _close(self, peer: str, reason: str) -> None:
        if peer in self._closing:
            return
        closing = asyncio.create_task(asyncio.to_thread(close_connection, peer))
        self._closing[peer] = closing
        closing.add_done_callback(lambda _: self._closing.pop(peer))
        with suppress(Exception):  # a log that fails changes nothing
            self._log.warning("connection.closed", peer=peer, reason=reason)


def close_connection(peer: str) -> None:
    """Close the TCP connection to a peer, if this process has one; its streams end as with any that is lost."""
    for entry in _DESCRIPTORS.iterdir():
        with suppress(OSError, ValueError):
            copy = os.dup(int(entry.name))
            try:
                connection = socket.socket(fileno=copy)
            except OSError:  # no socket
                os.close(copy)
                continue
            with connection:
                if _name(connection) == _plain(peer):
                    connection.shutdown(socket.SHUT_RDWR)


def _name(connection: socket.socket) -> tuple[str, str]:
    """Address and port of the other side; empty where it has none."""
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return "", ""
    host, port, *_ = connection.getpeername()
    return _unmapped(host), str(port)


def _plain(peer: str) -> tuple[str, str]:
    """Address and port of what gRPC calls `ipv4:10.0.0.1:4711` or `ipv6:[2001:db8::1]:4711`."""
    scheme, _, rest = peer.partition(":")
    host, _, port = rest.rpartition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return "unreachable", ""
    return _unmapped(unquote(host).strip("[]")), port


def _unmapped(host: str) -> str:
    if ":" not in host:
        return host
    address = IPv6Address(host)
    return str(address.ipv4_mapped or address)
