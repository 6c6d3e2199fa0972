"""How many calls run at once: each limit, the queue in front of them, and nothing left behind."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from caller.credentials import parse_credential
from caller.errors import ServiceOverloaded
from integration_api.calls.admission import Admission, AdmissionLimits, calls_that_fit
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.access_world import FULL, bearer, serving, token_line
from tests.edge.loopback import until
from tests.edge.reading import Failure, fail, listen
from tests.patience import within

SILENT = "silence:for=60s"


@asynccontextmanager
async def held(stub: ChatServiceStub, sandbox: Sandbox, token: str = "") -> AsyncIterator[grpc.aio.Call]:
    """A call that runs: its request is with the endpoint, which says nothing."""
    call = stub.StreamChat(chat_request(sandbox.url, SILENT), metadata=bearer(token) if token else ())
    while SILENT.encode() not in (await sandbox.wait_for_request()).body:
        pass  # an earlier request that nobody waited for
    try:
        yield call
    finally:
        call.cancel()


def nothing_left(server: Server) -> bool:
    """No place taken, nobody waiting, no key remembered."""
    admission = server.admission
    return counts(admission) == (0, 0, 0, 0)


def delay_of(failure: Failure) -> float:
    info = failure.details["RetryInfo"]
    assert isinstance(info, error_details_pb2.RetryInfo)
    return info.retry_delay.ToTimedelta().total_seconds()


async def echo(stub: ChatServiceStub, sandbox: Sandbox, token: str = "", **options: Any) -> pb.ChatResponse:
    return await stub.Chat(
        chat_request(sandbox.url, "echo", "here"), metadata=bearer(token) if token else (), timeout=10, **options
    )


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_above_the_limit_calls_are_refused_at_once(sandbox: Sandbox) -> None:
    """One call too many gets SERVICE_OVERLOADED with a delay, in no time; a place that comes free is given again."""
    async with serving(max_running_calls=2, max_client_share=1.0) as (server, stub):
        async with held(stub, sandbox), held(stub, sandbox):
            begun = asyncio.get_running_loop().time()
            failure = await fail(stub.Chat(chat_request(sandbox.url, "echo"), timeout=10))
            assert asyncio.get_running_loop().time() - begun < within(0.5)
            assert failure.said == FULL
            assert "max_running_calls" in failure.message
            assert failure.info.metadata["fault"] == "service"
            assert failure.info.metadata["provider_id"] == "custom-llm"
            assert 0.5 <= delay_of(failure) <= 1.5
            assert 500 <= int(failure.trailers["grpc-retry-pushback-ms"]) <= 1500
        await until(lambda: nothing_left(server))
        await echo(stub, sandbox)
        assert nothing_left(server)


async def test_every_method_needs_a_place(sandbox: Sandbox) -> None:
    """StreamChat, VerifyCredential and ListModels are refused alike."""
    async with serving(max_running_calls=1) as (_, stub), held(stub, sandbox):
        credential = json_format.MessageToDict(chat_request(sandbox.url, "echo").credential)
        fields = {"providerId": "custom-llm", "credential": credential}
        received = await listen(stub.StreamChat(chat_request(sandbox.url, "echo"), timeout=10))
        assert received.failure is not None
        assert received.failure.said == FULL
        verify = json_format.ParseDict(fields, pb.VerifyCredentialRequest())
        assert (await fail(stub.VerifyCredential(verify, timeout=10))).said == FULL
        models = json_format.ParseDict(fields, pb.ListModelsRequest())
        assert (await fail(stub.ListModels(models, timeout=10))).said == FULL
        assert len(sandbox.requests) == 1


async def test_health_and_reflection_always_answer(sandbox: Sandbox) -> None:
    """A full server is a healthy one."""
    async with (
        serving(max_running_calls=1) as (server, stub),
        held(stub, sandbox),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(20):
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=5)
        await listing.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await listing.read()).list_services_response.service
        await listing.done_writing()


async def test_one_caller_cannot_take_every_place(tmp_path: Path, sandbox: Sandbox) -> None:
    """The limit of one caller leaves others alone; anonymous ones count as one."""
    (tmp_path / "tokens").write_text(token_line("billing", "b") + token_line("voice", "v"))
    settings = {"auth_tokens_file": str(tmp_path / "tokens"), "allow_anonymous": True, "max_running_per_caller": 1}
    async with serving(**settings) as (server, stub):
        async with held(stub, sandbox, "b"):
            failure = await fail(stub.Chat(chat_request(sandbox.url, "echo"), metadata=bearer("b"), timeout=10))
            assert failure.said == FULL
            assert "max_running_per_caller" in failure.message
            await echo(stub, sandbox, "v")
            async with held(stub, sandbox):
                assert (await fail(stub.Chat(chat_request(sandbox.url, "echo"), timeout=10))).said == FULL
                await echo(stub, sandbox, "v")
        await until(lambda: nothing_left(server))


async def test_one_endpoint_cannot_take_every_place(sandbox: Sandbox) -> None:
    """The limit of one host and port leaves others alone, however its URL is written."""
    async with serving(max_running_per_endpoint=1) as (server, stub), Sandbox() as other:
        async with held(stub, sandbox):
            request = chat_request(f"http://127.0.0.1:{sandbox.port}/./other/path?x=1", "echo")
            failure = await fail(stub.Chat(request, timeout=10))
            assert failure.said == FULL
            assert "max_running_per_endpoint" in failure.message
            await echo(stub, other)
        await until(lambda: nothing_left(server))


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://HOST.example/v1", "host.example:80"),
        ("https://host.example./v1", "host.example:443"),
        (" https://host.example:8443/a?key=CANARY#x ", "host.example:8443"),
        ("http://[::1]:80/v1", "::1:80"),
    ],
)
def test_endpoints_are_counted_by_host_and_port(url: str, endpoint: str) -> None:
    """The key has no path, no query and no case, and is short."""
    assert parse_credential({"baseUrl": url}).endpoint == endpoint
    assert parse_credential({"base_url": url}).endpoint == endpoint


async def test_failures_give_their_place_back(sandbox: Sandbox) -> None:
    """Calls that are refused, fail, time out or are cancelled leave no trace of themselves or their keys."""
    async with serving(max_running_calls=3, max_attempts=1) as (server, stub):
        for number in range(10):
            await fail(stub.Chat(chat_request(f"http://127.0.0.1:{number + 1}", "echo"), timeout=10))
            await fail(stub.Chat(chat_request("http://", "echo"), timeout=10))
            await fail(stub.Chat(chat_request(sandbox.url, "http-error:status=500"), timeout=10))
            await fail(stub.Chat(chat_request(sandbox.url, SILENT), timeout=0.05))
        await until(lambda: nothing_left(server))
        await echo(stub, sandbox)


# -- the queue ---------------------------------------------------------------------------------------------------------


async def test_a_waiting_call_gets_the_place_that_comes_free(sandbox: Sandbox) -> None:
    """With a queue the next call waits, and runs as soon as the one before ends."""
    async with serving(max_running_calls=1, max_queued_calls=1, max_queue_time=20) as (server, stub):
        async with held(stub, sandbox):
            waiting = asyncio.ensure_future(echo(stub, sandbox))
            await until(lambda: server.admission.queued == 1)
            assert (await fail(stub.Chat(chat_request(sandbox.url, "echo"), timeout=10))).said == FULL
            assert not waiting.done()
        assert (await waiting).choices[0].message.text == "here"
        await until(lambda: nothing_left(server))


async def test_waiting_is_bounded(sandbox: Sandbox) -> None:
    """After the queue's time, or the call's own total time where that is shorter, the call is refused."""
    async with serving(max_running_calls=1, max_queued_calls=5, max_queue_time=0.2) as (server, stub):
        async with held(stub, sandbox):
            failure = await fail(stub.Chat(chat_request(sandbox.url, "echo"), timeout=10))
            assert failure.said == FULL
            assert "0.2 s" in failure.message
            short = chat_request(sandbox.url, "echo", timeouts={"total": "0.05s"})
            assert "0.05 s" in (await fail(stub.Chat(short, timeout=10))).message
            assert server.admission.queued == 0
        await until(lambda: nothing_left(server))


@pytest.mark.parametrize("ending", ["cancel", "deadline", "hang-up"])
async def test_leaving_the_queue_leaves_no_trace(sandbox: Sandbox, ending: str) -> None:
    """A call that ends while it waits never reaches the endpoint, and its place in the queue is free again."""
    async with serving(max_running_calls=1, max_queued_calls=1, max_queue_time=30) as (server, stub):
        async with (
            held(stub, sandbox),
            grpc.aio.insecure_channel(
                f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
            ) as channel,
        ):
            request = chat_request(sandbox.url, "echo")
            call = ChatServiceStub(channel).Chat(request, timeout=0.3 if ending == "deadline" else 30)
            await until(lambda: server.admission.queued == 1)
            if ending == "cancel":
                call.cancel()
            elif ending == "hang-up":
                await channel.close()
            await until(lambda: server.admission.queued == 0)
            assert server.admission.running == 1
        await until(lambda: nothing_left(server))
        assert len(sandbox.requests) == 1


async def test_shutdown_ends_the_waiting(sandbox: Sandbox) -> None:
    """Calls in the queue are told that the instance stops, within the grace."""
    async with serving(max_running_calls=1, max_queued_calls=1, max_queue_time=30, shutdown_grace=0.2) as (
        server,
        stub,
    ):
        async with held(stub, sandbox):
            waiting = asyncio.ensure_future(fail(stub.Chat(chat_request(sandbox.url, "echo"), timeout=30)))
            await until(lambda: server.admission.queued == 1)
            await server.stop()
            assert (await waiting).said == (grpc.StatusCode.UNAVAILABLE, "SERVICE_DRAINING")
        assert nothing_left(server)


# -- the counting itself -----------------------------------------------------------------------------------------------


def counts(admission: Admission) -> tuple[int, int, int, int]:
    return admission.running, admission.queued, len(admission._slots.held), len(admission._endpoints)


async def test_who_waits_longest_is_served_first_but_blocks_nobody() -> None:
    """First come, first served; a waiter whose own limit is reached lets others pass."""
    admission = Admission(AdmissionLimits(running=2, per_caller=1, queued=10, queue_time=10))
    order: list[str] = []

    async def call(name: str, caller: str, done: asyncio.Event) -> None:
        async with admission.admit(caller, "e:80"):
            order.append(name)
            await done.wait()

    ends = {name: asyncio.Event() for name in ("a1", "b1", "a2", "c1", "c2")}
    async with asyncio.TaskGroup() as group:
        for name, end in ends.items():
            group.create_task(call(name, name[0], end))
            await asyncio.sleep(0)
        assert order == ["a1", "b1"]
        assert admission.queued == 3
        ends["b1"].set()  # a2 waits longer, but its caller still runs a1
        await until(lambda: len(order) == 3)
        assert order[2] == "c1"
        ends["a1"].set()
        await until(lambda: len(order) == 4)
        assert order[3] == "a2"
        for end in ends.values():
            end.set()
    assert order[4] == "c2"
    assert counts(admission) == (0, 0, 0, 0)


async def test_a_place_given_in_the_moment_of_leaving_goes_to_the_next() -> None:
    """A waiter that is cancelled just when its place came free passes it on."""
    admission = Admission(AdmissionLimits(running=1, queued=10, queue_time=10))

    async def wait() -> None:
        async with admission.admit("", ""):
            pass

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(admission.admit("", ""))
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await until(lambda: admission.queued == 2)
        await stack.aclose()  # gives the place to the first, which has not run yet
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.wait_for(second, within(5))
    assert counts(admission) == (0, 0, 0, 0)


async def test_a_waiter_cancelled_before_a_place_came_free_is_passed_over() -> None:
    """A place is never given to a call that is already gone."""
    admission = Admission(AdmissionLimits(running=1, queued=10, queue_time=10))

    async def wait() -> None:
        async with admission.admit("", ""):
            pass

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(admission.admit("", ""))
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await until(lambda: admission.queued == 2)
        first.cancel()
        await stack.aclose()
        await asyncio.wait_for(second, within(5))
        assert first.cancelled()
    assert counts(admission) == (0, 0, 0, 0)


async def test_nothing_is_left_after_a_thousand_ends() -> None:
    """Callers that come, wait, give up, fail and are cancelled at random: no count is exceeded, all return to zero."""
    rng = random.Random(7)  # noqa: S311 -- a repeatable game, no secret
    admission = Admission(AdmissionLimits(running=8, per_caller=3, per_endpoint=4, queued=16, queue_time=0.02))
    most = 0

    async def call() -> None:
        nonlocal most
        async with admission.admit(
            f"caller-{rng.randrange(5)}", f"host-{rng.randrange(4)}:80", rng.choice([None, 0.005])
        ):
            most = max(most, admission.running)
            assert max(admission._slots.held.values()) <= 3
            assert max(known.total for known in admission._endpoints.values()) <= 4
            await asyncio.sleep(rng.random() * 0.01)
            if rng.random() < 0.2:
                raise RuntimeError

    tasks = []
    for number in range(1000):
        tasks.append(asyncio.create_task(call()))
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
        if number % 5 == 0:
            await asyncio.sleep(0.001)
        assert admission.queued <= 16
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 8
    assert {type(end) for end in ends} == {type(None), RuntimeError, ServiceOverloaded, asyncio.CancelledError}
    assert counts(admission) == (0, 0, 0, 0)


# -- shares ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def holding(admission: Admission, client: str, endpoint: str, calls: int) -> AsyncIterator[list[str]]:
    """So many calls of a client that never end by themselves; how each of them stands: running, refused or waiting."""
    stands = ["waiting"] * calls

    async def call(number: int) -> None:
        try:
            async with admission.admit(client, endpoint):
                stands[number] = "running"
                await asyncio.Event().wait()
        except ServiceOverloaded:
            stands[number] = "refused"

    tasks = [asyncio.create_task(call(number)) for number in range(calls)]
    await asyncio.sleep(0)
    try:
        yield stands
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_hanging_calls_of_one_client_leave_an_endpoint_to_others() -> None:
    """Ten calls that hang, where an endpoint may have ten: another client is served there at once."""
    admission = Admission(AdmissionLimits(per_endpoint=10))
    async with holding(admission, "a", "e:80", 10) as stands:
        assert (stands.count("running"), stands.count("refused")) == (9, 1)
        async with admission.admit("b", "e:80"):
            assert admission.running == 10
    assert counts(admission) == (0, 0, 0, 0)


async def test_many_calls_of_one_client_fill_neither_slots_nor_queue() -> None:
    """Ninety calls, sixty slots and thirty places in the queue: another client runs, and others wait."""
    admission = Admission(AdmissionLimits(running=60, queued=30, queue_time=30))
    async with holding(admission, "a", "e:80", 90) as stands:
        assert (stands.count("running"), stands.count("waiting")) == (53, 27)
        async with holding(admission, "b", "f:80", 8) as others:
            assert (others.count("running"), others.count("waiting")) == (7, 1)
            assert stands.count("running") == 53
    assert counts(admission) == (0, 0, 0, 0)


async def test_clients_are_served_in_turn() -> None:
    """A client that waits a hundred times is served no more often than one that waits twice."""
    admission = Admission(AdmissionLimits(running=1, queued=200, queue_time=30))
    order: list[str] = []

    async def call(client: str) -> None:
        async with admission.admit(client, f"{client}:80"):
            order.append(client)

    async with admission.admit("x", ""):
        tasks = [asyncio.create_task(call(client)) for client in ["a"] * 100 + ["b", "c", "b", "c"]]
        await until(lambda: admission.queued == 104)
    await asyncio.gather(*tasks)
    assert order[:6] == ["a", "b", "c", "a", "b", "c"]
    assert counts(admission) == (0, 0, 0, 0)


@pytest.mark.parametrize("endpoints", [1, 5_000])
async def test_an_end_costs_the_same_however_many_wait(endpoints: int) -> None:
    """Five thousand waiting calls, of one endpoint or of as many, that another limit holds: far below a tenth of a
    millisecond for an end on a quiet machine."""
    admission = Admission(AdmissionLimits(per_caller=1, queued=30_000, queue_time=60))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(admission.admit("a", "e:80"))
        tasks = [asyncio.create_task(_once(admission, "a", f"e{number % endpoints}:80")) for number in range(5_000)]
        await until(lambda: admission.queued == 5_000, 30)
        took = []
        for _ in range(200):
            async with admission.admit("b", "f:80"):
                begun = time.perf_counter()
            took.append(time.perf_counter() - begun)
        assert sorted(took)[100] < within(0.0001)  # a walk over all of them took 0.0015
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert counts(admission) == (0, 0, 0, 0)


async def _once(admission: Admission, client: str, endpoint: str) -> None:
    async with admission.admit(client, endpoint):
        pass


def test_workers_share_the_limits() -> None:
    """Each worker has its part, never none and never all; no limit stays no limit."""
    whole = AdmissionLimits(running=10, per_caller=6, per_endpoint=8, queued=5, queue_time=3)
    assert whole.shared_by(4) == AdmissionLimits(running=2, per_caller=6, per_endpoint=8, queued=1, queue_time=3)
    assert whole.shared_by(1) == whole


def test_the_default_limit_follows_from_descriptors() -> None:
    """Every call has room for two sockets; a small limit still carries one call."""
    assert calls_that_fit(1024) == 448
    assert calls_that_fit(100) == 1
    one, four = AdmissionLimits.of(Settings()), AdmissionLimits.of(Settings(), workers=4)
    assert one.running > 0
    assert four.shared_by(4).running == one.running
    assert AdmissionLimits.of(Settings(max_running_calls=7)).running == 7
