"""Attacks by what an endpoint does with its connections: stray answers, sockets that nobody reads, handshakes."""

import asyncio
import base64
import secrets
import ssl
import subprocess
import time
from collections import Counter
from pathlib import Path

from acceptance.hostile.endpoints import STREAM, Asked, Connection, completion, delta, hang, response, serve
from acceptance.hostile.requests import chat
from acceptance.hostile.rows import MIB, Bounds, Row, World, told

_GROUP_BITS = 9_984  # OpenSSL refuses above 10,000
_SHAKES = 10
_LATE = 8.0


async def _stray(world: World) -> str:
    """After one answer the endpoint sends another that nobody asked for: at once, a little later, and while the next
    call waits. Every call has a credential of its own and must read its own answer."""
    pauses = iter([0.0, 0.03, 0.0, 0.03, 0.06, 0.0] * 10)

    async def handle(connection: Connection) -> None:
        while asked := await connection.request():
            own, stray = _owned(asked), response(completion("stray"))
            pause = next(pauses, 0.0)
            if not pause:
                await connection.send(own + stray)
                continue
            await connection.send(own)
            await asyncio.sleep(pause)
            await connection.send(stray)

    wrong: Counter[str] = Counter()
    async with serve(handle) as port:
        for number in range(24):
            name = f"client-{number}"
            request = chat(f"http://127.0.0.1:{port}", headers={"Authorization": name})
            try:
                answered = (await world.chat.Chat(request, timeout=10)).choices[0].message.text
            except Exception as error:  # noqa: BLE001 -- every failure counts
                answered = f"{error.__class__.__name__}"
            wrong["own" if answered == name else "foreign"] += 1
            await asyncio.sleep(0.02 if number % 2 else 0.05)
    world.expect(not wrong["foreign"], f"{wrong['foreign']} of 24 calls read what was not theirs")
    return told(wrong)


def _owned(asked: Asked) -> bytes:
    return response(completion(asked.headers.get("authorization", "nobody")))


async def _late_408(world: World) -> str:
    """A balancer closes an idle connection with a 408."""

    async def handle(connection: Connection) -> None:
        while asked := await connection.request():
            await connection.send(_owned(asked))
            await asyncio.sleep(0.03)
            await connection.send(response(b"{}", "408 Request Timeout", "Connection: close"))
            await asyncio.sleep(0.5)
            return

    endings: Counter[str] = Counter()
    async with serve(handle) as port:
        for _ in range(10):
            endings += await world.chats([chat(f"http://127.0.0.1:{port}", attempts=1)], seconds=10)
            await asyncio.sleep(0.08)
    world.expect(endings["OK"] == 10, "the end of an idle connection became a call's error")
    return told(endings)


async def _unread(world: World) -> str:
    """The endpoint accepts and does not read; the client gives up."""

    async def handle(connection: Connection) -> None:
        connection.stop_reading()
        await asyncio.sleep(600)

    text = "x" * (14 * MIB)
    async with serve(handle) as port:
        endings: Counter[str] = Counter()
        for _ in range(6):  # five at a time: what counts is what stays
            endings += await world.chats([chat(f"http://127.0.0.1:{port}", text)] * 5, seconds=1.5)
        await asyncio.sleep(2)
        left = world.server.descriptors
        return f"{told(endings)}; {left} descriptors after 2 s"


async def _tls_cancel(world: World) -> str:
    """An endpoint behind TLS writes and does not read; the client gives up. How long is the socket kept?"""

    async def handle(connection: Connection) -> None:
        await connection.request()
        connection.stop_reading()
        await connection.send(STREAM)
        while not connection.writer.transport.is_closing():
            await connection.send(delta("x") * 10)
            await asyncio.sleep(0.01)

    async with serve(handle, _server_context(world.server.folder)) as port:
        before = world.server.descriptors
        call = world.chat.StreamChat(chat(f"https://127.0.0.1:{port}"), timeout=30)
        await call.read()
        await call.read()
        opened = world.server.descriptors
        call.cancel()
        cancelled = time.monotonic()
        # The honest client may hold one socket more or less at any moment.
        while world.server.descriptors >= opened and time.monotonic() - cancelled < _LATE:  # noqa: ASYNC110 -- a number of the operating system's
            await asyncio.sleep(0.01)
    late = time.monotonic() - cancelled
    world.expect(late < 0.5, f"the connection was kept for {late:.1f} s after the cancel")
    return f"connection gone after {late:.2f} s ({before}, {opened}, {world.server.descriptors} descriptors)"


async def _handshakes(world: World) -> str:
    """TLS 1.2 with a finite-field group of the endpoint's own choice."""
    context = _server_context(world.server.folder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0")
    context.load_dh_params(str(_group(world.server.folder)))
    async with serve(hang, context) as port:
        request = chat(f"https://127.0.0.1:{port}", attempts=1)
        return told(await world.chats([request] * _SHAKES, seconds=10))


def _group(folder: Path) -> Path:
    """Parameters of Diffie-Hellman with a modulus that takes long; that it is a prime nobody checks."""
    modulus = secrets.randbits(_GROUP_BITS) | 1 << (_GROUP_BITS - 1) | 1
    der = _der(0x30, _der(2, b"\x00" + modulus.to_bytes(_GROUP_BITS // 8)) + _der(2, b"\x02"))
    lines = base64.encodebytes(der).decode("ascii")
    file = folder / "group.pem"
    file.write_text(f"-----BEGIN DH PARAMETERS-----\n{lines}-----END DH PARAMETERS-----\n", "ascii")
    return file


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2)
    return bytes([tag]) + length + content


def make_certificate(folder: Path) -> Path:
    """A certificate for loopback that is its own authority, and its key beside it."""
    certificate = folder / "endpoint.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "endpoint.key")]
    subprocess.run([*command, "-out", str(certificate)], check=True, capture_output=True)
    return certificate


def _server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "endpoint.pem", folder / "endpoint.key")
    return context


ROWS = (
    Row(name="stray-answers", fault="2", sent="24 calls, each answer followed by a stray one", attack=_stray),
    Row(name="late-408", fault="2", sent="10 calls, a 408 on each idle connection", attack=_late_408),
    Row(
        name="unread-requests",
        fault="11",
        sent="30 x 14 MB to an endpoint that does not read",
        attack=_unread,
        bounds=Bounds(cpu=6, peak=420),
    ),
    Row(
        name="tls-cancel",
        fault="11",
        sent="a cancel while a TLS endpoint writes and does not read",
        attack=_tls_cancel,
        certificate=True,
    ),
    Row(
        name="dhe-handshakes",
        fault="13",
        sent=f"{_SHAKES} TLS 1.2 handshakes, DHE with {_GROUP_BITS} bits",
        attack=_handshakes,
        certificate=True,
        bounds=Bounds(cpu=2),
    ),
)
