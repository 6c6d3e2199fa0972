"""Logging: set up once at start. Console for people, JSON for machines; both to standard error.

A line leaves through a bounded queue and a thread of its own, so that no call waits for whoever reads the log, and
none fails with it: what a reader that is stalled, dead or full does not take is counted, and reported in a line
`log.lost` as soon as something can be written again. Logging never raises and never blocks.

A traceback shows no values: not those of variables, and of an exception's text nothing that looks like a key.
"""

import atexit
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgspec
import structlog

from caller.custom_llm.errors.redaction import sanitized

if sys.platform != "win32":
    import fcntl

# What may wait to be written: some ten thousand lines.
_MAX_WAITING_BYTES = 4 * 1024 * 1024
# One write. Several workers share what they write to: each locks it meanwhile, so that no line is inside of another.
# Where there are no locks it is what a pipe takes in one piece (PIPE_BUF), a line of the loss with it.
_WRITE_BYTES = 64 * 1024
_PIECE_BYTES = 4096 - 512
# How long the end of the process waits for the last lines, and a failed write for the next.
_FLUSH_SECONDS = 1.0
_RETRY_SECONDS = 0.5
# How long a line waits for others that leave with it: a thread that wakes for each costs more than the lines.
_GATHER_SECONDS = 0.05
_ENCODER = msgspec.json.Encoder()


class QueuedWriter:
    """Writes lines to a descriptor from a thread of its own. Safe to be used from any thread.

    Args:
        descriptor: what is written to; it stays the owner's.
        lost: makes the line that says how many lines were lost.
        max_waiting: bytes that may wait; what comes above is lost.

    `lost_ever`: how many lines were lost so far.
    """

    def __init__(self, descriptor: int, lost: Callable[[int], str], max_waiting: int = _MAX_WAITING_BYTES) -> None:
        self._descriptor = descriptor
        self._lost_line = lost
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self.lost_ever = 0
        self._writing = False
        self._torn = False  # the last write ended within a line
        self._most = _WRITE_BYTES
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def write(self, text: str | bytes) -> None:
        """Take one line, its end included, or count it as lost."""
        line = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
        with self._lock:  # the condition's own, whose methods are frames of Python
            waiting = self._waiting_bytes + len(line)
            if waiting > self._max_waiting:
                self._lost += 1
                self.lost_ever += 1
                return
            self._waiting_bytes = waiting
            self._waiting.append(line)
            if waiting == len(line):  # else it is awake, or will find the line by itself
                self._changed.notify_all()

    def close(self, seconds: float = _FLUSH_SECONDS) -> None:
        """Wait until everything is written, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._writing), timeout=seconds)

    def _run(self) -> None:
        while True:
            lines, lost = self._next_lines()
            if lost:
                lines.append(self._lost_line(lost).encode("utf-8", "backslashreplace"))
            written = self._written(b"".join(lines))
            with self._changed:
                if written is not None:
                    unwritten = _unwritten(lines, written, with_loss=bool(lost))
                    self._lost += lost + unwritten
                    self.lost_ever += unwritten
                self._writing = False
                self._changed.notify_all()
            if written is not None:
                time.sleep(_RETRY_SECONDS)

    def _next_lines(self) -> tuple[list[bytes], int]:
        """The next lines, and how many were lost so far and not reported."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            if self._waiting_bytes < _PIECE_BYTES:
                self._changed.wait(_GATHER_SECONDS)
            self._writing = True
            lines = [self._waiting.popleft()]
            size = len(lines[0])
            while self._waiting and size + len(self._waiting[0]) <= self._most:
                lines.append(self._waiting.popleft())
                size += len(lines[-1])
            self._waiting_bytes -= size
            lost, self._lost = self._lost, 0
            return lines, lost

    def _written(self, payload: bytes) -> int | None:
        """Write it all: None. Where that fails: how many of its bytes were written, and stay."""
        with self._alone():
            return self._put(payload)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process that does the same writes meanwhile. A lock ends with its process, however that ends; two
        threads of one process would not wait for each other."""
        if sys.platform == "win32":
            yield
            return
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        except OSError:
            self._most = _PIECE_BYTES
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _put(self, payload: bytes) -> int | None:
        prefix = b"\n" if self._torn else b""
        view, done = memoryview(prefix + payload), 0
        try:
            while done < len(view):
                try:
                    done += os.write(self._descriptor, view[done:])
                except BlockingIOError:  # whoever shares the descriptor made it so
                    select.select([], [self._descriptor], [])
        except (OSError, ValueError):
            self._torn = done > 0 and not bytes(view[:done]).endswith(b"\n")
            return max(0, done - len(prefix))
        self._torn = False
        return None


def _unwritten(lines: Sequence[bytes], written: int, *, with_loss: bool) -> int:
    """How many of the lines are not whole within the first bytes; the line of the loss itself counts for nothing."""
    end, missing = 0, 0
    for line in lines[: len(lines) - with_loss]:
        end += len(line)
        missing += end > written
    return missing


class _LibraryHandler(logging.Handler):
    """Lines of the libraries (grpc, asyncio, aiohttp), which use the standard library's logging, leave as ours do."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # logging never raises, also not while the interpreter takes itself apart
            log = structlog.get_logger(record.name)
            message = sanitized(_message(record))
            log.log(record.levelno, "library", logger=record.name, message=message, exc_info=record.exc_info or None)


def _message(record: logging.LogRecord) -> str:
    """What a library says; without its values where they do not fit into it."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def configure(level: str, form: str) -> QueuedWriter:
    """Configure structlog, and the standard library's logging, for the process. `form` is `console` or `json`. The
    writer that lines leave through closes itself at the end of the process."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    processors = [_JsonLine()] if form == "json" else _console()

    def lost_line(lines: int) -> str:
        event: Any = {"event": "log.lost", "lost": lines}
        for process in processors:
            event = process(None, "warning", event)
        return bytes(event).decode()

    writer = QueuedWriter(sys.stderr.fileno(), lost_line)
    atexit.register(writer.close)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=partial(_Lines, writer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(numeric, logging.WARNING), handlers=[_LibraryHandler()])
    return writer


class _Lines:
    """What structlog hands finished lines to."""

    def __init__(self, writer: QueuedWriter, *_: object) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = writer.write


class FrequentLines(structlog.BoundLoggerBase):
    """A logger for lines that are written with every call: their fields are a struct, which JSON's encoder takes as it
    is, where a mapping would be made and copied four times. It knows no levels: who uses it asks `enabled`."""

    def write(self, level: str, event: str, fields: msgspec.Struct) -> None:
        """Write a line."""
        processors: Any = self._processors
        first = processors[0]
        line: Any = first.line_of(level, event, fields) if isinstance(first, _JsonLine) else b""
        if not line:
            line = {**msgspec.to_builtins(fields), "event": event}
            try:
                for process in processors:
                    line = process(self._logger, level, line)
            except structlog.DropEvent:
                return
        getattr(self._logger, level)(line)


def frequent_lines() -> FrequentLines:
    """Such a logger, as the process has been configured."""
    lines: FrequentLines = structlog.wrap_logger(None, wrapper_class=FrequentLines).bind()
    return lines


def enabled(level: int) -> bool:
    """Whether lines of this level are written."""
    found: bool = structlog.get_logger().bind().is_enabled_for(level)
    return found


class _JsonLine:
    """All that becomes of an event, in one step: there is one for every call."""

    def __init__(self) -> None:
        self._exceptions = structlog.processors.ExceptionRenderer(_traceback)
        self._second = 0
        self._text = ""  # of that second

    def __call__(self, logger: object, method: str, event: structlog.typing.EventDict) -> bytes:
        """The line. It never raises, whatever a value's repr does."""
        event = structlog.contextvars.merge_contextvars(logger, method, event)
        event["level"] = method
        event["timestamp"] = self._now()
        if "exc_info" in event:
            event = self._exceptions(logger, method, event)
        try:
            line = _ENCODER.encode(event)
        except (TypeError, ValueError, msgspec.MsgspecError):
            line = b""
        if not line or not line.isascii():  # the standard library takes five times as long, and what the other cannot
            return _never_raising(structlog.processors.JSONRenderer())(logger, method, event)
        return line + b"\n"

    def line_of(self, level: str, event: str, fields: msgspec.Struct) -> bytes:
        """The line of a struct's fields; nothing where the other way must be gone."""
        bound = structlog.contextvars.get_contextvars()
        try:
            more = _ENCODER.encode(bound)[1:-1] + b"," if bound else b""
            said = (_ENCODER.encode(fields)[:-1], event.encode(), more, level.encode(), self._now().encode())
        except (TypeError, ValueError, msgspec.MsgspecError):
            return b""
        line = b'%b,"event":"%b",%b"level":"%b","timestamp":"%b"}\n' % said
        return line if line.isascii() else b""

    def _now(self) -> str:
        """The time in UTC, as ISO 8601 has it."""
        second, part = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{part // 1000:06d}Z"


def _console() -> list[structlog.typing.Processor]:
    """The processors of lines for people."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_traceback),
        _never_raising(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())),
    ]


def _never_raising(renderer: structlog.typing.Processor) -> Callable[[object, str, structlog.typing.EventDict], bytes]:
    """The renderer; a line that it cannot make is one that names the event only."""

    def render(logger: object, method: str, event: structlog.typing.EventDict) -> bytes:
        try:
            line = renderer(logger, method, event)
        except Exception:  # noqa: BLE001 -- whatever a value's repr does, logging never raises
            line = renderer(logger, method, {"event": "log.not_rendered", "original": str(event.get("event"))})
        return (str(line) + "\n").encode("utf-8", "backslashreplace")

    return render


def _traceback(exc_info: structlog.typing.ExcInfo) -> str:
    """A traceback as Python writes it, each line without what looks like a key."""
    kind, error, trace = exc_info
    lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
    return "\n".join(line[: len(line) - len(line.lstrip())] + sanitized(line) for line in lines)
