"""The breaker: which targets failed too often of late to be asked first. Pure; it is given a clock.

Closed, open, and open with one call on its way that finds out. It counts what its endpoint is at fault for, by
endpoint, model and credential, so that nobody's calls are steered by what another's credential meets. It refuses
nobody: what an open one means for a call is `race`'s rule.

A lost race is no failure, however many there are. It opens for a target that lost all of its latest only where a call
waited for that target in vain, see `race`: such a target is silent, and not slow.

Only targets with a recent failure or a lost race have an entry, and so many of them at most: the one that was longest
without goes.
"""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from caller.call import Destination

MAX_ENTRIES = 4096
# So many races lost in a row, and no output between them, are what a silent target is known by.
SILENT = 10
# The most endpoints that are named; the others are counted together.
_NAMED = 50
_OTHERS = "other"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """`failures` of the last twice as many attempts within `window` seconds open a breaker for `open_for` seconds;
    0 failures: never."""

    failures: int = 5
    window: float = 30.0
    open_for: float = 10.0


@dataclass(slots=True)
class _Entry:
    """`failed` holds the last attempts: when each ended, and whether it failed. `opened`: since when it is open;
    `probing`: a call is on its way that finds out whether it may close; `lost`: races since its last output."""

    endpoint: str
    failed: deque[tuple[float, bool]] = field(default_factory=deque)
    opened: float | None = None
    probing: bool = False
    lost: int = 0


class Breaker:
    """All breakers of a process. `clock` gives seconds that never go back."""

    def __init__(self, limits: BreakerLimits = BreakerLimits(), clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def passes(self, target: Destination) -> bool:
        """Whether a target may be asked first: its breaker is closed, or it is time to find out."""
        entry = self._entries.get(target.key) if self._entries else None
        if entry is None or entry.opened is None:
            return True
        return not entry.probing and self._clock() - entry.opened >= self._limits.open_for

    def asked(self, target: Destination) -> bool:
        """A target is asked; whether that finds out for all others: its breaker is open."""
        entry = self._entries.get(target.key) if self._entries else None
        if entry is None or entry.opened is None:
            return False
        entry.probing = True
        return True

    def answered(self, target: Destination) -> None:
        """A target had its first output."""
        entry = self._entries.get(target.key) if self._entries else None
        if entry is None:
            return
        entry.lost = 0
        if entry.opened is None:
            self._count(entry, failed=False)
        if entry.probing or not any(failed for _, failed in entry.failed):
            del self._entries[target.key]

    def failed(self, target: Destination) -> None:
        """A target failed, by its endpoint's fault."""
        if not self._limits.failures:
            return
        entry = self._entry(target)
        if entry.opened is not None:
            if entry.probing:
                entry.opened, entry.probing = self._clock(), False
            return
        self._count(entry, failed=True)
        if sum(failed for _, failed in entry.failed) >= self._limits.failures:
            entry.opened = self._clock()

    def lost(self, target: Destination) -> None:
        """A target lost a race, which is no failure. One that was to find out did not: another one does, when it is
        time again."""
        if not self._limits.failures:
            return
        entry = self._entry(target)
        entry.lost += 1
        if entry.probing:
            entry.opened, entry.probing = self._clock(), False

    def waited_in_vain(self, target: Destination) -> bool:
        """A call waited for a target far longer than others do: it opens for one that lost all of its latest races.
        Whether it is open."""
        entry = self._entries.get(target.key)
        if entry is None:
            return False
        if entry.opened is None and entry.lost >= SILENT:
            entry.opened = self._clock()
        return entry.opened is not None

    def given_up(self, target: Destination) -> None:
        """Nobody will know whether a target that was asked would have answered."""
        entry = self._entries.get(target.key) if self._entries else None
        if entry is not None:
            entry.probing = False

    def open_by_endpoint(self) -> Mapping[str, float]:
        """How many breakers are open, by host and port."""
        found = Counter(entry.endpoint for entry in self._entries.values() if entry.opened is not None)
        named: dict[str, float] = dict(found.most_common(_NAMED))
        others = found.total() - sum(named.values())
        return {**named, _OTHERS: others} if others else named

    def _entry(self, target: Destination) -> _Entry:
        key = target.key
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(target.endpoint)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return entry

    def _count(self, entry: _Entry, *, failed: bool) -> None:
        now = self._clock()
        entry.failed.append((now, failed))
        while len(entry.failed) > 2 * self._limits.failures or entry.failed[0][0] < now - self._limits.window:
            entry.failed.popleft()
