"""The audit file: one JSON line for every finished call, for billing and the platform's audit log. Without content,
unless it is asked for: then with so much of what was said, see `content`.

Lines wait in a bounded queue and are written by a thread in batches, so that no call waits for a disk; what the disk
does not take is counted, and said in a line `audit.lost` of the file as soon as something can be written again.

Several workers append to one file: each locks it for a write, and takes the beginning of a line back that the disk did
not take in whole, so that nobody's line stands behind a torn one.
"""

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import msgspec

from caller.call import CallReport
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
        self._writer: QueuedWriter | None = None

    def open(self) -> None:
        """Open the file; where it is made, only its owner may read it.

        Raises:
            OSError: it cannot be written.
        """
        self._writer = _SharedWriter(open_to_append(self._path), _lost)

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

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """The line, with the fields of the log's."""
        del error
        if self._writer is not None:
            content = report.content.fields() if isinstance(report.content, KeptContent) else {}
            self._writer.write(_line("call.finished", **fields_of(report), **content))


def open_to_append(path: str) -> int:
    """A descriptor that appends to the file at `path`; where it is made, only its owner may read it.

    Raises:
        OSError: it cannot be written.
    """
    return os.open(path, _FLAGS, _OWNER_ONLY)


class _SharedWriter(QueuedWriter):
    """Appends to a file to which other processes append, too."""

    def _put(self, payload: bytes) -> int | None:
        written = super()._put(payload)
        return None if written is None else self._taken_back(payload, written)

    def _taken_back(self, payload: bytes, written: int) -> int:
        """How many of the bytes stay, once the beginning of the torn line is gone; of what is no file it stays."""
        whole = payload.rfind(b"\n", 0, written) + 1
        with suppress(OSError):
            found = os.fstat(self._descriptor)
            if written > whole and stat.S_ISREG(found.st_mode):
                os.ftruncate(self._descriptor, found.st_size - (written - whole))
                self._torn = False
        return whole


def _lost(lines: int) -> str:
    return _line("audit.lost", lost=lines)


def _line(event: str, **fields: object) -> str:
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    return msgspec.json.encode({"event": event, "timestamp": stamp, **fields}).decode() + "\n"
