"""Many streams at once, and clients that behave badly: nothing is lost, nothing is left."""

import asyncio
import random
from contextlib import suppress

import grpc
import pytest

from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from tests.patience import within
from tests.rapida.talk import Talk, talk, text_of, user, weather

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
    async with asyncio.timeout(within(30)):
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
            async with asyncio.timeout(within(15)):
                # The endpoint notices the closed connection a turn of the loop later than the server, which shares it.
                while server.guard.open_streams or sandbox.open_requests:  # noqa: ASYNC110 -- counts have no event
                    await asyncio.sleep(0.02)

            assert server.guard.running == 0
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
            await sandbox.wait_for_hangup(within(1.0))
            finals: list[tuple[str, str]] = []
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


async def _through_a_restart(
    number: int, stream: Talk, url: str, restarting: asyncio.Event, ready: asyncio.Semaphore
) -> None:
    """One call of three kinds: silent when the restart begins, in the middle of an answer, or between a tool call and
    its result. Each goes on talking, and hangs up when it has said what it had to say."""
    assert (await stream.configure(url)).success
    kind = number % 3
    asked = pb.StreamChatOutput()
    if kind == 1:
        await stream.chat("spoken", "stall:after=2,for=1s")
        await stream.output()
    elif kind == 2:
        await stream.chat("asked", "tool-call", toolDefinitions=[weather()])
        asked = (await stream.turn("asked"))[-1]
    ready.release()
    await restarting.wait()
    if kind == 1:
        assert (await stream.turn("spoken"))[-1].finishReason == "stop"
    elif kind == 2:
        result = msg.ToolMessage.Tool(name="weather", id=asked.data.assistant.toolCalls[0].id, content="21 degrees")
        conversation = [user("Weather?"), asked.data, msg.Message(role="tool", tool=msg.ToolMessage(tools=[result]))]
        await stream.chat("told", "tool-call", conversations=conversation, toolDefinitions=[weather()])
        assert "21 degrees" in text_of((await stream.turn("told"))[-1])
    await stream.chat("last", "echo", f"I am {number}")
    assert text_of((await stream.turn("last"))[-1]) == f"I am {number}"
    if number % 2:
        await stream.call.done_writing()
        assert await stream.rest() == []
    else:
        await stream.send(close=pb.StreamChatClose(reason="goodbye"))
        assert [frame.close.reason for frame in await stream.rest()] == ["goodbye"]


async def _refused(channel: grpc.aio.Channel) -> None:
    """Until the instance takes no new streams."""
    code = grpc.StatusCode.OK
    while code == grpc.StatusCode.OK:
        async with talk(channel) as late:
            with suppress(grpc.aio.BaseError):  # it is refused already
                await late.call.done_writing()
            code = await late.call.code()
    # What crosses the first instant of a stop is ended by gRPC itself, in its own word.
    assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_a_rolling_restart_hangs_up_no_call(sandbox: Sandbox) -> None:
    """Two hundred open streams of mixed state when the stop begins: nobody gets a `close` of ours, all are answered
    to their end, and the stop is over when the last has gone, long before its grace."""
    server = Server(Settings(port=0, shutdown_grace=120.0, max_client_share=1.0))
    await server.start()
    restarting, ready = asyncio.Event(), asyncio.Semaphore(0)
    async with asyncio.timeout(within(90)), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        calls = [talk(channel) for _ in range(_STREAMS)]
        streams = [await call.__aenter__() for call in calls]
        talking = asyncio.gather(
            *(
                _through_a_restart(number, stream, sandbox.url, restarting, ready)
                for number, stream in enumerate(streams)
            )
        )
        for _ in range(_STREAMS):
            await ready.acquire()
        stopping = asyncio.create_task(server.stop())
        await _refused(channel)
        assert server.guard.open_streams == _STREAMS
        restarting.set()
        await talking
        await stopping
        assert server.guard.open_streams == 0
        for call in calls:
            await call.__aexit__(None, None, None)


class MovedClock(asyncio.SelectorEventLoop):
    """An event loop whose time can be moved on."""

    moved = 0.0

    def time(self) -> float:
        return super().time() + self.moved


async def _after_ten_minutes(idle_timeout: float) -> list[str]:
    """What a silent stream has got after ten minutes, and that it still answers if that is nothing."""
    settings = Settings(port=0, shutdown_grace=5.0, stream_idle_timeout=idle_timeout)
    async with (
        Sandbox() as sandbox,
        Server(settings) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        talk(channel) as stream,
    ):
        await stream.configure(sandbox.url)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MovedClock)
        loop.moved += 601
        if idle_timeout:
            return [frame.close.reason for frame in await stream.rest()]
        await asyncio.sleep(0.2)  # a close of ours would be here by now
        await stream.chat("late", "echo", "still here")
        assert text_of((await stream.turn("late"))[-1]) == "still here"
        await stream.call.done_writing()
        await stream.rest()
        return []


@pytest.mark.parametrize(("idle_timeout", "closed"), [(0.0, []), (600.0, ["idle for 600 s"])])
def test_ten_minutes_of_silence(idle_timeout: float, closed: list[str]) -> None:
    """By default a stream stays open through them; a limit of the operator ends it. The clock is moved."""
    with asyncio.Runner(loop_factory=MovedClock) as runner:
        assert runner.run(_after_ten_minutes(idle_timeout)) == closed
