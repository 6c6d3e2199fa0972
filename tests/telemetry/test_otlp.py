"""Spans on the wire: the bytes are those of OpenTelemetry's own encoder, and they arrive as the variables say."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from integration_api.telemetry import otlp_spans
from integration_api.telemetry.otlp_senders import span_sender
from integration_api.telemetry.otlp_spans import Envelope
from integration_api.telemetry.span_batches import SpanBatches
from tests.patience import within

SECRET = "canary-of-the-collector"
VALUES = st.one_of(
    st.text(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.lists(st.text())
)
IDS = st.integers(1, 2**64 - 1)


@given(
    values=st.dictionaries(st.text(min_size=1), VALUES, max_size=5),
    ids=st.tuples(IDS, IDS, st.none() | IDS),
    name=st.text(),
    failed=st.booleans(),
    state=st.sampled_from(["", "vendor=value"]),
)
def test_a_span_is_written_as_opentelemetry_writes_it(
    values: dict[str, Any], ids: tuple[int, int, int | None], name: str, failed: bool, state: str
) -> None:
    """Field by field, whatever its attributes are; the trace's own flags, which are beside, are added."""
    trace, own, parent = ids
    context = SpanContext(trace, own, False, TraceFlags(1), TraceState.from_header([state]))
    span = ReadableSpan(
        name,
        context,
        None if parent is None else SpanContext(trace, parent, True, TraceFlags(1)),
        Resource({"service.name": "s", "number": 7}, "https://schema"),
        values,
        [Event("first_output", timestamp=3)],
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=1,
        end_time=2**63,
        instrumentation_scope=InstrumentationScope("scope", "1.0"),
    )
    expected = encode_spans([span])
    expected.resource_spans[0].scope_spans[0].spans[0].flags |= 1

    parts = [
        otlp_spans.name(name) + otlp_spans.CLIENT,
        otlp_spans.attributes(values),
        otlp_spans.event(b"first_output", 3),
        otlp_spans.FAILED if failed else b"\x7a\x00",
    ]
    wired = (trace.to_bytes(16, "big"), own.to_bytes(8, "big"), b"" if parent is None else parent.to_bytes(8, "big"))
    written = otlp_spans.span(wired, (1, 2**63), 1, state, parts, remote=parent is not None)
    envelope = Envelope({"service.name": "s", "number": 7}, "https://schema", "scope", "1.0")

    assert ExportTraceServiceRequest.FromString(envelope.request([written])) == expected


@given(text=st.text(), number=st.integers(-(2**63), 2**63 - 1), part=st.floats(allow_nan=False))
def test_the_quick_ways_write_the_same(text: str, number: int, part: float) -> None:
    """As the general one."""
    name = otlp_spans.key("an.attribute")
    assert otlp_spans.text_attribute(name, text) == otlp_spans.attributes({"an.attribute": text})
    assert otlp_spans.int_attribute(name, number) == otlp_spans.attributes({"an.attribute": number})
    assert otlp_spans.float_attribute(name, part) == otlp_spans.attributes({"an.attribute": part})


class _Http(ThreadingHTTPServer):
    """Answers with these statuses, one after the other, the last for ever; keeps what it got."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.taken = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        statuses = self.server.statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        if status == 200:
            self.server.taken.set()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def http_collector(monkeypatch: pytest.MonkeyPatch, *statuses: int) -> Iterator[_Http]:
    with _Http(*statuses) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{server.server_port}/own/path")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRET}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_batch_is_sent_again_where_that_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed, with the variables' headers, to the address that is for traces only; a collector that comes back has
    it once."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    with http_collector(monkeypatch, 503, 200) as server:
        batches = SpanBatches(span_sender(over_grpc=False), b"".join)
        batches.start()
        batches.put([b"one", b"two"])
        assert server.taken.wait(within(5))
        batches.close()

    assert [gzip.decompress(body) for _, body in server.received] == [b"onetwo", b"onetwo"]
    headers = server.received[0][0]
    assert (headers["content-type"], headers["api-key"]) == ("application/x-protobuf", SECRET)
    assert batches.lost == 0


def test_what_a_collector_refuses_or_the_queue_does_not_take_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """And said in a line, without the headers that carry its key."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "3")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    with http_collector(monkeypatch, 401) as server, structlog.testing.capture_logs() as logs:
        batches = SpanBatches(span_sender(over_grpc=False), b"".join)
        batches.put([b"1", b"2", b"3", b"4"])
        batches.put([b"5"])
        batches.start()
        batches.close()

    assert [body for _, body in server.received] == [b"12", b"3"], "in batches, in their order, and once each"
    assert batches.lost == 5
    assert [(line["event"], line["spans"], line["reason"]) for line in logs] == [
        ("traces.lost", 4, "HTTP status 401"),
        ("traces.lost", 1, "HTTP status 401"),
    ]
    assert SECRET not in str(logs)


def test_a_batch_that_is_full_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """For its time, which is an hour here."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    sent = threading.Event()

    class Sender:
        timeout = 1.0

        def send(self, request: bytes, seconds: float) -> None:
            del request, seconds
            sent.set()

        def close(self) -> None:
            """Nothing."""

    batches = SpanBatches(Sender(), b"".join)
    batches.start()
    batches.put([b"1"])
    assert not sent.is_set()
    batches.put([b"2"])
    assert sent.wait(within(5))
    batches.close()


def test_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the TraceService, with the variables' headers; a status that passes is tried again."""
    received: list[tuple[bytes, dict[str, str]]] = []

    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        received.append((request, {key: str(value) for key, value in context.invocation_metadata()}))
        if len(received) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")
        return b""

    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRET}")
        sender = span_sender(over_grpc=True)
        first, second = sender.send(b"spans", 5), sender.send(b"spans", 5)
        sender.close()
    finally:
        server.stop(None).wait()

    assert first is not None
    assert (first.why, first.again, second) == ("gRPC status UNAVAILABLE", True, None)
    assert [request for request, _ in received] == [b"spans", b"spans"]
    assert received[0][1]["api-key"] == SECRET


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
    ],
)
def test_a_value_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """By the name of its variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} is '{value}'"):
        SpanBatches(span_sender(over_grpc=False), b"".join)
