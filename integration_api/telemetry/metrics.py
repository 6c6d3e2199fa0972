"""Metrics of calls, in Prometheus' terms. Names, labels and buckets are documented in docs/operations.md.

Rule: no metric has a label whose values clients make up without bound; nothing happens per token. One instance has one
registry of its own.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from caller.call import CallReport, Outcome
from caller.errors import CallerError, EndpointFailed, EndpointRefused
from integration_api.calls.observer import Observer
from integration_api.rpc.status import reason_of
from integration_api.telemetry.counting import Count, Counts, Distribution, Distributions
from integration_api.telemetry.destinations import Destinations
from integration_api.telemetry.lag import LoopLag

# The bounds of the GenAI conventions' `gen_ai.client.operation.duration` and `…time_to_first_chunk`.
DURATION: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_OUTPUT: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
BETWEEN: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
OVERHEAD: Final = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1.0)
ADDED: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.064)
LAG: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that something else counts, read when it is asked for. With a `label` the values are by its words."""

    name: str
    meaning: str
    kind: Literal["gauge", "counter"]
    read: Callable[[], Mapping[str, float]]
    label: str = ""


class _Readings(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        for reading in self._readings:
            labels = (reading.label,) if reading.label else ()
            family = (GaugeMetricFamily if reading.kind == "gauge" else CounterMetricFamily)(
                reading.name, reading.meaning, labels=labels
            )
            for word, value in reading.read().items():
                family.add_metric((word,) if reading.label else (), value)
            yield family


class _Collected(Collector):
    """What was collected: it changes no more."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


@dataclass(frozen=True, slots=True)
class _OfMethod:
    """The children of one method and API shape."""

    duration: Distribution
    first_output: Distribution
    between: Distribution
    overhead: Distribution
    added_first: Distribution
    added_between: Distribution
    frames: Count
    retries: Count


class _OfCall:
    """The children of calls of one method and target that ended in the same way."""

    __slots__ = ("cache_creation_input", "cached_input", "calls", "input", "method", "output", "reasoning")

    def __init__(self, calls: Count, method: _OfMethod, tokens: Counts, target: tuple[str, ...]) -> None:
        self.calls = calls
        self.method = method
        self.input = tokens.child("input", *target)
        self.output = tokens.child("output", *target)
        self.cached_input = tokens.child("cached_input", *target)
        self.cache_creation_input = tokens.child("cache_creation_input", *target)
        self.reasoning = tokens.child("reasoning", *target)


class _Families:
    """The metrics that calls are counted in, without children."""

    def __init__(self, registry: CollectorRegistry) -> None:
        of_call = ("service", "method", "api")
        of_target = ("provider", "api", "endpoint", "model")

        def counter(name: str, meaning: str, labels: Sequence[str], *, zeros: bool = True) -> Counts:
            made = Counts(name, meaning, labels, zeros=zeros)
            registry.register(made)
            return made

        def histogram(
            name: str, meaning: str, bounds: Sequence[float], labels: Sequence[str] = of_call
        ) -> Distributions:
            made = Distributions(name, meaning, bounds, labels)
            registry.register(made)
            return made

        self.calls = counter(
            "integration_api_calls",
            "Calls that ended, by the status and the reason that the client gets.",
            ("service", "method", "status", "reason", *of_target),
        )
        self.tokens = counter(
            "integration_api_tokens", "Tokens as endpoints counted them.", ("kind", *of_target), zeros=False
        )
        self.endpoint_errors = counter(
            "integration_api_endpoint_errors", "Attempts that an endpoint failed.", ("endpoint", "kind")
        )
        self.frames = counter("integration_api_frames", "Messages of answers.", of_call)
        self.retries = counter("integration_api_retries", "HTTP requests of a call behind its first.", of_call)
        self.duration = histogram("gen_ai_client_operation_duration_seconds", "Calls from start to end.", DURATION)
        self.first_output = histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds", "From a call's start to its output.", FIRST_OUTPUT
        )
        self.between = histogram(
            "integration_api_between_outputs_seconds", "From output to output, the mean of each stream.", BETWEEN
        )
        self.overhead = histogram(
            "integration_api_overhead_seconds", "What a call spent here, waiting for nobody.", OVERHEAD
        )
        self.added_first = histogram(
            "integration_api_first_output_overhead_seconds", "The same up to the first output.", OVERHEAD
        )
        self.added_between = histogram(
            "integration_api_between_outputs_overhead_seconds",
            "The same from output to output, the mean of each stream.",
            ADDED,
        )
        self.loop_lag = histogram("integration_api_event_loop_lag_seconds", "How late timers run.", LAG, ())


class Metrics(Observer):
    """Counts calls. Make it inside the running event loop. `version` is the program's, `readings` stand beside its
    own numbers."""

    def __init__(self, version: str, readings: Sequence[Reading] = ()) -> None:
        self._registry = made = CollectorRegistry()
        self._destinations = Destinations()
        self._counted = _Families(made)
        self._loop_lag = LoopLag(self._counted.loop_lag.child().observe)
        Gauge("integration_api_build_info", "The program.", ("version",), registry=made).labels(version).set(1)
        made.register(_Readings(readings))
        self._of_method: dict[tuple[str, str, str], _OfMethod] = {}
        self._of_call: dict[tuple[str, ...], _OfCall] = {}  # no more than there are series

    async def text(self) -> bytes:
        """All of it as Prometheus reads it. The numbers are those of now; the text of thousands of series takes ten
        times as long as they do, and is made in a thread, so that no token waits for a scrape."""
        return await asyncio.to_thread(generate_latest, _Collected(tuple(self._registry.collect())))

    def start(self) -> None:
        """Measure the event loop, too."""
        self._loop_lag.start()

    def stop(self) -> None:
        """Measure it no longer."""
        self._loop_lag.stop()

    def attempt(self, report: CallReport, error: CallerError | None) -> None:
        """Count what an endpoint failed with."""
        if not isinstance(error, EndpointFailed | EndpointRefused):
            return
        endpoint, _ = self._destinations.of(report.client, report.endpoint, report.model)
        self._counted.endpoint_errors.child(endpoint, reason_of(error)[1]).add()

    def ended(self, report: CallReport, error: BaseException | None) -> None:
        """Count the call, and what it took."""
        del error
        counts = self._counts(report)
        counts.calls.value += 1
        usage = report.usage
        if usage is not None:
            if usage.input:
                counts.input.value += usage.input
            if usage.output:
                counts.output.value += usage.output
            if usage.cached_input:
                counts.cached_input.value += usage.cached_input
            if usage.cache_creation_input:
                counts.cache_creation_input.value += usage.cache_creation_input
            if usage.reasoning:
                counts.reasoning.value += usage.reasoning
        _measure(report, counts.method)

    def _counts(self, report: CallReport) -> _OfCall:
        """The children of a call that ended so. A key is made of labels, so there are as few as series."""
        api = provider = endpoint = model = ""
        if report.api:
            provider, api = report.provider, report.api
            endpoint, model = self._destinations.of(report.client, report.endpoint, report.model)
        key = (report.service, report.method, report.status, report.reason, provider, api, endpoint, model)
        found = self._of_call.get(key)
        if found is None:
            counted = self._counted
            found = _OfCall(counted.calls.child(*key), self._method(report), counted.tokens, key[4:])
            self._of_call[key] = found
        return found

    def _method(self, report: CallReport) -> _OfMethod:
        key = (report.service, report.method, report.api)
        children = self._of_method.get(key)
        if children is None:
            children = self._of_method[key] = _OfMethod(
                self._counted.duration.child(*key),
                self._counted.first_output.child(*key),
                self._counted.between.child(*key),
                self._counted.overhead.child(*key),
                self._counted.added_first.child(*key),
                self._counted.added_between.child(*key),
                self._counted.frames.child(*key),
                self._counted.retries.child(*key),
            )
        return children


def _measure(report: CallReport, method: _OfMethod) -> None:
    if report.ended is not None:
        method.duration.observe(report.ended - report.started)
    if report.overhead is not None:
        method.overhead.observe(report.overhead)
    if report.frames:
        method.frames.value += report.frames
    if report.attempts > 1:
        method.retries.value += report.attempts - 1
    if report.first_output is None or report.first_overhead is None:
        return
    method.first_output.observe(report.first_output - report.started)
    method.added_first.observe(report.first_overhead)
    gaps = report.outputs - 1
    # The end of a good answer is right behind its last output; another end may come at any time.
    if (
        gaps > 0
        and report.outcome is Outcome.COMPLETED
        and report.ended is not None
        and report.last_overhead is not None
    ):
        method.between.observe((report.ended - report.first_output) / gaps)
        method.added_between.observe((report.last_overhead - report.first_overhead) / gaps)
