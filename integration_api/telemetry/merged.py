"""The metrics of several workers as one text: as if one process had counted.

Rule: Prometheus' text in and out. Counters and histograms of a worker that is gone stay in the sums, so that nothing
seems to count anew when one is replaced; its gauges go with it.
"""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

# What says the same in each worker is no sum.
_SAME = frozenset({"integration_api_build_info"})
_Key = tuple[str, tuple[tuple[str, str], ...]]


class Merged(Collector):
    """Sums the workers' texts. One per supervisor."""

    def __init__(self) -> None:
        self._retired: dict[str, Metric] = {}
        self._families: Sequence[Metric] = ()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def retire(self, text: bytes) -> None:
        """Keep what a worker that is gone had counted."""
        counted = (family for family in _families(text) if family.type in {"counter", "histogram"})
        self._retired = _summed([*self._retired.values(), *counted])

    def text(self, texts: Iterable[bytes], own: Iterable[Metric] = ()) -> bytes:
        """The sums of these workers and of those that are gone, and `own` beside them."""
        living = (family for text in texts for family in _families(text))
        self._families = [*_summed([*self._retired.values(), *living]).values(), *own]
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        return self._families


def _families(text: bytes) -> Iterator[Metric]:
    return iter(text_string_to_metric_families(text.decode()))


def _summed(families: Iterable[Metric]) -> dict[str, Metric]:
    by_name: dict[str, Metric] = {}
    sums: dict[str, dict[_Key, Sample]] = {}
    for family in families:
        by_name.setdefault(family.name, family)
        samples = sums.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            before = samples.get(key)
            if before is None or family.name in _SAME:
                samples[key] = sample
            else:
                samples[key] = sample._replace(value=before.value + sample.value)
    made = {}
    for name, family in by_name.items():
        metric = Metric(name, family.documentation, family.type)
        metric.samples = list(sums[name].values())
        made[name] = metric
    return made
