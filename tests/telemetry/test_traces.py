"""Traces as a collector receives them over OTLP: parents, attributes, events; and nothing of it where it is off."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
import structlog
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv import attributes as stable
from opentelemetry.semconv._incubating import attributes as incubating
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests import asking
from tests.edge.loopback import ScriptedServer, answer
from tests.edge.processes import ROOT, run
from tests.edge.scripted import target
from tests.telemetry import test_mixed_calls as mixed
from tests.telemetry.collector import Collector, values

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CLIENT_SPAN}-01"
SECRET = "sk-CANARY-secret-of-the-credential"


@asynccontextmanager
async def world(monkeypatch: pytest.MonkeyPatch, collector: Collector, **settings: Any) -> AsyncIterator[mixed.World]:
    """A server that sends to the collector; all is there once it has stopped."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    async with mixed.world(otel=True, **settings) as made:
        yield made


def attempts_of(spans: list[Span], server: Span) -> list[Span]:
    return [span for span in spans if span.parent_span_id == server.span_id]


async def test_a_call_is_a_server_span_and_a_client_span_for_every_attempt(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the client's own span; the endpoint is told which attempt asks it, and the log line has the trace."""
    async with Collector() as collector:
        with structlog.testing.capture_logs() as logs:
            async with world(monkeypatch, collector, otel_propagate=True) as made:
                model = "flaky:fails=1,status=503"
                request = asking.chat_request(sandbox.url, model, labels={"tenant": "t1"}, requestId="traced")
                call = ChatServiceStub(made.channel).StreamChat(request, metadata=(("traceparent", TRACEPARENT),))
                completed = [frame async for frame in call][-1].completed
        told = [(await sandbox.wait_for_request(5)).headers["traceparent"] for _ in range(2)]

    (server,) = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    first, second = attempts_of(collector.spans, server)
    assert len(collector.spans) == 3
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert server.parent_span_id.hex() == CLIENT_SPAN
    assert told == [f"00-{TRACE}-{span.span_id.hex()}-01" for span in (first, second)]
    assert [line["trace_id"] for line in logs if line["event"] == "call.finished"] == [TRACE]
    assert collector.services == {"integration-api"}

    assert server.name == f"{mixed.NATIVE}/StreamChat"
    assert values(server.attributes)["rpc.response.status_code"] == "OK"
    assert values(server.attributes)["integration_api.label.tenant"] == "t1"
    assert values(server.attributes)["integration_api.request_id"] == "traced"
    assert (first.status.code, second.status.code) == (Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET)
    failed, good = values(first.attributes), values(second.attributes)
    assert (failed["error.type"], failed["http.response.status_code"]) == ("ENDPOINT_OVERLOADED", 503)
    assert second.name == f"chat {model}"
    assert good["gen_ai.operation.name"] == names.GenAiOperationNameValues.CHAT.value
    assert good["gen_ai.provider.name"] == names.GenAiProviderNameValues.OPENAI.value
    assert (good["server.address"], good["server.port"]) == ("127.0.0.1", sandbox.port)
    assert good["gen_ai.request.stream"] is True
    assert good["gen_ai.usage.input_tokens"]
    assert good["gen_ai.response.time_to_first_chunk"] > 0
    assert good["gen_ai.response.model"] == model
    assert good["gen_ai.response.id"] == completed.response_id
    assert [reason.string_value for reason in good["gen_ai.response.finish_reasons"].values] == ["stop"]
    assert "gen_ai.response.model" not in failed
    assert [event.name for event in second.events] == [event.name for event in server.events] == ["first_output"]
    assert server.start_time_unix_nano <= first.start_time_unix_nano <= first.end_time_unix_nano
    assert first.end_time_unix_nano <= second.start_time_unix_nano <= second.events[0].time_unix_nano
    assert second.events[0].time_unix_nano <= second.end_time_unix_nano <= server.end_time_unix_nano


@pytest.mark.parametrize("spare_model", ["tokens:n=3,gap=50ms", "cut:after=3"])
async def test_each_target_of_a_race_has_a_client_span(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, spare_model: str
) -> None:
    """Below the one server span, also of the one that lost: it ends where it was given up, and says why, however the
    winner ends."""
    async with Collector() as collector, Sandbox() as spare, world(monkeypatch, collector) as made:
        request = asking.chat_request(
            sandbox.url, "silence:for=60s", fallbacks=[target(spare.url, spare_model)], options={"hedgeAfter": "0.01s"}
        )
        with suppress(grpc.aio.AioRpcError):
            async for _ in ChatServiceStub(made.channel).StreamChat(request):
                pass

    (server,) = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    spans = {values(span.attributes)["server.port"]: span for span in attempts_of(collector.spans, server)}
    assert spans.keys() == {sandbox.port, spare.port}
    assert values(server.attributes)["integration_api.attempts"] == 2
    lost, won = spans[sandbox.port], spans[spare.port]
    assert values(lost.attributes)["error.type"] == "RACE_LOST"
    assert lost.end_time_unix_nano < won.end_time_unix_nano


async def test_spans_agree_with_what_clients_saw(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """214 calls, good, failed in twelve ways, cancelled and late, through both faces: by method, status and reason.
    Every name is one of the conventions, or ours; no secret and nothing of what was said is in any of it."""
    async with Collector() as collector, world(monkeypatch, collector, max_attempts=1) as made:
        await mixed.mixed(made, sandbox)

    seen: mixed.Seen = Counter()
    servers = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    for span in servers:
        said = values(span.attributes)
        service, _, method = str(said["rpc.method"]).partition("/")
        status, reason = str(said["rpc.response.status_code"]), str(said.get("error.type", ""))
        seen[service, method, status, "" if reason == status else reason] += 1
    assert seen == made.seen
    for server in servers:
        assert len(attempts_of(collector.spans, server)) == values(server.attributes)["integration_api.attempts"] >= 1

    known = {value for module in (stable, incubating) for value in _names_in(module)}
    used = {key for span in collector.spans for key in values(span.attributes)}
    assert {name for name in used if not name.startswith("integration_api.")} <= known
    assert mixed.CANARY.encode() not in collector.raw

    duration = collector.metrics["gen_ai.client.operation.duration"]
    assert sum(point.count for point in duration.histogram.data_points) == len(servers)
    assert duration.unit == "s"
    tokens = collector.metrics["gen_ai.client.token.usage"]
    assert {values(point.attributes)["gen_ai.token.type"] for point in tokens.histogram.data_points} == {
        "input",
        "output",
    }
    assert "gen_ai.client.operation.time_to_first_chunk" in collector.metrics


async def test_no_secret_is_in_a_span(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of the credential, nor of the client's token, nor where an endpoint repeats it as its model's name."""

    async def repeating(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await mirror.request(reader)
        said = {"role": "assistant", "content": "fine"}
        body = {"id": SECRET, "model": SECRET, "choices": [{"index": 0, "finish_reason": "stop", "message": said}]}
        writer.write(answer(json.dumps(body)))
        await writer.drain()

    async with (
        Collector() as collector,
        ScriptedServer(repeating) as mirror,
        world(monkeypatch, collector) as made,
    ):
        for url, model in ((sandbox.url, "echo"), (sandbox.url, "http-error:status=401"), (mirror.url, "mirror")):
            credential = {"value": {"baseUrl": f"{url}/v1", "headers": {"Authorization": f"Bearer {SECRET}"}}}
            request = asking.chat_request(url, model, credential=credential)
            call = ChatServiceStub(made.channel).Chat(request, metadata=(("authorization", f"Bearer {SECRET}"),))
            await asyncio.gather(call, return_exceptions=True)
    assert len(collector.spans) == 6
    assert SECRET.encode() not in collector.raw


async def test_a_trace_that_is_not_sampled_is_kept_by_nobody(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client decided; its log line has the trace all the same."""
    async with Collector() as collector:
        with structlog.testing.capture_logs() as logs:
            async with world(monkeypatch, collector) as made:
                metadata = (("traceparent", f"00-{TRACE}-{CLIENT_SPAN}-00"),)
                assert await mixed.native(made, sandbox.url, "echo", "Chat", metadata=metadata) == ("OK", "")
    assert collector.spans == []
    assert [line["trace_id"] for line in logs if line["event"] == "call.finished"] == [TRACE]


async def test_a_collector_that_is_not_there_costs_no_call(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are answered, and the server stops."""
    async with Collector() as gone:
        pass
    async with world(monkeypatch, gone) as made:
        for _ in range(3):
            assert await mixed.native(made, sandbox.url, "echo", "StreamChat") == ("OK", "")


async def test_metrics_arrive_though_nobody_takes_traces(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the server neither waits for the other."""
    async with Collector() as collector, Collector() as gone:
        await gone.__aexit__()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{gone.url}/v1/traces")
        async with world(monkeypatch, collector) as made:
            assert await mixed.native(made, sandbox.url, "echo", "Chat") == ("OK", "")
    assert "gen_ai.client.operation.duration" in collector.metrics


@pytest.mark.parametrize("interval", ["often", "0", "-1", "nan", "inf"])
async def test_an_interval_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, interval: str) -> None:
    """By the name of its variable, ahead of the start."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", interval)
    with pytest.raises(ValueError, match="OTEL_METRIC_EXPORT_INTERVAL is"):
        Server(Settings(port=0, otel=True))


def test_what_only_the_start_finds_out_is_an_error_in_words() -> None:
    """No traceback."""
    ended = run("serve", "--port", "0", "--otel", env={"OTEL_TRACES_EXPORTER": "console"})

    assert ended.returncode == 2
    assert "OTEL_TRACES_EXPORTER is 'console': otlp or none" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_start_that_fails_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """What sends metrics ends, too."""
    async with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        before = set(threading.enumerate())
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = Server(Settings(port=taken.getsockname()[1], otel=True))
            senders = [thread for thread in set(threading.enumerate()) - before if "poll" not in thread.name]  # gRPC's
            assert len(senders) == 2, "spans and metrics"
            with pytest.raises(OSError, match="the address is taken"):
                await server.__aenter__()

        assert not any(thread.is_alive() for thread in senders)


def test_its_packages_are_loaded_only_where_it_is_on() -> None:
    """Off is free."""
    program = (
        "import sys, asyncio\n"
        "from integration_api.server import Server\n"
        "from integration_api.settings import Settings\n"
        "async def main():\n"
        "    async with Server(Settings(port=0)):\n"
        "        pass\n"
        "asyncio.run(main())\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=60).returncode == 0


def _names_in(package: Any) -> set[str]:
    """The names that the conventions' modules define."""
    import importlib
    import pkgutil

    modules = [
        importlib.import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)
    ]
    return {value for module in modules for value in vars(module).values() if isinstance(value, str)}
