"""Rapida's service before callers of the tests' own: what endpoints seldom do, and what callers should never do."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

import grpc
import pytest

from caller.call import CallReport, Destination
from caller.errors import CallerError, EndpointError
from caller.events import Event, Finished, FinishReason, RefusalDelta, TextDelta, ToolCallDelta, Usage, UsageReported
from caller.history import TargetHistory
from caller.registry import Registry
from caller.target import Ask, Target
from caller.verification import Model, Verification
from integration_api import unified_provider_pb2 as pb
from integration_api.calls.admission import Admission, AdmissionLimits
from integration_api.calls.calls import Calls
from integration_api.rapida.service import UnifiedProviderService
from integration_api.rpc.guard import Guard
from integration_api.settings import Settings
from integration_api.telemetry.log_lines import LogLines
from tests.rapida.talk import ask, chat_request, metrics_of, talk, text_of

_SECRET = "sk-canary-0123456789"


class Played:
    """A caller that plays what the model's name says."""

    def destination(self, target: Target) -> Destination:
        del target
        return Destination("nowhere:1", "played", bytes)

    def prepare(self, target: Target, ask: Ask, *, stream: bool) -> "PlayedCall":
        del ask
        return PlayedCall(target, stream)

    def inspect(self, target: Target) -> "PlayedCall":
        return PlayedCall(target, stream=False)

    def warming(self, target: Target) -> "PlayedCall":
        return PlayedCall(target, stream=False)


@dataclass
class PlayedCall:
    """A call that is played, the inspection of its credential, and its connections."""

    target: Target
    stream: bool
    api: str = "played"
    endpoint: str = "nowhere:1"
    model: str = "played"

    def first_output_due(self, report: CallReport) -> float:
        return report.started + self.target.timeouts.total

    def amended(self, error: CallerError) -> bool:
        del error
        return False

    def answered(self) -> None:
        return

    def continued(self) -> None:
        return

    @property
    def destination(self) -> Destination:
        return Destination(self.endpoint, self.model, bytes)

    async def attempt(self, report: CallReport) -> AsyncGenerator[Sequence[Event], None]:
        if not self.stream:
            raise RuntimeError(f"a bug with {_SECRET}")
        match self.target.parameters["model.name"]:
            case "text-behind-calls":
                yield [TextDelta("Let me see. ")]
                yield [TextDelta("One"), ToolCallDelta(0, '{"a"', "c1", "f"), TextDelta(" two")]
                yield [TextDelta(" three"), ToolCallDelta(0, ": 1}"), Finished(FinishReason.TOOL_CALLS)]
            case "refusal":
                yield [RefusalDelta("I would "), RefusalDelta("rather not."), Finished(FinishReason.OTHER, "shy")]
            case "two-choices":
                yield [TextDelta("first", 0), TextDelta("second", 1), Finished(FinishReason.STOP)]
            case "usage-then-error":
                report.usage = Usage(input=3, output=1, total=4)
                yield [TextDelta("Some"), UsageReported(report.usage)]
                raise EndpointError("it broke")
            case "bug":
                yield [TextDelta("Some")]
                raise RuntimeError(f"a bug with {_SECRET}")
            case "clings":
                yield [TextDelta("Some")]
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    await asyncio.sleep(1.5)
                    raise EndpointError("the cancelled connection broke") from None
            case _:
                yield [TextDelta("hello"), Finished(FinishReason.STOP)]

    def ready(self, client: str) -> int:
        del client
        return 1

    async def open(self, client: str, number: int) -> None:
        del client, number

    async def verify(self, report: CallReport, checks: frozenset[str] = frozenset()) -> Verification:
        del report, checks
        raise RuntimeError(f"a bug with {_SECRET}")

    async def list_models(self, report: CallReport) -> tuple[Model, ...]:
        del report
        return ()


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a real server with the service and the guard, before the played caller."""
    settings = Settings()
    guard = Guard(5.0)
    admission = Admission(AdmissionLimits.of(settings))
    calls = Calls(Registry({"custom-llm": Played()}), admission, (LogLines(),), 1 << 20, TargetHistory())
    service = UnifiedProviderService(calls, settings)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(service.generic_handlers(guard))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(0)


_URL = "http://127.0.0.1:1"  # nobody is called


async def test_text_behind_tool_calls_stands_in_the_final_frame_only(channel: grpc.aio.Channel) -> None:
    """Deltas end where the calls begin; the final frame has all text and whole calls."""
    async with talk(channel) as stream:
        await stream.configure(_URL)
        await stream.chat("t1", "text-behind-calls")
        *deltas, last = await stream.turn("t1")

        assert [text_of(delta) for delta in deltas] == ["Let me see. ", "One"]
        assert text_of(last) == "Let me see. One two three"
        (call,) = last.data.assistant.toolCalls
        assert (call.id, call.type, call.function.name, call.function.arguments) == ("c1", "function", "f", '{"a": 1}')
        assert last.finishReason == "tool_calls"


async def test_a_refusal_is_told_as_text(channel: grpc.aio.Channel) -> None:
    """The contract has no other place for it; the endpoint's own word stands for an unknown reason."""
    async with talk(channel) as stream:
        await stream.configure(_URL)
        await stream.chat("t1", "refusal")
        *deltas, last = await stream.turn("t1")

        assert "".join(map(text_of, deltas)) == text_of(last) == "I would rather not."
        assert last.finishReason == "shy"


async def test_the_first_choice_is_the_answer(channel: grpc.aio.Channel) -> None:
    """Others have no place in the contract, neither as deltas nor in the final frame."""
    async with talk(channel) as stream:
        await stream.configure(_URL)
        await stream.chat("t1", "two-choices")

        assert [text_of(frame) for frame in await stream.turn("t1")] == ["first", "first"]


async def test_what_was_used_before_a_failure_is_told(channel: grpc.aio.Channel) -> None:
    """The error's frame has the tokens that were counted."""
    async with talk(channel) as stream:
        await stream.configure(_URL)
        await stream.chat("t1", "usage-then-error")
        last = (await stream.turn("t1"))[-1]

        assert last.error.errorCode == 502
        assert metrics_of(last)["total_token"] == "4"


async def test_a_bug_says_nothing_of_itself_and_ends_one_turn_only(channel: grpc.aio.Channel) -> None:
    """500 with the request's id, no text of the exception, in every method; the stream goes on."""
    chat = await ask(channel, "Chat", chat_request(_URL, "m"))
    verify = await ask(
        channel,
        "VerifyCredential",
        pb.VerifyCredentialRequest(credential=chat_request(_URL, "m").credential, providerName="custom-llm"),
    )
    async with talk(channel) as stream:
        await stream.configure(_URL)
        await stream.chat("t1", "bug")
        turn = (await stream.turn("t1"))[-1]
        await stream.chat("t2", "fine")
        assert text_of((await stream.turn("t2"))[-1]) == "hello"

    assert (chat.code, verify.code, turn.error.errorCode) == (500, 500, 500)
    assert _SECRET not in f"{chat}{verify}{turn}"
    assert "request-1" in chat.error.errorMessage
    assert "t1" in turn.error.errorMessage


async def test_a_new_turn_does_not_wait_for_the_older_ones_end(channel: grpc.aio.Channel) -> None:
    """A connection that clings, and breaks when let go, neither delays the newer turn nor adds a last word."""
    async with talk(channel) as stream:
        await stream.configure(_URL)
        await stream.chat("old", "clings")
        await stream.output()
        started = time.perf_counter()
        await stream.chat("new", "fine")
        superseded = await stream.output()
        *_, last = await stream.turn("new")
        taken = time.perf_counter() - started
        await asyncio.sleep(1.6)  # the older turn has let go by now
        await stream.send(close=pb.StreamChatClose(reason="done"))
        rest = await stream.rest()

    assert (superseded.requestId, superseded.finishReason, text_of(superseded)) == ("old", "superseded", "Some")
    assert last.finishReason == "stop"
    assert taken < 1.3
    assert [frame.WhichOneof("response") for frame in rest] == ["close"]
