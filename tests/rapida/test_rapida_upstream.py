"""What is passed on to the original integration-api, and what is not."""

import asyncio
import hashlib
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.rapida.auth import HEADER
from integration_api.rapida.upstream import HOP, UpstreamSettings
from integration_api.sandbox import Sandbox
from integration_api.server import Server, check_upstream
from integration_api.settings import Settings
from tests.edge.certificates import Authority
from tests.edge.loopback import NARROW, until
from tests.patience import within
from tests.rapida.original import Original
from tests.rapida.talk import SERVICE, ask, chat_request, credential, talk, text_of
from tests.rapida.test_rapida_auth import SECRET, newer, token

_AUDIT = "/integration_api.AuditLoggingService/GetAuditLog"
_DETAILS = b"\x08\x05\x12\x04gone"


def metadata(*more: tuple[str, str | bytes]) -> list[tuple[str, str | bytes]]:
    """What the platform sends, and more."""
    return [(HEADER, token(newer())), ("x-client-source", "assistant-api"), *more]


@asynccontextmanager
async def served(upstream: str, **more: Any) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    """A server of ours in front of an original, and a channel to it."""
    given = {"port": 0, "shutdown_grace": 5.0, "rapida_jwt_secret": SECRET, "rapida_upstream": upstream, **more}
    async with (
        Server(Settings(**given)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=NARROW) as channel,
    ):
        yield server, channel


def foreign(method: str) -> Any:
    """A request for a provider of the original's."""
    match method:
        case "Chat":
            request = chat_request("http://127.0.0.1:1", "gpt")
            request.providerName = "OpenAI"
            return request
        case "Embedding":
            return pb.EmbeddingRequest(providerName="cohere", content={0: "text"})
        case "Reranking":
            return pb.RerankingRequest(providerName="cohere", query="q", content={0: "text"})
        case _:
            return pb.VerifyCredentialRequest(providerName="openai", credential=credential())


_ANSWERS = {
    "Chat": pb.ChatResponse(code=200, success=True, requestId="request-1", data=msg.Message(role="assistant")),
    "Embedding": pb.EmbeddingResponse(code=200, success=True, data=[pb.Embedding(index=1, embedding=[0.5, 0.25])]),
    "Reranking": pb.RerankingResponse(code=200, success=True, data=[pb.Reranking(index=1, relevanceScore=0.5)]),
    "VerifyCredential": pb.VerifyCredentialResponse(code=200, success=True, response="fine"),
}


def answering(answer: bytes) -> Any:
    """A script that answers one request, with metadata on both sides of the answer."""

    async def script(original: Original, context: grpc.aio.ServicerContext) -> None:
        assert await original.read(context) is not None
        assert await original.read(context) is None
        await context.send_initial_metadata((("x-first", "one"),))
        await context.write(answer)
        context.set_trailing_metadata((("x-last", "two"), ("x-last-bin", b"\x00\xff")))

    return script


@pytest.mark.parametrize("method", ["Chat", "Embedding", "Reranking", "VerifyCredential"])
async def test_a_call_for_another_provider_is_the_originals(method: str) -> None:
    """Request and answer go through as they are, with the client's token and metadata, and the metadata that comes
    back; fields that we do not know among them."""
    unknown = b"\xfa\x01\x03new"  # field 31
    answer = _ANSWERS[method].SerializeToString() + unknown
    async with (
        Original({f"{SERVICE}/{method}": answering(answer)}) as original,
        served(original.address) as (_, channel),
    ):
        request = foreign(method).SerializeToString() + unknown
        sent = metadata(("x-own", "kept"), ("x-own-bin", b"\x00\x01"))
        call = channel.unary_unary(f"{SERVICE}/{method}")(request, metadata=sent, timeout=20)

        assert await call == answer
        assert original.frames == [request]
        got = original.metadata[0]
        assert got[HEADER] == sent[0][1]
        assert (got["x-client-source"], got["x-own"], got["x-own-bin"]) == ("assistant-api", "kept", b"\x00\x01")
        assert 15 < (original.time_left[0] or 0) < 21  # gRPC rounds up
        assert ("x-first", "one") in tuple(await call.initial_metadata())
        assert {("x-last", "two"), ("x-last-bin", b"\x00\xff")} <= set(await call.trailing_metadata())


async def failing(original: Original, context: grpc.aio.ServicerContext) -> None:
    """A status with details."""
    await original.read(context)
    trailers = (("grpc-status-details-bin", _DETAILS), ("x-reason", "quota"))
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the account is used up", trailers)


async def failing_late(original: Original, context: grpc.aio.ServicerContext) -> None:
    """A frame, then the status."""
    await context.write(b"frame")
    await failing(original, context)


async def cancelling(original: Original, context: grpc.aio.ServicerContext) -> None:
    """A status that says cancelled, which nobody here asked for."""
    await original.read(context)
    await context.abort(grpc.StatusCode.CANCELLED, "not today")


@pytest.mark.parametrize("path", [f"{SERVICE}/Chat", f"{SERVICE}/Embedding", _AUDIT])
async def test_an_error_comes_back_with_its_details(path: str) -> None:
    """Code, text, details and trailers of the original's; also where Chat would answer errors of ours in its body."""
    async with Original({path: failing}) as original, served(original.address) as (_, channel):
        request = foreign(path.rpartition("/")[2]).SerializeToString()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(request, metadata=metadata(), timeout=20)

        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "the account is used up",
        )
        trailers = dict(tuple(caught.value.trailing_metadata()))
        assert trailers["grpc-status-details-bin"] == _DETAILS
        assert trailers["x-reason"] == "quota"


@pytest.mark.parametrize("path", [f"{SERVICE}/Chat", _AUDIT])
async def test_a_status_of_cancelled_is_a_status(path: str) -> None:
    """It is no cancellation of ours: the client gets it with its text, and is not left hanging."""
    async with Original({path: cancelling}) as original, served(original.address) as (_, channel):
        call = channel.unary_unary(path)(foreign("Chat").SerializeToString(), metadata=metadata(), timeout=20)
        assert (await call.code(), await call.details()) == (grpc.StatusCode.CANCELLED, "not today")


async def echoing(original: Original, context: grpc.aio.ServicerContext) -> None:
    """Each frame comes back at once, and the end of the client's is the end."""
    while (raw := await original.read(context)) is not None:
        await context.write(raw)


async def test_unknown_services_of_the_package_go_through_in_both_directions() -> None:
    """Frame by frame: each is answered before the next one is sent."""
    async with Original({_AUDIT: echoing}) as original, served(original.address) as (server, channel):
        call = channel.stream_stream(_AUDIT)(metadata=metadata())
        for number in range(5):
            await call.write(f"frame {number}".encode())
            assert await call.read() == f"frame {number}".encode()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK
        await until(lambda: server.guard.open_streams == 0)


async def _trip(channel: grpc.aio.Channel) -> float:
    """Median seconds of a small frame there and back."""
    call = channel.stream_stream(_AUDIT)(metadata=metadata())
    times = []
    for _ in range(200):
        started = time.perf_counter()
        await call.write(b"x" * 200)
        await call.read()
        times.append(time.perf_counter() - started)
    call.cancel()
    return statistics.median(times)


async def test_a_frame_on_its_way_is_not_held_up() -> None:
    """What two frames, there and back, take longer than without us: well below what anybody hears."""
    async with (
        Original({_AUDIT: echoing}) as original,
        served(original.address) as (_, channel),
        grpc.aio.insecure_channel(original.address) as straight,
    ):
        await _trip(straight)
        added = await _trip(channel) - await _trip(straight)
        print(f"two frames take {added * 1e6:.0f} µs longer")  # noqa: T201 -- a measurement, seen with pytest -s
        assert added < within(0.02)


async def test_an_error_behind_frames_comes_behind_them() -> None:
    """The frame first, then the status."""
    async with Original({_AUDIT: failing_late}) as original, served(original.address) as (_, channel):
        call = channel.unary_stream(_AUDIT)(b"", metadata=metadata())
        assert await call.read() == b"frame"
        assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "path",
    ["/integration_api.v1.ChatService/Nothing", "/other.Service/Method", "/integration_api/Method", "/Service/Method"],
)
async def test_only_the_originals_package_is_passed_on(path: str) -> None:
    """Everything else is not there."""
    async with Original({path: echoing}) as original, served(original.address) as (_, channel):
        call = channel.stream_stream(path)(metadata=metadata())
        assert await call.code() == grpc.StatusCode.UNIMPLEMENTED
        assert not original.metadata


def configuration(provider: str = "openai") -> pb.StreamChatRequest:
    """A configuration for a provider of the original's."""
    return pb.StreamChatRequest(configuration=pb.StreamChatConfiguration(providerName=provider))


async def talking(original: Original, context: grpc.aio.ServicerContext) -> None:
    """The original's StreamChat: confirms a configuration, answers each chat with two deltas and a final frame."""
    while (raw := await original.read(context)) is not None:
        frame = pb.StreamChatRequest.FromString(raw)
        if frame.WhichOneof("request") == "configuration":
            answer = pb.StreamChatConfigured(providerName=frame.configuration.providerName, success=True)
            await context.write(pb.StreamChatResponse(configuration=answer).SerializeToString())
        for word in ("one ", "two ", "") if frame.WhichOneof("request") == "chat" else ():
            said = msg.Message(role="assistant", assistant=msg.AssistantMessage(contents=[word or "one two"]))
            output = pb.StreamChatOutput(requestId=frame.chat.requestId, data=said)
            if not word:
                output.metrics.add(name="status", value="SUCCESS")
            await context.write(pb.StreamChatResponse(chat=output).SerializeToString())


async def test_a_stream_configured_for_another_provider_is_the_originals() -> None:
    """From the configuration on: what came before it is answered here."""
    async with Original({f"{SERVICE}/StreamChat": talking}) as original, served(original.address) as (server, channel):
        async with talk(channel, metadata=metadata()) as stream:
            await stream.chat("early", "gpt")
            assert (await stream.output()).error.errorCode == 412
            assert not original.metadata
            await stream.call.write(configuration())
            assert (await stream.read()).configuration.success
            for turn in ("t1", "t2"):
                await stream.chat(turn, "gpt")
                assert [text_of(frame) for frame in await stream.turn(turn)] == ["one ", "two ", "one two"]
            await stream.call.done_writing()
            assert await stream.rest() == []
        assert len(original.frames) == 3
        assert original.frames[0] == configuration().SerializeToString()
        assert original.metadata[0][HEADER]
        await until(lambda: server.guard.open_streams == 0)


async def test_a_stream_of_ours_can_become_the_originals(sandbox: Sandbox) -> None:
    """What runs at that moment ends with a last frame of its own."""
    async with (
        Original({f"{SERVICE}/StreamChat": talking}) as original,
        served(original.address) as (_, channel),
        talk(channel, metadata=metadata()) as stream,
    ):
        await stream.configure(sandbox.url)
        await stream.chat("ours", "tokens:n=1500,gap=20ms")
        await stream.output()
        await stream.call.write(configuration())
        assert (await stream.turn("ours"))[-1].finishReason == "superseded"
        assert (await stream.read()).configuration.success
        await sandbox.wait_for_hangup(within(2.0))
        await stream.chat("theirs", "gpt")
        assert len(await stream.turn("theirs")) == 3


async def test_a_turn_for_another_provider_on_a_stream_of_ours_is_refused(sandbox: Sandbox) -> None:
    """400, in a sentence that says what to do; the stream goes on."""
    async with Original({}) as original, served(original.address) as (_, channel):
        async with talk(channel, metadata=metadata()) as stream:
            await stream.configure(sandbox.url)
            await stream.chat("t1", "gpt", providerName="OpenAI")
            refused = await stream.output()
            assert refused.error.errorCode == 400
            assert refused.error.errorMessage == (
                "provider openai is answered elsewhere: configure a stream of its own for it"
            )
            await stream.chat("t2", "echo")
            assert (await stream.turn("t2"))[-1].finishReason == "stop"
        assert not original.metadata


async def silent(original: Original, context: grpc.aio.ServicerContext) -> None:
    """Reads one frame, and says nothing for a long time."""
    await original.read(context)
    await asyncio.sleep(60)


@pytest.mark.parametrize("path", [f"{SERVICE}/Chat", _AUDIT])
async def test_a_client_that_gives_up_ends_the_call_behind(path: str) -> None:
    """The original sees it at once, and nothing is left here."""
    async with Original({path: silent}) as original, served(original.address) as (server, channel):
        call = channel.unary_unary(path)(foreign("Chat").SerializeToString(), metadata=metadata())
        await original.began.wait()
        call.cancel()
        async with asyncio.timeout(within(5)):
            await original.cancelled.wait()
        await until(lambda: (server.guard.running, server.guard.open_streams) == (0, 0))


async def test_a_stream_that_is_reset_ends_the_one_behind() -> None:
    """In the middle of a call."""
    async with Original({f"{SERVICE}/StreamChat": silent}) as original, served(original.address) as (server, channel):
        async with talk(channel, metadata=metadata()) as stream:
            await stream.call.write(configuration())
            await original.began.wait()
        async with asyncio.timeout(within(5)):
            await original.cancelled.wait()
        await until(lambda: server.guard.open_streams == 0)


@pytest.mark.parametrize("path", [f"{SERVICE}/Chat", _AUDIT])
async def test_the_clients_deadline_is_the_originals(path: str) -> None:
    """It goes along, and ends the call on both sides."""
    async with Original({path: silent}) as original, served(original.address) as (_, channel):
        call = channel.unary_unary(path)(foreign("Chat").SerializeToString(), metadata=metadata(), timeout=0.7)
        assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0 < (original.time_left[0] or 0) < 1
        async with asyncio.timeout(within(5)):
            await original.cancelled.wait()


async def test_a_slow_reader_holds_up_the_original() -> None:
    """Back-pressure from end to end: what it does not read is not fetched, and comes when it reads on."""
    written = 0

    async def pouring(original: Original, context: grpc.aio.ServicerContext) -> None:
        nonlocal written
        await original.read(context)
        for _ in range(1_000):
            await context.write(b"x" * 100_000)
            written += 1

    async with Original({_AUDIT: pouring}) as original, served(original.address) as (_, channel):
        call = channel.unary_stream(_AUDIT)(b"", metadata=metadata())
        assert len(await call.read()) == 100_000
        before = -1
        while before != written:  # until it stands still
            before = written
            await asyncio.sleep(0.3)
        assert written < 600  # what fits into the buffers of two connections is the machine's to say
        read = 1
        while await call.read() is not grpc.aio.EOF:
            read += 1
        assert read == written == 1_000


async def test_a_slow_original_holds_up_the_writer() -> None:
    """The other way round: frames wait at the client, not here."""
    reading = asyncio.Event()

    async def slow(original: Original, context: grpc.aio.ServicerContext) -> None:
        await reading.wait()
        await echoing(original, context)

    async with Original({_AUDIT: slow}) as original, served(original.address) as (_, channel):
        call = channel.stream_stream(_AUDIT)(metadata=metadata())
        sent = 0

        async def writing() -> None:
            nonlocal sent
            for _ in range(400):
                await call.write(b"x" * 100_000)
                sent += 1
            await call.done_writing()

        task = asyncio.create_task(writing())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 300
        reading.set()
        read = 0
        while await call.read() is not grpc.aio.EOF:
            read += 1
        await task
        assert read == 400


async def test_without_an_original_custom_llm_is_answered_as_ever(sandbox: Sandbox) -> None:
    """It is down: its providers fail with a status, ours do not notice."""
    async with served("127.0.0.1:1") as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, "Chat", foreign("Chat"), metadata=metadata(), timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        async with talk(channel, metadata=metadata()) as stream:
            await stream.call.write(configuration())
            assert await stream.call.code() == grpc.StatusCode.UNAVAILABLE

        started = time.perf_counter()
        answer = await ask(channel, "Chat", chat_request(sandbox.url, "echo"), metadata=metadata())
        async with talk(channel, metadata=metadata()) as stream:
            assert (await stream.configure(sandbox.url)).success
            await stream.chat("t1", "echo")
            assert (await stream.turn("t1"))[-1].finishReason == "stop"
        assert answer.success
        assert time.perf_counter() - started < within(5)


async def test_a_call_of_the_originals_is_a_running_call_of_ours(sandbox: Sandbox) -> None:
    """Where there is no slot it is refused, in the words of the contract, and frees its own at its end."""
    answer = answering(_ANSWERS["Embedding"].SerializeToString())
    scripts = {f"{SERVICE}/Chat": silent, f"{SERVICE}/Embedding": answer}
    async with Original(scripts) as original, served(original.address, max_running_calls=1) as (server, channel):
        waiting = asyncio.ensure_future(ask(channel, "Chat", foreign("Chat"), metadata=metadata()))
        await original.began.wait()
        refused = await ask(channel, "Chat", chat_request(sandbox.url, "echo"), metadata=metadata())
        assert (refused.code, refused.success) == (503, False)
        assert (await ask(channel, "Embedding", foreign("Embedding"), metadata=metadata())).code == 503
        waiting.cancel()
        await until(lambda: server.admission.running == 0)
        assert (await ask(channel, "Embedding", foreign("Embedding"), metadata=metadata())).success


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_original_over_tls(tmp_path: Path, trusted: bool) -> None:
    """With an authority of the operator's; a certificate of another one is not trusted."""
    authority, other = Authority(), Authority("Another authority")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    pair = (authority if trusted else other).sign("original")
    more = {"rapida_upstream_tls": True, "rapida_upstream_ca_file": str(tmp_path / "ca.pem")}
    async with Original({_AUDIT: echoing}, pair) as original, served(original.address, **more) as (_, channel):
        call = channel.stream_stream(_AUDIT)(metadata=metadata(), timeout=20)
        await call.write(b"frame")
        if trusted:
            assert await call.read() == b"frame"
        else:
            assert await call.code() == grpc.StatusCode.UNAVAILABLE
            assert not original.frames


async def test_a_loop_is_refused() -> None:
    """A server whose original is itself: FAILED_PRECONDITION after one round, on every kind of method."""
    async with Original({}) as unused:
        port = unused.port
    async with served(f"127.0.0.1:{port}", port=port) as (_, channel):
        for path in (f"{SERVICE}/Chat", _AUDIT):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(foreign("Chat").SerializeToString(), metadata=metadata(), timeout=20)
            assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert "rapida_upstream" in (caught.value.details() or "")
        async with talk(channel, metadata=metadata()) as stream:
            await stream.call.write(configuration())
            assert await stream.call.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_call_that_was_passed_on_is_answered_if_it_is_ours(sandbox: Sandbox) -> None:
    """The hop matters only where it would be a second one."""
    async with Original({}) as original, served(original.address) as (_, channel):
        passed = metadata((HOP, "1"))
        answer = await ask(channel, "Chat", chat_request(sandbox.url, "echo"), metadata=passed)
        assert answer.success


@pytest.mark.parametrize("anonymous", [True, False])
async def test_nothing_is_passed_on_for_strangers(tmp_path: Path, sandbox: Sandbox, anonymous: bool) -> None:
    """Neither without authentication at all, nor where it may be left out, nor with a bad token."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"platform sha256:{hashlib.sha256(b'good').hexdigest()}\n")
    tokens.chmod(0o600)
    more = {"allow_anonymous": True, "auth_tokens_file": str(tokens), "rapida_jwt_secret": ""} if anonymous else {}
    scripts = {f"{SERVICE}/{method}": echoing for method in (*_ANSWERS, "StreamChat")} | {_AUDIT: echoing}
    async with Original(scripts) as original, served(original.address, **more) as (_, channel):
        answer = await ask(channel, "Chat", foreign("Chat"))
        assert (answer.code, answer.success) == (401, False)
        assert (await ask(channel, "Embedding", foreign("Embedding"))).code == 401
        assert await channel.stream_stream(_AUDIT)().code() == grpc.StatusCode.UNAUTHENTICATED
        async with talk(channel) as stream:
            if not anonymous:
                assert await stream.call.code() == grpc.StatusCode.UNAUTHENTICATED
                return
            await stream.call.write(configuration())
            assert (await stream.read()).configuration.error.errorCode == 401
            assert (await stream.configure(sandbox.url)).success
            await stream.chat("t1", "echo")
            assert (await stream.turn("t1"))[-1].finishReason == "stop"
        assert not original.metadata
        known = [("authorization", "Bearer good")]
        await channel.unary_unary(_AUDIT)(b"here", metadata=known)
        assert original.metadata[0]["authorization"] == "Bearer good"


async def test_listed_providers_are_answered_here() -> None:
    """And, where no caller has them, refused here as they always were."""
    async with (
        Original({}) as original,
        served(original.address, rapida_own_providers=" OpenAI ,other") as (_, channel),
    ):
        answer = await ask(channel, "Chat", foreign("Chat"), metadata=metadata())
        assert answer.code == 502  # known by name: it is called, and nobody listens
        unknown = foreign("Chat")
        unknown.providerName = "Other"
        answer = await ask(channel, "Chat", unknown, metadata=metadata())
        assert (answer.code, answer.error.errorMessage) == (400, "unsupported chat provider: other")
        own = pb.EmbeddingRequest(providerName="custom-llm")
        answer = await ask(channel, "Embedding", own, metadata=metadata())
        assert answer.error.errorMessage == "unsupported embedding provider: custom-llm"
        assert not original.metadata


async def test_without_the_setting_all_is_answered_as_ever() -> None:
    """Other providers are unknown, other services are not there."""
    async with served("") as (_, channel):
        answer = await ask(channel, "Chat", foreign("Chat"), metadata=metadata())
        assert answer.error.errorMessage == "unsupported chat provider: openai"
        assert await channel.stream_stream(_AUDIT)(metadata=metadata()).code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_stop_leaves_streams_of_the_originals_open_until_the_grace_is_over() -> None:
    """New turns go through meanwhile; then the platform's stream ends with `close`, others with their status."""
    scripts = {f"{SERVICE}/StreamChat": talking, _AUDIT: echoing}
    async with Original(scripts) as original:
        server = Server(
            Settings(port=0, shutdown_grace=1.0, rapida_jwt_secret=SECRET, rapida_upstream=original.address)
        )
        await server.start()
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
            talk(channel, metadata=metadata()) as stream,
        ):
            await stream.call.write(configuration())
            assert (await stream.read()).configuration.success
            other = channel.stream_stream(_AUDIT)(metadata=metadata())
            await other.write(b"frame")
            assert await other.read() == b"frame"
            stopping = asyncio.create_task(server.stop())
            await stream.chat("t1", "gpt")
            assert len(await stream.turn("t1")) == 3
            assert [frame.WhichOneof("response") for frame in await stream.rest()] == ["close"]
            assert await other.code() == grpc.StatusCode.ABORTED
            await stopping
        await until(lambda: original.running == 0)


@pytest.mark.parametrize(
    "given",
    [
        {"rapida_upstream": "no-port"},
        {"rapida_upstream": "host:0"},
        {"rapida_upstream": "host:70000"},
        {"rapida_upstream": "http://host:9004"},
        {"rapida_upstream": "host:9004", "rapida_upstream_ca_file": "/ca.pem"},
        {"rapida_upstream": "host:9004", "rapida_upstream_ca_file": "/not/there", "rapida_upstream_tls": True},
        {"rapida_upstream": "host:9004", "rapida_upstream_ca_file": __file__, "rapida_upstream_tls": True},
    ],
)
def test_settings_that_cannot_be_used_are_refused(given: dict[str, Any]) -> None:
    """At start, by the name of the setting."""
    with pytest.raises(ValueError, match="rapida_upstream"):
        check_upstream(Settings(**given))


@pytest.mark.parametrize("address", ["host:9004", "10.0.0.1:1", "[::1]:9004", "a-b.c_d:65535"])
def test_addresses_that_can_be_used(address: str) -> None:
    """Names, and addresses of both kinds."""
    found = UpstreamSettings.of(Settings(rapida_upstream=f" {address} "))
    assert found is not None
    assert found.address == address
