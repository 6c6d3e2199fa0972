"""The observers that the settings ask for: log lines in any case, the audit file, metrics and traces where they are
wanted. One start and one end for all of them; it knows no calls.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from integration_api import __version__
from integration_api.calls.observer import Observer
from integration_api.settings import Settings
from integration_api.telemetry.audit import AuditFile
from integration_api.telemetry.log_lines import LogLines
from integration_api.telemetry.metrics import Metrics, Reading

if TYPE_CHECKING:
    from integration_api.telemetry.traces import Traces


class Observers:
    """The observers of one server. `open` them before the first call, `close` them behind the last."""

    def __init__(self, settings: Settings, readings: Sequence[Reading]) -> None:
        """Make them inside the running event loop. `readings` stand beside what the metrics count.

        Raises:
            ValueError: what the settings or the OTEL_* variables ask for is not there.
        """
        self._traces = _traces(settings)
        self._audit = AuditFile(settings.audit_file, settings.audit_content) if settings.audit_file else None
        self.metrics = Metrics(__version__, (*readings, _lost_lines(self._audit))) if settings.admin_port else None
        """None where there is no admin port that serves them."""
        found = (LogLines(), self._traces, self.metrics, self._audit)
        self.all: tuple[Observer, ...] = tuple(each for each in found if each is not None)

    async def open(self) -> None:
        """Begin.

        Raises:
            OSError: the audit file cannot be written.
        """
        if self._audit is not None:
            await asyncio.to_thread(self._audit.open)
        if self.metrics is not None:
            self.metrics.start()

    async def close(self) -> None:
        """Write and send what waits: some two seconds at most. Also after an `open` that failed, or was not called."""
        if self.metrics is not None:
            self.metrics.stop()
        ends = [each.close for each in (self._audit, self._traces) if each is not None]
        await asyncio.gather(*(asyncio.to_thread(end) for end in ends))


def _traces(settings: Settings) -> "Traces | None":
    """What traces calls, if it is asked for: only then are its packages loaded.

    Raises:
        ValueError: they are not there, or what the OTEL_* variables ask for is not.
    """
    if not settings.otel:
        return None
    try:
        from integration_api.telemetry.traces import Traces  # noqa: PLC0415 -- see above
    except ImportError as missing:
        raise ValueError(f"otel needs the extra: pip install 'integration-api[otel]' ({missing})") from missing
    return Traces(__version__, propagate=settings.otel_propagate)


def _lost_lines(audit: AuditFile | None) -> Reading:
    return Reading(
        "integration_api_audit_lost",
        "Lines that the audit file lost.",
        "counter",
        lambda: {"": 0 if audit is None else audit.lost},
    )
