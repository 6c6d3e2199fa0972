"""A request as it leaves: the same bytes as aiohttp would write, in one write."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientRequest, ClientSession, DummyCookieJar
from multidict import CIMultiDict
from yarl import URL

from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.outgoing import PIECEWISE_BYTES, EndpointRequest
from caller.custom_llm.http.transport import Transport, TransportSettings
from tests.edge.loopback import ScriptedServer, answer

URLS = ("/v1/chat/completions", "/", "/v1/m%C3%B6del:go?alt=sse&key=a%2Fb", "/a%20b?q=%22")
HEADERS = {
    "Content-Type": "application/json",
    "Authorization": "Bearer k",
    "X-Odd": "h\u00e9 \t, x",
    "user-agent": "mine",
}


async def test_a_request_has_all_that_aiohttps_own_has() -> None:
    """A further attribute of a newer aiohttp would be missing in ours, which has a constructor of its own."""
    loop = asyncio.get_running_loop()
    theirs = ClientRequest("POST", URL("http://127.0.0.1/x"), loop=loop, headers=HEADERS, data=b"x")
    ours = EndpointRequest("POST", URL("http://127.0.0.1/x"), loop=loop, headers=HEADERS, body=b"x")
    assert vars(ours).keys() - vars(theirs).keys() == {"_whole"}
    assert vars(theirs).keys() - vars(ours).keys() <= {"auth"}
    same = {name for name in vars(theirs) if vars(theirs)[name] == vars(ours).get(name)}
    assert vars(theirs).keys() - same <= {"auth", "headers", "_timer", "_body"}


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: ScriptedServer) -> None:
    while True:
        await endpoint.request(reader)
        writer.write(answer("{}"))


@pytest.mark.parametrize("path", URLS)
@pytest.mark.parametrize(
    ("method", "body"), [("POST", b'{"a": 1}'), ("GET", b""), ("POST", b"x" * (PIECEWISE_BYTES + 1))]
)
async def test_what_leaves_is_what_aiohttp_would_send(path: str, method: str, body: bytes) -> None:
    """The request line, every header, and the body; only the order of the headers is ours."""
    async with ScriptedServer(lambda reader, writer, _: _talk(reader, writer, endpoint)) as endpoint:
        url = endpoint.url + path
        transport = Transport(TransportSettings(EgressPolicy.parse("open")))
        for _ in range(2):  # over a new connection and a kept one
            async with await transport.send(HttpRequest(method, url, HEADERS, body), 5.0) as response:
                while await response.read():
                    pass
                response.finish()
        await transport.close()
        ours = {"User-Agent": "integration-api", "Accept-Encoding": "identity"}
        async with (
            ClientSession(headers=ours, cookie_jar=DummyCookieJar()) as session,
            session.request(method, URL(url), data=body or None, headers=HEADERS) as theirs,
        ):
            await theirs.read()
    first, second, wanted = map(_taken_apart, endpoint.requests)
    assert first == second == wanted
    assert endpoint.accepted == 2


def _taken_apart(raw: bytes) -> tuple[bytes, list[tuple[str, bytes]], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    named = [(name.decode().lower(), value) for name, _, value in (header.partition(b": ") for header in headers)]
    return line, sorted(named), body


@pytest.mark.parametrize("bad", ["a\r\nX: y", "a\nb", "a\rb"])
async def test_a_line_break_in_a_header_never_leaves(bad: str) -> None:
    """Credentials refuse it first; here it has the last word."""
    request: Any = EndpointRequest(
        "POST", URL("http://h/x"), loop=asyncio.get_running_loop(), headers=CIMultiDict({"X": bad}), body=b""
    )
    with pytest.raises(ValueError, match="line break"):
        request._head()
