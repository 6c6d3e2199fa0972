"""Keep-alive pings on a quiet stream: a client that pings every ten seconds is not thrown out.

Opens one stream to a silent endpoint with grpc's keep-alive at ten seconds (the shortest a client may), and waits:
grpc's own default on the server side answers the third ping with GOAWAY, "too many pings".

    python -m bench.pings [SECONDS]
"""

import asyncio
import sys

import grpc
from google.protobuf import json_format

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

PINGS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


async def main(seconds: float) -> int:
    """The exit code: 0 when the stream outlived the silence."""
    async with Sandbox() as sandbox, Server(Settings(port=0, shutdown_grace=1.0)) as server:
        request = json_format.ParseDict(
            {
                "providerId": "custom-llm",
                "credential": {"value": {"apiCompatibility": "openai_compatible", "baseUrl": f"{sandbox.url}/v1"}},
                "messages": [{"user": {"content": [{"text": "still there"}]}}],
                "modelParameters": {"model.name": f"silence:for={seconds:g}s"},
                "timeouts": {"firstOutput": f"{seconds + 20:g}s"},
            },
            pb.ChatRequest(),
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=PINGS) as channel:
            try:
                said = [frame.text_delta.text async for frame in ChatServiceStub(channel).StreamChat(request)]
            except grpc.aio.AioRpcError as error:
                print(f"the stream ended with {error.code()}: {error.details()}")
                return 1
    print(f"after {seconds:g} s of silence and a ping every 10 s the stream said {''.join(said)!r}")
    return 0 if "".join(said) == "still there" else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 45.0)))
