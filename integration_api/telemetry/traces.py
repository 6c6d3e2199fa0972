"""Traces of calls: a server span, whose parent is the client's, and below it a client span for every HTTP request.

No secret and nothing of what was said: an error is named by its reason. Finished spans are made at the end of a call,
all at once, and given to the batch processor: OpenTelemetry's own spans, which can be changed and read from anywhere
while they run, cost twice as much. What a span says before, its ids and whether it is sampled, is decided at its start.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from caller.call import CallReport, Completion, Outcome, Passed
from caller.errors import CallerError
from integration_api.calls.observer import Observer
from integration_api.rpc.status import reason_of
from integration_api.telemetry import genai
from integration_api.telemetry.log_lines import labels_of
from integration_api.telemetry.otlp import Export, export

_NAME: Final = "integration_api"
_CARRIER: Final = ("traceparent", "tracestate")
_UNSET: Final = Status(StatusCode.UNSET)
_CANCELLED: Final = "CANCELLED"
_STREAMED: Final = "StreamChat"
_FIRST_OUTPUT: Final = "first_output"
_Value = str | int | float | bool | Sequence[str]


@dataclass(slots=True)
class _Span:
    """A span that runs. Times are `time.time_ns()`."""

    context: SpanContext
    begun: int
    number: int = 0
    redactor: Callable[[str], str] = str
    ended: int = 0
    error: str = ""
    attributes: dict[str, _Value] = field(default_factory=dict)
    first_output: int | None = None


class _CallTrace:
    """The trace of one call, from its start on; `sampled`: its spans are kept."""

    def __init__(self, traces: "Traces", parent: SpanContext | None, context: SpanContext) -> None:
        self._traces = traces
        self.parent = parent
        self.span = _Span(context, time.time_ns())
        self.running: dict[int, _Span] = {}  # attempts, by their record
        self.attempts: list[_Span] = []

    @property
    def trace_id(self) -> str:
        """Its id, in hex."""
        return f"{self.span.context.trace_id:032x}"

    def begin_attempt(self, report: CallReport, redactor: Callable[[str], str]) -> Mapping[str, str]:
        """A request is about to be sent."""
        own = self._traces.child_of(self.span.context)
        self.end_attempt(report, "")  # one that was given up without a word
        span = _Span(own, time.time_ns(), len(self.attempts) + len(self.running) + 1, redactor)
        span.attributes |= genai.request_attributes(report.provider, report.api, report.endpoint, report.model)
        if report.method == _STREAMED:
            span.attributes[genai.REQUEST_STREAM] = True
        self.running[id(report)] = span
        return self._traces.propagated(own)

    def attempt_lost(self, report: CallReport) -> None:
        """Another target answers."""
        self.end_attempt(report, Passed.RACE_LOST.value)

    def answered(self, completion: Completion) -> None:
        """What the attempt that ended last was answered with, without any of its words."""
        if self.attempts:
            span = self.attempts[-1]
            span.attributes |= genai.response_attributes(completion, span.redactor)

    def end_attempt(self, report: CallReport, error: str) -> _Span | None:
        """It ended."""
        span = self.running.pop(id(report), None)
        if span is None:
            return None
        span.ended, span.error = time.time_ns(), error
        span.attributes |= genai.usage_attributes(report.usage)
        if report.first_output is not None:
            span.first_output = span.ended - int((asyncio.get_running_loop().time() - report.first_output) * 1e9)
            span.attributes[genai.TIME_TO_FIRST_CHUNK] = max(0, span.first_output - span.begun) / 1e9
        self.attempts.append(span)
        return span


class Traces(Observer):
    """Makes spans and the GenAI metrics of calls, and sends them."""

    def __init__(self, version: str, *, propagate: bool) -> None:
        """`version` is the program's; `propagate`: endpoints get the trace in a header.

        Raises:
            ValueError: what the variables ask for cannot be had.
        """
        self._scope = InstrumentationScope(_NAME, version)
        self._export: Export = export(version, self._scope)
        self._propagate = propagate
        self._sampler = self._export.provider.sampler
        self._ids = self._export.provider.id_generator
        self._propagator = TraceContextTextMapPropagator()
        self._resource = self._export.provider.resource

    def close(self) -> None:
        """Send what waits. May wait for the network."""
        self._export.close()

    def child_of(self, parent: SpanContext) -> SpanContext:
        """A new span of the same trace."""
        return SpanContext(parent.trace_id, self._ids.generate_span_id(), False, parent.trace_flags, parent.trace_state)

    def propagated(self, context: SpanContext) -> Mapping[str, str]:
        """The headers that tell an endpoint of a span."""
        if not self._propagate:
            return {}
        headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
        if context.trace_state:
            headers["tracestate"] = context.trace_state.to_header()
        return headers

    def started(self, report: CallReport) -> None:
        """The server span begins: its parent is what the client's metadata says."""
        metadata = () if report.metadata is None else report.metadata() or ()
        carrier = {key: value for key, value in metadata if key in _CARRIER and isinstance(value, str)}
        within = self._propagator.extract(carrier, Context()) if carrier else Context()
        parent: SpanContext | None = get_current_span(within).get_span_context()
        if parent is not None and not parent.is_valid:
            parent = None
        trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
        sampled = self._sampler.should_sample(within, trace_id, _server_name(report), SpanKind.SERVER)
        flags = TraceFlags(TraceFlags.SAMPLED if sampled.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT)
        state = sampled.trace_state or TraceState()
        report.trace = _CallTrace(
            self, parent, SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state)
        )

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """A client span ends."""
        if isinstance(report.trace, _CallTrace):
            span = report.trace.end_attempt(report, "" if error is None else reason_of(error)[1])
            status = 0 if error is None else error.http_status
            if span is not None and status:
                span.attributes[genai.HTTP_STATUS] = status

    def first_output(self, report: CallReport) -> None:
        """An event of the server span."""
        if isinstance(report.trace, _CallTrace):
            report.trace.span.first_output = time.time_ns()

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """The server span ends, and with it what still ran below it."""
        del error
        trace = report.trace
        if self._export.metrics is not None:
            self._export.metrics.ended(report)
        if not isinstance(trace, _CallTrace):
            return
        for span in trace.running.values():  # closed by us, since nobody waits any more
            span.ended, span.error = time.time_ns(), _CANCELLED
            trace.attempts.append(span)
        trace.running.clear()
        processor = self._export.spans
        if processor is None or not trace.span.context.trace_flags.sampled:
            return
        for span in trace.attempts:
            processor.on_end(self._client_span(trace, span))
        processor.on_end(self._server_span(report, trace))

    def _client_span(self, trace: _CallTrace, span: _Span) -> ReadableSpan:
        attributes = span.attributes
        attributes[f"{_NAME}.attempt"] = span.number
        if span.error:
            attributes[genai.ERROR_TYPE] = span.error
        name = f"{genai.CHAT} {attributes[genai.REQUEST_MODEL]}".rstrip()
        return self._span(span, name, SpanKind.CLIENT, trace.span.context, attributes, failed=bool(span.error))

    def _server_span(self, report: CallReport, trace: _CallTrace) -> ReadableSpan:
        span = trace.span
        span.ended = time.time_ns()
        attributes: dict[str, _Value] = {
            genai.RPC_SYSTEM: "grpc",
            genai.RPC_METHOD: f"{report.service}/{report.method}",
            genai.RPC_STATUS: report.status,
            f"{_NAME}.request_id": report.request_id[:128],
            f"{_NAME}.attempts": report.attempts,
            **{f"{_NAME}.label.{name}": value for name, value in labels_of(report).items()},
        }
        if report.reason or report.outcome is not Outcome.COMPLETED:
            attributes[genai.ERROR_TYPE] = report.reason or report.status
        if report.overhead is not None:
            attributes[f"{_NAME}.overhead"] = round(report.overhead, 6)
        failed = report.status in genai.SERVER_ERRORS
        return self._span(span, _server_name(report), SpanKind.SERVER, trace.parent, attributes, failed=failed)

    def _span(
        self,
        span: _Span,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        attributes: dict[str, _Value],
        *,
        failed: bool,
    ) -> ReadableSpan:
        events = () if span.first_output is None else (Event(_FIRST_OUTPUT, timestamp=span.first_output),)
        return ReadableSpan(
            name,
            context=span.context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            events=events,
            kind=kind,
            status=Status(StatusCode.ERROR) if failed else _UNSET,
            start_time=span.begun,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )


def _server_name(report: CallReport) -> str:
    return f"{report.service}/{report.method}"
