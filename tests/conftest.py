"""What all tests share: a sandbox behind, a server of ours before it, and a real gRPC channel in front."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2_grpc as stubs

# How fast examples are made says how busy the machine is, and nothing of us.
hypothesis_settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any machine")

if os.environ.get("TEST_LOOP") == "uvloop":  # the loop that `serve` uses; else asyncio's own

    def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Every test on uvloop."""
        import uvloop

        return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
def settings() -> Settings:
    return Settings(port=0, shutdown_grace=2.0)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    async with Server(settings) as running:
        yield running


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as open_channel:
        yield open_channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> stubs.ChatServiceStub:
    return stubs.ChatServiceStub(channel)
