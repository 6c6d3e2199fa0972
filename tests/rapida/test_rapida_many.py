"""Many streams at once, and clients that behave badly: nothing is lost, nothing is left."""

import asyncio
import random

import grpc
import pytest

from integration_api import unified_provider_pb2 as pb
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from tests.rapida.talk import Talk, talk, text_of

_STREAMS = 200


async def _live(number: int, stream: Talk, url: str) -> None:
    assert (await stream.configure(url)).success
    chance = random.Random(number)  # noqa: S311 -- moments in time, no secret
    for turn in range(2):
        await asyncio.sleep(chance.uniform(0, 1))
        await stream.chat(f"{number}-{turn}", "echo", f"I am {number}")
        assert text_of((await stream.turn(f"{number}-{turn}"))[-1]) == f"I am {number}"


async def test_many_idle_streams_with_a_turn_now_and_then_are_all_kept(
    sandbox: Sandbox, server: Server, channel: grpc.aio.Channel
) -> None:
    """Two hundred streams get every answer, each its own, stay open, and end when the client goes."""
    async with asyncio.timeout(30):
        calls = [talk(channel) for _ in range(_STREAMS)]
        streams = [await call.__aenter__() for call in calls]
        await asyncio.gather(*(_live(number, stream, sandbox.url) for number, stream in enumerate(streams)))

        assert (server.guard.open_streams, server.guard.running) == (_STREAMS, 0)
        assert not any(stream.call.done() for stream in streams)
        await asyncio.gather(*(call.__aexit__(None, None, None) for call in calls))
        while server.guard.open_streams:  # noqa: ASYNC110 -- counts of the server have no event
            await asyncio.sleep(0.01)


class TestImpatientServer:
    """A server that waits half a second for a client that does not read."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(port=0, shutdown_grace=2.0, write_timeout=0.5)

    async def test_a_client_that_does_not_read_is_let_go_with_its_endpoint(
        self, sandbox: Sandbox, server: Server, channel: grpc.aio.Channel
    ) -> None:
        """Its turns wait for it up to the write timeout; then stream, turns and connections are gone."""
        async with talk(channel) as stream:
            await stream.configure(sandbox.url, turns="queue")
            for number in range(20):
                await stream.chat(f"t{number}", f"tokens:n=7000,text={'x' * 400}")
            async with asyncio.timeout(15):
                while server.guard.open_streams:  # noqa: ASYNC110 -- counts of the server have no event
                    await asyncio.sleep(0.02)

            assert server.guard.running == 0
            assert sandbox.open_requests == 0
            assert len(sandbox.requests) < 20

    async def test_barge_in_is_noticed_although_the_client_does_not_read(
        self, sandbox: Sandbox, channel: grpc.aio.Channel
    ) -> None:
        """The older turn ends at the endpoint at once; a client that reads later finds one final frame of it."""
        async with talk(channel) as stream:
            await stream.configure(sandbox.url)
            await stream.chat("old", f"tokens:n=1500,gap=2ms,text={'x' * 100}")
            await sandbox.wait_for_request()
            await asyncio.sleep(0.2)  # frames pile up, unread
            await stream.chat("new", "echo")
            await sandbox.wait_for_hangup(1.0)
            finals = []
            while len(finals) < 2:
                frame = await stream.output()
                if frame.metrics:
                    finals.append((frame.requestId, frame.finishReason))

            assert finals == [("old", "superseded"), ("new", "stop")]


async def test_a_flood_of_frames_is_answered_frame_by_frame(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Two thousand empty frames and configurations, unread while they are sent, are all answered in their order."""
    async with talk(channel) as stream:
        for _ in range(1000):
            await stream.send()
            await stream.send(configuration=pb.StreamChatConfiguration(providerName="nobody"))
        for _ in range(1000):
            assert (await stream.output()).error.errorCode == 400
            assert (await stream.read()).configuration.error.errorCode == 400
        assert (await stream.configure(sandbox.url)).success
