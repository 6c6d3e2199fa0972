"""No eight characters of a key in a row come out of the service, wherever an endpoint repeats it, and however."""

import asyncio
import base64
import html
import json
import random
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import grpc
import pytest
import structlog

from caller.custom_llm.apis import ADAPTERS
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.contract.shapes import FAMILIES
from tests.edge.loopback import STREAM_HEAD, ScriptedServer, answer

# One with all marks that one of the forms writes in its own way, and one of which little is left where it is cut.
LONG = "tR7+q/Zk9=w&Lm<2%vX8~pQ'3hJ"
SHORT = "p4ssw+Rd91"
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "url": lambda key: quote(key, safe=""),
    "small": lambda key: re.sub("%..", lambda found: found[0].lower(), quote(key, safe="")),
    "json": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "go": lambda key: re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", key),
    "html": html.escape,
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "pair": lambda key: base64.b64encode(f"user:{key}".encode()).decode()[7:],
}
PLACES = (
    *("message", "code", "type", "nested", "plain", "html", "id", "redirect", "limits"),
    *("event", "late", "foreign", "good"),
)
# What is cut anywhere is cut at one of these; a text is moved so that a key stands across.
CUTS = (100, 120, 128, 200, 300, 500, 600, 1024, 4096)
GRAMS = {
    form(key)[at : at + 8].encode()
    for key in (LONG, SHORT)
    for form in FORMS.values()
    for at in range(len(form(key)) - 7)
}


def reply(api: str, place: str, said: str) -> bytes:
    """An answer that says something in one place."""
    error = {"error": {"message": "no", "type": "invalid_request_error", "code": "bad"}}
    if place in ("message", "code", "type"):
        error["error"][place] = said
        return answer(json.dumps(error), "400 Bad Request")
    if place == "nested":
        return answer(json.dumps({"error": {"metadata": {"raw": json.dumps({"message": said})}}}), "502 Bad Gateway")
    if place == "plain":
        return answer(said, "500 Oh", "text/plain")
    if place == "html":
        return answer(f"<html><body>{html.escape(said)}</body></html>", "403 Forbidden", "text/html")
    if place == "id":
        return answer(json.dumps(error), "404 Not Found", more=f"x-request-id: {said}\r\n")
    if place == "redirect":
        return answer("", "302 Found", more=f"Location: http://127.0.0.1:1/{said}\r\n")
    limits = f"x-ratelimit-limit-key: {said}\r\nx-ratelimit-remaining-requests: 7\r\nx-request-id: {said}\r\n"
    if place == "limits":
        return answer(json.dumps(error), "429 Slow Down", more=limits)
    if place == "good":
        return answer(json.dumps({**FAMILIES[api].whole, "echo": {"headers": [said]}}), more=limits)
    if place == "foreign":
        return answer(said, kind="text/plain")
    error["error"]["message"] = said
    event = f"event: error\ndata: {json.dumps(error)}\n\n".encode()
    begin = f"data: {json.dumps(FAMILIES[api].first)}\n\n".encode() if place == "late" else b""
    return STREAM_HEAD + begin + event


def leaks(out: bytes) -> set[bytes]:
    return {out[at : at + 8] for at in range(len(out) - 7)} & GRAMS


async def came_of(call: Any) -> tuple[bool, bytes]:
    """Whether a call was good, and all that it gave."""
    out: list[bytes] = []
    good = True
    try:
        if isinstance(call, grpc.aio.UnaryUnaryCall):
            out.append((await call).SerializeToString())
        else:
            out += [frame.SerializeToString() async for frame in call]
    except grpc.aio.AioRpcError as error:
        good = False
        out.append((error.details() or "").encode())
    for pairs in (await call.initial_metadata(), await call.trailing_metadata()):
        out += [value if isinstance(value, bytes) else value.encode() for _, value in pairs or ()]
    return good, b"\0".join(out)


@pytest.mark.parametrize("api", [api.value for api in ADAPTERS])
async def test_no_part_of_a_key_comes_out(api: str, stub: ChatServiceStub) -> None:
    """Of any place of an answer, in any form, cut anywhere: not in a message, a status, a detail, a trailer, a log."""
    chance = random.Random(api)  # noqa: S311 -- the same texts in every run
    cases = [(place, form, max(0, chance.choice(CUTS) - chance.randrange(48))) for place in PLACES for form in FORMS]
    texts = {
        f"{place}.{form}": ("pad " * padding)[:padding] + f"{FORMS[form](LONG)} {FORMS[form](SHORT)}"
        for place, form, padding in cases
    }

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        sent = (await endpoint.request(reader)).decode()
        assert LONG in sent
        assert SHORT in sent
        names = re.findall(rf"(?:{'|'.join(PLACES)})\.\w+", sent)
        name = names[0] if names else "message.plain"  # a list of models
        writer.write(reply(api, name.split(".")[0], texts[name]))
        await writer.drain()
        writer.close()

    calls: dict[str, Any] = {}
    with structlog.testing.capture_logs() as logs:
        async with ScriptedServer(talk) as endpoint:
            value = {"apiCompatibility": api, "baseUrl": endpoint.url, "headers": {"X-Api-Key": LONG, "X-Other": SHORT}}
            credential = {"value": value}
            for name in texts:
                request = chat_request("", name, credential=credential, options={"maxAttempts": 1})
                calls[name] = (stub.StreamChat if name.startswith(("event", "late")) else stub.Chat)(request)
            shown = chat_request("", "any", credential=credential).credential
            check = pb.VerifyCredentialRequest(provider_id="custom-llm", credential=shown, model="code.url")
            listing = pb.ListModelsRequest(provider_id="custom-llm", credential=shown)
            calls |= {"check": stub.VerifyCredential(check), "listing": stub.ListModels(listing)}
            came = dict(zip(calls, await asyncio.gather(*map(came_of, calls.values())), strict=True))

    assert {name: found for name, (_, out) in came.items() if (found := leaks(out))} == {}
    assert leaks(repr(logs).encode()) == set()
    assert {name.split(".")[0] for name, (good, _) in came.items() if good} == {"good", "check"}
    assert sum(b"***" in out for _, out in came.values()) > len(came) // 3, "the endpoint's words do come through"
