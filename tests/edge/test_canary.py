"""One run with a secret in every place where a secret can be: nothing that comes out holds any of them, or a part."""

import asyncio
import hashlib
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import grpc
import pytest
from google.protobuf import json_format

from caller.credentials import parse_credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.body.sse import SseDecoder
from caller.custom_llm.http.transport import TransportSettings
from caller.messages import TextPart, UserMessage
from caller.parameters import merge_parameters
from caller.target import Ask, Target, Timeouts
from integration_api import log, unified_provider_pb2, unified_provider_pb2_grpc
from integration_api.server import transport_settings
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import STREAM_HEAD, ScriptedServer, answer, free_port, token
from tests.edge.program import Program

# Words, not keys: nothing can recognise them by their looks.
AUTHORIZATION = "greenheronatdusk"
HEADER = "quietharbourlamp"
QUERY = "cinnamonstaircase"
ENCODED = "velvet%26lantern"  # as it stands in the URL; the endpoint decodes it
STORED = "paperboatregatta"
PROXY = "orchardwindowseat"
CALLER = "marbleteakettle"
WRONG_CALLER = "tinsoldierparade"
USERINFO = "amberwalkingstick"
MISPLACED = "foldedmapofrome"
ROW_KEY = "juniperstreetpiano"
STORED_KEY = "umbrellastandrobin"
SECRETS = (
    AUTHORIZATION,
    HEADER,
    QUERY,
    ENCODED,
    "velvet-lantern",
    STORED,
    PROXY,
    CALLER,
    WRONG_CALLER,
    USERINFO,
    MISPLACED,
    ROW_KEY,
    STORED_KEY,
)
KINDS = ("401", "400", "429", "500", "503", "html", "redirect", "stream", "late", "headers", "cut")


async def echo(endpoint: ScriptedServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers in the way that the model's name asks for, and repeats in it all that it was sent."""
    raw = (await endpoint.request(reader)).decode()
    head, _, body = raw.partition("\r\n\r\n")
    found = re.search(r'"model": ?"(\w+)', body) or re.search(r"/models/(\w+):", head)
    kind = found[1] if found else "401"
    said = [line.partition(": ")[2] for line in head.split("\r\n")[1:]]
    line = head.splitlines()[0]
    received = f"You sent {line}, that is {unquote(line)}, with {' and '.join(said)}."
    error = {"error": {"message": received, "code": said[-1][:60], "type": "invalid_request_error"}}
    noisy = "".join(f"x-request-id: {value[:80]}\r\n" for value in said if AUTHORIZATION in value)
    if kind.isdigit():
        writer.write(answer(json.dumps(error), f"{kind} No", more=noisy))
    elif kind == "html":
        writer.write(answer(f"<html>{received}</html>", kind="text/html"))
    elif kind == "redirect":
        writer.write(answer("", "302 Found", more=f"Location: http://127.0.0.1:1/?key={QUERY}&was={said[0]}\r\n"))
    elif kind == "stream":
        writer.write(STREAM_HEAD + f"data: {json.dumps(error)}\n\n".encode())
    elif kind == "late":
        writer.write(STREAM_HEAD + token("one ") + f"data: {json.dumps(error)}\n\n".encode())
    elif kind == "headers":
        writer.write(f"HTTP/1.1 {received}\r\n\r\n".encode())  # no status line
    else:
        writer.write(STREAM_HEAD + token("one ") + received.encode())
    await writer.drain()
    writer.close()


def endpoint() -> ScriptedServer:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await echo(made, reader, writer)

    made = ScriptedServer(talk)
    return made


def credential(base_url: str, api: str) -> dict[str, Any]:
    return {
        "value": {
            "apiCompatibility": api,
            "baseUrl": f"{base_url}/v1?key={QUERY}&sig={ENCODED}",
            "headers": {"Authorization": f"Bearer {AUTHORIZATION}", "X-Tenant": HEADER},
        }
    }


APIS = [api.value for api in ADAPTERS]


def requests(url: str) -> list[pb.ChatRequest]:
    """Every shape with every kind of failure, and credentials that are refused for what they hold."""
    good = [
        chat_request(url, kind, credential=credential(url, api), options={"maxAttempts": 2})
        for api in APIS
        for kind in KINDS
    ]
    malformed: list[dict[str, Any]] = [
        {"baseUrl": f"http://user:{USERINFO}@127.0.0.1:1/v1"},
        {"baseUrl": f"ftp://127.0.0.1/{MISPLACED}"},
        {"baseUrl": MISPLACED},
        {"baseUrl": f"http://127.0.0.1:1/v1?key={MISPLACED}"},  # nobody listens
        {"baseUrl": url, "headers": {"X-A": f"a\r\nX-B: {MISPLACED}"}},
        {"baseUrl": url, "headers": {f"Bearer {MISPLACED}": "x"}},
        {"baseUrl": url, "headers": f'{{"Authorization": "{MISPLACED}'},
        {"baseUrl": url, "headers": {"Host": MISPLACED}},
        {"baseUrl": url, "headers": {"X-A": {"deep": MISPLACED}}},
        {"baseUrl": url, "apiCompatibility": MISPLACED},
        {"baseUrl": url, "exactUrl": MISPLACED},
        {"baseUrl": url, "key": MISPLACED},
    ]
    bad = [chat_request(url, "401", credential={"value": value}) for value in malformed]
    stored = [chat_request(url, kind, credential={"name": "stored"}) for kind in KINDS]
    return good + bad + stored + by_name(url)


def by_name(url: str) -> list[pb.ChatRequest]:
    """Keys of providers that are known by name, good ones and such as are refused for what they hold."""
    good = {"baseUrl": f"{url}/v1", "key": ROW_KEY}
    wrong = [{**good, "key": f"Bearer {ROW_KEY}"}, {**good, "key": {"deep": ROW_KEY}}, {**good, "key": f"{ROW_KEY}\n"}]
    return [
        *(
            chat_request(url, kind, providerId=provider, credential={"value": good}, options={"maxAttempts": 2})
            for provider in ("openai", "anthropic")
            for kind in KINDS[::4]
        ),
        *(chat_request(url, "401", providerId="openai", credential={"value": value}) for value in wrong),
        chat_request(url, "401", providerId="openia", credential={"value": good}),
        *(chat_request(url, kind, providerId="groq", credential={"name": "groq"}) for kind in KINDS[::4]),
        chat_request(url, "401", providerId="openai", credential={"name": "groq"}),
    ]


class Came:
    """All that comes out of calls, as bytes."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.failures = 0

    def note(self, *things: object) -> None:
        self.out += [thing if isinstance(thing, bytes) else repr(thing).encode() for thing in things]

    async def of(self, call: Any) -> None:
        """Whatever a call gives: messages, status, details, metadata."""
        try:
            if isinstance(call, grpc.aio.UnaryUnaryCall):
                self.note((await call).SerializeToString())
            else:
                async for frame in call:
                    self.note(frame.SerializeToString())
        except grpc.aio.AioRpcError as error:
            self.failures += 1
            self.note(error, str(error), error.details(), *(value for _, value in error.trailing_metadata() or ()))
        self.note(await call.initial_metadata(), *(pair for pair in await call.trailing_metadata() or ()))


def leaks(out: bytes) -> list[str]:
    """The secrets of which eight characters in a row came out."""
    parts = {secret[at : at + 8].encode(): secret for secret in SECRETS for at in range(len(secret) - 7)}
    return sorted({secret for part, secret in parts.items() if part in out})


@asynccontextmanager
async def serving(tmp_path: Path, url: str, *flags: str) -> AsyncIterator[Program]:
    """The program with tokens and a stored credential, at its most talkative."""
    tokens, stored = tmp_path / "tokens", tmp_path / "credentials"
    tokens.write_text(f"tester sha256:{hashlib.sha256(CALLER.encode()).hexdigest()}\n")
    stored.mkdir()
    held = {"baseUrl": f"{url}/v1?key={STORED}", "headers": {"Authorization": f"Bearer {STORED}"}}
    (stored / "stored.json").write_text(json.dumps(held))
    (stored / "groq.json").write_text(json.dumps({"provider": "groq", "baseUrl": f"{url}/v1", "key": STORED_KEY}))
    (stored / "broken.json").write_text(f'{{"baseUrl": "http://a/v1", "headers": {{"Authorization": "{STORED}"')
    common = ("--log-level", "debug", "--auth-tokens-file", str(tokens), "--credentials-dir", str(stored))
    async with Program(*common, *flags) as program:
        yield program


async def everything(program: Program, url: str) -> Came:
    """All methods with all requests."""
    came = Came()
    metadata = (("authorization", f"Bearer {CALLER}"), ("x-label", "l"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{program.port}") as channel:
        stub = ChatServiceStub(channel)
        unified = unified_provider_pb2_grpc.UnifiedProviderServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        calls: list[Any] = []
        for request in requests(url):
            listing = pb.ListModelsRequest(provider_id=request.provider_id, credential=request.credential)
            calls += [method(request, metadata=metadata) for method in (stub.Chat, stub.StreamChat)]
            calls.append(stub.ListModels(listing, metadata=metadata))
        for request in requests(url)[:: len(KINDS)]:
            check = pb.VerifyCredentialRequest(
                provider_id=request.provider_id, credential=request.credential, model="400"
            )
            calls.append(stub.VerifyCredential(check, metadata=metadata))
        for wrong in (f"Bearer {WRONG_CALLER}", WRONG_CALLER):
            calls.append(stub.Chat(requests(url)[0], metadata=(("authorization", wrong),)))
        calls += [unified.Chat(unified_request(url, kind), metadata=metadata) for kind in KINDS]
        await asyncio.gather(*(came.of(call) for call in calls))
    return came


def unified_request(url: str, kind: str) -> Any:
    """The same on the Rapida face, whose errors travel inside of the answer."""
    return json_format.ParseDict(
        {
            "credential": {"value": credential(url, "openai_compatible")["value"]},
            "requestId": "r",
            "providerName": "custom-llm",
            "conversations": [{"role": "user", "user": {"content": "hi"}}],
            "modelParameters": {
                "model.name": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": kind}
            },
        },
        unified_provider_pb2.ChatRequest(),
    )


async def test_no_secret_comes_out_anywhere(tmp_path: Path) -> None:
    """Not in an answer, a status, a detail or a trailer, and not in a single line that the program prints."""
    port, audit = free_port(), tmp_path / "audit"
    flags = ("--admin-port", str(port), "--audit-file", str(audit))
    async with endpoint() as made, serving(tmp_path, made.url, *flags) as program:
        came = await everything(program, made.url)
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as metrics:
            numbers = await metrics.read()
        program.send(signal.SIGTERM)
        assert await program.ended(10) == 0

    sent = b"".join(made.requests)
    assert came.failures > 100
    for secret in (AUTHORIZATION, HEADER, QUERY, ENCODED, STORED, ROW_KEY, STORED_KEY):
        assert secret.encode() in sent, f"{secret} was never at risk"
    assert len([line for line in program.said("call.finished") if line["status"] != "OK"]) > 100
    assert leaks(bytes(program.printed)) == []
    assert numbers.count(b"integration_api_calls_total{") > 10
    assert leaks(numbers) == []
    audited = audit.read_bytes()
    assert audited.count(b"call.finished") == len(program.said("call.finished"))
    assert leaks(audited) == []
    assert leaks(b"\n".join(came.out)) == []
    assert b"You sent POST" in b"".join(came.out)  # the endpoint's words do come through


async def test_the_proxys_password_comes_out_nowhere(tmp_path: Path) -> None:
    """The proxy repeats what it was sent, too."""
    async with endpoint() as proxy:
        flags = ("--endpoint-proxy", f"http://user:{PROXY}@127.0.0.1:{proxy.port}")
        async with serving(tmp_path, "http://127.0.0.1:1", *flags) as program:
            came = await everything(program, "http://127.0.0.1:1")
            program.send(signal.SIGTERM)
            assert await program.ended(10) == 0

    sent = b"".join(proxy.requests)
    assert b"Proxy-Authorization: Basic" in sent
    basic = re.search(rb"Proxy-Authorization: Basic (\S+)", sent)
    assert basic is not None
    assert leaks(bytes(program.printed)) == leaks(b"\n".join(came.out)) == []
    assert basic[1] not in bytes(program.printed)
    assert basic[1] not in b"\n".join(came.out)


def test_the_values_of_the_domain_show_no_secret() -> None:
    """Their reprs end in tracebacks and debuggers."""
    raw = credential("http://127.0.0.1:1", "openai_compatible")["value"]
    parsed = parse_credential(raw)
    message = UserMessage((TextPart("hi"),))
    call = ResolvedCall(parsed, merge_parameters({"model.name": "m"}), (message,))
    settings = Settings(endpoint_proxy=f"http://u:{PROXY}@h:1", rapida_jwt_secret=MISPLACED)
    begun = SseDecoder(64 * 1024)
    begun.feed(f"data: {parsed.secrets[0]}".encode())
    assert leaks(f"data: {parsed.secrets[0]}".encode()) != []
    shown: list[object] = [
        begun,
        parsed,
        call,
        Target("custom-llm", raw, Timeouts(1, 1, 1, 1), {"model.name": "m"}),
        Ask((message,)),
        settings,
        transport_settings(settings),
        TransportSettings(transport_settings(settings).egress, proxy=settings.endpoint_proxy),
        *(adapter.request(call, True) for adapter in ADAPTERS.values()),
    ]
    for value in shown:
        assert leaks(repr(value).encode()) == [], type(value)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_in_the_log_shows_no_values(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A bug's traceback is logged without its variables, and its texts without what looks like a key."""
    import structlog

    def failing(key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        try:
            dict[str, str]()[f"Authorization: Bearer {HEADER}"]
        except KeyError as error:
            raise ValueError(f"cannot send {len(headers)} headers with key=sk-{QUERY}-0123") from error

    before = structlog.get_config()
    try:
        writer = log.configure("debug", form)
        try:
            failing(AUTHORIZATION)
        except ValueError as error:
            structlog.get_logger("test").error("call.bug", exc_info=error)
        writer.close()
    finally:
        structlog.configure(**before)
    printed = capfd.readouterr().err

    assert "ValueError: cannot send 1 headers" in printed
    assert "in failing" in printed
    assert leaks(printed.encode()) == []
