"""The audit file: one JSON line for every finished call, for billing and the platform's audit log. Without content,
unless it is asked for: then with so much of what was said, see `content`.

Lines wait in a bounded queue and are written by a thread in batches, so that no call waits for a disk; what the disk
does not take is counted, and said in a line `audit.lost` of the file as soon as something can be written again.
"""

import os
from datetime import UTC, datetime
from typing import Final

import msgspec

from caller.call import CallReport
from caller.errors import CallerError
from integration_api.calls.observer import Observer
from integration_api.log import QueuedWriter
from integration_api.telemetry.content import KeptContent
from integration_api.telemetry.log_lines import fields_of

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_OWNER_ONLY: Final = 0o600


class AuditFile(Observer):
    """Appends to the file at `path`, once it is open. `open` and `close` may wait for a disk."""

    def __init__(self, path: str, content: int = 0) -> None:
        """`content`: bytes of what was asked, and as many of what was answered, that a line may have."""
        self._path = path
        self._content = content
        self._descriptor = -1
        self._writer: QueuedWriter | None = None

    def open(self) -> None:
        """Open the file; where it is made, only its owner may read it.

        Raises:
            OSError: it cannot be written.
        """
        self._descriptor = os.open(self._path, _FLAGS, _OWNER_ONLY)
        self._writer = QueuedWriter(self._descriptor, _lost)

    def close(self) -> None:
        """Wait until everything is written, a second at most. The descriptor stays: a disk may be in the middle of a
        write."""
        if self._writer is not None:
            self._writer.close()

    @property
    def lost(self) -> int:
        """How many lines were lost so far."""
        return 0 if self._writer is None else self._writer.lost_ever

    def started(self, report: CallReport) -> None:
        """What is said is kept from here on, where it is asked for; the line is written at the end."""
        if self._content:
            report.content = KeptContent(self._content)

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """Nothing: the line counts them."""

    def first_output(self, report: CallReport) -> None:
        """Nothing: the line says when."""

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """The line, with the fields of the log's."""
        del error
        if self._writer is not None:
            said = report.content.fields() if isinstance(report.content, KeptContent) else {}
            self._writer.write(_line("call.finished", **fields_of(report), **said))


def _lost(lines: int) -> str:
    return _line("audit.lost", lost=lines)


def _line(event: str, **fields: object) -> str:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    return msgspec.json.encode({"event": event, "timestamp": stamp, **fields}).decode() + "\n"
