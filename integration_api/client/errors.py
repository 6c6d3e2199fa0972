"""What a failed call says, as one exception.

Rule: a gRPC status in, a `ServiceError` out. The service puts everything into the status and its details; nothing is
guessed here. A status without our details comes from elsewhere: a proxy, gRPC itself, another server.
"""

from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from integration_api.v1 import messages_pb2 as msg

_DETAILS = "grpc-status-details-bin"
_PUSHBACK = "grpc-retry-pushback-ms"
_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of the request, by its path, and what is wrong with it."""

    field: str
    description: str


# Not frozen: an exception's traceback is written to it. Not compared by value, as exceptions are not.
@dataclass(eq=False)
class ServiceError(Exception):
    """A call that failed.

    Attributes:
        code: the gRPC status.
        message: what happened, in a sentence.
        reason: a word of the contract's `ErrorReason` without its prefix; empty when the status is not the service's.
        remedy: what to do about it; empty when the status is not the service's.
        help_url: where the documentation says more; a path in the project, unless the service was told a URL.
        fault: who must act: `client`, `policy`, `endpoint` or `service`; empty when the status is not the service's.
        violations: what is wrong with which fields of the request.
        retry_delay: seconds after which asking again makes sense; None where the service does not invite it.
        request_id: the call's id in the service's log.
        usage: the tokens that the endpoint reported before it failed, or None.
        metadata: everything else that is known, such as `provider_id`, `http_status`, `endpoint_code`, `attempts`.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    remedy: str = ""
    fault: str = ""
    violations: tuple[Violation, ...] = ()
    retry_delay: float | None = None
    request_id: str = ""
    usage: msg.Usage | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    help_url: str = ""

    def __str__(self) -> str:
        word = f"{self.code.name} {self.reason}".rstrip()
        return f"{word}: {self.message}" + (f" (what to do: {self.remedy})" if self.remedy else "")


class IncompleteAnswer(ServiceError):
    """A stream that ended well and without its `completed` frame: something between us and the service cut it."""


def service_error(error: grpc.RpcError) -> ServiceError:
    """What an error of gRPC says; of `grpc.aio` and of the synchronous API alike.

    Raises:
        TypeError: it is no error of a finished call.
    """
    code, details, trailing = (getattr(error, name, None) for name in ("code", "details", "trailing_metadata"))
    if code is None or details is None or trailing is None:
        raise TypeError(f"{type(error).__name__} has no status")
    trailers: dict[str, str | bytes] = dict(tuple(trailing() or ()))
    status = status_of(trailers)
    info = detail(status, error_details_pb2.ErrorInfo())
    bad = detail(status, error_details_pb2.BadRequest())
    links = detail(status, error_details_pb2.Help()).links
    partial = detail(status, msg.PartialUsage())
    return ServiceError(
        code=code(),
        message=details() or "",
        reason=info.reason,
        remedy=links[0].description if links else "",
        fault=info.metadata.get("fault", ""),
        violations=tuple(Violation(each.field, each.description) for each in bad.field_violations),
        retry_delay=_pushback(trailers.get(_PUSHBACK)),
        request_id=detail(status, error_details_pb2.RequestInfo()).request_id,
        usage=partial.usage if partial.HasField("usage") else None,
        metadata=dict(info.metadata),
        help_url=links[0].url if links else "",
    )


def retry_delay(error: grpc.RpcError) -> float | None:
    """Seconds after which the service invites another attempt; None where it does not."""
    return _pushback(dict(tuple(error.trailing_metadata() or ())).get(_PUSHBACK))


def status_of(trailers: dict[str, str | bytes]) -> status_pb2.Status:
    """The status with details among the trailers; an empty one where there is none that can be read."""
    packed = trailers.get(_DETAILS, b"")
    try:
        return status_pb2.Status.FromString(packed if isinstance(packed, bytes) else b"")
    except DecodeError:
        return status_pb2.Status()


def detail(status: status_pb2.Status, empty: _Detail) -> _Detail:
    """The detail of this kind; `empty` itself where the status has none."""
    for packed in status.details:
        if packed.Unpack(empty):
            break
    return empty


def _pushback(value: str | bytes | None) -> float | None:
    if not isinstance(value, str) or not value.isdecimal():
        return None
    return int(value) / 1000
