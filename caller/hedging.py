"""When a call asks a target beside those that run, and whether it may. What is done then is `race`'s."""

import asyncio
from collections.abc import Callable
from typing import Final

from caller.call import Destination
from caller.history import BudgetKey, TargetHistory
from caller.target import Fallbacks

# A target may be silent where a call waited for so many times the time to hedge by, and no less than so many seconds.
_SILENT_TIMES: Final = 10
_LEAST_SILENCE: Final = 3.0


class Hedging:
    """That of one call: its time to hedge by, its part of the budget, and the one timer for both."""

    __slots__ = ("_after", "_history", "_key", "_loop", "_timer", "_wanted")

    def __init__(
        self, history: TargetHistory, wanted: Fallbacks, key: BudgetKey, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        self._history = history
        self._wanted = wanted
        self._key = key
        self._after = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The call begins: one that would hedge earns a part of the budget."""
        if self._wanted.hedge_after is not None or self._wanted.hedge_percentile is not None:
            self._history.budget.earn(self._key)

    def start(self, asked: Destination, due: Callable[[], None]) -> None:
        """A target was asked just now: call `due` when it is time to ask another one."""
        if self._timer is not None:
            self.stop()
        after, percent = self._wanted.hedge_after, self._wanted.hedge_percentile
        if percent is not None:
            measured = self._history.measured(asked, percent, stream=self._key[2])
            after = after if measured is None else measured
        if after is not None:
            self._after = after
            self._timer = self._loop.call_later(after, due)

    def watch(self, due: Callable[[], None]) -> None:
        """Call `due` when a target that said nothing until then may be silent."""
        self.stop()
        self._timer = self._loop.call_later(max(_SILENT_TIMES * self._after, _LEAST_SILENCE), due)

    def stop(self) -> None:
        """No time is measured any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def allowed(self) -> bool:
        """Whether the budget allows one more request."""
        allowed = self._history.budget.allows(self._key)
        self._history.refused += not allowed
        return allowed

    def made(self) -> None:
        """One more request was made."""
        self._history.budget.spend(self._key)
        self._history.hedges += 1
