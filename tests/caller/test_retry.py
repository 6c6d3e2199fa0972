"""Which errors are tried again, how often and after what pause."""

import pytest

from caller import errors as e
from caller.errors import LostReusedConnection
from caller.retry import LONGEST_RETRY_AFTER, FailedAttempt, pause_before_retry

YES = [e.EndpointUnreachable, e.ConnectTimeout, e.EndpointOverloaded]
NEVER = [
    *[e.EndpointUnauthenticated, e.EndpointForbidden, e.EndpointNotFound, e.ModelNotFound, e.EndpointRejected],
    *[e.EndpointPrecondition, e.ContextLengthExceeded, e.ContentFiltered, e.QuotaExhausted, e.EndpointTls],
    *[e.ProtocolError, e.StreamInterrupted, e.StreamCut, e.ResponseTooLarge, e.FirstOutputTimeout],
    *[e.BetweenOutputsTimeout, e.TotalTimeout, e.EgressDenied, e.RequestInvalid, e.CredentialInvalid],
]


def pause(
    error: e.CallerError, number: int = 1, attempts: int = 3, left: float = 60.0, *, fresh: bool = True
) -> object:
    return pause_before_retry(error, FailedAttempt(number, attempts, left, fresh))


@pytest.mark.parametrize("kind", YES)
def test_what_may_pass_is_tried_again(kind: type[e.CallerError]) -> None:
    """After a pause that grows with the attempts and is never the same for everybody."""
    for number in (1, 2):
        pauses = [pause(kind("x"), number) for _ in range(200)]
        assert all(isinstance(seconds, float) and 0 <= seconds <= 0.25 * 2**number for seconds in pauses)
        assert len(set(pauses)) > 100


@pytest.mark.parametrize("kind", NEVER)
def test_what_will_not_pass_is_not_tried_again(kind: type[e.CallerError]) -> None:
    """Whatever the endpoint says about trying later."""
    assert pause(kind("x")) is None
    assert pause(kind("x", retry_after=0.1)) is None


def test_a_failure_of_the_endpoint_is_tried_once_more() -> None:
    """A 500 once, not twice."""
    assert pause(e.EndpointError("x"), 1) is not None
    assert pause(e.EndpointError("x"), 2) is None


def test_a_rate_limit_is_waited_for_when_it_is_short() -> None:
    """Without a Retry-After, or with a long one, the client knows better."""
    assert pause(e.EndpointRateLimited("x", retry_after=0.5)) == 0.5
    assert pause(e.EndpointRateLimited("x", retry_after=LONGEST_RETRY_AFTER)) == LONGEST_RETRY_AFTER
    assert pause(e.EndpointRateLimited("x", retry_after=LONGEST_RETRY_AFTER + 0.1)) is None
    assert pause(e.EndpointRateLimited("x")) is None


@pytest.mark.parametrize("kind", [*YES, e.EndpointError])
def test_the_endpoints_own_delay_is_honoured(kind: type[e.CallerError]) -> None:
    """A short Retry-After is the pause; one that is too long ends the attempts."""
    assert pause(kind("x", retry_after=1.5)) == 1.5
    assert pause(kind("x", retry_after=60.0)) is None


def test_no_attempt_beyond_the_number_or_the_time() -> None:
    """The last attempt's error stands, and so does one whose pause would not fit."""
    error = e.EndpointOverloaded("x", retry_after=1.0)

    assert pause(error, 3, 3) is None
    assert pause(error, 1, 1) is None
    assert pause(error, left=1.0) is None
    assert pause(error, left=1.1) == 1.0
    assert pause(error, left=-1.0) is None


@pytest.mark.parametrize("kind", [*YES, e.EndpointError, LostReusedConnection])
def test_nothing_is_said_twice(kind: type[e.CallerError]) -> None:
    """Once the client has seen output there is no further attempt."""
    error = kind("x", retry_after=0.0)
    error.after_output = True

    assert pause(error) is None


def test_a_stale_connection_is_replaced_at_once() -> None:
    """Once, whatever the number of attempts is; after that it is an unreachable endpoint like any other."""
    assert pause(LostReusedConnection("x")) == 0.0
    assert pause(LostReusedConnection("x"), fresh=False) != 0.0
    assert pause(LostReusedConnection("x"), 1, 1) == 0.0
    assert pause(LostReusedConnection("x"), 2, 1, fresh=False) is None
