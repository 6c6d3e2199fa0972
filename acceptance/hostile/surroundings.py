"""Attacks through what a process stands on: its name server, its standard error, its clock, its files."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

from acceptance.hostile.endpoints import STREAM, STREAM_END, Connection, answer, delta, serve
from acceptance.hostile.requests import chat
from acceptance.hostile.rows import GREEDY, HONEST, Bounds, Row, World, bearer, outcome, told
from bench.processes import free_port

RESOLVER = "127.77.0.53"
GOOD_NAME = "n{number}.good.test"
_GOOD = "good.test"
_FAILING = 400
_SILENT = 40


class _NameServer(asyncio.DatagramProtocol):
    """Says that every good name is 127.0.0.1, and of other names nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        suffix = b"".join(bytes([len(part)]) + part.encode("ascii") for part in _GOOD.split(".")) + b"\x00"
        end = data.lower().find(suffix, 12)
        if end < 0:
            return
        question = data[12 : end + len(suffix) + 4]
        wants_a = question[-4:-2] == b"\x00\x01"
        head = data[:2] + b"\x81\x80\x00\x01" + (b"\x00\x01" if wants_a else b"\x00\x00") + bytes(4)
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01" if wants_a else b""
        self._transport.sendto(head + question + record, addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[None]:
    """The name server, on loopback.

    Raises:
        PermissionError: its port is not for this user.
    """
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_NameServer, local_addr=(RESOLVER, 53))
    try:
        yield
    finally:
        transport.close()


async def _silent_names(world: World) -> str:
    """Names whose name server says nothing; they are still being asked for when the server is told to stop."""
    found = await _ask_for_silence(world, 0, 4.0)
    await world.finish()
    await _ask_for_silence(world, _SILENT, 0.5)
    return told(found) or f"{_SILENT} still asked"


async def _ask_for_silence(world: World, first: int, seconds: float) -> Counter[str]:
    requests = [chat(f"http://silent-{number}.test") for number in range(first, first + _SILENT)]
    calls = [
        asyncio.ensure_future(outcome(world.chat.Chat(request, timeout=30, metadata=bearer(GREEDY))))
        for request in requests
    ]
    await asyncio.wait(calls, timeout=seconds)
    ended = Counter(call.result() for call in calls if call.done())
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    return ended


async def _failing(world: World, number: int = _FAILING) -> Counter[str]:
    """Calls that fail, each of which writes lines to the log."""
    base = f"http://127.0.0.1:{free_port()}"
    endings: Counter[str] = Counter()
    for _ in range(number // 20):
        endings += await world.chats([chat(base, attempts=1)] * 20, seconds=10, token=GREEDY)
    return endings


async def _stalled_log(world: World) -> str:
    """Nobody reads standard error while calls fail; then somebody does."""
    endings = await _failing(world)
    read = b""
    for _ in range(150):
        with suppress(BlockingIOError):
            read += os.read(world.server.reader, 2**20)
        await asyncio.sleep(0.01)
    lines = [json.loads(line) for line in read.decode("utf-8", "replace").splitlines() if line.startswith("{")]
    lost = sum(int(line.get("lost", 0)) for line in lines)
    world.expect(len(lines) + lost >= _FAILING, f"only {len(lines)} lines came, and {lost} are told as lost")
    _all_documented(world, endings)
    return f"{told(endings)}; {len(lines)} lines came later, {lost} are told as lost"


async def _dead_log(world: World) -> str:
    """The reader of standard error dies. Calls, the watcher of files and the end of the process go on."""
    world.server.close_reader()
    endings = await _failing(world, 100)
    _all_documented(world, endings)
    async with serve(answer("hi")) as port:
        request = chat(f"http://127.0.0.1:{port}")
        tokens = world.server.folder / "tokens"
        # Twice: the first change's line kills a watcher that cannot bear a broken log.
        text = tokens.read_text("ascii")
        tokens.write_text(text + "# changed\n", "ascii")
        await asyncio.sleep(3.5)
        tokens.write_text("\n".join(line for line in text.splitlines() if not line.startswith("greedy")), "ascii")
        ending = ""
        for _ in range(60):
            ending = await outcome(world.chat.Chat(request, timeout=5, metadata=bearer(GREEDY)))
            if ending != "OK":
                break
            await asyncio.sleep(0.1)
        good = await outcome(world.chat.Chat(request, timeout=5, metadata=bearer(HONEST)))
    world.expect(ending.startswith("UNAUTHENTICATED"), f"a token that was taken out of the file: {ending}")
    world.expect(good == "OK", f"a token that stayed in the file: {good}")
    return f"{told(endings)}; token taken out: {ending}"


def _all_documented(world: World, endings: Counter[str]) -> None:
    wrong = [ending for ending in endings if not ending.startswith("UNAVAILABLE ENDPOINT_UNREACHABLE")]
    world.expect(not wrong, f"failing calls ended in {wrong[:2]}")


async def _stopped(world: World) -> str:
    """The process is away for longer than its timeouts while the endpoint goes on."""

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(STREAM)
        for _ in range(28):
            await connection.send(delta("word "))
            await asyncio.sleep(0.25)
        await connection.send(STREAM_END)

    async with serve(handle) as port:
        requests = [chat(f"http://127.0.0.1:{port}") for _ in range(30)]
        calls = asyncio.ensure_future(world.streams(requests, seconds=60))
        await asyncio.sleep(1.0)
        world.server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(4.0)
        world.server.process.send_signal(signal.SIGCONT)
        endings = await calls
    world.expect(endings["OK"] == 30, f"{30 - endings['OK']} of 30 streams failed")
    return told(endings)


ROWS = (
    Row(
        name="silent-names",
        fault="8",
        sent=f"{_SILENT} calls to names whose server is silent, then SIGTERM",
        attack=_silent_names,
        auth=True,
        names=True,
    ),
    Row(
        name="stalled-log",
        fault="9",
        sent=f"{_FAILING} failing calls, nobody reads standard error",
        attack=_stalled_log,
        auth=True,
        pipe=True,
    ),
    Row(
        name="dead-log",
        fault="12",
        sent="failing calls, the reader of standard error is dead",
        attack=_dead_log,
        auth=True,
        pipe=True,
    ),
    Row(
        name="stopped-process",
        fault="14",
        sent="SIGSTOP for 4 s, timeouts of 3 s, 30 streams",
        attack=_stopped,
        flags=("--first-output-timeout", "3", "--between-outputs-timeout", "3"),
        bounds=Bounds(wait=4_600),
    ),
)
