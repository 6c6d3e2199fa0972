"""The search for the API of an unknown endpoint: what it finds, how much it asks, and whom."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from caller.call import CallReport
from caller.credentials import ApiCompatibility
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.check.detect import MAX_REQUESTS, Detection, Found
from caller.custom_llm.check.exchange import Exchanges
from caller.custom_llm.http.transport import Transport
from caller.target import Timeouts
from integration_api.sandbox import FAULTS, Sandbox
from integration_api.server import transport_settings
from integration_api.settings import Settings
from tests.edge.loopback import ScriptedServer, answer

KEY = "canary-key-4711"


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport(transport_settings(Settings()))
    yield made
    await made.close()


async def search(transport: Transport, url: str, headers: Mapping[str, str] | None = None) -> Detection:
    """A search that has ended."""
    report = CallReport(started=asyncio.get_running_loop().time())
    times = Timeouts(5, 20, 20, 20)
    exchanges = {
        api: Exchanges(transport, ADAPTERS[api], (KEY,), times, report, max_bytes=1 << 20, own_time=True)
        for api in ApiCompatibility
    }
    detection = Detection(exchanges, url, "" if headers else KEY, headers or {}, "")
    assert [each async for each in detection.tries()]
    return detection


async def found_at(transport: Transport, url: str) -> Found:
    """What is found there for certain."""
    detection = await search(transport, url)
    assert detection.found is not None
    assert detection.found.sure
    return detection.found


@pytest.mark.parametrize(
    ("typed", "api", "base"),
    [
        ("", "openai_compatible", "/v1"),
        ("/v1", "openai_compatible", "/v1"),
        ("/v1/chat/completions", "openai_compatible", "/v1"),
        ("/v1/messages", "anthropic_messages", "/v1"),
        ("/v1/responses", "openai_responses", "/v1"),
        ("/v1beta", "gemini_generate_content", "/v1beta"),
        ("/v1beta/models/assistant:generateContent", "gemini_generate_content", "/v1beta"),
        ("/some/page", "openai_compatible", "/v1"),
    ],
)
async def test_the_api_of_an_unknown_endpoint_is_found(transport: Transport, typed: str, api: str, base: str) -> None:
    """By what was typed, whatever of a URL that was."""
    async with Sandbox(require_key=KEY) as sandbox:
        found = await found_at(transport, sandbox.url + typed)

        assert (found.api.value, found.base_url) == (api, sandbox.url + base)
        assert len(sandbox.requests) <= MAX_REQUESTS


async def test_a_base_url_elsewhere_on_the_host_is_found(transport: Transport) -> None:
    """Below a path that nobody typed."""
    async with Sandbox(require_key=KEY, fault=FAULTS["path"]) as sandbox:
        found = await found_at(transport, sandbox.url)

    assert found.base_url == f"{sandbox.url}/api/v1"
    assert found.model == "assistant"


async def test_a_key_in_a_header_of_ones_own_is_used(transport: Transport) -> None:
    """Where the API would have it as well."""
    async with Sandbox(require_key=KEY) as sandbox:
        detection = await search(transport, sandbox.url, {"Authorization": f"Bearer {KEY}"})

    assert detection.found is not None
    assert detection.found.sure


async def test_an_endpoint_that_refuses_the_key_is_no_certain_find(transport: Transport) -> None:
    """It says that the key is what is wrong."""
    async with Sandbox(require_key="another") as sandbox:
        detection = await search(transport, sandbox.url)

    assert detection.found is not None
    assert not detection.found.sure
    assert "401" in detection.found.observed
    assert detection.requests == len(ApiCompatibility)  # one list, and a chat in each API: two spellings are one
    assert KEY not in detection.found.observed


@pytest.mark.parametrize("status", ["404 Not Found", "200 OK", "500 Internal Server Error", "401 Unauthorized"])
async def test_ten_requests_are_enough(transport: Transport, status: str) -> None:
    """Of a host that speaks nothing that is known, in any way."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await made.request(reader)
            writer.write(answer("<html>hello</html>", status, kind="text/html"))

    made = ScriptedServer(talk)
    async with made:
        detection = await search(transport, f"{made.url}/what")

    assert not (detection.found and detection.found.sure)
    assert 1 < len(made.requests) <= MAX_REQUESTS
    assert detection.requests == len(made.requests)


async def test_no_key_goes_to_another_host(transport: Transport) -> None:
    """A redirect is not followed."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await made.request(reader)
            writer.write(answer("", "307 Temporary Redirect", more=f"Location: {other.url}/v1/models\r\n"))

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await other.request(reader)
            writer.write(answer('{"data": [{"id": "m"}]}'))

    made, other = ScriptedServer(talk), ScriptedServer(answers)
    async with made, other:
        await search(transport, f"{made.url}/v1")

    assert made.requests
    assert not other.accepted
