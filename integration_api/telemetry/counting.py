"""Counters and histograms that cost a call little: numbers in one thread, which become Prometheus' when they are read.

prometheus_client's own take a lock at every number and look buckets through one by one; a call changes eight of them.
Here only the event loop counts, and it is the one that reads. Knows no calls.
"""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_Labels = tuple[str, ...]


class Count:
    """One counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        """Count so much more."""
        self.value += amount


class Distribution:
    """How numbers are distributed over buckets, whose upper `bounds` ascend."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last is what is above all bounds
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Take one number."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


_Child = TypeVar("_Child", Count, Distribution)


class _Family(Collector, Generic[_Child]):
    """Children by the values of their labels; one without labels is there from the start."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        self.children: dict[_Labels, _Child] = {}
        if not labels:
            self.child()

    def child(self, *values: str) -> _Child:
        """The child with these values of the labels."""
        found = self.children.get(values)
        if found is None:
            found = self.children[values] = self._new()
        return found

    @abstractmethod
    def _new(self) -> _Child:
        """A child that has counted nothing."""


class Counts(_Family[Count]):
    """A counter; its name as Prometheus writes it, without `_total`. Without `zeros` what was never counted is not
    read."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], *, zeros: bool = True) -> None:
        super().__init__(name, meaning, labels)
        self._zeros = zeros

    def _new(self) -> Count:
        return Count()

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        family = CounterMetricFamily(self.name, self.meaning, labels=self.labels)
        for values, child in self.children.items():
            if child.value or self._zeros:
                family.add_metric(values, child.value)
        yield family


class Distributions(_Family[Distribution]):
    """A histogram with these upper bounds of its buckets."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self._bounds = bounds
        self._words = (*map(floatToGoString, bounds), "+Inf")
        super().__init__(name, meaning, labels)

    def _new(self) -> Distribution:
        return Distribution(self._bounds)

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        family = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for values, child in self.children.items():
            buckets = list(zip(self._words, accumulate(child.counts), strict=True))
            family.add_metric(values, buckets, child.total)
        yield family
