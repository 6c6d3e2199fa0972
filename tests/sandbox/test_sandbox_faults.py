"""What the scripts that fail do to an answer, on the wire."""

import asyncio
import json
import time
import zlib
from typing import Any

import aiohttp
import pytest

from integration_api.sandbox import Sandbox
from tests.patience import within
from tests.sandbox.sandbox_client import Client, receive, request, sse


def code_of(form: str, body: Any) -> tuple[Any, str]:
    """What an error body says the status or kind is, and its text."""
    error = body["error"]
    return {"messages": error.get("type"), "gemini": error.get("status")}.get(form, error.get("code")), error["message"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, {"messages": "authentication_error", "gemini": "UNAUTHENTICATED", "": "invalid_api_key"}),
        (404, {"messages": "not_found_error", "gemini": "NOT_FOUND", "": None}),
        (429, {"messages": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED", "": "rate_limit_exceeded"}),
        (503, {"messages": "api_error", "gemini": "UNAVAILABLE", "": None}),
        (529, {"messages": "overloaded_error", "gemini": "UNAVAILABLE", "": None}),
    ],
)
async def test_an_http_error_has_the_body_of_its_api(
    client: Client, form: str, stream: bool, status: int, words: dict[str, str | None]
) -> None:
    """Status, Retry-After and an error body as that API writes it, streamed or not."""
    async with client.post(form, f"http-error:status={status},retry=1.5s", stream=stream) as response:
        assert response.status == status
        assert response.headers["Retry-After"] == "1.5"
        assert response.content_type == "application/json"
        body = await response.json()
    assert code_of(form, body)[0] == words.get(form, words[""])
    if form == "messages":
        assert (body["type"], body["request_id"][:4]) == ("error", "req_")
    if form == "gemini":
        assert body["error"]["code"] == status
        assert body["error"]["details"][0]["retryDelay"] == "1.5s"


async def test_an_error_without_retry_has_no_retry_header(client: Client, form: str) -> None:
    """The header is there only when the script gives it; the code and the text are the script's."""
    comma = "%252C" if form == "gemini" else "%2C"  # a URL takes one escape away
    model = f"http-error:status=400,code=odd_one,message=No{comma} thanks"
    async with client.post(form, model, stream=False) as response:
        assert response.status == 400
        assert "Retry-After" not in response.headers
        body = await response.json()
    assert body["error"]["message"] == "No, thanks"
    assert "odd_one" in json.dumps(body)


async def test_flaky_fails_and_then_answers(client: Client, form: str, stream: bool) -> None:
    """The first requests fail; each key has a count of its own."""
    model = "flaky:fails=2,status=503"
    for key in ("a", "b"):
        headers = {"Authorization": f"Bearer {key}"}
        seen = []
        raw = b""
        for _ in range(3):
            async with client.post(form, model, stream=stream, headers=headers) as response:
                seen.append(response.status)
                raw = await response.read()
        assert seen == [503, 503, 200]
        assert receive(form, raw, stream=stream).text == "Say hello, world!"


async def test_uneven_is_late_and_breaks_off_in_its_shares(client: Client, form: str) -> None:
    """Of four answers one is late, and one breaks off; evenly spread, and all of numbered words."""
    loop = asyncio.get_running_loop()
    late, texts = [], []
    for _ in range(8):
        began = loop.time()
        try:
            model = "uneven:n=3,word=w,percent=25,for=0.5s,cut=50,after=1"
            async with client.post(form, model, stream=True) as response:
                raw = await response.read()
        except aiohttp.ClientPayloadError:
            raw = b""
        late.append(loop.time() - began >= 0.5)
        texts.append(receive(form, raw, stream=True).text if raw else "")

    assert [number for number, was in enumerate(late) if was][:2] == [3, 7]
    assert texts == ["w1 w2 w3 ", ""] * 4


async def test_the_counts_of_flaky_are_bounded(client: Client) -> None:
    """Many keys do not fill the memory: the oldest count is forgotten."""
    sandbox = Sandbox()
    for number in range(10_050):
        assert sandbox._count(str(number), "m") == 0
    assert len(sandbox._counts) == 10_000
    assert sandbox._count("10049", "m") == 1
    assert sandbox._count("0", "m") == 0


async def test_an_error_in_the_stream_comes_after_the_tokens(client: Client, form: str) -> None:
    """K tokens, then the error in the form's own way, and no good end."""
    async with client.post(form, "error-in-stream:after=2,status=529", stream=True) as response:
        assert response.status == 200
        raw = (await response.read()).decode()
    before, _, after = raw.partition("hello,")
    assert "Say" in before
    assert "world" not in raw
    assert "529" in after
    match form:
        case "chat":
            assert json.loads(after.split("data: ")[1])["error"]["code"] == 529
            assert raw.endswith("data: [DONE]\n\n")
        case "responses":
            events = [json.loads(data) for _, data in sse(raw.encode())]
            assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
            assert events[-2]["code"] == "overloaded_error"
            assert events[-1]["response"]["error"]["code"] == "server_error"
            assert events[-1]["response"]["status"] == "failed"
        case "messages":
            (name, data) = list(sse(raw.encode()))[-1]
            assert (name, json.loads(data)["error"]["type"]) == ("error", "overloaded_error")
        case _:
            block = after[after.index("{\n") :]
            assert json.loads(block)["error"]["code"] == 529


async def test_an_error_in_the_stream_is_an_http_error_otherwise(client: Client, form: str) -> None:
    """Without streaming there is no stream to break."""
    async with client.post(form, "error-in-stream:after=2,status=529", stream=False) as response:
        assert response.status == 529


async def test_a_gemini_array_ends_with_the_error(client: Client) -> None:
    """Without `alt=sse` the error is an element of the array."""
    url = f"{client.sandbox.url}/v1beta/models/error-in-stream:status=503:streamGenerateContent"
    async with client.session.post(url, json={"contents": [{"parts": [{"text": "hi"}]}]}) as response:
        chunks = json.loads(await response.read())
    assert chunks[-1]["error"]["status"] == "UNAVAILABLE"


async def read_into(raw: bytearray, response: aiohttp.ClientResponse) -> None:
    """Reads to the end, keeping what came before an error."""
    while chunk := await response.content.readany():
        raw += chunk


async def test_a_cut_stops_in_the_middle(client: Client, form: str, stream: bool) -> None:
    """The transport says that the body is not whole, after the tokens that came."""
    async with client.post(form, "cut:after=2", stream=stream) as response:
        raw = bytearray()
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_into(raw, response)
    assert raw
    if stream:
        assert b"hello," in raw
        assert b"world" not in raw
    else:
        assert len(raw) < int(response.headers["Content-Length"])
    with pytest.raises(TimeoutError):
        await client.sandbox.wait_for_hangup(0.01)  # the cut was the sandbox's own


async def test_no_end_stops_cleanly_without_the_terminal_sign(client: Client, form: str) -> None:
    """The transport is satisfied, the API's closing sign is missing."""
    async with client.post(form, "no-end:after=3", stream=True) as response:
        received = receive(form, await response.read(), stream=True)
    assert received.text == "Say hello, world!"
    assert received.finish is None
    assert "[DONE]" not in received.events


async def test_drop_closes_without_a_byte(client: Client, form: str, stream: bool) -> None:
    """The client sees a disconnected server."""
    with pytest.raises(aiohttp.ServerDisconnectedError):
        async with client.post(form, "drop", stream=stream):
            pass
    with pytest.raises(TimeoutError):
        await client.sandbox.wait_for_hangup(0.01)


async def test_silence_has_headers_and_nothing_else(client: Client, form: str, stream: bool) -> None:
    """Headers at once, then nothing; a client that gives up is noticed at once."""
    async with client.post(form, "silence:for=30s", stream=stream) as response:
        assert response.status == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await response.content.readany()
    left = asyncio.get_running_loop().time()
    assert 0 <= await client.sandbox.wait_for_hangup(within(2)) - left + 0.01 < within(0.11)


async def test_silent_headers_has_not_even_headers(client: Client, form: str, stream: bool) -> None:
    """Nothing at all; a client that gives up is noticed at once."""

    async def asked() -> None:
        async with client.post(form, "silent-headers:for=30s", stream=stream):
            pass

    asking = asyncio.ensure_future(asked())
    await client.sandbox.wait_for_request()
    assert not (await asyncio.wait([asking], timeout=0.05))[0]
    asking.cancel()
    left = asyncio.get_running_loop().time()
    assert await client.sandbox.wait_for_hangup(within(2)) - left < within(0.1)


@pytest.mark.parametrize(
    "model", ["stall:after=2,for=30s", "opening:for=30s", "tokens:n=100,gap=30s", "dribble:gap=30s"]
)
async def test_a_hang_up_in_a_stream_is_noticed_at_once(client: Client, form: str, model: str) -> None:
    """After some output, while the script is silent, the closed connection is seen within 100 ms."""
    async with client.post(form, model, stream=True) as response:
        first = await response.content.readany()
        assert first
        assert (client.sandbox.open_requests, client.sandbox.connections) == (1, 1)
        response.close()
        left = asyncio.get_running_loop().time()
    assert await client.sandbox.wait_for_hangup(within(2)) - left < within(0.1)
    assert client.sandbox.open_requests == 0


async def test_a_hang_up_is_noticed_while_headers_dribble_and_events_flood(client: Client) -> None:
    """Also where the sandbox is busy writing."""

    async def stop_reading(model: str) -> None:
        async with client.post("chat", model, stream=True):
            await asyncio.Event().wait()

    for model in ("slow-headers:gap=50ms", "flood:bytes=60000000"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stop_reading(model), 0.2)
        await client.sandbox.wait_for_hangup(within(2))


async def test_keepalive_is_alive_without_output(client: Client, form: str, stream: bool) -> None:
    """Comments, pings or blank lines for a while, then the answer."""
    async with client.post(form, "keepalive:for=50ms,gap=10ms", stream=stream) as response:
        raw = await response.read()
    if not stream:
        assert raw.startswith(b"\n\n\n\n\n{")
    elif form == "messages":
        assert raw.count(b"event: ping") == 6
    else:
        assert raw.startswith(b": keep-alive") or form == "responses"
        assert raw.count(b": keep-alive") == 5
    assert receive(form, raw, stream=stream).text == "Say hello, world!"


async def test_opening_comes_before_any_output(client: Client, form: str) -> None:
    """The events that open an answer, and nothing of the answer."""
    async with client.post(form, "opening:for=30s", stream=True) as response:
        raw = await response.content.readany()
        signs = {"chat": b'"role":"assistant"', "responses": b"response.created", "messages": b"message_start"}
        assert signs.get(form, b'"text":""') in raw
        assert b"Say" not in raw


async def test_time_passes_without_streaming_too(client: Client, form: str) -> None:
    """A whole answer takes as long as its tokens."""
    started = time.monotonic()
    await client.ask(form, "tokens:n=5,gap=20ms", stream=False)
    assert time.monotonic() - started >= 0.08


async def test_tokens_come_one_by_one(client: Client) -> None:
    """The gap lies between tokens, and the first one does not wait."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with client.post("chat", "tokens:n=3,gap=60ms", stream=True) as response:
        times = []
        async for chunk, _ in response.content.iter_chunks():
            if b"word" in chunk:
                times.append(loop.time() - started)
    assert len(times) == 3
    assert times[0] < within(0.05)
    assert times[2] >= 0.12


async def test_garbage_is_a_data_line_that_is_not_json(client: Client, form: str, stream: bool) -> None:
    """Among good frames one that no parser reads; without streaming the whole body is of that kind."""
    async with client.post(form, "garbage:after=1", stream=stream) as response:
        assert response.status == 200
        raw = await response.read()
    if not stream:
        with pytest.raises(json.JSONDecodeError):
            json.loads(raw)
        return
    bad = 0
    for _, data in sse(raw, b"\r\n" if form == "gemini" else b"\n"):
        try:
            json.loads(data)
        except json.JSONDecodeError:
            bad += data != "[DONE]"
    assert bad == 1


async def test_the_kind_of_body_can_be_wrong(client: Client, form: str) -> None:
    """A whole answer for a stream, a stream for a whole answer, a web page, a redirect."""
    async with client.post(form, "json-to-stream", stream=True) as response:
        assert response.content_type == "application/json"
        assert receive(form, await response.read(), stream=False).text == "Say hello, world!"
    async with client.post(form, "stream-always", stream=False) as response:
        assert response.content_type == "text/event-stream"
        assert receive(form, await response.read(), stream=True).text == "Say hello, world!"
    async with client.post(form, "html", stream=True) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert (await response.text()).startswith("<!DOCTYPE html>")
    async with client.post(form, "redirect:to=http://127.0.0.1:1/x", stream=True) as response:
        assert (response.status, response.headers["Location"]) == (307, "http://127.0.0.1:1/x")


async def test_gzip_is_compressed_event_by_event(client: Client) -> None:
    """Each event can be read when it came, though the body is compressed."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        path, body = request("chat", "gzip", stream=True)
        async with session.post(client.sandbox.url + path, json=body) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            inflate = zlib.decompressobj(wbits=31)
            events = [inflate.decompress(chunk) async for chunk, _ in response.content.iter_chunks()]
    assert events[0].startswith(b'data: {"id"')
    assert receive("chat", b"".join(events), stream=True).text == "Say hello, world!"


async def test_pieces_are_small(client: Client) -> None:
    """Each write holds as many bytes as asked, so that events are cut anywhere."""
    async with client.post("chat", "pieces:bytes=3", stream=True) as response:
        assert response.content.total_bytes >= 0
        chunks = [chunk async for chunk, end in response.content.iter_chunks() if end and chunk]
    assert max(len(chunk) for chunk in chunks) <= 3
    assert receive("chat", b"".join(chunks), stream=True).text == "Say hello, world!"


async def test_headers_can_be_large(client: Client) -> None:
    """A header of the size that the script gives."""
    async with client.post("chat", "big-headers:bytes=12345", stream=True) as response:
        assert len(response.headers["X-Sandbox-Padding"]) == 12_345


async def test_the_key_script_wants_its_key(client: Client, form: str, stream: bool) -> None:
    """In the header that this API uses; else its 401."""
    own = {"messages": "x-api-key", "gemini": "x-goog-api-key"}.get(form, "api-key")
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic sandbox"}, 401),
        ({"Authorization": "Bearer sandbox"}, 200),
        ({own: "sandbox"}, 200),
    ):
        async with client.post(form, "key:value=sandbox", stream=stream, headers=headers) as response:
            assert response.status == status, headers


async def test_chaos_goes_wrong_in_its_share_and_repeats_by_seed(client: Client) -> None:
    """About the given share of answers is not a plain echo, and each that ends well is the echo."""

    async def outcomes() -> list[str]:
        seen = []
        async with Sandbox(seed=7) as sandbox:
            for _ in range(80):
                path, body = request("chat", "chaos:percent=40", stream=True)
                try:
                    async with client.session.post(sandbox.url + path, json=body, allow_redirects=False) as response:
                        raw = await response.read()
                        good = response.status == 200 and raw.endswith(b"[DONE]\n\n") and b"error" not in raw
                        good = good and b"not JSON" not in raw
                        seen.append(receive("chat", raw, stream=True).text if good else str(response.status))
                except aiohttp.ClientError as error:
                    seen.append(type(error).__name__)
        return seen

    first = await outcomes()
    assert first == await outcomes()
    good = first.count("Say hello, world!")
    assert 36 <= good <= 64
    assert {"429", "503", "ClientPayloadError"} <= set(first)
    assert len(set(first)) >= 6
