"""What operators see of many calls, good, failed, cancelled and timed out, through every face: log lines and metrics
agree with what clients saw, and tokens with what the endpoint counted."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import structlog
from prometheus_client.parser import text_string_to_metric_families

from caller.call import CallReport, Outcome
from caller.events import Usage
from integration_api import __version__
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.telemetry.metrics import Metrics
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests import asking
from tests.edge.loopback import free_port
from tests.edge.reading import failure_of
from tests.patience import within
from tests.rapida import talk as rapida

NATIVE = "integration_api.v1.ChatService"
RAPIDA = "integration_api.UnifiedProviderService"
GOOD = "usage:input=100,cached=64,output=50,reasoning=32"
SILENT = "silence:for=60s"
FAILING = (
    "http-error:status=400",
    "http-error:status=401",
    "http-error:status=403",
    "http-error:status=404",
    "http-error:status=429",
    "http-error:status=500",
    "http-error:status=503",
    "error-in-stream:after=0,status=529",
    "cut:after=2",
    "drop",
    "garbage:after=2",
    "html",
)
CANARY = "CANARY-said-by-a-person"
Seen = Counter[tuple[str, str, str, str]]
Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class World:
    """A server with an admin port, and a channel to it."""

    server: Server
    channel: grpc.aio.Channel
    admin: str
    seen: Seen = field(default_factory=Counter)

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.admin + path) as answer:
            return answer.status, await answer.text()

    async def metrics(self) -> Numbers:
        _, text = await self.get("/metrics")
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def idle(self) -> None:
        async with asyncio.timeout(within(10)):
            await self.server.guard.idle()


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    port = free_port()
    async with (
        Server(Settings(port=0, admin_port=port, shutdown_grace=1.0, **settings)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield World(server, channel, f"http://127.0.0.1:{port}")


async def native(made: World, url: str, model: str, method: str, **options: Any) -> tuple[str, str]:
    """Status and reason as the client sees them."""
    stub = ChatServiceStub(made.channel)
    request = asking.chat_request(url, model, CANARY, labels={"tenant": "t1"})
    try:
        if method == "Chat":
            await stub.Chat(request, **options)
        else:
            async for _ in stub.StreamChat(request, **options):
                pass
    except grpc.aio.AioRpcError as error:
        failure = failure_of(error)
        return failure.code.name, failure.reason if "ErrorInfo" in failure.details else ""
    except asyncio.CancelledError:
        return "CANCELLED", ""
    return "OK", ""


async def mirrored(made: World, url: str, model: str, method: str) -> int:
    """The code in the answer of Rapida's contract; 0 for a good one."""
    if method == "Chat":
        answer = await rapida.ask(made.channel, "Chat", rapida.chat_request(url, model, CANARY))
        return 0 if answer.success else int(answer.error.errorCode)
    async with rapida.talk(made.channel) as stream:
        await stream.configure(url)
        await stream.chat("t1", model, CANARY)
        last = (await stream.turn("t1"))[-1]
        return int(last.error.errorCode)


async def both_faces(made: World, url: str, model: str, method: str) -> None:
    """One call of each; the mirror's has the status that the other's means."""
    status, reason = await native(made, url, model, method)
    code = await mirrored(made, url, model, method)
    assert (code == 0) is (status == "OK"), model
    made.seen[NATIVE, method, status, reason] += 1
    made.seen[RAPIDA, method, status, reason] += 1


async def cancelled(made: World, endpoint: Sandbox, service: str, method: str) -> None:
    """A call whose client gives it up once it has reached the endpoint."""
    call = native if service == NATIVE else mirrored
    running = asyncio.ensure_future(call(made, endpoint.url, SILENT, method))
    await endpoint.wait_for_request(10)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await endpoint.wait_for_hangup(within(10))
    made.seen[service, method, "CANCELLED", ""] += 1


async def late(made: World, url: str, method: str) -> None:
    """A call whose client's deadline passes: it sees that, whether our words came before or not."""
    status, _ = await native(made, url, SILENT, method, timeout=0.5)
    made.seen[NATIVE, method, status, "TOTAL_TIMEOUT"] += 1


async def mixed(made: World, sandbox: Sandbox) -> None:
    """208 calls and more."""
    pairs = [*((GOOD, method) for method in ("Chat", "StreamChat") for _ in range(28))]
    pairs += [(model, method) for model in FAILING for method in ("Chat", "StreamChat") for _ in range(2)]
    for batch in (pairs[start : start + 8] for start in range(0, len(pairs), 8)):
        await asyncio.gather(*(both_faces(made, sandbox.url, model, method) for model, method in batch))
    for method in ("Chat", "StreamChat"):
        await late(made, sandbox.url, method)
    async with Sandbox(port=0) as endpoint:
        for service, method in itertools.product((NATIVE, RAPIDA), ("Chat", "StreamChat")):
            await cancelled(made, endpoint, service, method)
    await made.idle()


async def test_log_lines_and_metrics_agree_with_what_clients_saw(sandbox: Sandbox) -> None:
    """By service, method, status and reason; and the tokens with the endpoint's own count."""
    with structlog.testing.capture_logs() as logs:
        async with world(max_attempts=1) as made:
            await mixed(made, sandbox)
            numbers = await made.metrics()

    lines = [line for line in logs if line["event"] == "call.finished"]
    told = Counter((line["service"], line["method"], line["status"], line.get("reason", "")) for line in lines)
    counted: Seen = Counter()
    for (name, labels), value in numbers.items():
        if name == "integration_api_calls_total":
            words = dict(labels)
            counted[words["service"], words["method"], words["status"], words["reason"]] += int(value)
    assert sum(made.seen.values()) >= 200
    assert len({(status, reason) for _, _, status, reason in made.seen}) >= 12
    assert told == made.seen
    assert counted == made.seen

    good = sum(count for (_, _, status, _), count in made.seen.items() if status == "OK")
    tokens: Counter[str] = Counter()
    for (name, labels), value in numbers.items():
        if name == "integration_api_tokens_total":
            tokens[dict(labels)["kind"]] += int(value)
    for kind, each in (("input", 100), ("cached_input", 64), ("output", 50), ("reasoning", 32)):
        of_lines = {"input": "in", "cached_input": "cached", "output": "out"}.get(kind, kind)
        assert tokens[kind] == sum(line.get(f"tokens_{of_lines}") or 0 for line in lines)
        assert tokens[kind] >= good * each
    finished_well = [line for line in lines if line["status"] == "OK"]
    assert {line["tokens_in"] for line in finished_well} == {100}
    assert {line["log_level"] for line in lines} == {"info"}


async def test_the_line_of_a_good_call_says_all(sandbox: Sandbox) -> None:
    """Whose, where to, how it ended, what it took; nothing of what was said."""
    with structlog.testing.capture_logs() as logs:
        async with world() as made:
            await native(made, sandbox.url, GOOD, "StreamChat", metadata=(("x-request-id", "from-metadata"),))
            await made.idle()
            text = (await made.get("/metrics"))[1]

    (line,) = [line for line in logs if line["event"] == "call.finished"]
    assert line["request_id"] == "from-metadata"
    assert line["provider"] == "custom-llm"
    assert line["api"] == "openai_compatible"
    assert line["endpoint"] == f"127.0.0.1:{sandbox.port}"
    assert line["model"] == GOOD
    assert line["labels"] == {"tenant": "t1"}
    assert (line["status"], line["attempts"]) == ("OK", 1)
    assert (line["tokens_in"], line["tokens_out"]) == (100, 50)
    assert (line["tokens_cached"], line["tokens_reasoning"]) == (64, 32)
    assert line["frames"] >= 3
    assert line["bytes"] > 0
    assert 0 < line["first_output"] <= line["took"]
    assert line["overhead"] > 0
    assert CANARY not in str(logs)
    assert CANARY not in text


async def test_an_error_that_repeats_what_was_said_leaves_no_word_of_it(sandbox: Sandbox) -> None:
    """The client reads the endpoint's text; the log and the metrics do not have it."""
    with structlog.testing.capture_logs() as logs:
        async with world() as made:
            status, reason = await native(made, sandbox.url, f"http-error:status=400,message={CANARY}", "Chat")
            await made.idle()
            text = (await made.get("/metrics"))[1]

    (line,) = [line for line in logs if line["event"] == "call.finished"]
    assert (line["status"], line["reason"], line["fault"]) == (status, reason, "client")
    del line["model"]  # here it is what makes the endpoint say it
    assert CANARY not in str(logs)
    assert text.count(CANARY) == text.count(f"message={CANARY}")


async def test_the_name_in_the_metadata_comes_back(sandbox: Sandbox) -> None:
    """`x-request-id` names a call whose request has no id; one in the request wins; what is no id is none."""
    async with world() as made:
        stub = ChatServiceStub(made.channel)
        for given, request_id, expected in (
            ("from-metadata", "", "from-metadata"),
            ("from-metadata", "own", "own"),
            ("not an id", "", None),
        ):
            request = asking.chat_request(sandbox.url, "echo", requestId=request_id)
            call = stub.Chat(request, metadata=(("x-request-id", given),))
            answer = await call
            trailers = dict(tuple(await call.trailing_metadata()))
            assert answer.request_id == trailers["x-request-id"]
            assert expected is None or answer.request_id == expected
            assert answer.request_id != "not an id"


async def test_the_event_loop_turns_while_metrics_are_written() -> None:
    """Numbers are collected at once; the text of thousands of series is made beside everything else."""
    metrics = Metrics("1")
    for number in range(500):
        report = CallReport(started=0.0, service=NATIVE, method="Chat", client=f"{number}", provider="custom-llm")
        report.api, report.endpoint, report.model = "openai_compatible", f"host-{number}:1", "model"
        report.status, report.ended = f"status {number}", 1.0
        metrics.ended(report, None)
    writing = asyncio.ensure_future(metrics.text())
    turns = 0
    while not writing.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns > 1  # made in the loop, it takes one; how many it is depends on who has the interpreter
    assert b"status 499" in await writing


async def test_models_without_end_are_few_series(sandbox: Sandbox) -> None:
    """10,000 models of one client, and a further one of another client, which still has its name."""
    async with world() as made:
        metrics = made.server._observers.metrics
        assert metrics is not None
        await native(made, sandbox.url, GOOD, "Chat")
        await made.idle()
        for number in range(10_000):
            report = CallReport(started=0.0, service=NATIVE, method="Chat", client="one", provider="custom-llm")
            report.api, report.endpoint, report.model = "openai_compatible", "127.0.0.1:1", f"model-{number}"
            report.usage, report.outcome, report.status, report.ended = Usage(1, 1, 2), Outcome.COMPLETED, "OK", 1.0
            metrics.ended(report, None)
        numbers = await made.metrics()

    models = {dict(labels)["model"] for name, labels in numbers if name == "integration_api_calls_total"}
    assert "other" in models
    assert GOOD in models
    assert len(numbers) <= 200


async def test_the_admin_port_answers(sandbox: Sandbox) -> None:
    """Alive, ready, and which version; what it counts of connections."""
    async with world() as made:
        for _ in range(3):
            await native(made, sandbox.url, "echo", "StreamChat")
        await native(made, sandbox.url, "flaky:fails=1,status=503", "StreamChat")
        await native(made, "http://169.254.169.254", "echo", "Chat")
        await made.idle()
        assert await made.get("/livez") == (200, "LIVE\n")
        assert await made.get("/readyz") == (200, "SERVING\n")
        assert json.loads((await made.get("/version"))[1]) == {"version": __version__}
        assert (await made.get("/nothing"))[0] == 404
        numbers = await made.metrics()

    connections = {
        dict(labels)["event"]: value for (name, labels), value in numbers.items() if "connections_total" in name
    }
    assert connections["opened"] + connections["reused"] == 5
    assert connections["reused"] >= 2
    assert connections["refused"] == 1
    plain = {name: value for (name, labels), value in numbers.items() if not labels}
    assert plain["integration_api_running_calls"] == 0
    assert plain["integration_api_queued_calls"] == 0
    retries = [value for (name, _), value in numbers.items() if name == "integration_api_retries_total"]
    assert sum(retries) == 1
    errors = {dict(labels)["kind"]: value for (name, labels), value in numbers.items() if "endpoint_errors" in name}
    assert errors == {"ENDPOINT_OVERLOADED": 1}


async def test_a_drain_turns_readiness(sandbox: Sandbox) -> None:
    """While calls end, the instance lives and is not ready."""
    async with world() as made, Sandbox(port=0) as endpoint:
        call = asyncio.ensure_future(native(made, endpoint.url, SILENT, "StreamChat"))
        await endpoint.wait_for_request(10)
        stopping = asyncio.ensure_future(made.server.stop())
        async with asyncio.timeout(within(10)):
            while True:  # each turn waits for an answer
                if await made.get("/readyz") == (503, "NOT_SERVING\n"):
                    break
        assert (await made.get("/livez"))[0] == 200
        await call
        await stopping


async def test_the_audit_file_has_a_line_for_every_call(sandbox: Sandbox, tmp_path: Path) -> None:
    """The fields of the log's line, good calls and others; what the disk does not take ends no call."""
    audit = tmp_path / "audit"
    with structlog.testing.capture_logs() as logs:
        async with world(audit_file=str(audit)) as made:
            for model in ("echo", GOOD, "http-error:status=401"):
                await native(made, sandbox.url, model, "Chat")
        async with world(audit_file="/dev/full") as made:
            assert await native(made, sandbox.url, "echo", "Chat") == ("OK", "")

    text = await asyncio.to_thread(audit.read_text, "utf-8")
    written = [json.loads(line) for line in text.splitlines()]
    lines = [line for line in logs if line["event"] == "call.finished"][:3]
    assert [line.pop("event") for line in written] == ["call.finished"] * 3
    assert all(line.pop("timestamp") for line in written)
    assert written == [{k: v for k, v in line.items() if k not in ("event", "log_level")} for line in lines]
    assert audit.stat().st_mode & 0o777 == 0o600
    assert CANARY not in text


async def test_the_audit_file_has_what_was_said_where_it_is_asked_for(sandbox: Sandbox, tmp_path: Path) -> None:
    """The end of the conversation and the beginning of the answer, each within its bytes; of a cut answer what came;
    no picture, no query of a URL, no key. The log has none of it."""
    audit = tmp_path / "audit"
    credential = {"value": {"baseUrl": f"{sandbox.url}/v1", "headers": {"Authorization": "Bearer CANARY-key"}}}
    picture = {"image": {"url": "https://pictures.example/a.png?signature=CANARY-key"}}
    messages = [
        {"system": {"text": "forgotten " * 100}},
        {"assistant": {"toolCalls": [{"id": "c", "name": "weather", "arguments": '{"city":"Rome"}'}]}},
        {"tool": {"toolCallId": "c", "content": [{"text": "21"}]}},
        {"user": {"content": [{"text": CANARY}, picture]}},
    ]
    with structlog.testing.capture_logs() as logs:
        async with world(audit_file=str(audit), audit_content=400) as made:
            stub = ChatServiceStub(made.channel)
            for model in ("echo", "tokens:n=500", "cut:after=2"):
                request = asking.chat_request(sandbox.url, model, credential=credential, messages=messages)
                await asyncio.gather(stub.Chat(request), return_exceptions=True)
                with suppress(grpc.aio.AioRpcError):
                    async for _ in stub.StreamChat(request):
                        pass

    text = await asyncio.to_thread(audit.read_text, "utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 6
    for line in lines:
        asked = line["asked"]
        assert [message["role"] for message in asked] == ["system", "assistant", "tool", "user"]
        assert asked[0]["text"].startswith("forgotten ")
        assert asked[1]["tool_calls"] == [{"name": "weather", "arguments": '{"city":"Rome"}'}]
        assert asked[3]["content"] == [{"text": CANARY}, {"image": "https://pictures.example/a.png", "bytes": 0}]
        assert line["content_cut"] is True
        assert len(json.dumps(line["asked"])) < 1000
        assert len(json.dumps(line["answered"])) < 600
    assert all(line["answered"][0]["text"] for line in lines[:4])
    assert lines[5]["status"] != "OK"
    assert lines[5]["answered"][0]["text"]
    assert "CANARY-key" not in text
    assert CANARY not in str(logs)


async def test_lost_audit_lines_are_counted(sandbox: Sandbox) -> None:
    """What the disk does not take."""
    async with world(audit_file="/dev/full") as made:
        await native(made, sandbox.url, "echo", "Chat")
        await made.idle()
        async with asyncio.timeout(10):
            while True:  # each turn waits for an answer
                numbers = await made.metrics()
                if numbers["integration_api_audit_lost_total", ()] == 1:
                    break
