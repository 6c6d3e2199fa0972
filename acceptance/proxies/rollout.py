"""SIGTERM to one of two instances behind a proxy, under load: who notices."""

import asyncio
import signal
from collections import Counter

import grpc

from acceptance.proxies.checks import OPTIONS
from bench.processes import Process, chat_request
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

_TICK = 0.05
_TICKS = 160
_STOP_AT = 40


async def _unary(stub: ChatServiceStub, port: int, failed: Counter[str]) -> None:
    try:
        await stub.Chat(chat_request(port, "echo"), timeout=20)
    except grpc.aio.AioRpcError as error:
        failed[f"Chat {error.code().name} {error.details()}"] += 1


async def _stream(stub: ChatServiceStub, port: int, failed: Counter[str]) -> None:
    last = ""
    try:
        async for frame in stub.StreamChat(chat_request(port, "tokens:n=20,gap=100ms"), timeout=20):
            last = frame.WhichOneof("event")
    except grpc.aio.AioRpcError as error:
        failed[f"StreamChat {error.code().name} {error.details()}"] += 1
    else:
        failed["StreamChat without its end"] += last != "completed"


async def rollout(address: str, endpoint: int, leaving: Process) -> str:
    """Twenty calls and ten streams of two seconds a second, for eight seconds; one instance goes after two. No retries.

    Raises:
        AssertionError: more than one call failed (one may be on the wire in the instant of the GOAWAY).
    """
    failed: Counter[str] = Counter()
    async with (
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
        asyncio.TaskGroup() as calls,
    ):
        stub = ChatServiceStub(channel)
        for tick in range(_TICKS):
            calls.create_task(_unary(stub, endpoint, failed))
            if tick % 2:
                calls.create_task(_stream(stub, endpoint, failed))
            if tick == _STOP_AT:
                leaving.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(_TICK)
        # The context ends once the last stream has.
    failed = +failed
    told = f"{failed.total()} of {_TICKS + _TICKS // 2} failed{': ' * bool(failed)}{', '.join(failed)}"
    assert failed.total() <= 1, told
    return told
