"""The overhead that the service reports, against what taps on both of its sides see: the time in which a call was in
its hands.

Two taps pass bytes on, between the clients and the service and between the service and its endpoint. What they see
holds what gRPC itself does for a call before and behind our handler, which no handler sees: it is measured beside, by
calls that do nothing. Taps and service share an event loop, so that a busy machine delays both alike.
"""

import asyncio
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import grpc
import pytest

from caller.call import CallReport
from caller.errors import CallerError
from integration_api.calls.observer import Observer
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests import asking
from tests.edge.loopback import NARROW, FloodEndpoint
from tests.edge.processes import ROOT, environment
from tests.telemetry.taps import Exchange, GrpcTap, HttpTap, Stream, Tap

_WORD = re.compile(rb"word-[0-9]+-end")
_TOKEN = re.compile(rb'"content": ?"[^"]')


def _word(data: bytes) -> str:
    found = _WORD.search(data)
    return "" if found is None else found[0].decode()


Span = tuple[float, float]
Spans = Callable[["Call"], list[Span]]
# What is reported of a call, and the least and the most of what the taps saw of it.
Numbers = tuple[Callable[[CallReport], float | None], Spans, Spans]


@dataclass
class Call:
    """A call as the taps saw it, and its record."""

    stream: Stream
    exchange: Exchange
    report: CallReport

    def begin(self) -> Span:
        """Its request's way."""
        return self.stream.begun, self.exchange.asked

    def end(self) -> Span:
        """The way of its answer's end."""
        return self.exchange.pieces[-1][0], self.stream.ended

    def ends(self) -> list[Span]:
        """Both."""
        return [self.begin(), self.end()]

    def first(self) -> Span:
        """From the head of the endpoint's answer to the first token's frame."""
        return self.exchange.pieces[0][0], self.tokens()[0][1]

    def tokens(self) -> list[Span]:
        """When each token came, and when its frame left: several may share one."""
        came = [moment for moment, data in self.exchange.pieces for _ in _TOKEN.findall(data)]
        left = [moment for moment, data in self.stream.frames for _ in range(_tokens_in(data))]
        assert len(came) == len(left)
        return list(zip(came, left, strict=True))


def _tokens_in(frame: bytes) -> int:
    """Of a frame with text; a message is one frame here, and 5 bytes stand before it."""
    return len(pb.StreamChatResponse.FromString(frame[5:]).text_delta.text.split())


def united(*spans: Span) -> float:
    """How long at least one of the spans lasted: how long something of a call was on its way through the service."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


class Ended(Observer):
    """Keeps the records of calls."""

    def __init__(self) -> None:
        self.reports: dict[str, CallReport] = {}

    def started(self, report: CallReport) -> None: ...

    def attempt(self, report: CallReport, error: CallerError | None) -> None: ...

    def first_output(self, report: CallReport) -> None: ...

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        del error
        self.reports[report.request_id] = report


@dataclass
class Seen:
    """The calls that the taps saw, those that a busy machine delayed most left out: the endpoint's waits are the same
    for all, so the slower half of all. `nothing`: the median of calls that do nothing."""

    calls: list[Call]
    nothing: float

    def disagree(self, reported: Callable[[CallReport], float | None], least: Spans, most: Spans) -> str:
        """What is wrong; empty for nothing. Right is, within a tenth or 0.3 ms a call, whichever is more, at least the
        time in which something that the client got was on its way, at most that and what else of the call passed us.
        What gRPC does before a handler and behind its frames, some hundredths of a millisecond or several on a busy
        machine, is borne: the time of a call that does nothing."""
        told = [reported(call.report) for call in self.calls]
        assert None not in told
        number = len(self.calls)
        ours = sum(seconds for seconds in told if seconds is not None)
        lower, upper = (sum(united(*spans(call)) for call in self.calls) for spans in (least, most))
        words = (
            f"seconds: {ours:.3f} reported, {lower:.3f} to {upper:.3f} seen, {self.nothing * number:.3f} gRPC itself"
        )
        spare = self.nothing * number
        low, high = min(0.9 * lower, lower - 0.0003 * number) - spare, max(1.1 * upper, upper + 0.0003 * number) + spare
        return "" if low <= ours <= high else words


async def measured(method: str, model: str, calls: int) -> Seen:
    """The calls that the two ends made through a service between two taps, without the first, which connects."""
    ends = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.telemetry.both_ends", method, model, str(calls)),
        cwd=ROOT,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert ends.stdin is not None
    assert ends.stdout is not None
    endpoint_port = int(await ends.stdout.readline())
    before, behind, kept = GrpcTap(_word), HttpTap(_word), Ended()
    async with (
        Tap(endpoint_port, behind.notes) as to_endpoint,
        Server(Settings(port=0), observers=[kept]) as server,
        Tap(server.port, before.notes) as to_service,
    ):
        ends.stdin.write(f"{to_service.port} {to_endpoint.port}\n".encode())
        assert await ends.wait() == 0
    assert len(kept.reports) == calls
    nothing = median(stream.ended - stream.begun for stream in before.streams if not stream.word)
    found = [stream for stream in before.streams if stream.word][1:]
    made = [Call(stream, behind.exchanges[stream.word], kept.reports[stream.word]) for stream in found]
    made.sort(key=lambda call: call.stream.ended - call.stream.begun)
    return Seen(made[: len(made) // 2], nothing)


async def agreeing(method: str, model: str, calls: int, *numbers: Numbers) -> None:
    """All numbers agree, in one of three rounds: a machine that stalls in the middle of one says nothing of us."""
    faults = [""]
    for _ in range(3):
        seen = await measured(method, model, calls)
        faults = [fault for fault in (seen.disagree(*each) for each in numbers) if fault]
        if not faults:
            return
    raise AssertionError(faults)


@pytest.mark.timeout(240)
async def test_of_whole_answers() -> None:
    """500 calls."""
    await agreeing("Chat", "tokens:n=3,gap=1ms", 500, (lambda report: report.overhead, Call.ends, Call.ends))


@pytest.mark.timeout(240)
async def test_of_paced_streams() -> None:
    """200 streams: in all, up to the first output, and from output to output."""
    await agreeing(
        "StreamChat",
        "tokens:n=6,gap=3ms",
        200,
        (
            lambda report: report.overhead,
            lambda call: [*call.ends(), *call.tokens()],
            lambda call: [*call.ends(), *call.tokens(), call.first()],
        ),
        (
            lambda report: report.first_overhead,
            lambda call: [call.begin(), call.tokens()[0]],
            lambda call: [call.begin(), call.first()],
        ),
        (_between_outputs, lambda call: call.tokens()[1:], lambda call: call.tokens()[1:]),
    )


async def test_of_a_client_that_does_not_read() -> None:
    """The time in which answers wait for their client is not ours."""
    kept = Ended()
    async with (
        FloodEndpoint(size=40_000) as endpoint,
        Server(Settings(port=0), observers=[kept]) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=NARROW) as channel,
    ):
        call = ChatServiceStub(channel).StreamChat(asking.chat_request(endpoint.url, "m", requestId="one"))
        await call.read()
        await endpoint.stuck.wait()
        call.cancel()
        await server.guard.idle()
    (report,) = kept.reports.values()
    assert report.ended is not None
    assert report.overhead is not None
    assert report.waits.seconds >= endpoint.patience
    assert report.ended - report.started - report.overhead >= endpoint.patience


def _between_outputs(report: CallReport) -> float | None:
    if report.last_overhead is None or report.first_overhead is None:
        return None
    return report.last_overhead - report.first_overhead
