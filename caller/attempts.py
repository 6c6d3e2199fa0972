"""The attempts of a call: rules over prepared calls. It knows no provider and no wire.

An attempt that fails before its first output leaves no trace, so another may follow it: at once where the request was
amended or a kept connection was stale, after a pause where the error is worth a retry, see `retry`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from caller.call import CallReport, Prepared
from caller.errors import CallerError, LostReusedConnection
from caller.events import Event
from caller.retry import FailedAttempt, pause_before_retry


class AttemptObserver(Protocol):
    """Is told of every attempt."""

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """The last attempt of the record ended, well or with an error."""
        ...


class _Unobserved:
    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        del report, error


_UNOBSERVED = _Unobserved()


async def attempts(
    prepared: Prepared, report: CallReport, observer: AttemptObserver = _UNOBSERVED
) -> AsyncGenerator[Sequence[Event], None]:
    """The answer of the first attempt that has one, batch by batch.

    Raises:
        CallerError: of the last attempt.
    """
    max_attempts = prepared.target.max_attempts
    fresh_start = True
    answered = False
    amended = 0  # attempts that only found out how the endpoint wants the request
    while True:
        report.attempts += 1
        try:
            async with aclosing(prepared.attempt(report)) as batches:
                async for batch in batches:
                    if not answered:
                        answered = True
                        prepared.answered()
                    yield batch
        except CallerError as error:
            observer.attempt(report, error)
            if answered:
                raise
            if max_attempts > 1 and prepared.amended(error):
                amended += 1
                continue
            remaining = prepared.first_output_due(report) - asyncio.get_running_loop().time()
            failed = FailedAttempt(report.attempts - amended, max_attempts, remaining, fresh_start)
            pause = pause_before_retry(error, failed)
            if pause is None:
                raise
            fresh_start = fresh_start and not isinstance(error, LostReusedConnection)
        else:
            observer.attempt(report, None)
            return
        report.waits.seconds += pause
        await asyncio.sleep(pause)
