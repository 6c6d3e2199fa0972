"""One attempt: one HTTP exchange with the endpoint, as batches of events. The token path.

Per network read: decode, note the time, hand on. Timeouts count output, not bytes: comments, pings, role-only and
usage-only chunks reset nothing. What comes before the first output is held back, so that an attempt that fails before
it leaves no trace.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from caller.call import CallReport, Timeouts
from caller.custom_llm.adapter import Adapter, Frame, HttpRequest, ResolvedCall, StreamDecoder
from caller.custom_llm.base_url import without_query
from caller.custom_llm.body.silence import DEFAULT_SILENCE, Silence, SilenceLimits
from caller.custom_llm.body.sniff import BodyDecoder, BodyKind
from caller.custom_llm.body.think_tags import ThinkTags
from caller.custom_llm.body.turn import LEAST, TurnBudget
from caller.custom_llm.errors.endpoint_errors import (
    PROTOCOL_REMEDIES,
    endpoint_error,
    foreign_answer,
    in_band_body_error,
    instead_of_answer,
)
from caller.custom_llm.errors.retry_hints import rate_limit_headers, request_id_of
from caller.custom_llm.http.transport import Response, Transport
from caller.deadline import DeadlineTimer
from caller.errors import (
    BetweenOutputsTimeout,
    CallerError,
    EndpointNotFound,
    FirstOutputTimeout,
    ProtocolError,
    StreamCut,
    StreamInterrupted,
    TotalTimeout,
)
from caller.events import OUTPUT, Event, ProviderFields, Usage, UsageReported, UsageSource
from caller.fold import merge_usage
from caller.json_types import JsonObject

_NO_FRAME = Frame("", b"")
_MAX_SILENT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """What one attempt needs. `deadline` is the whole call's, in `loop.time()`; `started` the call's start; `client`
    is who asked for it."""

    adapter: Adapter
    call: ResolvedCall
    stream: bool
    timeouts: Timeouts
    started: float
    deadline: float
    max_event_bytes: int
    silence: SilenceLimits = DEFAULT_SILENCE
    client: str = ""

    @property
    def first_output_due(self) -> float:
        """When the first output must be there, all attempts together; a whole answer has the call's time."""
        if not self.stream:
            return self.deadline
        return min(self.deadline, self.started + self.timeouts.first_output)


class Attempt:
    """One attempt. Iterate `batches()` once, and close it.

    `request` is what was sent; `refusal` is the body of an answer with an error status.
    """

    def __init__(self, work: Work, transport: Transport, report: CallReport) -> None:
        self._work = work
        self._transport = transport
        self._report = report
        self._loop = asyncio.get_running_loop()
        self.request = work.adapter.request(work.call, work.stream)
        self.refusal = b""
        self._decoder: StreamDecoder = work.adapter.decoder(work.call)
        self._body = BodyDecoder(work.max_event_bytes)
        self._tags = ThinkTags() if work.call.parse_think_tags else None
        self._held: list[Event] | None = []  # None once there was output
        self._silence = Silence(work.silence)
        self._silent: deque[bytes] = deque(maxlen=4)  # the last frames that were no part of an answer
        self._usage: Usage | None = None
        self._failure: CallerError | None = None
        self._output_started = False  # there is output in what leaves now
        self._due = work.deadline
        # Not methods of self: an object that holds its own methods is freed by the collector only, and this one holds
        # the whole conversation.
        self._total: Callable[[], CallerError] = partial(_total_timeout, work.timeouts)
        self._between: Callable[[], CallerError] = partial(_between_timeout, work.timeouts)
        self._on_expire: Callable[[], CallerError] = self._total

    async def batches(self) -> AsyncGenerator[Sequence[Event], None]:
        """The events, one batch per network read.

        Raises:
            CallerError: with `after_output` and what is known of the usage.
        """
        try:
            async with DeadlineTimer() as timer:
                self._start_clock()
                timer.arm(self._due, self._on_expire)
                self._report.url = without_query(self.request.url)
                sent = self._transport.send(self.request, self._work.timeouts.connect, self._work.client)
                async with await sent as response:
                    self._note_headers(response)
                    if not 200 <= response.status < 300:
                        self.refusal = await response.read_error()
                        raise endpoint_error(
                            response.status,
                            response.headers,
                            self.refusal,
                            url=self.request.url,
                            sent=self.request.body,
                        )
                    while True:
                        chunk = b"" if self._decoder.done else await response.read()
                        batch = self._decoded(chunk, response.turn) if chunk else self._closed()
                        if batch:
                            timer.disarm()  # the reader takes its own time
                            yield batch
                            self._note_output()
                        if self._failure is not None:
                            raise self._failure
                        if not chunk:
                            break
                        timer.arm(self._due, self._on_expire)
                    response.finish()
        except CallerError as error:
            raise self._described(error) from error.__cause__
        finally:
            self._failure = None  # its traceback leads back here

    def _decoded(self, chunk: bytes, turn: TurnBudget) -> Sequence[Event]:
        """The events of one read. An error behind events is kept until those have left."""
        begun = time.perf_counter() if turn.given >= LEAST else 0.0
        events: list[Event] = []
        found: Sequence[Frame] = ()
        frames: Iterator[Frame] | None = None
        frame = _NO_FRAME
        try:
            found = self._body.feed(chunk)
            frames = iter(found)
            for frame in frames:
                fresh = self._decoder.feed(frame)
                if not fresh and len(frame.data) <= _MAX_SILENT:
                    self._silent.append(frame.data)
                events += fresh
                if self._decoder.done:
                    break
        except CallerError as error:
            self._failure = self._explained(error, frame.event)
            if frames is not None:
                self._note_usage_behind(frames)
        released = self._released(events, last=self._failure is not None)
        if begun:
            turn.worked(time.perf_counter() - begun)
        silence = self._silence
        if silence.broken:
            silence.broken = False
            silence.bytes = silence.events = 0
        else:
            silence.bytes += turn.given
            if silence.bytes > LEAST and self._failure is None:
                silence.check(chunk, self._body, len(found))
        return released

    def _note_usage_behind(self, frames: Iterator[Frame]) -> None:
        """SGLang reports the usage behind an error. Nothing else counts any more."""
        for frame in frames:
            try:
                events = self._decoder.feed(frame)
            except CallerError:
                return
            for event in events:
                if isinstance(event, UsageReported):
                    self._usage = self._report.usage = merge_usage(self._usage, event.usage)

    def _closed(self) -> Sequence[Event]:
        """The endpoint said that nothing more comes, or the body is at its end."""
        events: list[Event] = []
        try:
            for frame in () if self._decoder.done else self._body.close():
                fresh = self._decoder.feed(frame)
                if not fresh and len(frame.data) <= _MAX_SILENT:
                    self._silent.append(frame.data)
                events += fresh
            if self._body.kind is BodyKind.JSON:
                events += self._whole(self._body.document)
            elif self._body.kind is BodyKind.UNKNOWN and not self._work.stream:
                raise ProtocolError(f"the endpoint's answer is empty. {PROTOCOL_REMEDIES[self._work.adapter.api]}")
            else:
                events += self._decoder.close()
        except CallerError as error:
            self._failure = self._explained(error)
        ours = _what_we_did(self.request)
        if ours and self._failure is None:
            events.append(ProviderFields({"integration_api": ours}))
        return self._released(events, last=True)

    def _whole(self, document: bytes) -> Sequence[Event]:
        try:
            return self._work.adapter.decode_response(self._work.call, document)
        except EndpointNotFound as error:
            # LM Studio answers a wrong path with 200: the text has to say which URL was called.
            raise in_band_body_error(document, self.request.url) or error from None
        except ProtocolError as error:
            if error.received is not None:
                raise
            raise instead_of_answer(error, document, self.request.url) or error from None

    def _explained(self, error: CallerError, event: str = "") -> CallerError:
        """The error, told with what the endpoint said instead of an answer. `event` is the SSE name it came under."""
        url = self.request.url
        explained: CallerError | None = None
        if isinstance(error, ProtocolError) and error.received is not None:
            explained = foreign_answer(error, self._work.adapter.api, event=event, url=url)
        elif type(error) in (ProtocolError, StreamInterrupted):
            said = (instead_of_answer(error, data, url) for data in reversed(self._silent))
            explained = next(filter(None, said), None)
        if explained is None:
            return error
        explained.usage = explained.usage or error.usage
        return explained

    def _released(self, events: list[Event], *, last: bool = False) -> Sequence[Event]:
        """What may leave now: nothing before the first output, but at the good end."""
        if self._tags is not None:
            events = self._tags.feed(events, last=last)
        for event in events:
            if isinstance(event, OUTPUT):
                self._output_started = self._silence.broken = True
            elif isinstance(event, UsageReported):
                self._usage = self._report.usage = merge_usage(self._usage, event.usage)
        held = self._held
        if held is None:
            return events
        held += events
        if self._output_started and self._work.stream:
            self._report.first_output = self._loop.time()
        if (self._output_started and self._work.stream) or (last and self._failure is None):
            self._held = None
            return held
        return ()

    # -- time ------------------------------------------------------------------------------------------------------

    def _start_clock(self) -> None:
        """The transport times the connection itself; this bounds the wait for headers and first output."""
        first_output = self._work.first_output_due
        if first_output < self._work.deadline:
            self._due, self._on_expire = first_output, partial(_first_output_timeout, self._work.timeouts)

    def _note_output(self) -> None:
        """What left held output: the next one has its own time, which begins when the reader is ready for it."""
        if not self._output_started or not self._work.stream:
            return
        self._output_started = False
        now = self._loop.time()
        self._due, self._on_expire = now + self._work.timeouts.between_outputs, self._between
        if self._work.deadline < self._due:
            self._due, self._on_expire = self._work.deadline, self._total

    # -- description -----------------------------------------------------------------------------------------------

    def _note_headers(self, response: Response) -> None:
        self._report.left_out = tuple(sorted(self.request.left_out))
        self._report.adapted = tuple(sorted(self.request.adapted))
        self._report.endpoint_request_id = request_id_of(response.headers)
        self._report.rate_limits = rate_limit_headers(response.headers)

    def _described(self, error: CallerError) -> CallerError:
        """The error with what this attempt knows of it."""
        output_started = self._report.first_output is not None
        if output_started and isinstance(error, StreamInterrupted):
            error = _as_cut(error)
        if error.usage is not None:
            self._usage = merge_usage(self._usage, error.usage)
        error.usage = None if self._usage is None else msgspec.structs.replace(self._usage, source=UsageSource.PARTIAL)
        error.after_output = output_started
        error.url = error.url or self._report.url
        error.endpoint_request_id = error.endpoint_request_id or self._report.endpoint_request_id
        return error


def _what_we_did(request: HttpRequest) -> JsonObject:
    """What the client did not ask for and should know: what was left out, and what was changed."""
    done = {"left_out": request.left_out, "adapted": request.adapted}
    return {name: [*sorted(words)] for name, words in done.items() if words}


def _as_cut(error: StreamInterrupted) -> StreamCut:
    cut = StreamCut(error.message, http_status=error.http_status, url=error.url, usage=error.usage)
    cut.__cause__ = error.__cause__
    return cut


def _total_timeout(timeouts: Timeouts) -> CallerError:
    return TotalTimeout(f"the call took longer than its total timeout of {timeouts.total:g} s")


def _first_output_timeout(timeouts: Timeouts) -> CallerError:
    return FirstOutputTimeout(f"no output within {timeouts.first_output:g} s (first_output timeout)")


def _between_timeout(timeouts: Timeouts) -> CallerError:
    return BetweenOutputsTimeout(f"no further output within {timeouts.between_outputs:g} s (between_outputs timeout)")
