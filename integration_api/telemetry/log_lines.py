"""One log line for the end of every call, good, failed or cancelled, whichever face it came through.

No secret, and nothing of what was said: an error's text may repeat what its endpoint repeated, so the line has the
error's reason and no text. Clients get the text.
"""

import asyncio
import logging

import structlog

from caller.call import CallReport
from caller.errors import CallerError, clipped
from caller.events import Usage
from integration_api.calls.observer import Observer
from integration_api.rpc.rpc import ClientGoneError

# Fields of the record that stand in the line under their own name, where there is something in them.
_AS_IT_IS = ("provider", "api", "endpoint", "model", "reason", "fault", "left_out", "adapted")
# The client's own labels, as far as they go into a line.
_MOST_LABELS = 16
_MAX_LABEL = 128


class LogLines(Observer):
    """Writes `call.finished`: good, failed and cancelled calls at level info, bugs of ours at level error."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("integration_api.call").bind()  # else each line makes a logger anew

    def started(self, report: CallReport) -> None:
        """Nothing: the line is written at the end."""

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """Nothing: the line counts them."""

    def first_output(self, report: CallReport) -> None:
        """Nothing: the line says when."""

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """The line."""
        if error is None or isinstance(error, CallerError | ClientGoneError | asyncio.CancelledError):
            if not self._log.is_enabled_for(logging.INFO):
                return
            self._log.info("call.finished", **fields_of(report))
        else:
            self._log.error("call.finished", **fields_of(report), exc_info=error)


def fields_of(report: CallReport) -> dict[str, object]:
    """What the line says of a call. Times are in seconds; what is not known is left out."""
    fields: dict[str, object] = {
        "service": report.service,
        "method": report.method,
        "status": report.status,
        "request_id": report.request_id[:128],
        "identity": report.client,
        "attempts": report.attempts,
        "frames": report.frames,
        "bytes": report.sent_bytes,
    }
    for name in _AS_IT_IS:
        value = getattr(report, name)
        if value:
            fields[name] = value
    if report.trace is not None:
        fields["trace_id"] = report.trace.trace_id
    if report.endpoint_request_id:
        fields["endpoint_request_id"] = clipped(report.endpoint_request_id, _MAX_LABEL)
    if report.labels:
        fields["labels"] = labels_of(report)
    if report.first_output is not None:
        fields["first_output"] = round(report.first_output - report.started, 6)
    if report.ended is not None:
        fields["took"] = round(report.ended - report.started, 6)
    if report.overhead is not None:
        fields["overhead"] = round(report.overhead, 6)
    if report.usage is not None:
        fields |= _tokens(report.usage)
    return fields


def labels_of(report: CallReport) -> dict[str, str]:
    """The client's own, as far as a line has them."""
    labels = list(report.labels.items())[:_MOST_LABELS]
    return {clipped(name, _MAX_LABEL): clipped(value, _MAX_LABEL) for name, value in labels}


def _tokens(usage: Usage) -> dict[str, object]:
    counts = {
        "tokens_in": usage.input,
        "tokens_out": usage.output,
        "tokens_cached": usage.cached_input,
        "tokens_cache_created": usage.cache_creation_input,
        "tokens_reasoning": usage.reasoning,
        "usage_source": usage.source.name,
    }
    return {name: count for name, count in counts.items() if count is not None}
