"""Turns of one stream of Rapida's contract that meet each other, wait, are superseded, closed or cut."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest
import structlog

from integration_api import unified_provider_pb2 as pb
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from tests.patience import within
from tests.rapida.talk import SERVICE, metrics_of, talk, text_of


async def test_a_new_chat_supersedes_the_running_one(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Barge-in: the endpoint is let go within a second, and the older turn gets one last frame with its text so far."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("old", "tokens:n=1500,gap=20ms")  # talks for 30 s
        received = text_of(await stream.output()) + text_of(await stream.output())

        sent = time.perf_counter()
        await stream.chat("new", "tokens:n=3")
        hangup = asyncio.create_task(_elapsed(sandbox.wait_for_hangup(within(5.0)), sent))
        frames = [await stream.output()]
        while frames[-1].requestId != "new":
            frames.append(await stream.output())
        first_delta = time.perf_counter() - sent
        closed_after = await hangup
        print(f"old connection closed after {closed_after * 1000:.1f} ms, first delta {first_delta * 1000:.1f} ms")  # noqa: T201 -- a measurement, seen with pytest -s
        frames += await stream.turn("new")

        old = [frame for frame in frames if frame.requestId == "old"]
        received += "".join(text_of(frame) for frame in old[:-1])
        assert closed_after < within(1)
        assert first_delta < within(1)
        assert [bool(frame.metrics) for frame in old] == [False] * (len(old) - 1) + [True]
        assert old[-1].finishReason == "superseded"
        assert text_of(old[-1]).startswith(received)
        assert metrics_of(old[-1])["status"] == "SUPERSEDED"
        assert "time_to_first_token" in metrics_of(old[-1])
        assert frames.index(old[-1]) < min(at for at, frame in enumerate(frames) if frame.requestId == "new")
        assert frames[-1].finishReason == "stop"
        assert len(sandbox.requests) == 2


async def test_a_burst_of_chats_ends_with_the_last_one(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """Every chat gets exactly one final frame, all but the last superseded, and no endpoint connection is left."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        for number in range(50):
            await stream.chat(f"t{number}", "tokens:n=100,gap=10ms" if number < 49 else "echo")
        finals: dict[str, list[str]] = {}
        while "t49" not in finals:
            frame = await stream.output()
            if frame.metrics:
                finals.setdefault(frame.requestId, []).append(frame.finishReason)

        assert finals == {f"t{number}": ["superseded"] for number in range(49)} | {"t49": ["stop"]}
        await _until(lambda: sandbox.open_requests == 0)


@pytest.mark.parametrize("request_id", ["again", ""])
async def test_a_turn_asked_again_under_its_own_id_ends_once(
    sandbox: Sandbox, channel: grpc.aio.Channel, request_id: str
) -> None:
    """No frame of the first answer's end carries the id of the second: its client would take that for the answer."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat(request_id, "tokens:n=1500,gap=20ms")
        await stream.output()
        await stream.chat(request_id, "echo", "the second")
        last = await stream.output()
        while not last.metrics:
            last = await stream.output()
        assert (last.requestId, last.finishReason, text_of(last)) == (request_id, "stop", "the second")
        await stream.call.done_writing()
        assert await stream.rest() == []


async def test_turns_that_waited_under_the_newest_id_are_not_told_either(
    sandbox: Sandbox, channel: grpc.aio.Channel
) -> None:
    """Turns in the older order, then a barge-in with the id of one of them."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url, turns="queue")
        await stream.chat("first", "silence:for=30s")
        await stream.chat("second", "silence:for=30s")
        await stream.chat("third", "silence:for=30s")
        await stream.configure(sandbox.url, turns="supersede")
        await stream.chat("second", "echo", "here")
        finals = [frame for frame in (await stream.turns_until("second")) if frame.metrics]
        assert [(frame.requestId, frame.finishReason) for frame in finals] == [
            ("first", "superseded"),
            ("third", "superseded"),
            ("second", "stop"),
        ]


async def test_unknown_connection_options_are_logged_once_per_stream(
    sandbox: Sandbox, channel: grpc.aio.Channel
) -> None:
    """By name, without values, however often the stream is configured."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            async with talk(channel) as stream:
                for _ in range(3):
                    assert (await stream.configure(sandbox.url, retries="sk-secret")).success

    told = [line for line in lines if line["event"] == "stream.unknown_options"]
    assert [line["options"] for line in told] == [["connection.retries"]] * 2
    assert "sk-secret" not in str(lines)


async def test_turns_can_wait_for_each_other(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """`connection.turns` = `queue` answers every chat, in its order."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url, turns="queue")
        for number in range(4):
            await stream.chat(f"t{number}", "tokens:n=4,gap=5ms")
        for number in range(4):
            assert (await stream.turn(f"t{number}"))[-1].finishReason == "stop"


async def test_too_many_waiting_turns_are_refused(sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
    """A queue has its bound; what is above it is told so at once."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url, turns="queue")
        for number in range(66):
            await stream.chat(f"t{number}", "silence:for=30s")
        refused = await stream.output()

        assert (refused.requestId, refused.error.errorCode) == ("t65", 503)


@pytest.mark.parametrize("turns", ["supersede", "queue"])
async def test_close_stops_what_runs_and_repeats_its_reason(
    sandbox: Sandbox, channel: grpc.aio.Channel, turns: str
) -> None:
    """The endpoint's connection closes, nothing more of the turn comes, and the stream ends well."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url, turns=turns)
        await stream.chat("t1", "tokens:n=1500,gap=20ms")
        await stream.output()
        await stream.chat("t2", "tokens:n=1500,gap=20ms")
        await stream.send(close=pb.StreamChatClose(reason="the caller hung up"))
        frames = await stream.rest()

        assert frames[-1].close.reason == "the caller hung up"
        assert not [frame for frame in frames if frame.chat.metrics and frame.chat.finishReason != "superseded"]
        await sandbox.wait_for_hangup(within(1.0))
        await _until(lambda: sandbox.open_requests == 0)


async def test_hanging_up_hangs_up_on_the_endpoint(sandbox: Sandbox, server: Server, channel: grpc.aio.Channel) -> None:
    """A client that resets its stream leaves no turn and no stream behind."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("t1", "tokens:n=1500,gap=20ms")
        await stream.output()
        assert (server.guard.running, server.guard.open_streams) == (1, 1)

    await sandbox.wait_for_hangup(within(1.0))
    await _until(lambda: (server.guard.running, server.guard.open_streams) == (0, 0))


@pytest.mark.parametrize("turns", ["supersede", "queue"])
async def test_a_half_close_lets_the_turns_end(sandbox: Sandbox, channel: grpc.aio.Channel, turns: str) -> None:
    """What was asked before the client stopped sending is answered to its end."""
    async with talk(channel) as stream:
        await stream.configure(sandbox.url, turns=turns)
        await stream.chat("t1", "tokens:n=10,gap=10ms")
        if turns == "queue":
            await stream.chat("t2", "tokens:n=10,gap=10ms")
        await stream.call.done_writing()
        frames = await stream.rest()

        finals = [(frame.chat.requestId, frame.chat.finishReason) for frame in frames if frame.chat.metrics]
        assert finals == [("t1", "stop"), ("t2", "stop")][: 2 if turns == "queue" else 1]


async def test_a_half_close_without_a_turn_ends_the_stream(channel: grpc.aio.Channel) -> None:
    """A stream on which nothing was asked ends at once, and well."""
    async with talk(channel) as stream:
        await stream.call.done_writing()
        assert await stream.rest() == []


async def test_bytes_that_are_no_frame_end_the_stream_with_a_status(server: Server, channel: grpc.aio.Channel) -> None:
    """INVALID_ARGUMENT, and no text of a parser."""
    call = channel.stream_stream(f"{SERVICE}/StreamChat")()
    await call.write(b"\xff\xff\xff")

    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "StreamChatRequest" in await call.details()


class TestQuietStreams:
    """A server that has little patience, and room for two streams."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(port=0, shutdown_grace=5.0, stream_idle_timeout=0.3, max_open_streams=2, max_client_share=1.0)

    async def test_an_idle_stream_is_closed_with_a_reason(self, sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
        """The server says so, and the stream ends well; a running turn is not idle."""
        async with talk(channel) as stream:
            await stream.configure(sandbox.url)
            await stream.chat("t1", "tokens:n=2,gap=600ms")
            assert (await stream.turn("t1"))[-1].finishReason == "stop"
            frames = await stream.rest()

            assert [frame.close.reason for frame in frames] == ["idle for 0.3 s"]

    async def test_a_stream_above_the_limit_is_refused_until_one_ends(
        self, server: Server, channel: grpc.aio.Channel
    ) -> None:
        """RESOURCE_EXHAUSTED, and the open ones are not touched."""
        async with talk(channel) as first, talk(channel) as second:
            await first.send()
            await second.send()
            assert (await first.output()).error.errorCode == (await second.output()).error.errorCode == 400
            async with talk(channel) as third:
                assert await third.call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await _until(lambda: server.guard.open_streams == 0)
        async with talk(channel) as fourth:
            await fourth.send()
            assert (await fourth.output()).error.errorCode == 400


class TestFullServer:
    """A server that runs one call at a time."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(port=0, shutdown_grace=2.0, max_running_calls=1)

    async def test_a_turn_counts_as_a_call_and_an_open_stream_does_not(
        self, sandbox: Sandbox, channel: grpc.aio.Channel
    ) -> None:
        """While one stream is answered, another one's turn is refused in its place; idle, neither is in the way."""
        async with talk(channel) as first, talk(channel) as second:
            await first.configure(sandbox.url)
            await second.configure(sandbox.url)
            await first.chat("a", "tokens:n=1500,gap=20ms")
            await first.output()
            await second.chat("b", "echo")
            assert (await second.output()).error.errorCode == 503
            await first.send(close=pb.StreamChatClose())
            await first.rest()
            await second.chat("c", "echo")
            assert (await second.turn("c"))[-1].finishReason == "stop"

    async def test_barge_in_needs_no_second_place(self, sandbox: Sandbox, channel: grpc.aio.Channel) -> None:
        """The newer turn takes the place of the older one, also where there is only one."""
        async with talk(channel) as stream:
            await stream.configure(sandbox.url)
            await stream.chat("a", "tokens:n=1500,gap=20ms")
            await stream.output()
            await stream.chat("b", "echo")
            last = await stream.output()
            while not (last.requestId == "b" and last.metrics):
                last = await stream.output()

            assert last.finishReason == "stop", last.error


async def test_a_draining_instance_leaves_its_streams_to_their_clients(sandbox: Sandbox) -> None:
    """With and without a turn they stay open and take new turns; the stop is over once the last client has gone."""
    server = Server(Settings(port=0, shutdown_grace=30.0))
    await server.start()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        talk(channel) as idle,
        talk(channel) as busy,
    ):
        await idle.configure(sandbox.url)
        await busy.configure(sandbox.url)
        await busy.chat("t1", "tokens:n=20,gap=20ms")
        await busy.output()
        stopping = asyncio.create_task(server.stop())
        assert text_of((await busy.turn("t1"))[-1]).endswith("word20")
        for stream in (idle, busy):
            await stream.configure(sandbox.url)
            await stream.chat("t2", "echo", "still here")
            assert text_of((await stream.turn("t2"))[-1]) == "still here"
        assert not stopping.done()
        await idle.call.done_writing()
        await busy.send(close=pb.StreamChatClose(reason="the caller hung up"))
        assert await idle.rest() == []
        assert [frame.close.reason for frame in await busy.rest()] == ["the caller hung up"]
        async with asyncio.timeout(10):
            await stopping


@pytest.mark.parametrize("turns", ["supersede", "queue"])
async def test_when_the_grace_is_over_every_stream_is_closed(sandbox: Sandbox, turns: str) -> None:
    """An idle stream gets `close`; on a busy one the running turn and those behind it get their 503 before that."""
    server = Server(Settings(port=0, shutdown_grace=0.3))
    await server.start()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        talk(channel) as idle,
        talk(channel) as busy,
    ):
        await idle.configure(sandbox.url)
        await busy.configure(sandbox.url, turns=turns)
        await busy.chat("t1", "silence:for=30s")
        if turns == "queue":
            await busy.chat("t2", "silence:for=30s")
        await sandbox.wait_for_request()
        stopping = asyncio.create_task(server.stop())
        quiet, frames = await asyncio.gather(idle.rest(), busy.rest())
        await stopping

        assert [frame.WhichOneof("response") for frame in quiet] == ["close"]
        assert "grace" in quiet[0].close.reason
        failed = [(frame.chat.requestId, frame.chat.error.errorCode) for frame in frames[:-1]]
        assert failed == [("t1", 503), ("t2", 503)][: 2 if turns == "queue" else 1]
        assert frames[-1].WhichOneof("response") == "close"


async def test_a_turn_that_outlives_the_grace_gets_its_error(sandbox: Sandbox) -> None:
    """At the end of the grace the turn is cut with 503 in its final frame, and the stream is closed."""
    server = Server(Settings(port=0, shutdown_grace=0.2))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel, talk(channel) as stream:
        await stream.configure(sandbox.url)
        await stream.chat("t1", "tokens:n=1500,gap=20ms")
        await stream.output()
        stopping = asyncio.create_task(server.stop())
        frames = await stream.rest()
        await stopping

        assert frames[-2].chat.error.errorCode == 503
        assert frames[-1].WhichOneof("response") == "close"
        await sandbox.wait_for_hangup(within(1.0))


async def _elapsed(awaited: Awaitable[object], since: float) -> float:
    await awaited
    return time.perf_counter() - since


async def _until(holds: Callable[[], bool]) -> None:
    """Wait until it holds, two seconds at most."""
    async with asyncio.timeout(2):
        while not holds():  # noqa: ASYNC110 -- counts of the server have no event
            await asyncio.sleep(0.005)
