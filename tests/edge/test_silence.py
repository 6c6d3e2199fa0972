"""A first target that says nothing at all: no call waits long for it, also beyond the budget; a slow one keeps them."""

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.leaping import LeapingLoop, leaping
from tests.edge.loopback import until
from tests.edge.reading import Received, listen
from tests.edge.scripted import target
from tests.patience import within

RACED = {0: "RACE_LOST", 1: ""}
PASSED_OVER = {0: "BREAKER_OPEN", 1: ""}


def race(first: Sandbox, model: str, spare: Sandbox, spares: str = "echo") -> pb.ChatRequest:
    """A call whose first target does what `model` says, and its spare what `spares` does."""
    return chat_request(first.url, model, fallbacks=[target(spare.url, spares)], options={"hedgeAfter": "0.02s"})


def made(received: Received) -> dict[int, str]:
    """What became of each target at last."""
    return {attempt.target: attempt.reason for attempt in received.completed.timing.attempts_made}


async def in_vain(loop: LeapingLoop) -> None:
    """A call waits for the time to hedge, and then for three seconds; whatever follows takes its time."""
    await loop.leap(1.0)
    await loop.leap(4.0)


@pytest.mark.parametrize("breaker_open", [0.1, 600.0])
def test_nobody_waits_for_a_silent_target(breaker_open: float) -> None:
    """Ten calls race. The next one waits for three seconds, and asks the spare; then the target is passed over. The
    call that finds out whether it is back races, whatever the budget is."""

    async def talk(loop: LeapingLoop) -> None:
        settings = Settings(port=0, shutdown_grace=1.0, max_hedge_ratio=0.001, breaker_open=breaker_open)
        async with (
            Sandbox() as first,
            Sandbox() as spare,
            Server(settings) as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            stub, request = ChatServiceStub(channel), race(first, "silence:for=600s", spare)
            for _ in range(10):
                assert made(await listen(stub.StreamChat(request))) == RACED
            waiting = loop.create_task(listen(stub.StreamChat(request)))
            await until(lambda: len(first.requests) == 11)
            await in_vain(loop)
            assert made(await waiting) == PASSED_OVER
            if breaker_open > 1.0:
                for _ in range(5):
                    assert made(await listen(stub.StreamChat(request))) == PASSED_OVER
                assert len(first.requests) == 11
            else:
                found_out = PASSED_OVER
                while found_out == PASSED_OVER:
                    found_out = made(await listen(stub.StreamChat(request)))
                assert found_out == RACED
                assert len(first.requests) == 12

    leaping(talk)


async def test_a_slow_target_keeps_the_calls_beyond_the_budget(sandbox: Sandbox) -> None:
    """It loses every race, but answers those who wait for it."""
    settings = Settings(port=0, shutdown_grace=1.0, max_hedge_ratio=0.001)
    async with (
        Sandbox() as spare,
        Server(settings) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub, request = ChatServiceStub(channel), race(sandbox, "uneven:n=1,first=1500ms,percent=0", spare)
        for _ in range(10):
            assert made(await listen(stub.StreamChat(request, timeout=within(10)))) == RACED
        assert made(await listen(stub.StreamChat(request, timeout=within(10)))) == {0: ""}


def test_a_target_that_was_left_is_asked_again_where_all_others_fail() -> None:
    """It may have been slow after all: its answer is better than a failure."""

    async def talk(loop: LeapingLoop) -> None:
        settings = Settings(port=0, shutdown_grace=1.0, max_hedge_ratio=0.001)
        async with (
            Sandbox() as first,
            Sandbox() as spare,
            Server(settings) as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            stub, lost = ChatServiceStub(channel), race(first, "silence:for=600s", spare)
            for _ in range(10):
                assert made(await listen(stub.StreamChat(lost))) == RACED
            failing = race(first, "silence:for=600s", spare, "http-error:status=503")
            waiting = loop.create_task(listen(stub.StreamChat(failing, timeout=within(60))))
            await until(lambda: len(first.requests) == 11)
            await in_vain(loop)
            await until(lambda: len(first.requests) == 12)
            assert not waiting.done()
            waiting.cancel()

    leaping(talk)
