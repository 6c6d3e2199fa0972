"""Ways to a collector: OTLP over HTTP and over gRPC, as the `OTEL_EXPORTER_OTLP_*` variables say. They send bytes.

Source: opentelemetry.io/docs/specs/otel/protocol/exporter; timeouts in seconds, as in OpenTelemetry's Python.
Values of headers are secrets: no failure repeats them.
"""

import gzip
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_CERTIFICATE,
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE,
    OTEL_EXPORTER_OTLP_CLIENT_KEY,
    OTEL_EXPORTER_OTLP_COMPRESSION,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_HEADERS,
    OTEL_EXPORTER_OTLP_INSECURE,
    OTEL_EXPORTER_OTLP_TIMEOUT,
)
from opentelemetry.util.re import parse_env_headers

from integration_api.telemetry.span_batches import Failure, Sender

_OF_ALL: Final = "OTEL_EXPORTER_OTLP_"
_OF_TRACES: Final = "OTEL_EXPORTER_OTLP_TRACES_"
_SECONDS: Final = 10.0
_MOST_SECONDS: Final = 3600.0
_RETRIED: Final = frozenset({408, 429, 502, 503, 504})
_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_RETRIED_CODES: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)


def span_sender(*, over_grpc: bool) -> Sender:
    """What the variables ask for.

    Raises:
        OSError: a certificate or key cannot be read.
        ValueError: a variable holds something that there is not.
    """
    return _OverGrpc() if over_grpc else _OverHttp()


def _variable(name: str) -> str:
    """The variable's value for traces, or that for all."""
    return (os.environ.get(name.replace(_OF_ALL, _OF_TRACES)) or os.environ.get(name) or "").strip()


def _headers() -> Mapping[str, str]:
    return parse_env_headers(_variable(OTEL_EXPORTER_OTLP_HEADERS), liberal=True)


def _timeout() -> float:
    given = _variable(OTEL_EXPORTER_OTLP_TIMEOUT)
    try:
        seconds = float(given or _SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MOST_SECONDS:
        raise ValueError(f"{OTEL_EXPORTER_OTLP_TIMEOUT} is {given!r}: a number of seconds above zero")
    return seconds


def _compression(*known: str) -> str:
    given = _variable(OTEL_EXPORTER_OTLP_COMPRESSION).lower() or "none"
    if given not in ("none", *known):
        raise ValueError(f"{OTEL_EXPORTER_OTLP_COMPRESSION} is {given!r}: none or {' or '.join(known)}")
    return given


class _OverHttp:
    """Posts protobuf."""

    def __init__(self) -> None:
        import requests  # noqa: PLC0415 -- only what is used

        self.timeout = _timeout()
        own = os.environ.get(OTEL_EXPORTER_OTLP_ENDPOINT.replace(_OF_ALL, _OF_TRACES), "").strip()
        base = os.environ.get(OTEL_EXPORTER_OTLP_ENDPOINT, "").strip() or "http://localhost:4318"
        self._url = own or base.rstrip("/") + "/v1/traces"
        self._compression = _compression("gzip", "deflate")
        self._unreachable = (requests.ConnectionError, requests.Timeout)
        self._session = requests.Session()
        self._session.headers.update({"Content-Type": "application/x-protobuf", **_headers()})
        if self._compression != "none":
            self._session.headers["Content-Encoding"] = self._compression
        self._verify: str | bool = _variable(OTEL_EXPORTER_OTLP_CERTIFICATE) or True
        certificate, key = _variable(OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE), _variable(OTEL_EXPORTER_OTLP_CLIENT_KEY)
        if certificate:
            self._session.cert = (certificate, key) if key else certificate

    def send(self, request: bytes, seconds: float) -> Failure | None:
        if self._compression == "gzip":
            request = gzip.compress(request, 6)
        elif self._compression == "deflate":
            request = zlib.compress(request)
        try:
            answer = self._session.post(self._url, request, timeout=seconds, verify=self._verify, allow_redirects=False)
        except self._unreachable as error:
            return Failure(type(error).__name__, again=True)
        if 200 <= answer.status_code < 300:
            return None
        after = None
        with suppress(ValueError):  # a date, or nothing
            after = max(0.0, float(answer.headers.get("Retry-After", "")))
        return Failure(f"HTTP status {answer.status_code}", answer.status_code in _RETRIED, after)

    def close(self) -> None:
        self._session.close()


class _OverGrpc:
    """Calls the collector's TraceService."""

    def __init__(self) -> None:
        import grpc  # noqa: PLC0415 -- only what is used

        self.timeout = _timeout()
        given = _variable(OTEL_EXPORTER_OTLP_ENDPOINT) or "http://localhost:4317"
        url = urlsplit(given)
        secure = url.scheme == "https" or (
            url.scheme != "http" and _variable(OTEL_EXPORTER_OTLP_INSECURE).lower() != "true"
        )
        gzipped = _compression("gzip") == "gzip"
        compression = grpc.Compression.Gzip if gzipped else grpc.Compression.NoCompression
        target = url.netloc or given
        if secure:
            root, key, chain = map(
                _file,
                (OTEL_EXPORTER_OTLP_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY, OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE),
            )
            credentials = grpc.ssl_channel_credentials(root, key, chain)
            self._channel = grpc.secure_channel(target, credentials, compression=compression)
        else:
            self._channel = grpc.insecure_channel(target, compression=compression)
        self._error = grpc.RpcError
        self._export = self._channel.unary_unary(_EXPORT)
        self._metadata = tuple(_headers().items())

    def send(self, request: bytes, seconds: float) -> Failure | None:
        try:
            self._export(request, timeout=seconds, metadata=self._metadata)
        except self._error as error:
            code: str = error.code().name
            return Failure(f"gRPC status {code}", code in _RETRIED_CODES)
        return None

    def close(self) -> None:
        self._channel.close()


def _file(name: str) -> bytes | None:
    path = _variable(name)
    if not path:
        return None
    with open(path, "rb") as file:  # noqa: PTH123 -- a path of the environment, read once at the start
        return file.read()
