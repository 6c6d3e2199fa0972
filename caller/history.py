"""What earlier calls say of targets, for calls that have more than one: breakers, hedge budgets, first outputs.

Bounded, in memory, of this process only. Nothing in it is a secret: keys are digests, hosts and models.
"""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeAlias, TypeVar

from caller.breaker import Breaker
from caller.call import Destination

MAX_ENTRIES: Final = 4096
# How many first outputs of a target count, and how many have to be known before a percentile of them is one.
_SAMPLES: Final = 100
LEAST_SAMPLES: Final = 20
# What a budget begins with, and the most that it holds.
BURST: Final = 10.0

_V = TypeVar("_V")
# Who asks, whom, and whether for a stream.
BudgetKey: TypeAlias = tuple[str, str, bool]
# Endpoint, model, and whether a stream is asked for.
OutputKey: TypeAlias = tuple[str, str, bool]


class _Recent(OrderedDict[tuple[str, str, bool], _V], Generic[_V]):
    """The entries that were used last."""

    def put(self, key: tuple[str, str, bool], value: _V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > MAX_ENTRIES:
            self.popitem(last=False)


class HedgeBudget:
    """How many requests may be made beside others: a part of a client's calls to an endpoint, so that an outage does
    not double everyone's load. A bucket of tokens: each call brings `ratio` of one, each request beside another takes
    one."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._tokens: _Recent[float] = _Recent()

    def earn(self, key: BudgetKey) -> None:
        """A call begins. A full bucket needs no entry."""
        tokens = self._tokens.get(key)
        if tokens is not None:
            self._tokens.put(key, min(BURST, tokens + self._ratio))

    def allows(self, key: BudgetKey) -> bool:
        """Whether a further request may be made."""
        return self._ratio > 0.0 and self._tokens.get(key, BURST) >= 1.0

    def spend(self, key: BudgetKey) -> None:
        """A further request was made; one that had to be made takes what is left."""
        self._tokens.put(key, max(0.0, self._tokens.get(key, BURST) - 1.0))


class FirstOutputs:
    """How long targets took to their first output, of late."""

    def __init__(self) -> None:
        self._seconds: _Recent[deque[float]] = _Recent()

    def add(self, key: OutputKey, seconds: float) -> None:
        """One took so long, or longer: one that lost a race would have taken at least that, and without it the
        target would pass for a faster one."""
        known = self._seconds.get(key)
        if known is None:
            self._seconds.put(key, deque((seconds,), _SAMPLES))
        else:
            known.append(seconds)
            self._seconds.move_to_end(key)

    def percentile(self, key: OutputKey, percent: int) -> float | None:
        """The time in seconds within which so many percent had their first output; None: too few are known."""
        known = self._seconds.get(key)
        if known is None or len(known) < LEAST_SAMPLES:
            return None
        return sorted(known)[math.ceil(len(known) * percent / 100) - 1]


@dataclass(slots=True)
class TargetHistory:
    """All of it. `hedges`: how many requests were made beside others; `refused`: how many the budget did not allow;
    `won`: how many of those made had the first output."""

    breaker: Breaker = field(default_factory=Breaker)
    budget: HedgeBudget = field(default_factory=lambda: HedgeBudget(0.1))
    first_outputs: FirstOutputs = field(default_factory=FirstOutputs)
    hedges: int = 0
    refused: int = 0
    won: int = 0

    def measured(self, asked: Destination, percent: int, *, stream: bool) -> float | None:
        """The time within which so many percent of a target's recent first outputs came; None: too few are known."""
        return self.first_outputs.percentile((asked.endpoint, asked.model, stream), percent)

    def had_first_output(self, asked: Destination, seconds: float, *, stream: bool) -> None:
        """A target had its first output after so long, or would have had it later."""
        self.first_outputs.add((asked.endpoint, asked.model, stream), seconds)
