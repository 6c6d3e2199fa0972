"""Attacks by clients that never say who they are, or that keep to no rule of HTTP/2."""

import asyncio
import time

from acceptance.hostile.endpoints import Connection, completion, response, serve
from acceptance.hostile.frames import RawClient, prefix
from acceptance.hostile.requests import chat
from acceptance.hostile.rows import CHAT, GREEDY, HEALTH, MIB, REFLECTION, Attack, Bounds, Row, World, bearer

_STREAMS = 40
_MESSAGE = 15 * MIB
_SENDING = 4.0
_HEADERS_ONLY = 3_900
_ANSWERS = 150


def _endless_messages(path: str) -> Attack:
    """Messages of 15 MB whose last byte never comes."""

    async def run(world: World) -> str:
        client = await RawClient.connect(world.server.port)
        payload = prefix(_MESSAGE) + bytes(_MESSAGE - 1)
        sending = [asyncio.ensure_future(client.send(client.open(path), payload)) for _ in range(_STREAMS)]
        await asyncio.wait(sending, timeout=_SENDING)
        await asyncio.sleep(1.0)
        ended = len(client.ended) if not client.closed else _STREAMS
        for task in sending:
            task.cancel()
        await client.close()
        return f"{client.wrote / MIB:.0f} MiB taken, {ended} of {_STREAMS} streams ended"

    return run


def _headers_only(path: str, seconds: float, token: str = "") -> Attack:
    """Calls that never send a message must end by themselves."""

    async def run(world: World) -> str:
        client = await RawClient.connect(world.server.port)
        for number in range(_HEADERS_ONLY):
            client.open(path, dict(bearer(token)))
            if number % 100 == 99:
                await client.flush()
                await asyncio.sleep(0)
        await client.until(lambda: len(client.ended) == _HEADERS_ONLY, seconds)
        ended = _HEADERS_ONLY if client.closed else len(client.ended)
        await client.close()
        world.expect(ended == _HEADERS_ONLY, f"{_HEADERS_ONLY - ended} calls without a message stay for ever")
        return f"{ended} of {_HEADERS_ONLY} ended"

    return run


async def _resets(world: World) -> str:
    """A call and its reset, as fast as the connection takes them."""
    client = await RawClient.connect(world.server.port)
    end, sent = time.monotonic() + 4.0, 0
    while time.monotonic() < end and not client.closed and not client.goaway:
        for _ in range(50):
            client.reset(client.open(CHAT))
        sent += 50
        await client.flush()
        await asyncio.sleep(0.002)
    ended = "GOAWAY" if client.goaway else "closed" if client.closed else "never stopped"
    await client.close()
    return f"{sent} resets, {ended}"


def _whole_answers(size: int) -> bytes:
    return response(completion("x" * size))


async def _unread_answers(world: World) -> str:
    """Whole answers for a client that lets nothing come."""
    whole = _whole_answers(int(3.4 * MIB))

    async def handle(connection: Connection) -> None:
        while await connection.request():
            await connection.send(whole)

    async with serve(handle) as port:
        message = chat(f"http://127.0.0.1:{port}").SerializeToString()
        client = await RawClient.connect(world.server.port, window=0)
        await asyncio.gather(*(client.call(CHAT, message, dict(bearer(GREEDY))) for _ in range(_ANSWERS)))
        await client.until(lambda: len(client.ended) == _ANSWERS, 12.0)
        await asyncio.sleep(1.0)
        kept = world.server.resident
        ended = _ANSWERS if client.closed else len(client.ended)
        world.expect(ended == _ANSWERS, f"{_ANSWERS - ended} answers that nobody reads stay, {kept / MIB:.0f} MiB")
        await client.close()
    return f"{ended} of {_ANSWERS} calls ended"


async def _slow_reader(world: World) -> str:
    """A client on a slow line reads a whole answer while the server is told to stop."""
    whole = _whole_answers(3 * MIB)

    async def handle(connection: Connection) -> None:
        while await connection.request():
            await connection.send(whole)

    async with serve(handle) as port:
        client = await RawClient.connect(world.server.port, window=65_536)
        await client.call(CHAT, chat(f"http://127.0.0.1:{port}").SerializeToString())
        await client.until(lambda: bool(client.read), 10.0)
        await world.finish()
        stopping = asyncio.ensure_future(world.server.stop(20.0))
        while 1 not in client.ended and not client.closed:
            client.allow(1, 65_536)
            await asyncio.sleep(0.03)
        read, well = client.read[1], 1 in client.well
        code = await stopping
        await client.close()
    world.expect(well, f"only {read / MIB:.1f} of 3 MiB were read, without a status of their own")
    return f"{read / MIB:.1f} MiB read, {'OK' if well else 'no status'}, exit code {code}"


_STRANGERS = Bounds(cpu=2.5, peak=160)
ROWS = (
    *(
        Row(
            name=f"endless-{name}",
            fault="3",
            sent=f"{_STREAMS} x 15 MB without an end {what}",
            attack=_endless_messages(path),
            auth=True,
            bounds=bounds,
        )
        for name, what, path, bounds in (
            ("messages", "or a token, to Chat", CHAT, Bounds(cpu=2.5, peak=80)),
            ("health", "to Health", HEALTH, _STRANGERS),
            ("reflection", "to reflection", REFLECTION, _STRANGERS),
        )
    ),
    *(
        Row(
            name=name,
            fault="3",
            sent=f"{_HEADERS_ONLY:,} calls of headers only, {what}",
            attack=attack,
            auth=True,
            storm=True,
            bounds=bounds,
        )
        for name, what, attack, bounds in (
            ("headers-only", "no token, to Chat", _headers_only(CHAT, 6.0), _STRANGERS),
            ("headers-health", "to Health", _headers_only(HEALTH, 6.0), _STRANGERS),
            (
                "headers-of-a-client",
                "of a client with a token",
                _headers_only(CHAT, 14.0, GREEDY),
                Bounds(cpu=4, peak=160),
            ),
        )
    ),
    Row(
        name="unread-answers",
        fault="15",
        sent=f"{_ANSWERS} answers of 3.4 MB, window zero",
        attack=_unread_answers,
        auth=True,
        flags=("--write-timeout", "3"),
        bounds=Bounds(cpu=8, peak=700),
    ),
    Row(
        name="slow-reader",
        fault="15",
        sent="SIGTERM while an answer of 3 MB is read slowly",
        attack=_slow_reader,
        flags=("--shutdown-grace", "15"),
        bounds=Bounds(stop=20),
    ),
    Row(
        name="rapid-resets",
        fault="18",
        sent="calls and their resets for 4 s",
        attack=_resets,
        bounds=Bounds(cpu=2.5),
    ),
)
