"""A lost race closes a connection: another one is there for the next turn, unless the endpoint is out of order."""

import asyncio

import grpc

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import STREAM_END, ScriptedServer, answer, token, until
from tests.edge.reading import listen
from tests.edge.scripted import scripted, target
from tests.edge.test_prewarm import silent_tls
from tests.patience import within

STREAM = answer((token("fine") + STREAM_END).decode(), kind="text/event-stream")


class SilentAtFirst(ScriptedServer):
    """Answers no request of its first connection, and all of the others; those of the second with `second`."""

    def __init__(self, second: bytes = STREAM) -> None:
        super().__init__(self._serve_one)
        self._second = second

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            await self.request(reader)
            if number == 1:
                await reader.read()
                return
            writer.write(self._second if number == 2 else STREAM)


def made(response: pb.ChatResponse) -> dict[int, str]:
    """What became of each target."""
    return {attempt.target: attempt.reason for attempt in response.timing.attempts_made}


async def test_the_turn_after_a_lost_race_is_warm(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """A connection to the loser is opened at once, without a request; the next turn takes it."""
    async with SilentAtFirst() as first:
        request = chat_request(
            first.url, "m", fallbacks=[target(sandbox.url, "echo")], options={"hedgeAfter": f"{within(0.2)}s"}
        )
        assert made((await listen(stub.StreamChat(request, timeout=within(20)))).completed) == {0: "RACE_LOST", 1: ""}
        await until(lambda: first.accepted == 2)
        assert (first.connections, len(first.requests)) == (1, 1)

        for _ in range(2):
            assert made((await listen(stub.StreamChat(request, timeout=within(20)))).completed) == {0: ""}
        assert (first.accepted, len(first.requests)) == (2, 3)


async def test_none_is_opened_to_an_endpoint_whose_breaker_is_open(sandbox: Sandbox) -> None:
    """A failure of another call opened it while the race was running."""
    overloaded = answer("{}", status="503 Service Unavailable")
    async with (
        SilentAtFirst(overloaded) as first,
        SilentAtFirst() as second,
        scripted(1) as (third,),
        Server(Settings(port=0, shutdown_grace=1.0, breaker_failures=1)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = ChatServiceStub(channel)
        raced = chat_request(
            first.url, "m", fallbacks=[target(second.url, "m"), target(third.url, "m")], options={"hedgeAfter": "0.01s"}
        )
        running = asyncio.ensure_future(listen(stub.StreamChat(raced, timeout=within(20))))
        await third.begin()
        failing = chat_request(first.url, "m", fallbacks=[target(sandbox.url, "echo")])
        other = (await listen(stub.StreamChat(failing, timeout=within(20)))).completed
        assert made(other) == {0: "ENDPOINT_OVERLOADED", 1: ""}
        third.send(token("fine") + STREAM_END)
        third.end()
        lost = made((await running).completed)
        await until(lambda: second.accepted == 2)  # that of the first would be on its way, too

    assert lost == {0: "RACE_LOST", 1: "RACE_LOST", 2: ""}
    assert first.accepted == 2


async def test_a_shutdown_ends_what_is_being_opened(sandbox: Sandbox) -> None:
    """An endpoint whose handshakes never end: neither the loser's nor that of the connection in its place is left."""
    settings = Settings(port=0, shutdown_grace=1.0, connect_timeout=600.0)
    async with silent_tls() as first, Server(settings) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            url = first.url.replace("http:", "https:")
            request = chat_request(url, "m", fallbacks=[target(sandbox.url, "echo")], options={"hedgeAfter": "0.01s"})
            received = await listen(ChatServiceStub(channel).StreamChat(request, timeout=within(20)))
            assert made(received.completed) == {0: "RACE_LOST", 1: ""}
            await until(lambda: (first.accepted, first.connections) == (2, 1))
        async with asyncio.timeout(within(10)):
            await server.stop()
        await until(lambda: not first.connections)
