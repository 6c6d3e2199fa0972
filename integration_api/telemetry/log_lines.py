"""One log line for the end of every call, whichever face it came through. No secret, nothing of what was said."""

import asyncio

import structlog
from msgspec.structs import asdict

from caller.call import CallReport, Outcome
from caller.errors import CallerError
from integration_api.calls.observer import Observer
from integration_api.rpc.rpc import ClientGoneError
from integration_api.rpc.status import reason_of


class LogLines(Observer):
    """Writes `call.completed`, `call.failed`, `call.cancelled`, `call.client_gone` or `call.bug`, all with the same
    fields."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("integration_api.call")

    def started(self, report: CallReport) -> None:
        """Nothing: the line is written at the end."""

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """Nothing: the line counts them."""

    def first_output(self, report: CallReport) -> None:
        """Nothing: the line says when."""

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """The line."""
        fields = fields_of(report)
        if report.outcome is Outcome.COMPLETED:
            self._log.info("call.completed", **fields)
        elif isinstance(error, asyncio.CancelledError):
            self._log.info("call.cancelled", **fields)
        elif isinstance(error, ClientGoneError):
            self._log.info("call.client_gone", **fields)
        elif isinstance(error, CallerError):
            code, reason = reason_of(error)
            self._log.info("call.failed", **fields, reason=reason, status=code.name, message=error.message)
        else:
            self._log.error("call.bug", **fields, exc_info=error)


def fields_of(report: CallReport) -> dict[str, object]:
    """What every line says of a call; what is not known is left out."""
    fields: dict[str, object] = {
        "method": report.method,
        "request_id": report.request_id[:128],
        "identity": report.client,
        "attempts": report.attempts,
        "url": report.url,
    }
    if report.provider:
        fields["provider"] = report.provider
    if report.api:
        fields["api"] = report.api
    if report.left_out:
        fields["left_out"] = report.left_out
    if report.adapted:
        fields["adapted"] = report.adapted
    if report.ended is not None:
        fields["took"] = round(report.ended - report.started, 6)
    if report.first_output is not None:
        fields["first_output"] = round(report.first_output - report.started, 6)
    if report.usage is not None:
        fields["usage"] = {name: count for name, count in asdict(report.usage).items() if isinstance(count, int)}
        fields["usage_source"] = report.usage.source.name
    return fields
