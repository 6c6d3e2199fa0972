"""One log line for the end of every call, good, failed or cancelled, whichever face it came through.

No secret, and nothing of what was said: an error's text may repeat what its endpoint repeated, so the line has the
error's reason and no text. Clients get the text.
"""

import asyncio
import logging

import msgspec
import structlog

from caller.call import CallReport
from caller.errors import CallerError, clipped
from caller.events import UsageSource
from integration_api.calls.observer import Observer
from integration_api.log import enabled, frequent_lines
from integration_api.rpc.rpc import ClientGoneError

_EVENT = "call.finished"
_SOURCES = {source: source.name for source in UsageSource}
# The client's own labels, as far as they go into a line.
_MOST_LABELS = 16
_MAX_LABEL = 128


class LogLines(Observer):
    """Writes `call.finished`: good, failed and cancelled calls at level info, bugs of ours at level error."""

    def __init__(self) -> None:
        self._lines = frequent_lines()
        self._log = structlog.get_logger("integration_api.call")
        self._info = enabled(logging.INFO)

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """The line."""
        if error is None or isinstance(error, CallerError | ClientGoneError | asyncio.CancelledError):
            if self._info:
                self._lines.write("info", _EVENT, _line(report))
        else:
            self._log.error(_EVENT, **fields_of(report), exc_info=error)


class _Line(msgspec.Struct, omit_defaults=True):
    """What the line says of a call, in its order. What holds its default is left out, in C: there is a line for every
    call."""

    service: str
    method: str
    status: str
    request_id: str
    identity: str
    attempts: int
    frames: int
    bytes: int
    provider: str = ""
    api: str = ""
    endpoint: str = ""
    model: str = ""
    reason: str = ""
    fault: str = ""
    left_out: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    trace_id: str = ""
    endpoint_request_id: str = ""
    labels: dict[str, str] | None = None
    first_output: float | None = None
    took: float | None = None
    overhead: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    tokens_cache_created: int | None = None
    tokens_reasoning: int | None = None
    usage_source: str | None = None


def fields_of(report: CallReport) -> dict[str, object]:
    """What the line says of a call. Times are in seconds; what is not known is left out."""
    fields: dict[str, object] = msgspec.to_builtins(_line(report))
    return fields


def _line(report: CallReport) -> _Line:
    trace, usage, started = report.trace, report.usage, report.started
    line = _Line(
        report.service,
        report.method,
        report.status,
        report.request_id[:128],
        report.client,
        report.attempts,
        report.frames,
        report.sent_bytes,
        report.provider,
        report.api,
        report.endpoint,
        report.model,
        report.reason,
        report.fault,
        report.left_out,
        report.adapted,
        "" if trace is None else trace.trace_id,
        clipped(report.endpoint_request_id, _MAX_LABEL) if report.endpoint_request_id else "",
        labels_of(report) if report.labels else None,
        None if report.first_output is None else round(report.first_output - started, 6),
        None if report.ended is None else round(report.ended - started, 6),
        None if report.overhead is None else round(report.overhead, 6),
    )
    if usage is not None:
        line.tokens_in = usage.input
        line.tokens_out = usage.output
        line.tokens_cached = usage.cached_input
        line.tokens_cache_created = usage.cache_creation_input
        line.tokens_reasoning = usage.reasoning
        line.usage_source = _SOURCES[usage.source]
    return line


def labels_of(report: CallReport) -> dict[str, str]:
    """The client's own, as far as a line has them."""
    labels = list(report.labels.items())[:_MOST_LABELS]
    return {clipped(name, _MAX_LABEL): clipped(value, _MAX_LABEL) for name, value in labels}
