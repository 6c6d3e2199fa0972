"""Calls of the typed client whose connection goes away under them."""

import asyncio
import gc

import grpc
import pytest

from integration_api.client import ChatRequest, ChatResponse, Client, ServiceError, chat_request, endpoint, stored
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from tests.edge.loopback import CuttableProxy, until
from tests.patience import within

# Kinds of HTTP/2 frames.
_HEADERS, _SETTINGS, _GOAWAY = 1, 4, 7


async def whole(client: Client, request: ChatRequest) -> ChatResponse | None:
    """The last event of a stream."""
    events = [event async for event in client.stream_chat(request)]
    return events[-1] if isinstance(events[-1], ChatResponse) else None


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_end_with_an_error_when_their_client_is_closed(sandbox: Sandbox, *, stream: bool) -> None:
    """Nobody cancelled the task that waits, so it must not end as if it were."""
    asked = chat_request("hi", model="silence", credential=endpoint(sandbox.url))
    async with Server(Settings(port=0, shutdown_grace=0.1)) as server:
        client = Client(f"127.0.0.1:{server.port}")

        task = asyncio.create_task(whole(client, asked) if stream else client.chat(asked))
        await sandbox.wait_for_request(within(5))
        await client.close()
        with pytest.raises(ServiceError) as caught:
            await task
        assert caught.value.code is grpc.StatusCode.CANCELLED
        await until(lambda: sandbox.connections == 0, 1.0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_call_keeps_no_connection(sandbox: Sandbox, *, stream: bool) -> None:
    """Its error is at hand, nothing was collected, and the connection closes with the client all the same."""
    model = "cut:after=3" if stream else "http-error:status=401"
    request = chat_request("hi", model=model, credential=endpoint(sandbox.url))
    gc.disable()
    try:
        async with Server(Settings(port=0, shutdown_grace=0.1)) as server, CuttableProxy(server.port) as cable:
            async with Client(f"127.0.0.1:{cable.port}") as client:
                with pytest.raises(ServiceError) as caught:
                    await (whole(client, request) if stream else client.chat(request))
                assert cable.open
            await until(lambda: not cable.open, 1.0)
            assert caught.value.reason in {"ENDPOINT_UNAUTHENTICATED", "STREAM_INTERRUPTED"}
    finally:
        gc.enable()


class Leaving:
    """A server that says GOAWAY to the first call without having seen it, and answers the next one, on another
    connection, with NOT_FOUND."""

    def __init__(self) -> None:
        self.calls = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """HTTP/2, as little of it as is needed."""
        try:
            await self._frames(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)  # the preface
        writer.write(_frame(_SETTINGS, 0, 0))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, number = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == _SETTINGS and not flags:
                writer.write(_frame(_SETTINGS, 1, 0))
            if kind == _HEADERS:
                self.calls += 1
                if self.calls == 1:
                    writer.write(_frame(_GOAWAY, 0, 0, bytes(8)))
                    await writer.drain()
                    return
                fields = {b"content-type": b"application/grpc", b"grpc-status": b"5"}
                written = b"".join(_literal(name) + _literal(value, b"") for name, value in fields.items())
                writer.write(_frame(_HEADERS, 5, number, b"\x88" + written))  # 0x88 is `:status: 200`
            await writer.drain()


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(text: bytes, before: bytes = b"\0") -> bytes:
    return before + bytes((len(text),)) + text


async def test_a_call_that_crosses_a_goaway_is_sent_again() -> None:
    """A connection reaches its age, or its instance drains: the call that the server never saw goes over a new one."""
    leaving = Leaving()
    listener = await asyncio.start_server(leaving.talk, "127.0.0.1", 0)
    async with Client(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(ServiceError) as caught:
            await client.chat(chat_request("hi", model="m", credential=stored("x")), timeout=within(5))
    listener.close()
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert leaving.calls == 2
