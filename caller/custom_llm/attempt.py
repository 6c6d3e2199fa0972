"""One attempt: one HTTP exchange with the endpoint, as batches of events. The token path.

Per network read: decode, note the time, hand on. Timeouts count output, not bytes: comments, pings, role-only and
usage-only chunks reset nothing. What may leave when is `answer`'s rule.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import partial

import msgspec

from caller.call import CallReport
from caller.credentials import Credential
from caller.custom_llm.adapter import Adapter, HttpRequest, ResolvedCall
from caller.custom_llm.answer import AnswerReader
from caller.custom_llm.base_url import without_query
from caller.custom_llm.body.silence import SilenceLimits
from caller.custom_llm.body.turn import LEAST, TurnBudget
from caller.custom_llm.errors.endpoint_errors import endpoint_error
from caller.custom_llm.errors.redaction import Redactor
from caller.custom_llm.errors.retry_hints import rate_limit_headers, request_id_of
from caller.custom_llm.http.response import Response
from caller.custom_llm.http.transport import Transport
from caller.deadline import DeadlineTimer
from caller.errors import (
    MAX_REQUEST_ID,
    BetweenOutputsTimeout,
    CallerError,
    ClientTimeout,
    FirstOutputTimeout,
    StreamCut,
    StreamInterrupted,
    TotalTimeout,
    clipped,
)
from caller.events import OUTPUT, Event
from caller.heavy import LARGE
from caller.target import Timeouts

# How long a complete answer waits for more, in seconds: some endpoints keep the connection open behind it.
_LATE = 2.0
# Bytes of a request's body that may stay until its answer is read.
_SMALL = 1024


class Work(msgspec.Struct, frozen=True):
    """What one attempt needs. `call` is what the decoder reads of it: its conversation may be gone by now."""

    adapter: Adapter
    call: ResolvedCall
    request: HttpRequest
    stream: bool
    timeouts: Timeouts
    max_event_bytes: int
    silence: SilenceLimits

    def sent(self) -> "Work":
        """The same without the request's body, unless that is small."""
        if len(self.request.body) <= _SMALL:
            return self
        request = self.request.without_body()
        return Work(self.adapter, self.call, request, self.stream, self.timeouts, self.max_event_bytes, self.silence)


class Attempt:
    """One attempt. Iterate `batches()` once, and close it. `refusal` is the body of an answer with an error status;
    `timer` bounds the attempt once it runs."""

    def __init__(self, work: Work, transport: Transport, report: CallReport) -> None:
        self._work = work
        self._transport = transport
        self._report = report
        self._clock = asyncio.get_running_loop().time
        self.refusal = b""
        self._redactor = Redactor(_secrets(work.call.credential))
        self._reader = AnswerReader(
            work.adapter,
            work.call,
            work.max_event_bytes,
            silence=work.silence,
            stream=work.stream,
            request=work.request,
            redactor=self._redactor,
        )
        self.timer: DeadlineTimer | None = None
        self._gathered: list[Event] = []  # of the read whose pieces are being worked on
        self._deadline = report.started + work.timeouts.total

    async def batches(  # noqa: C901, PLR0912 -- the token path: a function more would be a call per token
        self,
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The events, one batch per network read.

        Raises:
            CallerError: with `after_output` where output has left. What it used is in the report.
        """
        work, report, reader = self._work, self._report, self._reader
        try:
            with DeadlineTimer() as timer:
                due, on_expire = self._armed(timer)
                async with await self._answered() as response:
                    self._work = work = work.sent()  # without the body, which may be a long conversation
                    response.first = not work.stream
                    # Not a method of self: an object that holds its own methods is freed by the collector only, and
                    # this one holds the whole conversation.
                    between = partial(_between_timeout, work.timeouts) if work.stream else on_expire
                    late = _Late(response)
                    chunk = b""
                    while True:
                        ahead = late if reader.complete else response
                        ended = reader.done or (chunk and not work.stream and response.at_end())
                        chunk = b"" if ended else await ahead.read()
                        if reader.silence.bytes > LARGE and (work.stream or not chunk):
                            await self._heavy_turn()
                        if response.turn.given < LEAST and not self._gathered:
                            batch = reader.feed(chunk) if chunk else reader.close()
                        else:
                            batch = self._worked_on(chunk, response.turn)
                        report.usage = reader.usage
                        if batch:
                            late.due = 0.0
                            timer.due = None  # the reader takes its own time
                            output = reader.output_started and work.stream
                            if output:
                                report.outputs += 1
                                report.first_output = report.first_output or self._clock()
                            yield batch
                            if output:  # the next one has its own time, which begins when the reader is ready for it
                                due, on_expire = self._clock() + work.timeouts.between_outputs, between
                                if self._deadline < due:
                                    due, on_expire = self._deadline, partial(total_timeout, work.timeouts)
                        if reader.failure is not None:
                            raise reader.failure
                        if not chunk:
                            break
                        if due < timer.fires_at:
                            timer.arm(due, on_expire)
                        else:  # the same, without a call
                            timer.due, timer.on_expire = due, on_expire
                    response.finish()
        except CallerError as error:
            raise await self._finished(error) from error.__cause__
        finally:
            reader.failure = None  # its traceback leads back here

    def _worked_on(self, chunk: bytes, turn: TurnBudget) -> Sequence[Event]:
        """The events of a large piece. Those of one network read leave together where its pieces are quickly worked on:
        a frame costs more than all of the tokens in it."""
        begun, reader = time.perf_counter(), self._reader
        gathered = self._gathered
        gathered += reader.feed(chunk) if chunk else reader.close()
        turn.worked(time.perf_counter() - begun)
        if turn.left and turn.quick and chunk and reader.failure is None:
            return ()
        self._gathered = []
        reader.output_started = any(isinstance(event, OUTPUT) for event in gathered)
        return gathered

    async def _answered(self) -> Response:
        """Send the request; the good answer whose headers came."""
        request = self._work.request
        report = self._report
        report.url = without_query(request.url)
        report.usage = None
        if report.trace is not None:
            headers = report.trace.begin_attempt(report, self._redactor)
            request = request.with_headers(headers) if headers else request
        response = await self._transport.send(request, self._work.timeouts.connect, report.client, report.waits)
        self._note_headers(response)
        if 200 <= response.status < 300:
            return response
        async with response:
            self.refusal = await response.read_error()
            raise endpoint_error(response.status, response.headers, self.refusal, url=request.url, sent=request.body)

    def _armed(self, timer: DeadlineTimer) -> tuple[float, Callable[[], CallerError]]:
        """Bound the wait for headers and first output; the transport times the connection itself. Returns the bound."""
        timeouts, due = self._work.timeouts, self._deadline
        first_output = first_output_due(timeouts, self._report, stream=self._work.stream)
        on_expire: Callable[[], CallerError] = partial(total_timeout, timeouts)
        if first_output < due:
            due, on_expire = first_output, partial(_first_output_timeout, timeouts)
        timer.arm(due, on_expire)
        self.timer = timer
        return due, on_expire

    def _note_headers(self, response: Response) -> None:
        request, report, headers = self._work.request, self._report, response.headers
        report.left_out = tuple(sorted(request.left_out)) if request.left_out else ()
        report.adapted = tuple(sorted(request.adapted)) if request.adapted else ()
        named = request_id_of(headers)
        report.endpoint_request_id = clipped(self._redactor(named), MAX_REQUEST_ID) if named else ""
        report.rate_limits = rate_limit_headers(headers, self._redactor)

    async def _heavy_turn(self) -> None:
        """Wait until a large answer, or a large event of one, may be read."""
        self._report.large = True
        await self._transport.heavy.turn(self._report.client, further=not self._work.stream)

    async def _finished(self, error: CallerError) -> CallerError:
        """The error as it leaves the attempt: what it means depends on whether output has left, and its text may
        repeat what the endpoint said, so our secrets are taken out. Thousands of calls can fail in one moment, and what
        follows is not little: it takes turns."""
        await self._transport.ends.turn(self._report.client)
        self._report.mark_usage_partial()
        after_output = self._report.first_output is not None
        if after_output and isinstance(error, StreamInterrupted):
            error = _as_cut(error)
        error.after_output = after_output
        error.conceal(self._redactor)
        return error


def first_output_due(timeouts: Timeouts, report: CallReport, *, stream: bool) -> float:
    """When the first output must be there, all attempts with a target together; a whole answer has the call's time."""
    end = report.started + timeouts.total
    if not stream:
        return end
    asked = report.started if report.asked is None else report.asked
    return min(asked + timeouts.first_output, end)


def _secrets(credential: Credential) -> Iterator[str]:
    """Read when an answer has something to look for them in."""
    yield from credential.secrets


class _Late:
    """Reads what comes behind a complete answer: a late usage, the body's end, or silence, which ends it as well.

    `due` is when it has waited long enough, 0 for a wait that has not begun: pings move it as little as a timeout.
    """

    __slots__ = ("_response", "due")

    def __init__(self, response: Response) -> None:
        self._response = response
        self.due = 0.0

    async def read(self) -> bytes:
        self.due = self.due or asyncio.get_running_loop().time() + _LATE
        try:
            async with asyncio.timeout_at(self.due):
                return await self._response.read()
        except TimeoutError:
            return b""


def _as_cut(error: StreamInterrupted) -> StreamCut:
    cut = StreamCut(error.parts, http_status=error.http_status, url=error.url, usage=error.usage)
    cut.__cause__ = error.__cause__
    return cut


def total_timeout(timeouts: Timeouts) -> TotalTimeout:
    """The error of a call that took too long; it says whose time it was."""
    seconds = f"{round(timeouts.total, 3):g} s"
    if timeouts.total_is_deadline:
        return ClientTimeout(f"the client's deadline passed: it left the call {seconds}")
    return TotalTimeout(f"the call took longer than its total timeout of {seconds}")


def _first_output_timeout(timeouts: Timeouts) -> CallerError:
    return FirstOutputTimeout(f"no output within {timeouts.first_output:g} s (first_output timeout)")


def _between_timeout(timeouts: Timeouts) -> CallerError:
    return BetweenOutputsTimeout(f"no further output within {timeouts.between_outputs:g} s (between_outputs timeout)")
