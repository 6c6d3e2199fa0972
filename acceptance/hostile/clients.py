"""Attacks by clients that are let in: requests that hold much, and what is shared by all taken by one."""

import asyncio
import math
import time
from collections import Counter
from contextlib import suppress
from itertools import count, repeat

import grpc

from acceptance.hostile.endpoints import (
    STREAM,
    STREAM_END,
    Connection,
    answer,
    completion,
    delta,
    hang,
    response,
    serve,
)
from acceptance.hostile.requests import chat, configuration, turn, unified
from acceptance.hostile.rows import GREEDY, HONEST, MIB, Attack, Bounds, Row, World, bearer, outcome, read_all, told
from integration_api.v1 import chat_service_pb2 as pb

_TEXT = '{"x":[' + ",".join(repeat("{}", 5_000_000)) + "]}"
_WAITING = 4
_TURNS = 1_000
_ENDINGS = 5_000
_SIDE_BY_SIDE = 5
_BIG = "x" * 300_000
_STREAMS = 500
_DYING = 2_000
_QUEUED = 4_000


def _json_text(form: str) -> Attack:
    """Requests of 15 MB whose JSON text holds five million values."""

    async def run(world: World) -> str:
        async with serve(hang) as port:
            base = f"http://127.0.0.1:{port}"
            if form in {"parameters", "response_format"}:
                wire = unified(base, **{form: _TEXT})
                calls = [world.unified.Chat(wire, timeout=6) for _ in range(_WAITING)]
            else:
                request = _with_arguments(base)
                calls = [world.chat.Chat(request, timeout=6) for _ in range(_WAITING)]
            return told(Counter(await asyncio.gather(*(outcome(call) for call in calls))))

    return run


def _with_arguments(base: str) -> pb.ChatRequest:
    request = chat(base, api="anthropic_messages")
    said = request.messages.add().assistant
    said.tool_calls.add(id="1", name="f", arguments=_TEXT)
    request.messages.add().tool.tool_call_id = "1"
    return request


async def _barge_ins(world: World) -> str:
    """Turn after turn, each superseded by the next as soon as it runs."""
    asked = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        asked.set()
        await connection.reader.read()

    async with serve(handle) as port:
        call = world.unified.StreamChat()
        await call.write(configuration(f"http://127.0.0.1:{port}"))
        await call.read()
        reading = asyncio.ensure_future(_drain(call))
        base = 0
        for number in range(_TURNS + 50):
            if number == 50:  # what pools and arenas take is taken by now
                base = world.server.resident
            asked.clear()
            await call.write(turn(str(number), _BIG))
            async with asyncio.timeout(10):
                await asked.wait()
        await asyncio.sleep(0.5)
        grown = (world.server.resident - base) / MIB
        call.cancel()
        await asyncio.wait([reading])
    world.expect(grown < 40, f"{grown:.0f} MiB stay after {_TURNS} turns")
    return f"{grown:+.0f} MiB after {_TURNS} turns"


async def _drain(call: "grpc.aio.StreamStreamCall[object, object]") -> None:
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except asyncio.CancelledError:
        return


async def _by_model(connection: Connection) -> None:
    """Ends a call in the way that its model is called after."""
    while asked := await connection.request():
        stream = b'"stream":true' in asked.body
        match asked.model:
            case "good":
                whole = response(completion("well"))
                await connection.send(STREAM + delta("well") + STREAM_END if stream else whole)
            case "failed":
                await connection.send(response(b'{"error":{"message":"no"}}', "400 Bad Request"))
            case "cut":
                await connection.send(STREAM + delta("we") if stream else response(completion("well"))[:-20])
            case _:
                await connection.reader.read()
        if asked.model == "cut" or stream:
            return


async def _endings(world: World) -> str:
    """Calls with 300 KB each, ended in every way; what they held must be gone."""
    async with serve(_by_model) as port:
        base = f"http://127.0.0.1:{port}"
        for _ in range(_ENDINGS // 500):  # what pools and arenas take is taken by then
            await asyncio.gather(*(_ten_endings(world, base) for _ in range(_SIDE_BY_SIDE)))
        before = world.server.resident
        for _ in range(_ENDINGS // 10 // _SIDE_BY_SIDE):
            await asyncio.gather(*(_ten_endings(world, base) for _ in range(_SIDE_BY_SIDE)))
        grown = math.inf
        for _ in range(8):  # what is on its way to its end goes, what a cycle holds stays
            await asyncio.sleep(0.5)
            grown = min(grown, (world.server.resident - before) / MIB)
    world.expect(grown < 10, f"{grown:.0f} MiB stay after {_ENDINGS} endings")
    return f"{grown:+.0f} MiB after {_ENDINGS} endings"


async def _ten_endings(world: World, base: str) -> None:
    waits = []
    for model in ("good", "failed", "cut"):
        request = chat(base, _BIG, model=model, attempts=1)
        waits += [outcome(world.chat.Chat(request)), outcome(read_all(world.chat.StreamChat(request)))]
    late = chat(base, _BIG, model="hang")
    late.timeouts.total.FromMilliseconds(60)
    waits += [outcome(world.chat.StreamChat(late).read()), outcome(world.chat.Chat(late, timeout=0.05))]
    waits.append(outcome(world.unified.Chat(unified(base, _BIG, name="failed"))))
    leaving = world.chat.StreamChat(chat(base, _BIG, model="hang"))
    waits.append(outcome(leaving.read()))
    asyncio.get_running_loop().call_later(0.03, leaving.cancel)
    await asyncio.gather(*waits, return_exceptions=True)


async def _hold(world: World, request: pb.ChatRequest, number: int, seconds: float) -> str:
    """One client's calls that hang, held for a while beside the honest client's."""
    calls = [world.chat.Chat(request, timeout=60, metadata=bearer(GREEDY)) for _ in range(number)]
    waits = [asyncio.ensure_future(outcome(call)) for call in calls]
    await asyncio.sleep(seconds)
    refused = Counter(wait.result() for wait in waits if wait.done())
    for call in calls:
        call.cancel()
    await asyncio.wait(waits)
    return f"{number - sum(refused.values())} held; {told(refused)}"


async def _fill_endpoint(world: World) -> str:
    """Ten hanging calls, with a wrong credential, to the endpoint that the honest client calls."""
    request = chat(world.honest_endpoint, model="hang", headers={"Authorization": "wrong"})
    return await _hold(world, request, 10, 4.0)


async def _fill_running(world: World) -> str:
    async with serve(hang) as port:
        return await _hold(world, chat(f"http://127.0.0.1:{port}"), 90, 4.0)


async def _fill_bidirectional(world: World) -> str:
    """One client opens as many conversations as there may be; another wants one."""
    calls = [world.unified.StreamChat(metadata=bearer(GREEDY)) for _ in range(1_000)]
    for call in calls:
        with suppress(grpc.RpcError, asyncio.InvalidStateError):  # it was refused at its headers
            await call.write(configuration(world.honest_endpoint))
    frames = await asyncio.gather(*(asyncio.wait_for(call.read(), 10) for call in calls), return_exceptions=True)
    opened = sum(not isinstance(frame, BaseException) and frame is not grpc.aio.EOF for frame in frames)
    other = world.unified.StreamChat(metadata=bearer(HONEST))
    ending = await outcome(_configured(other, world.honest_endpoint))
    for call in (*calls, other):
        call.cancel()
    world.expect(ending == "OK", f"another client's conversation: {ending}")
    return f"{opened} of 1000 open; another client: {ending}"


async def _configured(call: "grpc.aio.StreamStreamCall[object, object]", endpoint: str) -> None:
    await call.write(configuration(endpoint))
    await call.read()


async def _long_queue(world: World) -> str:
    """One client's calls wait by the thousand; every end must cost the same."""

    async def handle(connection: Connection) -> None:
        await asyncio.sleep(0.005)
        await answer("hi")(connection)

    async with serve(handle) as port:
        requests = repeat(chat(f"http://127.0.0.1:{port}"), _QUEUED)
        began = time.monotonic()
        endings = await world.chats(requests, seconds=40, token=GREEDY)
    return f"{told(endings)} in {time.monotonic() - began:.1f} s"


async def _big_streams(world: World) -> str:
    """Open streams of 300 KB each that wait for their endpoint."""
    before = world.server.resident
    async with serve(hang) as port:
        request = chat(f"http://127.0.0.1:{port}", _BIG)
        calls = [world.chat.StreamChat(request, timeout=60, metadata=bearer(GREEDY)) for _ in range(_STREAMS)]
        waits = [asyncio.ensure_future(outcome(call.read())) for call in calls]
        await asyncio.sleep(6)
        held = (world.server.resident - before) / _STREAMS / 1000
        for call in calls:
            call.cancel()
        await asyncio.wait(waits)
    world.expect(held < 750, f"an open stream of 300 KB holds {held:.0f} KB")
    return f"{held:.0f} KB a stream"


async def _dying_endpoint(world: World) -> str:
    """Many streams, and their endpoint dies."""
    asked = count()
    die = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        next(asked)
        await die.wait()

    async with serve(handle) as port:
        request = chat(f"http://127.0.0.1:{port}", attempts=1)
        calls = asyncio.ensure_future(world.streams(repeat(request, _DYING), seconds=60, token=GREEDY))
        for _ in range(400):
            if next(asked) >= _DYING:
                break
            await asyncio.sleep(0.05)
        die.set()
        return told(await calls)


ROWS = (
    *(
        Row(
            name=f"json-{form}".replace("_", "-"),
            fault="4",
            sent=f"{_WAITING} requests of 15 MB: `{{}},{{}},…` as {what}",
            attack=_json_text(form),
            bounds=Bounds(peak=300, cpu=2),
        )
        for form, what in (
            ("parameters", "model.parameters"),
            ("response_format", "response_format"),
            ("arguments", "tool arguments"),
        )
    ),
    Row(
        name="barge-in",
        fault="5",
        sent=f"{_TURNS:,} barge-ins with 300 KB each",
        attack=_barge_ins,
        bounds=Bounds(cpu=20, peak=120),
    ),
    Row(
        name="endings",
        fault="5",
        sent=f"{_ENDINGS:,} calls with 300 KB each, ended in every way",
        attack=_endings,
        longest=150,
        bounds=Bounds(cpu=40, peak=150),
    ),
    Row(
        name="fill-endpoint",
        fault="16",
        sent="10 hanging calls with a wrong key, 10 per endpoint allowed",
        attack=_fill_endpoint,
        auth=True,
        flags=("--max-running-per-endpoint", "10"),
    ),
    Row(
        name="fill-running",
        fault="16",
        sent="90 hanging calls, 60 may run and 30 wait",
        attack=_fill_running,
        auth=True,
        flags=("--max-running-calls", "60", "--max-queued-calls", "30"),
    ),
    Row(
        name="fill-conversations",
        fault="16",
        sent="1,000 idle conversations of one client, 1,000 allowed",
        attack=_fill_bidirectional,
        auth=True,
        storm=True,
        flags=("--max-open-streams", "1000"),
        bounds=Bounds(cpu=5),
    ),
    Row(
        name="long-queue",
        fault="16",
        sent=f"{_QUEUED:,} waiting calls of one client, 8 may run",
        attack=_long_queue,
        auth=True,
        storm=True,
        flags=("--max-running-calls", "8", "--max-queued-calls", "20000", "--max-queue-time", "40"),
        bounds=Bounds(cpu=15, peak=200, after=100),
    ),
    Row(
        name="big-streams",
        fault="17",
        sent=f"{_STREAMS} open streams of 300 KB",
        attack=_big_streams,
        auth=True,
        bounds=Bounds(cpu=8, peak=450, after=100),
    ),
    Row(
        name="dying-endpoint",
        fault="17",
        sent=f"{_DYING:,} streams whose endpoint dies at once",
        attack=_dying_endpoint,
        auth=True,
        storm=True,
        bounds=Bounds(cpu=12, peak=300, after=150, descriptors=50),
    ),
)
