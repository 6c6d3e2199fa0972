"""The sandbox as an HTTP server: routes, limits, what it remembers, and how it ends."""

import asyncio
import io
import json
import os
import signal
import socket
import sys

import aiohttp
import pytest

from integration_api.sandbox import SCRIPTS, Sandbox
from tests.patience import within
from tests.sandbox.sandbox_client import Client, request


async def test_models_are_the_scripts_in_each_shape(client: Client) -> None:
    """Every list offers every script, page by page where the API has pages."""
    url = client.sandbox.url
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/models") as response:
        listed = await response.json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == list(SCRIPTS)
    assert {model["object"] for model in listed["data"]} == {"model"}
    names: list[str] = []
    more, after = True, dict[str, str]()
    while more:
        async with client.session.get(f"{url}/v1/models", params={"limit": "7", **after}) as response:
            page = await response.json()
        names += [model["id"] for model in page["data"]]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        more, after = page["has_more"], {"after_id": page["last_id"]}
    assert names == list(SCRIPTS)
    async with client.session.get(f"{url}/v1/models", params={"before_id": names[5], "limit": "2"}) as response:
        page = await response.json()
    assert [model["id"] for model in page["data"]] == names[3:5]
    assert page["has_more"]
    names, token = [], dict[str, str]()
    while True:
        async with client.session.get(f"{url}/v1beta/models", params={"pageSize": "9", **token}) as response:
            page = await response.json()
        names += [model["name"].removeprefix("models/") for model in page["models"]]
        if "nextPageToken" not in page:
            break
        token = {"pageToken": page["nextPageToken"]}
    assert names == list(SCRIPTS)


async def test_gemini_is_there_under_its_stable_version_too(client: Client) -> None:
    """`/v1/models/…` is Gemini's for calls, and for lists when Gemini's key header is there."""
    path, body = request("gemini", "echo", stream=False)
    url = client.sandbox.url + path.replace("v1beta", "v1")
    async with client.session.post(url, json=body) as response:
        assert (await response.json())["candidates"][0]["finishReason"] == "STOP"
    async with client.session.post(url.replace("generateContent", "explain"), json=body) as response:
        assert (await response.json())["error"]["status"] == "NOT_FOUND"
    async with client.session.get(f"{client.sandbox.url}/v1/models", headers={"x-goog-api-key": "k"}) as response:
        assert (await response.json())["models"][0]["name"] == "models/assistant"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models?limit=0", 400),
        ("/v1/models?after_id=nobody", 400),
        ("/v1beta/models?pageSize=x", 400),
        ("/v1beta/models?pageToken=nobody", 400),
        ("/v1/models/echo", 200),
        ("/v1beta/models/tokens:n=3", 200),
        ("/v1/models/nobody", 404),
        ("/v1beta/models/nobody", 404),
        ("/v1/chat/completions", 405),
        ("/chat/completions", 404),
        ("/healthz", 200),
        ("/", 200),
    ],
)
async def test_other_paths_answer_as_an_api_would(client: Client, path: str, status: int) -> None:
    """Single models, bad pages, wrong methods and wrong paths; errors are JSON."""
    async with client.session.get(client.sandbox.url + path) as response:
        assert response.status == status
        if status >= 400:
            assert (await response.json())["error"]["message"]


async def test_a_wrong_path_is_not_found_in_the_form_of_its_api(client: Client) -> None:
    """A client that joins its base URL wrongly reads an error it understands."""
    for path in ("/v1/chat/completion", "/v1beta/models/echo", "/v1beta/models/echo:explain", "/v1/messages/x"):
        async with client.session.post(client.sandbox.url + path, json={}) as response:
            assert response.status in (404, 405)
            assert (await response.json())["error"]


async def test_a_required_key_guards_every_script_and_list(form: str) -> None:
    """Without the key: that API's 401; health needs none."""
    async with Sandbox(require_key="s3cret") as sandbox, aiohttp.ClientSession() as session:
        path, body = request(form, "echo", stream=False)
        lists = "/v1beta/models" if form == "gemini" else "/v1/models"
        for key, status in (("", 401), ("wrong", 401), ("s3cret", 200)):
            headers = {"anthropic-version": "2023-06-01"} if form == "messages" else {}
            headers |= {"Authorization": f"Bearer {key}"} if key else {}
            async with session.post(sandbox.url + path, json=body, headers=headers) as response:
                assert response.status == status
                assert "s3cret" not in await response.text()
            async with session.get(sandbox.url + lists, headers=headers) as response:
                assert response.status == status
        async with session.get(f"{sandbox.url}/healthz") as response:
            assert response.status == 200


async def test_requests_are_recorded_as_they_came(client: Client) -> None:
    """Method, path, query, headers and body; each is handed out once to who waits, and no repr shows a key."""
    path, body = request("gemini", "echo", stream=True)
    waiting = asyncio.create_task(client.sandbox.wait_for_request(2))
    async with client.session.post(client.sandbox.url + path, json=body, headers={"X-Goog-Api-Key": "k1"}) as response:
        await response.read()
    recorded = await waiting
    assert (recorded.method, recorded.path) == ("POST", "/v1beta/models/echo:streamGenerateContent")
    assert recorded.raw_path == "/v1beta/models/echo:streamGenerateContent?alt=sse"
    assert (recorded.query["alt"], recorded.headers["x-goog-api-key"]) == ("sse", "k1")
    assert recorded.json() == body
    assert json.loads(recorded.body) == body
    assert recorded.peer == "127.0.0.1"
    assert recorded.started <= asyncio.get_running_loop().time()
    assert list(client.sandbox.requests) == [recorded]
    assert "k1" not in repr(recorded)
    with pytest.raises(TimeoutError):
        await client.sandbox.wait_for_request(0.01)


async def test_what_is_remembered_is_bounded() -> None:
    """Only the latest requests are kept."""
    async with Sandbox(remember=3) as sandbox, aiohttp.ClientSession() as session:
        for number in range(5):
            async with session.get(f"{sandbox.url}/healthz?n={number}"):
                pass
        assert [request.query["n"] for request in sandbox.requests] == ["2", "3", "4"]


async def test_connections_and_open_requests_are_counted(client: Client) -> None:
    """Both go up with a stream that runs, and down with its end."""
    sandbox = client.sandbox
    assert (sandbox.connections, sandbox.open_requests) == (0, 0)
    async with client.post("chat", "tokens:n=2,gap=30ms", stream=True) as one:
        async with client.post("chat", "stall:for=30s", stream=True) as two:
            await two.content.readany()
            assert (sandbox.connections, sandbox.open_requests) == (2, 2)
            await one.read()
        await sandbox.wait_for_hangup(within(2))
    assert sandbox.open_requests == 0


async def test_a_body_cut_short_is_a_hang_up(sandbox: Sandbox) -> None:
    """A client that leaves while it sends is noticed, and nothing is recorded."""
    _, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await sandbox.wait_for_hangup(within(2))
    assert not sandbox.requests


async def test_stopping_ends_scripts_at_once() -> None:
    """A script that would be silent for long does not hold the end back, and its client's loss is no hang-up."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session:
        async with Sandbox() as sandbox:
            path, body = request("chat", "silence:for=600s", stream=True)
            response = await session.post(sandbox.url + path, json=body)
            idle = await session.get(f"{sandbox.url}/healthz")
            await idle.read()
            started = loop.time()
        assert loop.time() - started < within(1)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    with pytest.raises(TimeoutError):
        await sandbox.wait_for_hangup(0.01)
    assert sandbox.connections == 0


async def test_a_port_in_use_is_an_error(sandbox: Sandbox) -> None:
    """A second sandbox does not share the port."""
    with pytest.raises(OSError, match="address already in use"):
        async with Sandbox(port=sandbox.port):
            pass


async def test_a_body_that_is_too_large_is_refused(client: Client) -> None:
    """413 in the API's form, not a dropped connection."""
    url = f"{client.sandbox.url}/v1/messages"
    async with client.session.post(url, data=io.BytesIO(b" " * (64 * 1024 * 1024 + 1))) as response:
        assert response.status == 413
        assert (await response.json())["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_serves_until_it_is_told_to_stop(number: int) -> None:
    """It prints one line with its URL, answers, and ends politely with a signal, though a stream is open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = f"import asyncio; from integration_api.sandbox import run; asyncio.run(run('127.0.0.1', {port}, 'k'))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert f"http://127.0.0.1:{port}" in line
        assert "curl" in line
        path, body = request("chat", "silence:for=60s", stream=True)
        url = f"http://127.0.0.1:{port}{path}"
        async with (
            aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session,
            session.post(url, json=body) as response,
        ):
            assert response.status == 200
            process.send_signal(number)
            assert await asyncio.wait_for(process.wait(), 10) == 0
        assert await process.stdout.read() == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
