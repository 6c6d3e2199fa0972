"""The conventions' metrics of GenAI clients, gathered here and sent by OTLP: cumulative, every minute or as often as
`OTEL_METRIC_EXPORT_INTERVAL` says. OpenTelemetry's own instruments take ten times as long for a number.

It knows no calls but by their record. Endpoints and models are bounded as in our own metrics.
"""

import os
import threading
import time
from bisect import bisect_left
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
# Provider, API shape, endpoint, model; the error's type, the token's type.
_Key = tuple[str, str, str, str, str, str]


class _Series:
    """The numbers of one metric with the same attributes."""

    __slots__ = ("counts", "least", "most", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.least, self.most = float("inf"), float("-inf")


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
        self._series: dict[_Kind, dict[_Key, _Series]] = {_DURATION: {}, _FIRST_CHUNK: {}, _TOKENS: {}}
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
        where = (report.provider, report.api, *self._destinations.of(report.client, report.endpoint, report.model))
        good = report.outcome is Outcome.COMPLETED
        usage = report.usage
        with self._lock:
            failed = "" if good else report.reason or report.status
            self._observe(_DURATION, (*where, failed, ""), report.ended - report.started)
            if report.first_output is not None:
                self._observe(_FIRST_CHUNK, (*where, "", ""), report.first_output - report.started)
            if usage is not None and usage.input is not None:
                self._observe(_TOKENS, (*where, "", "input"), usage.input)
            if usage is not None and usage.output is not None:
                self._observe(_TOKENS, (*where, "", "output"), usage.output)

    def close(self) -> None:
        """Send what was counted, and nothing more. May wait for the network."""
        self._closing.set()
        self._thread.join()
        self._exporter.shutdown()

    def _observe(self, kind: _Kind, key: _Key, value: float) -> None:
        series = self._series[kind].get(key)
        if series is None:
            series = self._series[kind][key] = _Series(kind.bounds)
        series.counts[bisect_left(kind.bounds, value)] += 1
        series.sum += value
        series.least, series.most = min(series.least, value), max(series.most, value)

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(self._interval)
            with suppress(Exception):  # of a collector, whatever it is: the next numbers hold these, too
                self._exporter.export(self._data())

    def _data(self) -> MetricsData:
        now = time.time_ns()
        with self._lock:
            metrics = [
                Metric(
                    kind.name,
                    kind.meaning,
                    kind.unit,
                    Histogram([self._point(kind, key, each, now) for key, each in series.items()], _CUMULATIVE),
                )
                for kind, series in self._series.items()
                if series
            ]
        scoped = ScopeMetrics(self._scope, metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scoped], "")])

    def _point(self, kind: _Kind, key: _Key, series: _Series, now: int) -> HistogramDataPoint:
        *where, error, token = key
        attributes = genai.request_attributes(*where)
        if error:
            attributes[genai.ERROR_TYPE] = error
        if token:
            attributes[genai.TOKEN_TYPE] = token
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
