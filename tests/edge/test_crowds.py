"""Hundreds of calls of one client in one moment: another client's call begins before most of them do."""

import asyncio
import time

import grpc

from integration_api.rpc.guard import Guard
from integration_api.rpc.rpc import Rpc
from integration_api.v1 import chat_service_pb2 as pb
from tests.edge.raw_http2 import RawConnection, message
from tests.patience import within

_METHOD = "/test.Service/Unary"
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
