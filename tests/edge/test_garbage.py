"""What a call leaves behind in memory: nothing that waits for the garbage collector.

A call holds a conversation of up to sixteen megabytes and a credential. In a cycle they would stay until the collector
comes by, which in a process that is tuned for tokens is seldom.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request

ROOT = Path(__file__).parents[2]
CALLS = 10


@contextmanager
def collected() -> Iterator[Counter[str]]:
    """Counts what of ours the collector finds after the block."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(name for thing in gc.garbage if (name := _ours(thing)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _ours(thing: object) -> str:
    """The name of an object of the service, or of a frame of its code; empty for others', the sandbox's included."""
    if isinstance(thing, FrameType):
        place = thing.f_code.co_filename.removeprefix(f"{ROOT}/")
        name = f"frame of {thing.f_code.co_name}"
    else:
        place = type(thing).__module__.replace(".", "/")
        name = type(thing).__name__
    return name if place.startswith(("caller/", "integration_api/")) and "/sandbox" not in place else ""


async def play(stub: ChatServiceStub, url: str, script: str, way: str) -> None:
    """One call, to its end."""
    request = chat_request(url, script, options={"maxAttempts": 2})
    call = stub.Chat(request) if way == "whole" else stub.StreamChat(request)
    try:
        if way == "whole":
            await call
        elif way == "cancelled":
            assert await call.read()
            assert await call.read()
            call.cancel()
            await call.code()
        else:
            async for _ in call:
                pass
    except grpc.aio.AioRpcError:
        pass  # however it ends: what it leaves behind is the question


@pytest.mark.parametrize(
    ("script", "way"),
    [
        ("echo", "whole"),
        ("echo", "stream"),
        ("tool-call", "stream"),
        ("http-error:status=400", "whole"),
        ("http-error:status=503", "stream"),
        ("error-in-stream:after=2,status=529", "stream"),
        ("cut:after=2", "stream"),
        ("garbage:after=1", "stream"),
        ("html", "whole"),
        ("drop", "whole"),
        ("stall:after=1", "cancelled"),
    ],
)
async def test_a_call_leaves_nothing_to_the_collector(
    sandbox: Sandbox, stub: ChatServiceStub, script: str, way: str
) -> None:
    """However it ends: its objects are freed when it does."""
    await play(stub, sandbox.url, script, way)
    with collected() as found:
        for _ in range(CALLS):
            await play(stub, sandbox.url, script, way)
        await asyncio.sleep(0.3)  # the last call's task and its connection's
    assert found == {}
