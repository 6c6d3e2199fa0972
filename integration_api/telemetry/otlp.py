"""OpenTelemetry's own parts, as the `OTEL_*` variables make them: what samples, what sends spans and metrics by OTLP.

The only module beside `traces` and `genai` that knows the packages of the extra `otel`: the server imports them where
`otel` is on. It knows no calls.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_SDK_DISABLED,
)
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from integration_api.telemetry.genai_metrics import GenAiMetrics
from integration_api.telemetry.otlp_senders import span_sender
from integration_api.telemetry.otlp_spans import Envelope
from integration_api.telemetry.span_batches import SpanBatches

_TRACES_EXPORTER = "OTEL_TRACES_EXPORTER"
_METRICS_EXPORTER = "OTEL_METRICS_EXPORTER"
_HTTP = "http/protobuf"
_GRPC = "grpc"
_OURS = "integration-api"
_CLOSE_SECONDS = 2.0
_UNNAMED = "unknown_service"


@dataclass(frozen=True, slots=True)
class Export:
    """What finished spans are given to, and what metrics are made with; None for what the variables switch off.

    `sampler` is that of spans, `longest` the most characters that a span's text may have, None for any.
    """

    sampler: Sampler
    longest: int | None
    spans: SpanBatches | None
    metrics: GenAiMetrics | None

    def close(self) -> None:
        """Send what waits, and wait two seconds for it at most: the packages themselves would wait half a minute.
        Neither waits for the other: they may have collectors of their own."""
        ends: list[Callable[[], object]] = [] if self.spans is None else [self.spans.close]
        ends += [] if self.metrics is None else [self.metrics.close]
        closing = [threading.Thread(target=end, name="otlp-close", daemon=True) for end in ends]
        for thread in closing:
            thread.start()
        due = time.monotonic() + _CLOSE_SECONDS
        for thread in closing:
            thread.join(max(0.0, due - time.monotonic()))


def export(version: str, scope: InstrumentationScope) -> Export:
    """What the variables ask for. `version` is the program's, `scope` names what is sent.

    Raises:
        OSError: a certificate or key cannot be read.
        ValueError: an exporter, a protocol, an interval or the like that there is not.
    """
    resource = _resource(version)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    disabled = os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"
    spans = metrics = None
    if not disabled and _wanted(_TRACES_EXPORTER):
        sender = span_sender(over_grpc=_protocol(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL) == _GRPC)
        known = {name: value for name, value in resource.attributes.items() if isinstance(value, str | int | float)}
        envelope = Envelope(known, resource.schema_url, scope.name, scope.version or "")
        spans = SpanBatches(sender, envelope.request)
    if not disabled and _wanted(_METRICS_EXPORTER):
        exporter = _metric_exporter(_protocol(OTEL_EXPORTER_OTLP_METRICS_PROTOCOL))
        metrics = GenAiMetrics(exporter, resource, scope)
    if spans is not None:
        spans.start()  # behind what may fail
    longest = SpanLimits().max_span_attribute_length
    return Export(provider.sampler, longest, spans, metrics)


def _resource(version: str) -> Resource:
    """What the variables say of this process; our name where they give none."""
    found = Resource.create({SERVICE_VERSION: version})
    if str(found.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
        found = found.merge(Resource({SERVICE_NAME: _OURS}))
    return found


def _wanted(name: str) -> bool:
    chosen = os.environ.get(name, "").strip().lower() or "otlp"
    if chosen not in ("otlp", "none"):
        raise ValueError(f"{name} is {chosen!r}: otlp or none")
    return chosen == "otlp"


def _protocol(name: str) -> str:
    chosen = os.environ.get(name, "") or os.environ.get(OTEL_EXPORTER_OTLP_PROTOCOL, "")
    chosen = chosen.strip().lower() or _HTTP
    if chosen not in (_HTTP, _GRPC):
        raise ValueError(f"{name} is {chosen!r}: {_HTTP} or {_GRPC}")
    return chosen


def _metric_exporter(protocol: str) -> MetricExporter:
    if protocol == _GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as OverGrpc  # noqa: PLC0415 -- only what is used

        return OverGrpc()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as OverHttp  # noqa: PLC0415 -- only what is used

    return OverHttp()
