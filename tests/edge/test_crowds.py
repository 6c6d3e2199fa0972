"""Hundreds of calls of one client in one moment: another client's call begins before most of them do, or before most of
them are refused."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2

from caller.errors import CallerUnauthenticated
from integration_api.rpc.channel_options import channel_options
from integration_api.rpc.guard import Guard, GuardLimits
from integration_api.rpc.receiving import ReceiveLimits
from integration_api.rpc.rpc import Rpc
from integration_api.rpc.strangers import Strangers
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from tests.edge.raw_http2 import RawConnection, message
from tests.patience import within

pytestmark = pytest.mark.usefixtures("watched_loop")

_METHOD = "/test.Service/Unary"
_CROWD = 1_500
_BEGINNING = 0.001  # seconds in which a call that begins holds the loop


async def test_another_clients_call_does_not_wait_for_all_of_a_crowd() -> None:
    begun = await _begun(400)
    assert begun.index("honest") < 100


async def test_some_dozens_of_calls_are_no_crowd() -> None:
    """They begin as they come: turns would keep a busy server waiting."""
    begun = await _begun(30)
    assert begun.index("honest") == 30


async def _begun(calls: int) -> list[str]:
    """The clients of so many calls of one client and of the call behind them, in the order in which they began."""
    begun: list[str] = []
    all_there = asyncio.Event()

    async def handler(_: pb.ChatRequest, rpc: Rpc) -> None:
        end = time.perf_counter() + _BEGINNING
        while time.perf_counter() < end:
            pass
        begun.append(rpc.client)
        if len(begun) > calls:
            all_there.set()
        await all_there.wait()  # as for an endpoint

    def identify(context: grpc.aio.ServicerContext) -> str:
        return str(dict(context.invocation_metadata() or ())["who"])

    guard = Guard(30.0, identify=identify)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {"Unary": guard.unary("Unary", pb.ChatRequest, handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with RawConnection(port) as crowd, RawConnection(port) as other:
        for _ in range(calls):
            await crowd.send(crowd.open(_METHOD, (("who", "greedy"),)), message(b""), end=True)
        time.sleep(within(0.2))  # noqa: ASYNC251 -- gRPC's own threads take all of them in while this loop stands still
        await other.send(other.open(_METHOD, (("who", "honest"),)), message(b""), end=True)
        await crowd.until(lambda: len(crowd.ended) == calls, 60)
    await server.stop(0)
    assert len(begun) == calls + 1
    return begun


def _named(context: grpc.aio.ServicerContext) -> str:
    who = str(dict(context.invocation_metadata() or ())["who"])
    if who == "nobody":
        raise CallerUnauthenticated("who calls?")
    return who


@pytest.mark.parametrize("who", ["nobody", "greedy"])
async def test_another_clients_call_does_not_wait_for_thousands_of_refusals(who: str) -> None:
    """Calls of headers only, of strangers or of a client: what is done about them waits, what arrives does not."""
    ended: list[int] = []

    async def handler(_: pb.ChatRequest, __: Rpc) -> None:
        ended.append(len(crowd.ended))

    guard = Guard(30.0, GuardLimits(receiving=ReceiveLimits(messages=8)), identify=_named)
    async with (
        _served(guard.unary("Unary", pb.ChatRequest, handler)) as port,
        RawConnection(port) as crowd,
        RawConnection(port) as other,
    ):
        for _ in range(_CROWD):
            crowd.open(_METHOD, (("who", who),))
        await crowd.flush()
        time.sleep(within(0.2))  # noqa: ASYNC251 -- gRPC's own threads take all of them in while this loop stands still
        await other.send(other.open(_METHOD, (("who", "honest"),)), message(b""), end=True)
        await other.until_ended(1, 60)
        assert ended[0] < _CROWD // 2
        await crowd.until_ended(_CROWD - 8, 60)
        assert guard.reading <= 8


async def test_a_health_check_does_not_wait_for_thousands_without_a_message() -> None:
    ended: list[int] = []

    async def check(_: health_pb2.HealthCheckRequest, __: Rpc) -> None:
        ended.append(len(crowd.ended))

    method = Strangers().method("Unary", health_pb2.HealthCheckRequest, check)
    async with _served(method) as port, RawConnection(port) as crowd, RawConnection(port) as other:
        for _ in range(_CROWD):
            crowd.open(_METHOD)
        await crowd.flush()
        time.sleep(within(0.2))  # noqa: ASYNC251 -- as above
        await other.send(other.open(_METHOD), message(b""), end=True)
        await other.until_ended(1, 60)
        assert ended[0] < _CROWD // 2
        await crowd.until_ended(_CROWD, 60)


@asynccontextmanager
async def _served(method: grpc.RpcMethodHandler) -> AsyncIterator[int]:
    server = grpc.aio.server(options=channel_options(Settings()))
    handlers = {"Unary": method}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
