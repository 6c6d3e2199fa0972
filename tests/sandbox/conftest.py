"""A sandbox for each test of this folder, and a client of its HTTP."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from integration_api.sandbox import Sandbox
from tests.sandbox.sandbox_client import FORMS, Client


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=1) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(headers={"anthropic-version": "2023-06-01"}, max_field_size=1 << 20) as session:
        yield Client(session, sandbox)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
