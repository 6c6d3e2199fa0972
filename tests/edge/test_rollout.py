"""A rolling update under load: two instances behind one channel, and one of them stops."""

import asyncio
import json
from collections import Counter

import grpc

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.patience import within

# Clients without health checks and without retries: nothing but GOAWAY tells them to go.
PLAIN = (
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.enable_retries", 0),
)


async def unary(stub: ChatServiceStub, url: str, ends: Counter[str]) -> None:
    try:
        await stub.Chat(chat_request(url, "echo"), timeout=20)
    except grpc.aio.AioRpcError as error:
        ends[f"Chat {error.code().name} {error.details()}"] += 1
    else:
        ends["Chat OK"] += 1


async def stream(stub: ChatServiceStub, url: str, ends: Counter[str]) -> None:
    call = stub.StreamChat(chat_request(url, "tokens:n=20,gap=40ms"), timeout=20)
    try:
        frames = [frame async for frame in call]
    except grpc.aio.AioRpcError as error:
        ends[f"StreamChat {error.code().name} {error.details()}"] += 1
    else:
        ends["StreamChat OK" if frames[-1].HasField("completed") else "StreamChat without its end"] += 1


async def test_a_rolling_update_fails_nobody(sandbox: Sandbox) -> None:
    """50 calls and 12 streams a second over two instances, one of which stops: all are answered, running ones too."""
    settings = Settings(port=0, shutdown_grace=10.0)
    ends: Counter[str] = Counter()
    async with Server(settings) as leaving, Server(settings) as staying:
        target = f"ipv4:127.0.0.1:{leaving.port},127.0.0.1:{staying.port}"
        async with grpc.aio.insecure_channel(target, options=PLAIN) as channel, asyncio.TaskGroup() as calls:
            stub = ChatServiceStub(channel)
            for tick in range(100):
                calls.create_task(unary(stub, sandbox.url, ends))
                if tick % 4 == 0:
                    calls.create_task(stream(stub, sandbox.url, ends))
                if tick == 40:
                    calls.create_task(leaving.stop())
                await asyncio.sleep(0.02)  # the load's own pace
        assert leaving.guard.running == 0

    # One call in the very instant of the GOAWAY is forgiven: it may be on the wire when the connection is sent away. A
    # busy machine makes more of that instant.
    assert ends["Chat OK"] + ends["StreamChat OK"] >= 125 - within(1), ends
    assert sum(ends.values()) == 125
