"""A running call holds its request as what a retry needs, and in no further form."""

import asyncio
import gc
import tracemalloc

import pytest

from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import ScriptedServer

SIZE = 4_000_000


@pytest.mark.parametrize("method", ["Chat", "StreamChat"])
async def test_a_running_call_holds_its_request_twice(method: str, stub: ChatServiceStub) -> None:
    """As the conversation, which another attempt may have to be made of, and as the body that is sent: not as it came,
    not as a message, and not as copies on their way to the socket."""
    asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        del writer
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while left:
            left -= len(await reader.read(min(left, 65_536)))
        asked.set()
        await reader.read()

    async with ScriptedServer(talk) as endpoint:
        request = chat_request(endpoint.url, "m", "x" * SIZE)
        gc.collect()
        tracemalloc.start()
        try:
            call = getattr(stub, method)(request)
            waiting = asyncio.ensure_future(call.code())
            await asked.wait()
            for _ in range(3):  # what was on its way is let go a few turns later
                await asyncio.sleep(0.01)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        call.cancel()
        await waiting

    # The client is in this process, too, and may hold what it sent.
    assert held < 3.3 * SIZE
