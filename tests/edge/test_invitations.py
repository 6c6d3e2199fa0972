"""What a client with the usual retry policy costs an endpoint: our attempts and its retries do not multiply."""

import json
from collections.abc import AsyncIterator

import grpc
import pytest

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request

POLICY = {
    "methodConfig": [
        {
            "name": [{"service": "integration_api.v1.ChatService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"],
            },
        }
    ]
}


@pytest.fixture
async def retrying(server: Server) -> AsyncIterator[ChatServiceStub]:
    """A client that retries whatever invites it, up to four times."""
    options = [("grpc.service_config", json.dumps(POLICY))]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
        yield ChatServiceStub(channel)


@pytest.mark.parametrize(
    ("script", "posts"),
    [
        ("http-error:status=503,retry=50ms", 3),
        ("http-error:status=503", 3),
        ("http-error:status=502", 3),
        ("http-error:status=529", 3),
        ("http-error:status=408", 3),
        ("http-error:status=429,retry=50ms", 3),
        ("http-error:status=500", 2),
        ("drop", 3),
        ("cut:after=0", 3),
        ("http-error:status=400", 1),
        ("http-error:status=401", 1),
        ("http-error:status=402", 1),
        ("cut:after=2", 1),
        ("error-in-stream:after=2,status=529", 1),
    ],
)
async def test_a_call_is_paid_for_at_most_as_often_as_we_try(
    script: str, posts: int, retrying: ChatServiceStub, sandbox: Sandbox
) -> None:
    """An endpoint that never gets well sees our own attempts and no more, though the client would try four times."""
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in retrying.StreamChat(chat_request(sandbox.url, script), timeout=30):
            pass

    assert len(sandbox.requests) <= posts
