"""How long a connection to an endpoint may be idle: the operator's bound, and less where the endpoint wants less.

Rule: numbers only; what an origin is (an endpoint, as one client meets it), and what a connection is, is the pool's
business. Three things teach less:

* what the endpoint announces (`Keep-Alive: timeout=5`) holds for it until it announces something else;
* a kept connection that was lost when it was used again: it may have been dead for a while, so a quarter is taken off;
* idle connections that the endpoint itself closed. One may be a restart, so two of about the same age must agree.

What was learned of losses and ends is forgotten after ten minutes, and never goes below four seconds: common servers
keep connections for five and more, and what ends earlier had another reason.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

_ORIGINS: Final = 1000
_SHORTEST: Final = 4.0
_LEARNED_SECONDS: Final = 600.0
# A request is on its way while the endpoint's time runs out. What ends younger than this did not end of idleness.
_MARGIN: Final = 1.0
_AFTER_LOSS: Final = 0.75
_AGREES: Final = 0.1
# RFC 2068, 19.7.1.1, and what Apache, Node.js and cpp-httplib (llama.cpp) send: `timeout=5, max=100`.
_TIMEOUT: Final = re.compile(r'(?:^|[\s,;])timeout\s*=\s*"?(\d{1,9})', re.IGNORECASE)


@dataclass(slots=True)
class _Origin:
    """What is known of one: the announced and the learned time, and age and time of the last idle connection that the
    endpoint closed."""

    announced: float = math.inf
    learned: float = math.inf
    until: float = -math.inf
    ended_age: float = 0.0
    ended_at: float = -math.inf


class IdleTimes:
    """The idle times of all endpoints. `longest` is the operator's bound in seconds, `clock` gives seconds."""

    def __init__(self, longest: float, clock: Callable[[], float]) -> None:
        self._longest = longest
        self._clock = clock
        self._origins: OrderedDict[Hashable, _Origin] = OrderedDict()

    def of(self, origin: Hashable) -> float:
        """How long a connection to it is kept, in seconds."""
        known = self._origins.get(origin)
        if known is None:
            return self._longest
        learned = known.learned if known.until > self._clock() else math.inf
        return min(self._longest, known.announced, learned)

    def announced(self, origin: Hashable, seconds: float) -> None:
        """The endpoint says how long it keeps idle connections."""
        self._known(origin).announced = seconds - min(_MARGIN, seconds / 2)

    def lost(self, origin: Hashable, age: float) -> None:
        """A connection that had been idle for so long was lost before a byte came."""
        if age >= _MARGIN:
            self._learn(self._known(origin), age * _AFTER_LOSS)

    def ended(self, origin: Hashable, age: float) -> None:
        """The endpoint closed a connection that had been idle for so long."""
        if age < _MARGIN:
            return
        known, now = self._known(origin), self._clock()
        agree = abs(age - known.ended_age) <= max(_MARGIN, age * _AGREES)
        if agree and now - known.ended_at > _MARGIN:  # not two in one restart
            self._learn(known, min(age, known.ended_age) - _MARGIN)
        known.ended_age, known.ended_at = age, now

    def _learn(self, known: _Origin, seconds: float) -> None:
        now = self._clock()
        before = known.learned if known.until > now else math.inf
        known.learned = max(_SHORTEST, min(seconds, before))
        known.until = now + _LEARNED_SECONDS

    def _known(self, origin: Hashable) -> _Origin:
        """What is known of an origin, to be written to; the one that taught nothing for longest goes."""
        known = self._origins.get(origin)
        if known is None:
            known = self._origins[origin] = _Origin()
            if len(self._origins) > _ORIGINS:
                self._origins.popitem(last=False)
        else:
            self._origins.move_to_end(origin)
        return known


def announced_seconds(keep_alive: str) -> float | None:
    """The time in the value of a `Keep-Alive` header; None for none."""
    found = _TIMEOUT.search(keep_alive)
    return None if found is None else float(found[1])
