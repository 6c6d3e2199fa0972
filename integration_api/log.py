"""Logging: set up once at start. Console for people, JSON for machines; both to standard error.

A traceback shows no values: not those of variables, and of an exception's text nothing that looks like a key.
"""

import logging
import sys
import traceback

import structlog

from caller.custom_llm.errors.redaction import sanitized


def configure(level: str, form: str) -> None:
    """Configure structlog for the process. `form` is `console` or `json`."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_traceback),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _traceback(exc_info: structlog.typing.ExcInfo) -> str:
    """A traceback as Python writes it, each line without what looks like a key."""
    kind, error, trace = exc_info
    lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
    return "\n".join(line[: len(line) - len(line.lstrip())] + sanitized(line) for line in lines)
