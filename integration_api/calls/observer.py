"""What observes calls: log lines, metrics, traces. An observer is called at each call's start and end, once each, and
in between; it changes nothing, and must not raise or wait.
"""

from typing import Protocol

from caller.attempts import AttemptObserver
from caller.call import CallReport


class Observer(AttemptObserver, Protocol):
    """Every method gets the call's record as it is by now; none may keep it, or change it, but that the one of traces
    gives it its trace, and the one of the audit file what keeps its content."""

    def started(self, report: CallReport) -> None:
        """A call began. Nothing of its request was read yet: method, client and start are known."""
        ...

    def first_output(self, report: CallReport) -> None:
        """The first output of a stream has left."""
        ...

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """A call ended, as `report.outcome` says. `error` is what ended it: the status is made of it and the record."""
        ...
