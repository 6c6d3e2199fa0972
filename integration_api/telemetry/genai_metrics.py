"""The conventions' metrics of GenAI clients, gathered here and sent by OTLP: cumulative, every minute or as often as
`OTEL_METRIC_EXPORT_INTERVAL` says. OpenTelemetry's own instruments take ten times as long for a number.

It knows no calls but by their record. Endpoints and models are bounded as in our own metrics.
"""

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.environment_variables import OTEL_METRIC_EXPORT_INTERVAL
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from caller.call import CallReport, Outcome
from integration_api.telemetry import genai
from integration_api.telemetry.destinations import Destinations

_INTERVAL_MILLISECONDS: Final = 60_000.0
_MOST_MILLISECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class _Kind:
    """One metric, with the upper bounds that the conventions give its buckets."""

    name: str
    unit: str
    meaning: str
    bounds: tuple[float, ...]


_DURATION: Final = _Kind(
    "gen_ai.client.operation.duration",
    "s",
    "GenAI operation duration.",
    tuple(0.01 * 2**power for power in range(14)),
)
_FIRST_CHUNK: Final = _Kind(
    "gen_ai.client.operation.time_to_first_chunk",
    "s",
    "Time to the first chunk of a streamed answer.",
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_TOKENS: Final = _Kind(
    "gen_ai.client.token.usage", "{token}", "Tokens used.", tuple(float(4**power) for power in range(14))
)
# Provider, API shape, endpoint, model.
_Target = tuple[str, str, str, str]


class _Series:
    """The numbers of one metric with the same attributes."""

    __slots__ = ("bounds", "counts", "least", "most", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.least, self.most = float("inf"), float("-inf")

    def observe(self, value: float) -> None:
        """Take one number."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        if value < self.least:  # noqa: PLR1730 -- a call of min takes three times as long
            self.least = value
        if value > self.most:  # noqa: PLR1730 -- see above
            self.most = value


class _OfTarget:
    """The series of one target. A failed call's duration is by the error's type, a good one's by none."""

    __slots__ = ("durations", "first_chunk", "good", "input", "output")

    def __init__(self) -> None:
        self.good = _Series(_DURATION.bounds)
        self.durations = {"": self.good}
        self.first_chunk = _Series(_FIRST_CHUNK.bounds)
        self.input, self.output = _Series(_TOKENS.bounds), _Series(_TOKENS.bounds)

    def failed(self, error: str) -> _Series:
        """The durations of calls that failed so."""
        return self.durations.setdefault(error, _Series(_DURATION.bounds))

    def of(self, kind: _Kind) -> Iterable[tuple[dict[str, str | int | float | bool], _Series]]:
        """What there is of a metric, and what its attributes say beside the target."""
        if kind is _DURATION:
            for error, series in self.durations.items():
                yield {genai.ERROR_TYPE: error} if error else {}, series
        elif kind is _FIRST_CHUNK:
            yield {}, self.first_chunk
        else:
            yield {genai.TOKEN_TYPE: "input"}, self.input
            yield {genai.TOKEN_TYPE: "output"}, self.output


class GenAiMetrics:
    """Counts calls, and sends what it counted from a thread of its own until it is closed."""

    def __init__(self, exporter: MetricExporter, resource: Resource, scope: InstrumentationScope) -> None:
        """Begin to send.

        Raises:
            ValueError: `OTEL_METRIC_EXPORT_INTERVAL` is no time.
        """
        self._exporter = exporter
        self._resource = resource
        self._scope = scope
        self._destinations = Destinations()
        self._targets: dict[_Target, _OfTarget] = {}
        self._begun = time.time_ns()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._interval = _interval()
        self._thread = threading.Thread(target=self._run, name="genai-metrics", daemon=True)
        self._thread.start()

    def ended(self, report: CallReport) -> None:
        """Count the call, if an endpoint was asked."""
        if not report.attempts or report.ended is None:
            return
        endpoint, model = self._destinations.of(report.client, report.endpoint, report.model)
        target = (report.provider, report.api, endpoint, model)
        usage = report.usage
        with self._lock:
            found = self._targets.get(target)
            if found is None:
                found = self._targets[target] = _OfTarget()
            good = report.outcome is Outcome.COMPLETED
            (found.good if good else found.failed(report.reason or report.status)).observe(
                report.ended - report.started
            )
            if report.first_output is not None:
                found.first_chunk.observe(report.first_output - report.started)
            if usage is not None and usage.input is not None:
                found.input.observe(usage.input)
            if usage is not None and usage.output is not None:
                found.output.observe(usage.output)

    def close(self) -> None:
        """Send what was counted, and nothing more. May wait for the network."""
        self._closing.set()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(self._interval)
            with suppress(Exception):  # of a collector, whatever it is: the next numbers hold these, too
                self._exporter.export(self._data())

    def _data(self) -> MetricsData:
        now = time.time_ns()
        with self._lock:
            points = {
                kind: [
                    self._point(kind, genai.request_attributes(*target) | more, series, now)
                    for target, of_target in self._targets.items()
                    for more, series in of_target.of(kind)
                    if any(series.counts)
                ]
                for kind in (_DURATION, _FIRST_CHUNK, _TOKENS)
            }
        metrics = [
            Metric(kind.name, kind.meaning, kind.unit, Histogram(found, _CUMULATIVE))
            for kind, found in points.items()
            if found
        ]
        scoped = ScopeMetrics(self._scope, metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scoped], "")])

    def _point(
        self, kind: _Kind, attributes: dict[str, str | int | float | bool], series: _Series, now: int
    ) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._begun,
            time_unix_nano=now,
            count=sum(series.counts),
            sum=series.sum,
            bucket_counts=tuple(series.counts),
            explicit_bounds=kind.bounds,
            min=series.least,
            max=series.most,
        )


def _interval() -> float:
    """Seconds from one sending to the next.

    Raises:
        ValueError: the variable holds no number of milliseconds above zero.
    """
    given = os.environ.get(OTEL_METRIC_EXPORT_INTERVAL, "").strip()
    try:
        milliseconds = float(given or _INTERVAL_MILLISECONDS)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < _MOST_MILLISECONDS:
        raise ValueError(f"{OTEL_METRIC_EXPORT_INTERVAL} is {given!r}: a number of milliseconds above zero")
    return milliseconds / 1000


_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
