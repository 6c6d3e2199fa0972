"""A raced first output: the next target is asked beside a silent one, the first output wins, and nothing is mixed."""

import asyncio
from typing import Any

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import STREAM_END, LeakCheck, chat_answer, token, until
from tests.edge.reading import Received, listen
from tests.edge.scripted import Scripted, merges, scripted, target
from tests.patience import within

AT_ONCE = {"hedgeAfter": "0.001s"}
# Long enough for nobody to wait for it.
NEVER = {"hedgeAfter": "600s"}


def race(endpoints: list[Scripted], options: dict[str, Any] = AT_ONCE, **more: Any) -> pb.ChatRequest:
    """A request that asks all of them."""
    first, *others = endpoints
    fallbacks = [target(each.url, "m", label=f"target {at}") for at, each in enumerate(others, 1)]
    return chat_request(first.url, "m", fallbacks=fallbacks, options=options, **more)


def made(answer: pb.ChatResponse) -> dict[int, str]:
    """What became of each target."""
    return {attempt.target: attempt.reason for attempt in answer.timing.attempts_made}


def used(letter: str, tokens: int) -> bytes:
    """A usage chunk of a chat completion, which is no output."""
    counts = f'{{"prompt_tokens":{tokens},"completion_tokens":{tokens},"total_tokens":{2 * tokens}}}'
    return f'data: {{"id":"{letter}","model":"{letter}","choices":[],"usage":{counts}}}\n\n'.encode()


def role(letter: str) -> bytes:
    """The opening chunk of a chat completion, which is no output."""
    return (
        f'data: {{"id":"{letter}","model":"{letter}","choices":[{{"index":0,"delta":{{"role":"assistant"}}}}]}}\n\n'
    ).encode()


@pytest.mark.parametrize("winner", [0, 1])
async def test_the_first_output_wins_and_the_other_is_closed(stub: ChatServiceStub, winner: int) -> None:
    """Whichever of the two it is; both are named, and the loser's connection ends."""
    async with scripted() as endpoints, asyncio.timeout(within(10)):
        call = stub.StreamChat(race(endpoints))
        listening = asyncio.ensure_future(listen(call))
        for each in endpoints:
            await each.begin()
        loser = endpoints[1 - winner]
        loser.send(role("L") + used("L", 5))
        endpoints[winner].send(token("W1 "))
        await loser.hung_up.wait()
        endpoints[winner].send(token("W2 ") + STREAM_END)
        endpoints[winner].end()
        received = await listening

    answer = received.completed
    assert received.text == "W1 W2 "
    assert received.frames[0].started.target == winner
    assert made(answer) == {winner: "", 1 - winner: "RACE_LOST"}
    assert answer.timing.attempts == 2
    assert [attempt.label for attempt in answer.timing.attempts_made] == ["", "target 1"]
    of = {attempt.target: attempt for attempt in answer.timing.attempts_made}
    assert of[winner].HasField("first_output")
    assert not of[1 - winner].HasField("first_output")
    assert of[0].started.ToTimedelta() <= of[1].started.ToTimedelta() <= of[winner].first_output.ToTimedelta()


async def test_what_a_loser_used_is_told(stub: ChatServiceStub) -> None:
    """As far as it said so, and apart from the winner's."""
    async with scripted() as endpoints, asyncio.timeout(within(10)):
        listening = asyncio.ensure_future(listen(stub.StreamChat(race(endpoints))))
        for each in endpoints:
            await each.begin()
        endpoints[0].send(role("L") + used("L", 5))
        await settled()
        endpoints[1].send(token("W1 ") + used("W", 7) + STREAM_END)
        endpoints[1].end()
        answer = (await listening).completed

    of = {attempt.target: attempt for attempt in answer.timing.attempts_made}
    assert of[0].reason == "RACE_LOST"
    assert of[0].usage.input_tokens == 5
    assert answer.usage.input_tokens == of[1].usage.input_tokens == 7


async def settled() -> None:
    """Let everything that was sent over loopback be read."""
    for _ in range(30):
        await asyncio.sleep(0.001)


def events(letter: str, tokens: int) -> list[bytes]:
    """An answer, event by event: with everything that could be mixed up."""
    return [role(letter), token(f"{letter}1 "), used(letter, tokens), token(f"{letter}2 "), STREAM_END]


@pytest.mark.parametrize("part", range(6))
async def test_nothing_is_mixed_in_any_order_of_events(stub: ChatServiceStub, part: int) -> None:
    """Two answers, their events sent in each of the 252 orders: words, usage and id are of one of them, and whole."""
    orders = merges(5, 5)[part::6]

    async def one(order: tuple[int, ...]) -> Received:
        async with scripted() as endpoints:
            listening = asyncio.ensure_future(listen(stub.StreamChat(race(endpoints))))
            for each in endpoints:
                await each.begin()
            left = [events("A", 11), events("B", 22)]
            for turn in order:
                endpoints[turn].send(left[turn].pop(0))
                await asyncio.sleep(0.002)
            for each in endpoints:
                each.end()
            return await listening

    for start in range(0, len(orders), 14):
        for received in await asyncio.gather(*map(one, orders[start : start + 14])):
            answer = received.completed
            letter = received.text[0]
            assert received.text == f"{letter}1 {letter}2 "
            assert answer.choices[0].message.text == received.text
            assert answer.usage.input_tokens == {"A": 11, "B": 22}[letter]
            assert received.frames[0].started.target == "AB".index(letter)
            assert made(answer) == {"AB".index(letter): "", 1 - "AB".index(letter): "RACE_LOST"}
            assert received.kinds.count("started") == 1


# The tests above race without end: the budget would hold them back.
@pytest.fixture
def settings() -> Settings:
    return Settings(port=0, shutdown_grace=2.0, max_hedge_ratio=1.0)


async def test_a_failure_does_not_wait_for_the_time_to_hedge(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """The next target is asked at once; and the last one left is tried again, as without a race."""
    request = chat_request(
        sandbox.url,
        "http-error:status=500",
        fallbacks=[target(sandbox.url, "flaky:fails=1,status=503,retry=0.01")],
        options=NEVER,
    )
    answer = (await listen(stub.StreamChat(request, timeout=within(10)))).completed

    assert [(each.target, each.reason) for each in answer.timing.attempts_made] == [
        (0, "ENDPOINT_ERROR"),
        (1, "ENDPOINT_OVERLOADED"),
        (1, ""),
    ]


async def test_one_that_fails_in_a_race_leaves_the_other(stub: ChatServiceStub) -> None:
    """Also with an error that would have ended the call alone; a third is asked only where nobody is left."""
    async with scripted(3) as endpoints, asyncio.timeout(within(10)):
        request = race(endpoints[:2])
        request.fallbacks.add().CopyFrom(race([endpoints[0], endpoints[2]]).fallbacks[0])
        request.options.hedge_after.FromMilliseconds(300)
        listening = asyncio.ensure_future(listen(stub.StreamChat(request)))
        for each in endpoints[:2]:
            await each.asked.wait()
        endpoints[1].send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        endpoints[1].end()
        endpoints[0].send(STREAM_HEAD_AND_WORD)
        endpoints[0].end()
        received = await listening

    assert received.text == "A1 "
    assert made(received.completed)[1] in {"ENDPOINT_REJECTED", "RACE_LOST"}
    assert made(received.completed)[0] == ""


STREAM_HEAD_AND_WORD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + token("A1 ") + STREAM_END
)


async def test_a_race_goes_on_from_target_to_target(stub: ChatServiceStub) -> None:
    """Each silence asks one more, up to the last; all but the winner are closed."""
    async with scripted(4) as endpoints, asyncio.timeout(within(10)):
        listening = asyncio.ensure_future(listen(stub.StreamChat(race(endpoints))))
        for each in endpoints:
            await each.begin()
        endpoints[2].send(token("C ") + STREAM_END)
        endpoints[2].end()
        received = await listening
        for each in endpoints:
            await each.left()

    assert received.text == "C "
    assert made(received.completed) == {0: "RACE_LOST", 1: "RACE_LOST", 2: "", 3: "RACE_LOST"}


async def test_chat_races_by_its_whole_answer(stub: ChatServiceStub) -> None:
    """The first whole answer wins, although the other one has begun."""
    async with scripted() as endpoints, asyncio.timeout(within(10)):
        asked = stub.Chat(race(endpoints))
        asking = asyncio.ensure_future(asked)
        for each in endpoints:
            await each.asked.wait()
        endpoints[0].send(chat_answer("slow")[:80])
        await settled()
        endpoints[1].send(chat_answer("quick"))
        answer = await asking
        await endpoints[0].hung_up.wait()

    assert answer.choices[0].message.text == "quick"
    assert made(answer) == {0: "RACE_LOST", 1: ""}


async def test_calls_fall_back_only_where_the_budget_is_spent(sandbox: Sandbox) -> None:
    """Ten at first, and a part of the calls: however many wait for a silent endpoint, no more are asked of the other.
    Chat has a budget of its own."""
    settings = Settings(port=0, shutdown_grace=1.0, max_hedge_ratio=0.1, first_output_timeout=within(60))
    async with (
        Sandbox() as spare,
        Server(settings) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = ChatServiceStub(channel)
        request = chat_request(
            sandbox.url, "silence:for=600s", fallbacks=[target(spare.url, "echo")], options={"hedgeAfter": "0.05s"}
        )
        asked = [asyncio.ensure_future(listen(stub.StreamChat(request))) for _ in range(30)]
        await until(lambda: len(sandbox.requests) == 30, 10)
        await until(lambda: sum(each.done() for each in asked) >= 10, 10)
        whole = await stub.Chat(request, timeout=within(10))
        await settled()
        answered = [each.result() for each in asked if each.done()]
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

        assert made(whole) == {0: "RACE_LOST", 1: ""}
        assert all(made(received.completed) == {0: "RACE_LOST", 1: ""} for received in answered)
        assert 10 <= len(answered) <= 13
        assert len(spare.requests) == len(answered) + 1


async def test_a_race_that_finds_nobody_to_ask_spends_nothing(sandbox: Sandbox) -> None:
    """Ten calls whose only other target cannot carry them leave the budget whole: the next ten race, and no more."""
    settings = Settings(port=0, shutdown_grace=1.0, max_hedge_ratio=0.001)
    options = {"hedgeAfter": "0.01s"}
    first: dict[str, Any] = {"modelParameters": {"model.name": "uneven:n=1,first=80ms,percent=0"}, "options": options}
    async with (
        Sandbox() as spare,
        Server(settings) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = ChatServiceStub(channel)
        audio = {"user": {"content": [{"audio": {"data": "UklGRg==", "format": "wav"}}]}}
        nobody = [target(spare.url, "echo", "anthropic_messages")]
        alone = chat_request(sandbox.url, "m", **{**first, "messages": [audio], "fallbacks": nobody})
        for _ in range(10):
            answer = (await listen(stub.StreamChat(alone, timeout=within(10)))).completed
            assert made(answer) == {0: "", 1: "NOT_SUPPORTED_BY_API"}
        raced = chat_request(sandbox.url, "silence:for=600s", fallbacks=[target(spare.url, "echo")], options=options)
        for _ in range(10):
            assert made((await listen(stub.StreamChat(raced, timeout=within(10)))).completed) == {0: "RACE_LOST", 1: ""}
        received = await listen(stub.StreamChat(raced, timeout=1))

    assert received.failure is not None
    assert len(spare.requests) == 10


async def test_the_time_to_hedge_can_be_measured(stub: ChatServiceStub, sandbox: Sandbox) -> None:
    """A percentile of the target's own first outputs, once 20 are known; until then `hedge_after`, here none."""
    async with Sandbox() as spare:
        options = {"hedgePercentile": 99}
        request = chat_request(
            sandbox.url, "uneven:n=2,percent=4,for=600s", fallbacks=[target(spare.url, "echo")], options=options
        )
        for _ in range(24):
            answer = (await listen(stub.StreamChat(request, timeout=within(10)))).completed
            assert made(answer)[0] in {"", "RACE_LOST"}
        received = await listen(stub.StreamChat(request, timeout=within(10)))

    assert made(received.completed) == {0: "RACE_LOST", 1: ""}
    assert received.frames[0].started.target == 1


WINDOWS = ("one asked", "both asked", "decided")
CAUSES = ("cancel", "deadline", "hang-up", "shutdown")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("cause", CAUSES)
async def test_every_end_in_every_window_of_a_race_closes_both(cause: str, stream: bool) -> None:
    """Cancelled, late, hung up or shut down, before the second is asked, while both are, and once it is decided:
    both sockets are closed, and nothing is left."""
    for window in WINDOWS if stream else WINDOWS[:2]:
        async with scripted() as endpoints, asyncio.timeout(within(15)):
            server = Server(Settings(port=0, shutdown_grace=0.1, max_hedge_ratio=1.0))
            await server.start()
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
            await channel.channel_ready()
            leftovers = LeakCheck()
            stub = ChatServiceStub(channel)
            request = race(endpoints, NEVER if window == "one asked" else AT_ONCE)
            timeout = within(0.25) if cause == "deadline" else None
            call = (stub.StreamChat if stream else stub.Chat)(request, timeout=timeout)
            running = asyncio.ensure_future(listen(call) if stream else _whole(call))
            await endpoints[0].begin()
            if window != "one asked":
                await endpoints[1].begin()
            if window == "decided":
                endpoints[1].send(token("B1 "))
                await endpoints[0].hung_up.wait()
            if cause == "cancel":
                call.cancel()
            elif cause == "hang-up":
                await channel.close()
            elif cause == "shutdown":
                server.force_stop()
            stopping = asyncio.ensure_future(server.stop()) if cause == "shutdown" else None
            for each in endpoints:
                await each.left()
            await asyncio.gather(running, return_exceptions=True)
            await channel.close()
            await (stopping or server.stop())
            await until(lambda: not any(each.connections for each in endpoints), 1)
            await leftovers.gone(3)


async def _whole(call: Any) -> None:
    await call
