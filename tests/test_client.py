"""The typed client, before a real service and a scripted endpoint."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from integration_api.client import (
    VOICE_TIMEOUTS,
    ChatResponse,
    Client,
    ServiceError,
    Started,
    TextDelta,
    ToolCallDelta,
    assistant,
    chat_request,
    endpoint,
    image,
    stored,
    system,
    target,
    tool,
    tool_result,
    user,
)
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from tests.edge.access_world import token_line
from tests.edge.loopback import CuttableProxy, until
from tests.patience import within


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(Settings(port=0, shutdown_grace=1.0, max_attempts=1)) as made:
        yield made


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(f"127.0.0.1:{server.port}", timeout=within(20)) as made:
        yield made


async def test_chat_and_stream_give_the_same_answer(client: Client, sandbox: Sandbox) -> None:
    """Events come in their order, and the last of them is the whole answer."""
    asked = chat_request("hi", model="tokens:n=5", credential=endpoint(sandbox.url))
    whole = await client.chat(asked)
    events = [event async for event in client.stream_chat(asked)]

    assert isinstance(events[0], Started)
    assert isinstance(events[-1], ChatResponse)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == whole.choices[0].message.text == events[-1].choices[0].message.text
    assert whole.usage.output_tokens


async def test_a_conversation_with_a_tool_a_picture_and_rules(client: Client, sandbox: Sandbox) -> None:
    """What the helpers make arrives at the endpoint as it was meant."""
    weather = tool("weather", "tells it", {"type": "object", "properties": {"city": {"type": "string"}}})
    talk = [system("Be brief."), user("Where is this?", image(b"\x89PNG", media_type="image/png"))]
    asked = chat_request(
        talk,
        model="tool-call",
        credential=endpoint(sandbox.url, headers={"Authorization": "Bearer k"}),
        parameters={"model.temperature": 0.25},
        tools=[weather],
        timeouts={"total": 12.5},
        labels={"turn": "1"},
        request_id="r-1",
    )
    answer = await client.chat(asked)
    call = answer.choices[0].message.tool_calls[0]
    assert call.name == "weather"
    talk += [assistant(answer.choices[0].message), tool_result(call, "21 °C")]
    second = await client.chat(chat_request(talk, model="echo", credential=endpoint(sandbox.url)))

    assert second.choices[0].message.text
    first, later = (json.loads(recorded.body) for recorded in sandbox.requests)
    assert first["temperature"] == 0.25
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert [message["role"] for message in later["messages"]] == ["system", "user", "assistant", "tool"]
    assert later["messages"][3]["tool_call_id"] == later["messages"][2]["tool_calls"][0]["id"] == call.id
    assert answer.request_id == "r-1"


async def test_tool_calls_are_events(client: Client, sandbox: Sandbox) -> None:
    """The pieces of a tool call come as they are made."""
    asked = chat_request(
        "go", model="tool-call", credential=endpoint(sandbox.url), tools=[tool("weather", "", {"type": "object"})]
    )
    kinds = {type(event) for event in [event async for event in client.stream_chat(asked)]}
    assert ToolCallDelta in kinds


async def test_an_error_says_what_to_do(client: Client, sandbox: Sandbox) -> None:
    """Reason, fault, remedy, the fields, the tokens so far: all on the exception, in both calls."""
    credential = endpoint(sandbox.url)
    refused = chat_request("hi", model="http-error:status=401", credential=credential)
    with pytest.raises(ServiceError) as unary:
        await client.chat(refused)
    with pytest.raises(ServiceError) as streamed:
        [event async for event in client.stream_chat(refused)]
    for error in (unary.value, streamed.value):
        assert (error.code, error.reason, error.fault) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "ENDPOINT_UNAUTHENTICATED",
            "client",
        )
        assert "credential's headers" in error.remedy
        assert error.remedy in str(error)
        assert error.metadata["http_status"] == "401"
        assert error.request_id
        assert error.retry_delay is None

    with pytest.raises(ServiceError) as invalid:
        await client.chat(chat_request("hi", model="m", credential=endpoint("ftp://nope")))
    assert invalid.value.reason == "CREDENTIAL_INVALID"
    assert [violation.field for violation in invalid.value.violations] == ["credential.endpoint.base_url"]
    with pytest.raises(ServiceError) as unknown:
        await client.chat(chat_request("hi", model="m", credential=stored("nobody's")))
    assert unknown.value.reason == "CREDENTIAL_NOT_FOUND"


async def test_an_error_links_to_where_the_operator_publishes_its_page() -> None:
    """The setting's URL, and the reason as its anchor, on what is refused by the service itself, too."""
    page = "https://docs.example.com/errors.html"
    settings = Settings(port=0, shutdown_grace=1.0, error_docs_url=page)
    async with Server(settings) as server, Client(f"127.0.0.1:{server.port}", timeout=within(20)) as client:
        with pytest.raises(ServiceError) as caught:
            await client.chat(chat_request("hi", model="m", credential=endpoint("ftp://nope")))
    assert caught.value.help_url == f"{page}#credential_invalid"


async def test_what_is_no_service_of_ours_is_an_error_too(sandbox: Sandbox) -> None:
    """Nothing listens: the status is gRPC's own, without a reason."""
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ServiceError) as caught:
            await client.chat(chat_request("hi", model="m", credential=endpoint(sandbox.url)), timeout=within(5))
    assert (caught.value.code, caught.value.reason, caught.value.remedy) == (grpc.StatusCode.UNAVAILABLE, "", "")


async def test_retries_are_made_where_the_service_invites_one(client: Client, sandbox: Sandbox) -> None:
    """One attempt of the service and a retryable failure: the client asks again, after the pause that it names, and no
    more often than it may; a failure that will not change is asked once."""
    busy = chat_request("hi", model="http-error:status=503,retry=0.05", credential=endpoint(sandbox.url))
    with pytest.raises(ServiceError):
        await client.chat(busy)
    assert len(sandbox.requests) == 3
    with pytest.raises(ServiceError):
        [event async for event in client.stream_chat(busy)]
    assert len(sandbox.requests) == 6
    with pytest.raises(ServiceError):
        await client.chat(chat_request("hi", model="http-error:status=400", credential=endpoint(sandbox.url)))
    assert len(sandbox.requests) == 7


async def test_retries_stay_within_the_deadline(client: Client, sandbox: Sandbox) -> None:
    """A pause that ends behind the deadline is not begun."""
    busy = chat_request("hi", model="http-error:status=503,retry=30", credential=endpoint(sandbox.url))
    with pytest.raises(ServiceError) as caught:
        await client.chat(busy, timeout=within(5))
    assert caught.value.reason == "ENDPOINT_OVERLOADED"
    assert caught.value.retry_delay == 30
    assert len(sandbox.requests) == 1


async def test_nothing_is_asked_again_after_output(client: Client, sandbox: Sandbox) -> None:
    """A stream that breaks in the middle ends in an error, and the words before it came once."""
    asked = chat_request("hi", model="cut:after=3", credential=endpoint(sandbox.url))
    texts: list[str] = []

    async def read() -> None:
        async for event in client.stream_chat(asked):
            texts.extend([event.text] if isinstance(event, TextDelta) else [])

    with pytest.raises(ServiceError) as caught:
        await read()
    assert caught.value.reason == "STREAM_INTERRUPTED"
    assert texts
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("how", ["break", "async with"])
async def test_who_stops_reading_ends_the_call(client: Client, sandbox: Sandbox, server: Server, how: str) -> None:
    """Leaving the loop, leaving the block: the endpoint's socket closes within a second."""
    asked = chat_request("hi", model="tokens:n=10000,gap=20ms", credential=endpoint(sandbox.url))

    async def read() -> None:
        if how == "break":
            async for event in client.stream_chat(asked):
                if isinstance(event, TextDelta):
                    break
            return
        async with client.stream_chat(asked) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    return

    await read()
    await until(lambda: sandbox.connections == 0 and server.guard.running == 0, 1.0, "the endpoint is let go")


@pytest.mark.parametrize("how", ["the task", "cancel", "aclose"])
async def test_another_task_ends_the_call(client: Client, sandbox: Sandbox, server: Server, how: str) -> None:
    """A barge-in: the task that reads is cancelled, or the stream, whose loop ends by itself then. The endpoint is let
    go within a second."""
    stream = client.stream_chat(chat_request("hi", model="tokens:n=10000,gap=20ms", credential=endpoint(sandbox.url)))
    begun = asyncio.Event()

    async def read() -> str:
        async for event in stream:
            if isinstance(event, TextDelta):
                begun.set()
        return "the loop has ended"

    task = asyncio.create_task(read())
    await begun.wait()
    if how == "the task":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif how == "cancel":
        stream.cancel()
        assert await task == "the loop has ended"
    else:
        await stream.aclose()
        assert await task == "the loop has ended"
    await until(lambda: sandbox.connections == 0 and server.guard.running == 0, 1.0, "the endpoint is let go")


async def test_a_pause_before_a_retry_is_cut_short(client: Client, sandbox: Sandbox) -> None:
    """Whoever cancels a stream does not wait for an attempt that will not be made; nor for a call that never began."""
    stream = client.stream_chat(
        chat_request("hi", model="http-error:status=503,retry=5", credential=endpoint(sandbox.url))
    )
    reading = asyncio.create_task(anext(aiter(stream), None))
    await sandbox.wait_for_request(within(5))
    await until(lambda: sandbox.open_requests == 0)
    stream.cancel()
    assert await asyncio.wait_for(reading, within(2)) is None
    assert len(sandbox.requests) == 1

    never = client.stream_chat(chat_request("hi", model="echo", credential=endpoint(sandbox.url)))
    never.cancel()
    assert [event async for event in never] == []
    assert len(sandbox.requests) == 1


async def test_a_deadline_is_seen_by_the_service(client: Client, sandbox: Sandbox) -> None:
    """It ends the call as the client's own deadline, and the endpoint is let go."""
    asked = chat_request("hi", model="silence", credential=endpoint(sandbox.url))
    with pytest.raises(ServiceError) as caught:
        await client.chat(asked, timeout=0.3)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: sandbox.connections == 0, 1.0)


async def test_several_connections_share_the_calls(server: Server, sandbox: Sandbox) -> None:
    """Calls that run at the same time go over as many connections as there are."""
    asked = chat_request("hi", model="tokens:n=10000,gap=20ms", credential=endpoint(sandbox.url))
    async with CuttableProxy(server.port) as cable, Client(f"127.0.0.1:{cable.port}", connections=3) as client:
        streams = [aiter(client.stream_chat(asked)) for _ in range(6)]
        for stream in streams:
            await anext(stream)
        assert cable.accepted == 3
        del stream, streams


async def test_a_name_with_several_addresses_spreads_the_calls(sandbox: Sandbox) -> None:
    """With `round_robin`, as docs/scaling.md has it, each instance that the name stands for gets calls."""
    in_turn = [("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]
    asked = chat_request("hi", model="tokens:n=10000,gap=20ms", credential=endpoint(sandbox.url))
    streams: list[AsyncIterator[object]] = []
    async with Server(Settings(port=0)) as one, Server(Settings(port=0)) as other:
        address = f"ipv4:127.0.0.1:{one.port},127.0.0.1:{other.port}"
        async with Client(address, options=in_turn, timeout=within(20)) as client:
            while len(streams) < 100 and not (one.guard.running and other.guard.running):  # until both are connected
                streams.append(aiter(client.stream_chat(asked)))
                await anext(streams[-1])
            assert one.guard.running
            assert other.guard.running
            del streams


async def test_a_broken_connection_does_not_draw_the_calls(server: Server, sandbox: Sandbox) -> None:
    """One of two connections is lost and cannot be made again: calls fail on it until that is known, and the others go
    over the one that is left."""
    asked = chat_request("hi", model="echo", credential=endpoint(sandbox.url))
    async with CuttableProxy(server.port) as cable, Client(f"127.0.0.1:{cable.port}", connections=2) as client:
        await client.prewarm(asked)
        assert cable.accepted == 2
        cable.cut_oldest()
        failed: list[grpc.StatusCode] = []
        for _ in range(20):
            try:
                await client.chat(asked, timeout=within(5))
            except ServiceError as error:
                failed.append(error.code)
    assert len(failed) <= 3
    assert {*failed} <= {grpc.StatusCode.UNAVAILABLE}


async def test_a_fallback_answers_and_is_raced(client: Client, sandbox: Sandbox) -> None:
    """A target that fails is passed over; one that is silent is raced. The answer says who gave it."""
    credential = endpoint(sandbox.url)
    spare = target(credential, model="echo", parameters={"temperature": 0.5}, label="spare")
    broken = chat_request("hi", model="http-error:status=503", credential=credential, fallbacks=[spare])
    answer = await client.chat(broken)
    assert answer.choices[0].message.text
    assert [attempt.label for attempt in answer.timing.attempts_made] == ["", "spare"]
    assert json.loads(sandbox.requests[-1].body)["temperature"] == 0.5

    silent = chat_request("hi", model="silence", credential=credential, fallbacks=[spare], hedge_after=0.05)
    async with client.stream_chat(silent) as events:
        first = await anext(aiter(events))
    assert isinstance(first, Started)
    assert first.target == 1


async def test_the_voice_profile_ends_a_silence(client: Client, sandbox: Sandbox) -> None:
    """Its numbers are those of a request, and can be changed one by one."""
    timeouts = {**VOICE_TIMEOUTS, "first_output": 0.2}
    asked = chat_request("hi", model="silence", credential=endpoint(sandbox.url), timeouts=timeouts)
    named = {name: getattr(asked.timeouts, name).ToMilliseconds() / 1000 for name in VOICE_TIMEOUTS}
    assert named == {"connect": 1, "first_output": 0.2, "between_outputs": 2, "total": 30}
    with pytest.raises(ServiceError) as caught:
        await anext(aiter(client.stream_chat(asked)))
    assert caught.value.reason == "FIRST_OUTPUT_TIMEOUT"


async def test_prewarm_opens_what_a_chat_will_need(client: Client, sandbox: Sandbox) -> None:
    """Its own endpoint and its fallbacks', and sends nothing."""
    asked = chat_request("hi", model="echo", credential=endpoint(sandbox.url))
    asked.fallbacks.add(credential=endpoint(sandbox.url, headers={"Authorization": "Bearer of its own"}))
    asked.fallbacks.add(credential=stored("nobody"))
    results = await client.prewarm(asked)

    assert [(result.target, result.reason) for result in results] == [(0, ""), (1, ""), (2, "CREDENTIAL_NOT_FOUND")]
    assert sandbox.connections == 2
    assert not sandbox.requests
    await client.chat(asked)
    assert sandbox.connections == 2


async def test_every_connection_of_ours_prewarms(server: Server, sandbox: Sandbox) -> None:
    """Each may end at another worker of the service."""
    asked = chat_request("hi", model="echo", credential=endpoint(sandbox.url))
    async with CuttableProxy(server.port) as cable, Client(f"127.0.0.1:{cable.port}", connections=2) as client:
        (result,) = await client.prewarm(asked, connections=2)
        assert result.ok
        assert cable.accepted == 2


async def test_a_token_says_who_calls(sandbox: Sandbox, tmp_path: Path) -> None:
    """As a text or as a function, for each call."""
    (tmp_path / "tokens").write_text(token_line("billing", "b"))
    asked = chat_request("hi", model="echo", credential=endpoint(sandbox.url))
    async with Server(Settings(port=0, auth_tokens_file=str(tmp_path / "tokens"))) as server:
        async with Client(f"127.0.0.1:{server.port}", token=lambda: "b") as client:
            assert (await client.chat(asked)).choices
        async with Client(f"127.0.0.1:{server.port}", token="wrong") as client:
            with pytest.raises(ServiceError) as caught:
                await client.chat(asked)
    assert caught.value.reason == "CALLER_UNAUTHENTICATED"


async def test_credentials_models_and_providers(client: Client, sandbox: Sandbox) -> None:
    """The three calls beside the chat."""
    credential = endpoint(sandbox.url)
    checks = await client.verify_credential(credential, model="echo")
    assert checks.ok
    assert [model.id for model in await client.list_models(credential)]
    assert "openai" in {provider.id for provider in await client.list_providers()}


def test_a_name_that_is_no_timeout_is_refused() -> None:
    """Said at once, by its name."""
    with pytest.raises(ValueError, match="firstOutput"):
        chat_request("hi", model="m", credential=stored("x"), timeouts={"firstOutput": 1})


def test_the_client_needs_nothing_of_the_service() -> None:
    """Imported alone, it loads no package of the service's but grpcio, protobuf and googleapis-common-protos."""
    program = "import sys, integration_api.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=within(30)
    ).stdout.split()
    assert {"grpc", "google"} <= set(loaded)
    assert not {"aiohttp", "msgspec", "structlog", "caller", "click", "prometheus_client", "uvloop"} & set(loaded)
