"""The two ends of a service as a program: an endpoint with known waits, and a client. They are no part of what is
measured, so they run in a process of their own.

It prints the endpoint's port, reads the two ports that it is to use from standard input (the service's, and the one at
which the service shall find the endpoint), makes its calls, and ends.
"""

import argparse
import asyncio
import sys

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from integration_api.sandbox import Sandbox
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests import asking


async def calls(channel: grpc.aio.Channel, url: str, asked: argparse.Namespace) -> None:
    """One after the other; each request holds a word of its own, and behind each is a call that does nothing."""
    stub, health = ChatServiceStub(channel), HealthStub(channel)
    for number in range(asked.calls):
        word = f"word-{number}-end"
        request = asking.chat_request(url, asked.model, word, requestId=word)
        if asked.method == "Chat":
            await stub.Chat(request)
        else:
            async for _ in stub.StreamChat(request):
                pass
        await health.Check(HealthCheckRequest())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=("Chat", "StreamChat"))
    parser.add_argument("model")
    parser.add_argument("calls", type=int)
    asked = parser.parse_args()
    async with Sandbox(port=0) as endpoint:
        print(endpoint.port, flush=True)  # noqa: T201 -- a program
        service, before_endpoint = (await asyncio.to_thread(sys.stdin.readline)).split()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service}") as channel:
            await calls(channel, f"http://127.0.0.1:{before_endpoint}", asked)


if __name__ == "__main__":
    asyncio.run(main())
