"""What observes calls: log lines, metrics, traces. An observer is called at each call's start and end, once each, and
in between; it changes nothing, and must not raise or wait.
"""

from collections.abc import Sequence

from caller.attempts import AttemptObserver
from caller.call import CallReport
from caller.errors import CallerError


class Observer(AttemptObserver):
    """Every method gets the call's record as it is by now; none may keep it for longer than the turn of the loop, or
    change it, but that the one of traces gives it its trace, and the one of the audit file what keeps its content. What
    an observer does not define is not called."""

    def started(self, report: CallReport) -> None:
        """A call began. Nothing of its request was read yet: method, client and start are known."""

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """The last attempt of the record ended, well or with an error."""

    def first_output(self, report: CallReport) -> None:
        """The first output of a stream has left."""

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """A call ended, as `report.outcome` says. `error` is what ended it: the status is made of it and the record."""


class Listening:
    """The methods that observers define: most define one or two, and a call calls each."""

    __slots__ = ("attempt", "ended", "first_output", "started")

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.started = tuple(each.started for each in observers if type(each).started is not Observer.started)
        self.attempt = tuple(each.attempt for each in observers if type(each).attempt is not Observer.attempt)
        self.first_output = tuple(
            each.first_output for each in observers if type(each).first_output is not Observer.first_output
        )
        self.ended = tuple(each.ended for each in observers if type(each).ended is not Observer.ended)
