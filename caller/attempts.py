"""The attempts that are made with one target: rules over a prepared call. It knows no provider and no wire.

An attempt that fails before its first output leaves no trace, so another may follow it: at once where the request was
amended or a kept connection was stale, after a pause where the error is worth a retry, see `retry`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from caller.call import CallReport, Prepared
from caller.errors import CallerError, LostReusedConnection
from caller.events import Event
from caller.retry import FailedAttempt, pause_before_retry


class AttemptObserver(Protocol):
    """Observes every attempt."""

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """The last attempt of the record ended, well or with an error."""
        ...


class _Unobserved:
    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        del report, error


_UNOBSERVED = _Unobserved()


def _no_other() -> bool:
    return True


async def attempts(
    prepared: Prepared,
    report: CallReport,
    observer: AttemptObserver = _UNOBSERVED,
    alone: Callable[[], bool] = _no_other,
) -> AsyncGenerator[Sequence[Event], None]:
    """The answer of the first attempt that has one, batch by batch. While the target is not `alone`, another one is
    asked rather than this one again.

    Raises:
        CallerError: of the last attempt.
    """
    answered = False
    begun = report.started if report.asked is None else report.asked
    failures: _Failures | None = None
    while True:
        report.attempts += 1
        try:
            batches = prepared.attempt(report)
            try:
                async for batch in batches:
                    if not answered:
                        answered = True
                        prepared.answered()
                    yield batch
            finally:
                await batches.aclose()
        except CallerError as error:
            observer.attempt(report, error)
            ended = asyncio.get_running_loop().time()
            failures = failures or _Failures(prepared, alone)
            pause = None if answered else failures.pause(error, report, ended)
            if pause is not None or report.made or report.asked is not None:
                report.note_attempt(begun, type(error))
            if pause is None:
                raise
            begun = ended + pause
        else:
            observer.attempt(report, None)
            if report.made or report.asked is not None:
                report.note_attempt(begun, None)
            return
        if pause:
            report.waits.seconds += pause
            await asyncio.sleep(pause)


class _Failures:
    """What the failed attempts of one target allow. `amended` ones only found out how the endpoint wants the
    request."""

    __slots__ = ("_alone", "_amended", "_fresh_start", "_prepared")

    def __init__(self, prepared: Prepared, alone: Callable[[], bool]) -> None:
        self._prepared = prepared
        self._alone = alone
        self._amended = 0
        self._fresh_start = True

    def pause(self, error: CallerError, report: CallReport, now: float) -> float | None:
        """Seconds to wait before the next attempt, None: there is none."""
        max_attempts = self._prepared.target.max_attempts
        if max_attempts > 1 and self._prepared.amended(error):
            self._amended += 1
            return 0.0
        most = max_attempts if self._alone() else 1
        remaining = self._prepared.first_output_due(report) - now
        pause = pause_before_retry(
            error, FailedAttempt(report.attempts - self._amended, most, remaining, self._fresh_start)
        )
        self._fresh_start = self._fresh_start and not isinstance(error, LostReusedConnection)
        return pause
