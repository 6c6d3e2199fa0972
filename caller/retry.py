"""When to try again, after how long, and when to ask another target instead. Pure: it reads errors.

Only before the first output, only what the error tree calls retryable, never beyond the call's own time. A kept
connection that was lost before a byte of the answer came is made anew once, whatever the number of attempts is.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from caller import errors
from caller.errors import CallerError, LostReusedConnection, Retry

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 4.0
# An endpoint that asks for more patience than this is answered to the client, who knows better what to do.
LONGEST_RETRY_AFTER = 5.0


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The attempt that failed. `remaining` is the call's time left, in seconds; `fresh_start` is True when the one
    retry of a stale pooled connection is not used up."""

    number: int
    max_attempts: int
    remaining: float
    fresh_start: bool = True


def pause_before_retry(error: CallerError, attempt: FailedAttempt) -> float | None:
    """Seconds to wait before the next attempt, or None: give up."""
    stale = isinstance(error, LostReusedConnection) and attempt.fresh_start
    used_up = attempt.number >= attempt.max_attempts and not stale  # nothing was asked of the endpoint yet
    if error.after_output or error.final or used_up:
        return None
    pause = 0.0 if stale else _pause(error, attempt)  # a stale connection: the endpoint is most likely well
    return pause if pause is not None and pause < attempt.remaining else None


def _pause(error: CallerError, attempt: FailedAttempt) -> float | None:
    backoff = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt.number))  # noqa: S311 -- jitter, not a secret
    match error.retry:
        case Retry.NEVER:
            return None
        case Retry.IF_SOON:
            return _asked(error, None)
        case Retry.ONCE:
            return _asked(error, backoff) if attempt.number == 1 else None
        case Retry.YES:
            return _asked(error, backoff)
        case _:
            assert_never(error.retry)


def _asked(error: CallerError, otherwise: float | None) -> float | None:
    """What the endpoint asked for, if it asked and is not asking for too much."""
    if error.retry_after is None:
        return otherwise
    return error.retry_after if error.retry_after <= LONGEST_RETRY_AFTER else None


# Another endpoint may do better: what the first one cannot, or does not let this credential do.
_MOVE_ON: Final = (
    errors.EndpointUnreachable,
    errors.ConnectTimeout,
    errors.EndpointTls,
    errors.FirstOutputTimeout,
    errors.EndpointOverloaded,
    errors.EndpointRateLimited,
    errors.RequestTooLarge,
    errors.QuotaExhausted,
    errors.EndpointError,
    errors.ProtocolError,
    errors.StreamInterrupted,
    errors.EndpointUnauthenticated,
    errors.EndpointForbidden,
    errors.EndpointNotFound,
    errors.ModelNotFound,
    errors.ContextLengthExceeded,  # the next model may read more
    errors.EgressDenied,
    errors.NotSupportedByApi,  # the next shape may carry it
)
# What says least of a call comes last: nobody was asked, nobody was there, nobody said a word.
_LEAST_TELLING: Final = (
    (errors.FirstOutputTimeout, errors.StreamInterrupted),
    (errors.EndpointUnreachable, errors.ConnectTimeout, errors.EndpointTls),
    (errors.ClientError, errors.PolicyError),
)


def moves_on(error: CallerError) -> bool:
    """Whether another target may answer where this one failed: not where the request itself is what is wrong, or where
    the call's own time is over; and never once the client has seen output."""
    return isinstance(error, _MOVE_ON) and not error.after_output


def most_telling(failures: Sequence[CallerError]) -> int:
    """The index of the failure that tells most: an answer tells more than silence, silence more than no connection,
    and all of them more than a target that was passed over; of equals the earliest."""
    return min(range(len(failures)), key=lambda at: _rank(failures[at]))


def _rank(error: CallerError) -> int:
    return next((rank for rank, kinds in enumerate(_LEAST_TELLING, 1) if isinstance(error, kinds)), 0)
