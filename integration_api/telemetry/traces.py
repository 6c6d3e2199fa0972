"""Traces of calls: a server span, whose parent is the client's, and below it a client span for every HTTP request.

No secret and nothing of what was said: an error is named by its reason. Whether a call is sampled is decided at its
start; of one that is not, nothing is kept but its ids. Of one that is, facts are kept while it runs, and its spans are
written all at once when its status has left: OpenTelemetry's own spans, which can be changed and read from anywhere
while they run, cost ten times as much.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from random import getrandbits
from typing import Final

import msgspec
from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from caller.call import CallReport, Completion, Passed
from caller.errors import CallerError
from integration_api.calls.observer import Observer
from integration_api.rpc.status import reason_of
from integration_api.telemetry.call_spans import Attempt, CallFacts, SpanWriter
from integration_api.telemetry.otlp import Export, export

_NAME: Final = "integration_api"
_TRACEPARENT: Final = "traceparent"
_CARRIER: Final = (_TRACEPARENT, "tracestate")
_CANCELLED: Final = "CANCELLED"
_STREAMED: Final = "StreamChat"
_SAMPLED: Final = 0x01
# Samplers that decide of every trace without a parent in the same way.
_CONSTANT: Final = (
    (sampling.DEFAULT_ON, True),
    (sampling.ALWAYS_ON, True),
    (sampling.DEFAULT_OFF, False),
    (sampling.ALWAYS_OFF, False),
)


class _CallTrace(CallFacts, eq=False, kw_only=True):
    """The trace of one call, from its start on. `recorded`: its spans are sent; `running` are attempts, by their
    record."""

    traces: "Traces"
    recorded: bool
    running: dict[int, Attempt] = msgspec.field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        """Its id, in hex."""
        return f"{self.trace:032x}"

    def begin_attempt(self, report: CallReport, redactor: Callable[[str], str]) -> Mapping[str, str]:
        """A request is about to be sent."""
        traces = self.traces
        if not (self.recorded or traces.propagate):
            return {}
        span_id = getrandbits(64) or 1
        if self.recorded:
            if self.running:
                self.end_attempt(report, "")  # one that was given up without a word
            number = len(self.attempts) + len(self.running) + 1
            streamed = report.method == _STREAMED
            asked = (report.provider, report.api, report.endpoint, report.model, streamed)
            self.running[id(report)] = Attempt(span_id, time.time_ns(), number, asked, redactor)
        return self._headers(span_id) if traces.propagate else {}

    def attempt_lost(self, report: CallReport) -> None:
        """Another target answers."""
        self.end_attempt(report, Passed.RACE_LOST.value)

    def answered(self, completion: Completion) -> None:
        """What the attempt that ended last was answered with, without any of its words."""
        if self.attempts:
            reasons = tuple([choice.finish_reason for choice in completion.choices])
            self.attempts[-1].answer = (completion.response_id, completion.model, reasons)

    def end_attempt(self, report: CallReport, error: str, http_status: int = 0) -> None:
        """It ended."""
        attempt = self.running.pop(id(report), None)
        if attempt is None:
            return
        attempt.ended, attempt.error, attempt.http_status, attempt.usage = (
            time.time_ns(),
            error,
            http_status,
            report.usage,
        )
        if report.first_output is not None:
            since = asyncio.get_running_loop().time() - report.first_output
            attempt.first_output = max(attempt.begun, attempt.ended - int(since * 1e9))
        self.attempts.append(attempt)

    def _headers(self, span_id: int) -> Mapping[str, str]:
        """What tells an endpoint of a span."""
        headers = {"traceparent": f"00-{self.trace:032x}-{span_id:016x}-{self.flags:02x}"}
        if self.state:
            headers["tracestate"] = self.state
        return headers


class Traces(Observer):
    """Makes spans and the GenAI metrics of calls, and sends them."""

    def __init__(self, version: str, *, propagate: bool) -> None:
        """`version` is the program's; `propagate`: endpoints get the trace in a header.

        Raises:
            OSError, ValueError: what the variables ask for cannot be had.
        """
        self._export: Export = export(version, InstrumentationScope(_NAME, version))
        self.propagate = propagate
        self._sampler = self._export.sampler
        self._every = next((decided for each, decided in _CONSTANT if each is self._sampler), None)
        self._propagator = TraceContextTextMapPropagator()
        self._ended: list[tuple[CallReport, _CallTrace]] = []
        self._writer = SpanWriter(self._export.longest)

    def close(self) -> None:
        """Send what waits. May wait for the network."""
        self._write()
        self._export.close()

    def started(self, report: CallReport) -> None:
        """The server span begins: its parent is what the client's metadata says."""
        within = parent = None
        for key, _ in () if report.metadata is None else report.metadata() or ():
            if key == _TRACEPARENT:
                within = self._parent(report)
                parent = get_current_span(within).get_span_context()
                parent = parent if parent.is_valid else None
                break
        trace = getrandbits(128) or 1 if parent is None else parent.trace_id
        state = "" if parent is None else parent.trace_state.to_header()
        if parent is None and self._every is not None:
            sampled = self._every
        else:
            found = self._sampler.should_sample(within or Context(), trace, _server_name(report), SpanKind.SERVER)
            sampled = found.decision is sampling.Decision.RECORD_AND_SAMPLE
            state = state if found.trace_state is None else found.trace_state.to_header()
        report.trace = _CallTrace(
            trace,
            getrandbits(64) or 1,
            parent,
            _SAMPLED if sampled else 0,
            state,
            time.time_ns(),
            traces=self,
            recorded=sampled and self._export.spans is not None,
        )

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """A client span ends."""
        trace = report.trace
        if isinstance(trace, _CallTrace) and trace.recorded:
            if error is None:
                trace.end_attempt(report, "")
            else:
                trace.end_attempt(report, reason_of(error)[1], error.http_status or 0)

    def first_output(self, report: CallReport) -> None:
        """An event of the server span."""
        if isinstance(report.trace, _CallTrace):
            report.trace.first_output = time.time_ns()

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """The server span ends, and with it what still ran below it. They are written once the call's status has left,
        in the same turn of the loop: until then the record is kept."""
        del error
        trace = report.trace
        if self._export.metrics is not None:
            self._export.metrics.ended(report)
        if not isinstance(trace, _CallTrace) or not trace.recorded:
            return
        trace.ended = time.time_ns()
        if trace.running:  # closed by us, since nobody waits any more
            for attempt in trace.running.values():
                attempt.ended, attempt.error = trace.ended, _CANCELLED
                trace.attempts.append(attempt)
            trace.running.clear()
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._write)
        self._ended.append((report, trace))

    def _parent(self, report: CallReport) -> Context:
        """The client's span, as its metadata says it."""
        metadata = () if report.metadata is None else report.metadata() or ()
        carrier = {key: value for key, value in metadata if key in _CARRIER and isinstance(value, str)}
        return self._propagator.extract(carrier, Context())

    def _write(self) -> None:
        """Hand on the spans of the calls that ended."""
        ended, self._ended = self._ended, []
        spans = self._export.spans
        if spans is None:
            return
        written: list[bytes] = []
        for report, trace in ended:
            self._writer.write(report, trace, written)
        spans.put(written)


def _server_name(report: CallReport) -> str:
    return f"{report.service}/{report.method}"
