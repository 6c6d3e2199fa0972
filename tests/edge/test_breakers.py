"""A dead first target: its spare answers, it is left in peace, and it is back soon. A sole target is never refused."""

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import free_port, until
from tests.edge.reading import fail, listen
from tests.edge.scripted import target
from tests.patience import within

AT_ONCE = 4


async def asked(stub: ChatServiceStub, request: pb.ChatRequest, calls: int) -> Counter[tuple[int, str]]:
    """What became of each target, over so many calls, a few at once; every one has to be answered."""
    attempts: Counter[tuple[int, str]] = Counter()

    async def some(count: int) -> None:
        for _ in range(count):
            answer = (await listen(stub.StreamChat(request, timeout=within(20)))).completed
            attempts.update((attempt.target, attempt.reason) for attempt in answer.timing.attempts_made)

    await asyncio.gather(*(some(calls // AT_ONCE) for _ in range(AT_ONCE)))
    return attempts


@pytest.mark.parametrize("how", ["503", "refused", "TLS"])
async def test_a_dead_target_is_asked_a_few_times_and_no_more(
    sandbox: Sandbox, stub: ChatServiceStub, how: str
) -> None:
    """All of 60 calls are answered by the spare; the breaker is said in the attempts."""
    url, reason = {
        "503": (sandbox.url, "ENDPOINT_OVERLOADED"),
        "refused": (f"http://127.0.0.1:{free_port()}", "ENDPOINT_UNREACHABLE"),
        "TLS": (sandbox.url.replace("http:", "https:"), "ENDPOINT_TLS"),
    }[how]
    async with Sandbox() as spare:
        request = chat_request(url, "http-error:status=503", fallbacks=[target(spare.url, "echo")])
        attempts = await asked(stub, request, 60)

        assert attempts[1, ""] == len(spare.requests) == 60
        assert 5 <= attempts[0, reason] <= 15
        assert attempts[0, "BREAKER_OPEN"] == 60 - attempts[0, reason]
        assert len(sandbox.requests) <= 15


async def test_a_silent_target_costs_the_budget_and_a_few_timeouts(sandbox: Sandbox, stub: ChatServiceStub) -> None:
    """The race answers as far as its budget goes, then the first-output timeout does, then the breaker: all of 60 calls
    are answered by the spare."""
    async with Sandbox() as spare:
        request = chat_request(
            sandbox.url,
            "silence:for=600s",
            fallbacks=[target(spare.url, "echo")],
            options={"hedgeAfter": "0.02s"},
            timeouts={"firstOutput": f"{within(0.3)}s"},
        )
        attempts = await asked(stub, request, 60)
        await until(lambda: not sandbox.connections, 5)

    assert attempts[1, ""] == 60
    assert attempts[0, "RACE_LOST"] >= 10
    assert attempts[0, "RACE_LOST"] + attempts[0, "FIRST_OUTPUT_TIMEOUT"] + attempts[0, "BREAKER_OPEN"] == 60
    assert attempts[0, "BREAKER_OPEN"] >= 10


async def test_a_lost_race_is_no_failure(sandbox: Sandbox, server: Server) -> None:
    """A target that loses every race is asked first every time."""
    async with (
        Sandbox() as spare,
        Server(Settings(port=0, shutdown_grace=1.0, max_hedge_ratio=1.0)) as racing,
        grpc.aio.insecure_channel(f"127.0.0.1:{racing.port}") as channel,
    ):
        del server
        request = chat_request(
            sandbox.url,
            "silence:for=600s",
            fallbacks=[target(spare.url, "echo")],
            options={"hedgeAfter": "0.01s"},
        )
        attempts = await asked(ChatServiceStub(channel), request, 20)

    assert attempts == {(0, "RACE_LOST"): 20, (1, ""): 20}


async def test_a_target_that_is_well_again_is_asked_first_again(sandbox: Sandbox) -> None:
    """One call finds out; a failure of it leaves the breaker open, its answer closes it."""
    settings = Settings(port=0, shutdown_grace=1.0, breaker_failures=3, breaker_open=0.2)
    async with (
        Sandbox() as spare,
        Server(settings) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = ChatServiceStub(channel)
        request = chat_request(sandbox.url, "flaky:fails=4,status=503", fallbacks=[target(spare.url, "echo")])
        answered_by: list[int] = []
        async with asyncio.timeout(within(15)):
            while not answered_by or answered_by[-1] == 1:
                answer = (await listen(stub.StreamChat(request))).completed
                answered_by.append(max(attempt.target for attempt in answer.timing.attempts_made))
                await asyncio.sleep(0.01)
        attempts = await asked(stub, request, 8)

    assert len(sandbox.requests) == 5 + 8
    assert attempts == {(0, ""): 8}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_sole_target_is_never_refused(sandbox: Sandbox, stub: ChatServiceStub, stream: bool) -> None:
    """Whatever its past: without fallbacks, with one that may not be called, and where all breakers are open."""
    dead = "http-error:status=503"
    missing = {**target("", ""), "credential": {"name": "nobody-made-it"}}
    twice = [target(sandbox.url, f"{dead},retry=9")]
    for fallbacks in ([], [missing], twice):
        request = chat_request(sandbox.url, dead, fallbacks=fallbacks, options={"maxAttempts": 1})
        for _ in range(12):
            before = len(sandbox.requests)
            failed = (await listen(stub.StreamChat(request))).failure if stream else await fail(stub.Chat(request))
            assert failed is not None
            assert failed.reason == "ENDPOINT_OVERLOADED"
            assert len(sandbox.requests) - before == (2 if fallbacks is twice else 1)


async def test_a_fallback_counts_for_its_endpoint(sandbox: Sandbox) -> None:
    """`max_running_per_endpoint` holds for targets that are asked later, too: a full one is passed over."""
    settings = Settings(port=0, shutdown_grace=1.0, max_running_per_endpoint=2, max_client_share=1.0)
    async with (
        Sandbox() as busy,
        Sandbox() as third,
        Server(settings) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = ChatServiceStub(channel)
        held = [stub.StreamChat(chat_request(busy.url, "stall:after=1,for=600s")) for _ in range(2)]
        for call in held:
            assert await call.read()
        fallbacks = [target(busy.url, "echo"), target(third.url, "echo")]
        request = chat_request(sandbox.url, "http-error:status=503", fallbacks=fallbacks)

        async def made() -> list[tuple[int, str]]:
            answer = (await listen(stub.StreamChat(request))).completed
            return [(attempt.target, attempt.reason) for attempt in answer.timing.attempts_made]

        assert await made() == [(0, "ENDPOINT_OVERLOADED"), (1, "SERVICE_OVERLOADED"), (2, "")]
        for call in held:
            call.cancel()
        await until(lambda: not busy.connections, 5)
        for _ in range(4):  # what a fallback held is free again
            assert await made() == [(0, "ENDPOINT_OVERLOADED"), (1, "")]


async def test_metrics_show_open_breakers_and_hedges(sandbox: Sandbox) -> None:
    """By endpoint, and by what became of them."""
    port = free_port()
    settings: dict[str, Any] = {"port": 0, "admin_port": port, "shutdown_grace": 1.0, "breaker_failures": 1}
    async with (
        Sandbox() as spare,
        Server(Settings(**settings, max_hedge_ratio=0.01)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = ChatServiceStub(channel)
        dead = chat_request(sandbox.url, "http-error:status=500", fallbacks=[target(spare.url, "echo")])
        await listen(stub.StreamChat(dead))
        silent = chat_request(
            sandbox.url, "silence:for=600s", fallbacks=[target(spare.url, "echo")], options={"hedgeAfter": "0.01s"}
        )
        for _ in range(10):
            await listen(stub.StreamChat(silent))
        await listen(stub.StreamChat(silent, timeout=0.3))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()

    assert f'integration_api_open_breakers{{endpoint="127.0.0.1:{sandbox.port}"}} 1.0' in text
    for event, count in (("asked", 10), ("won", 10), ("refused", 1)):
        assert f'integration_api_hedges_total{{event="{event}"}} {count}.0' in text
