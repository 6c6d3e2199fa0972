"""One life of a call for both faces: the same record however it came and ended, and no waiting for what cannot work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from msgspec.structs import replace

from caller.call import CallReport, Outcome
from caller.errors import CallerError
from integration_api.calls.observer import Observer
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests import asking
from tests.edge.reading import fail, listen
from tests.patience import within
from tests.rapida import talk as rapida
from tests.test_imports import imported

SILENT = "silence:for=60s"
ROOT = Path(__file__).parent.parent.parent


class Recorder(Observer):
    """An observer that keeps what it was told of each call."""

    def __init__(self) -> None:
        self.records: list[CallReport] = []
        self.events: list[str] = []
        self.ending = asyncio.Event()

    def started(self, report: CallReport) -> None:
        assert report.outcome is Outcome.RUNNING
        self.events.append("started")

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        del report
        self.events.append("attempt" if error is None else f"attempt {type(error).__name__}")

    def first_output(self, report: CallReport) -> None:
        assert report.first_output is not None
        self.events.append("first_output")

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        assert (error is None) is (report.outcome is Outcome.COMPLETED)
        self.events.append("ended")
        self.records.append(replace(report))
        self.ending.set()


@dataclass
class World:
    """A server with an observer, and a channel to it."""

    channel: grpc.aio.Channel
    recorder: Recorder
    url: str

    async def ended(self) -> CallReport:
        """The record of the call that ended."""
        async with asyncio.timeout(within(10)):
            await self.recorder.ending.wait()
        (record,) = self.recorder.records
        return record


@asynccontextmanager
async def world(url: str, **settings: Any) -> AsyncIterator[World]:
    recorder = Recorder()
    async with (
        Server(Settings(port=0, shutdown_grace=1.0, **settings), observers=(recorder,)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield World(channel, recorder, url)


def native(url: str, model: str) -> Any:
    """The request that the other face's `chat_request` makes, too."""
    credential = {"value": {"baseUrl": f"{url}/v1"}}
    return asking.chat_request(url, model, requestId="request-1", credential=credential)


async def native_chat(made: World, model: str) -> None:
    await ChatServiceStub(made.channel).Chat(native(made.url, model))


async def native_stream(made: World, model: str) -> None:
    async for _ in ChatServiceStub(made.channel).StreamChat(native(made.url, model)):
        pass


async def rapida_chat(made: World, model: str) -> None:
    await rapida.ask(made.channel, "Chat", rapida.chat_request(made.url, model))


async def rapida_turn(made: World, model: str) -> None:
    async with rapida.talk(made.channel) as stream:
        await stream.configure(made.url)
        await stream.chat("request-1", model)
        await stream.turn("request-1")


Face = Callable[[World, str], Awaitable[None]]
FACES: dict[str, Face] = {
    "Chat": native_chat,
    "StreamChat": native_stream,
    "Rapida's Chat": rapida_chat,
    "Rapida's turn": rapida_turn,
}
# Fields that no two calls share: that they are there is what is compared. All others have to be equal.
OWN = ("started", "ended", "deadline", "endpoint_request_id", "began", "waits", "overhead", "metadata")
# What is known of streams only, the name of the RPC, and what its frames are.
OF_THE_FACE = (
    "first_output",
    "first_overhead",
    "last_overhead",
    "outputs",
    "service",
    "method",
    "frames",
    "sent_bytes",
)


def comparable(record: CallReport) -> dict[str, object]:
    """Every field of a record, found from its type: a new one is compared without a word here."""
    given = {name: getattr(record, name) for name in record.__struct_fields__}
    return {name: given[name] is not None if name in OWN else given[name] for name in given if name not in OF_THE_FACE}


async def record_of(face: Face, sandbox: Sandbox, how: str) -> CallReport:
    model, settings = {
        "good": ("echo", {}),
        "failed": ("http-error:status=401", {}),
        "cancelled": (SILENT, {}),
        "timed out": (SILENT, {"total_timeout": 0.3}),
    }[how]
    async with world(sandbox.url, **settings) as made:
        asked = asyncio.ensure_future(face(made, model))
        if how == "cancelled":
            async with asyncio.timeout(within(10)):
                await sandbox.wait_for_request()
            asked.cancel()
        with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            await asked
        return await made.ended()


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        ("good", Outcome.COMPLETED, ""),
        ("failed", Outcome.FAILED, "ENDPOINT_UNAUTHENTICATED"),
        ("cancelled", Outcome.CANCELLED, ""),
        ("timed out", Outcome.FAILED, "TOTAL_TIMEOUT"),
    ],
)
async def test_both_faces_make_the_same_record(how: str, outcome: Outcome, reason: str) -> None:
    """Of the same call, whichever of the four ways it came and however it ended."""
    records = {}
    for name, face in FACES.items():
        async with Sandbox(port=0) as sandbox:
            record = await record_of(face, sandbox, how)
            assert (record.outcome, record.reason) == (outcome, reason), name
            assert record.url.startswith(sandbox.url)
            records[name] = {
                key: str(value).replace(str(sandbox.port), "PORT") for key, value in comparable(record).items()
            }
    first = records["Chat"]
    assert first["provider"] == "custom-llm"
    assert first["request_id"] == "request-1"
    assert first["attempts"] == "1"
    for name, record_fields in records.items():
        assert record_fields == first, name


@pytest.mark.parametrize("name", FACES)
async def test_observers_are_told_of_one_start_and_one_end(name: str, sandbox: Sandbox) -> None:
    """With each attempt between them, and the first output of what streams."""
    async with world(sandbox.url) as made:
        await FACES[name](made, "flaky:fails=1,status=503,retry=0")
        await made.ended()
        told = made.recorder.events

    streams = name in ("StreamChat", "Rapida's turn")
    assert told == [
        "started",
        "attempt EndpointOverloaded",
        *(["first_output"] if streams else []),
        "attempt",
        "ended",
    ]


@asynccontextmanager
async def full(sandbox: Sandbox) -> AsyncIterator[World]:
    """A server whose only slot is taken, with a queue that further calls would wait in for a minute."""
    async with world(sandbox.url, max_running_calls=1, max_queued_calls=5, max_queue_time=60.0) as made:
        stalled = ChatServiceStub(made.channel).StreamChat(native(sandbox.url, SILENT))
        async with asyncio.timeout(within(10)):
            await sandbox.wait_for_request()
        try:
            yield made
        finally:
            stalled.cancel()


CANNOT_WORK: dict[str, tuple[dict[str, Any], str]] = {
    "a URL of another scheme": ({"credential": {"value": {"baseUrl": "ftp://nope"}}}, "CREDENTIAL_INVALID"),
    "a parameter that is no number": (
        {"modelParameters": {"model.name": "echo", "temperature": "warm"}},
        "REQUEST_INVALID",
    ),
}


@pytest.mark.parametrize("what", CANNOT_WORK)
async def test_what_cannot_work_waits_for_no_slot(what: str, sandbox: Sandbox) -> None:
    """INVALID_ARGUMENT at once, and no word of a retry, however full the server is."""
    changes, reason = CANNOT_WORK[what]
    async with full(sandbox) as made, asyncio.timeout(within(10)):
        request = asking.chat_request(sandbox.url, "echo", **changes)
        stub = ChatServiceStub(made.channel)
        whole = await fail(stub.Chat(request))
        streamed = (await listen(stub.StreamChat(request))).failure

    for failure in (whole, streamed):
        assert failure is not None
        assert failure.said == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert failure.trailers["grpc-retry-pushback-ms"] == "-1"
        assert failure.info.metadata["provider_id"] == "custom-llm"


async def test_what_cannot_work_waits_for_no_slot_in_rapidas_contract(sandbox: Sandbox) -> None:
    """The other face: Chat, a turn, and a configuration."""
    async with full(sandbox) as made, asyncio.timeout(within(10)):
        warm = rapida.chat_request(sandbox.url, "echo", temperature="warm")
        assert (await rapida.ask(made.channel, "Chat", warm)).code == 400
        nowhere = rapida.chat_request(sandbox.url, "echo")
        nowhere.credential.value["base_url"] = "ftp://nope"
        assert (await rapida.ask(made.channel, "Chat", nowhere)).code == 401
        async with rapida.talk(made.channel) as stream:
            await stream.configure(sandbox.url)
            await stream.chat("t1", "echo", parameters={"model.temperature": "warm"})
            (last,) = await stream.turn("t1")
            assert last.error.errorCode == 400


async def test_an_answer_too_large_for_the_fold_is_described_like_any_other_error(sandbox: Sandbox) -> None:
    """The fold's own refusal knows the API and the attempts as well."""
    async with world(sandbox.url, max_answer_bytes=5) as made:
        failure = await fail(ChatServiceStub(made.channel).Chat(native(sandbox.url, "echo")))

    assert failure.reason == "RESPONSE_TOO_LARGE"
    assert failure.info.metadata["api"] == "openai_chat_completions"
    assert failure.info.metadata["attempts"] == "1"


def test_the_other_contract_is_deletable_in_one_piece() -> None:
    """Nothing outside of it imports it, but the server that adds it."""
    sources = [path for top in ("caller", "integration_api") for path in (ROOT / top).rglob("*.py")]
    names = ("integration_api.rapida", "integration_api.unified_")
    knowing = set()
    for path in sources:
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        known = imported(path.read_text("utf-8"), module.replace("/", "."))
        if any(name.startswith(names) for _, name in known):
            knowing.add(module)
    outside = {name for name in knowing if not name.startswith(("integration_api/rapida/", "integration_api/unified_"))}
    assert len(knowing) > 5
    assert outside == {"integration_api/server"}
