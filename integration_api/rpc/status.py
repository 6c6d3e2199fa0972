"""Errors as gRPC statuses: the one table of kind to status and reason, and the details that go with it."""

import random
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from caller import errors
from caller.call import AttemptMade, CallReport, Passed
from caller.errors import CallerError, Retry
from caller.remedies import remedy_of
from integration_api.codec.common import seconds, usage
from integration_api.v1 import messages_pb2 as msg

DOMAIN = "integration-api"
# The page that explains every reason: its path in the project. Operators who publish it name its URL.
HELP_PAGE = "docs/errors.md"
_MAX_VIOLATIONS = 16
# All trailers together, as gRPC writes them: nginx has room for 4 KB by default, with what gRPC adds itself, and
# answers 502 to more. C-core's clients want less than 8 KB.
_MAX_TRAILERS = 3_900
# Of them the attempts of a call, before base64; and of each the name of its endpoint.
_MAX_ATTEMPTS = 800
_MAX_ENDPOINT = 100
_TYPE_URL = "type.googleapis.com/"
# The type's name around a detail, and lengths.
_PACKING = 64
# What a client waits when we know that a retry helps and nobody said when.
_DEFAULT_DELAY = 1.0
# Another instance answers at once; spread, so that the clients of one that stops do not come all together.
_DRAINING_DELAY = 0.1
_CODE = grpc.StatusCode

TABLE: dict[type[CallerError], tuple[grpc.StatusCode, str]] = {
    errors.UnknownProvider: (_CODE.INVALID_ARGUMENT, "UNKNOWN_PROVIDER"),
    errors.CredentialInvalid: (_CODE.INVALID_ARGUMENT, "CREDENTIAL_INVALID"),
    errors.RequestInvalid: (_CODE.INVALID_ARGUMENT, "REQUEST_INVALID"),
    errors.NotSupportedByApi: (_CODE.INVALID_ARGUMENT, "NOT_SUPPORTED_BY_API"),
    errors.CallerUnauthenticated: (_CODE.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED"),
    errors.CredentialNotFound: (_CODE.NOT_FOUND, "CREDENTIAL_NOT_FOUND"),
    errors.CredentialForbidden: (_CODE.PERMISSION_DENIED, "CREDENTIAL_FORBIDDEN"),
    errors.EgressDenied: (_CODE.PERMISSION_DENIED, "EGRESS_DENIED"),
    errors.EndpointUnauthenticated: (_CODE.UNAUTHENTICATED, "ENDPOINT_UNAUTHENTICATED"),
    errors.EndpointForbidden: (_CODE.PERMISSION_DENIED, "ENDPOINT_FORBIDDEN"),
    errors.EndpointNotFound: (_CODE.NOT_FOUND, "ENDPOINT_NOT_FOUND"),
    errors.ModelNotFound: (_CODE.NOT_FOUND, "MODEL_NOT_FOUND"),
    errors.EndpointRejected: (_CODE.INVALID_ARGUMENT, "ENDPOINT_REJECTED"),
    errors.EndpointPrecondition: (_CODE.FAILED_PRECONDITION, "ENDPOINT_REJECTED"),
    errors.ContextLengthExceeded: (_CODE.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED"),
    errors.ContentFiltered: (_CODE.INVALID_ARGUMENT, "CONTENT_FILTERED"),
    errors.QuotaExhausted: (_CODE.RESOURCE_EXHAUSTED, "QUOTA_EXHAUSTED"),
    errors.EndpointRateLimited: (_CODE.RESOURCE_EXHAUSTED, "ENDPOINT_RATE_LIMITED"),
    errors.EndpointOverloaded: (_CODE.UNAVAILABLE, "ENDPOINT_OVERLOADED"),
    errors.EndpointError: (_CODE.INTERNAL, "ENDPOINT_ERROR"),
    errors.EndpointUnreachable: (_CODE.UNAVAILABLE, "ENDPOINT_UNREACHABLE"),
    errors.ConnectTimeout: (_CODE.UNAVAILABLE, "CONNECT_TIMEOUT"),
    errors.EndpointTls: (_CODE.FAILED_PRECONDITION, "ENDPOINT_TLS"),
    errors.ProtocolError: (_CODE.INTERNAL, "ENDPOINT_PROTOCOL_ERROR"),
    errors.StreamInterrupted: (_CODE.UNAVAILABLE, "STREAM_INTERRUPTED"),
    errors.StreamCut: (_CODE.ABORTED, "STREAM_INTERRUPTED"),
    errors.ResponseTooLarge: (_CODE.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE"),
    errors.FirstOutputTimeout: (_CODE.DEADLINE_EXCEEDED, "FIRST_OUTPUT_TIMEOUT"),
    errors.BetweenOutputsTimeout: (_CODE.DEADLINE_EXCEEDED, "BETWEEN_OUTPUTS_TIMEOUT"),
    errors.TotalTimeout: (_CODE.DEADLINE_EXCEEDED, "TOTAL_TIMEOUT"),
    errors.ServiceOverloaded: (_CODE.RESOURCE_EXHAUSTED, "SERVICE_OVERLOADED"),
    errors.ServiceDraining: (_CODE.UNAVAILABLE, "SERVICE_DRAINING"),
    errors.ServiceStopped: (_CODE.ABORTED, "SERVICE_DRAINING"),
    errors.InternalError: (_CODE.INTERNAL, "INTERNAL"),
}


@dataclass(frozen=True, slots=True)
class StatusDetails:
    """How a failed call ends on the wire."""

    code: grpc.StatusCode
    reason: str
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


def reason_of(error: CallerError) -> tuple[grpc.StatusCode, str]:
    """The status and the reason of an error, found by its class or the nearest of its parents."""
    return _row(type(error))


def _row(failure: type[CallerError]) -> tuple[grpc.StatusCode, str]:
    for kind in failure.__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return TABLE[errors.InternalError]


def status_details(
    error: CallerError, report: CallReport, request_id: str, help_page: str = HELP_PAGE
) -> StatusDetails:
    """The status, its text and its trailers: the error says what happened, the record whose call it was, where it
    went, and what it used. `help_page` has a section for every reason, with the reason in lower case as its anchor."""
    code, reason = reason_of(error)
    delay = retry_delay(error, report.attempts)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=_metadata(error, report)),
        error_details_pb2.RequestInfo(request_id=request_id),
        error_details_pb2.Help(
            links=[error_details_pb2.Help.Link(description=remedy_of(error), url=f"{help_page}#{reason.lower()}")]
        ),
    ]
    if delay is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=seconds(delay)))
    if report.usage is not None:
        details.append(msg.PartialUsage(usage=usage(report.usage)))
    if len(report.made) > 1 or report.asked is not None:
        details.append(_failed_attempts(report))
    status = status_pb2.Status(code=code.value[0], details=[_packed(detail) for detail in details])
    trailers = (
        ("grpc-retry-pushback-ms", "-1" if delay is None else str(round(delay * 1000))),
        ("x-request-id", request_id),
        ("x-attempts", str(report.attempts)),
    )
    space = _MAX_TRAILERS - _in_base64(status.ByteSize()) - sum(len(name) + len(value) for name, value in trailers)
    # One byte of text costs a byte of the status text and 4/3 of the details; see `trailer_size`.
    status.message = errors.clipped(error.message, min(errors.MAX_MESSAGE_BYTES, space * 3 // 7))
    space -= errors.trailer_size(status.message) * 7 // 3
    if error.violations:
        status.details.append(_packed(_bad_request(error, space * 3 // 4)))
    return StatusDetails(
        code, reason, status.message, (("grpc-status-details-bin", status.SerializeToString()), *trailers)
    )


def retry_delay(error: CallerError, attempts: int) -> float | None:
    """Seconds after which the client's own retry makes sense; None where it does not. `attempts` are ours."""
    if error.after_output or error.final or error.retry is Retry.NEVER:
        return None
    if isinstance(error, errors.ServiceDraining):
        return random.uniform(0, _DRAINING_DELAY)  # noqa: S311 -- a delay, no secret
    if isinstance(error, errors.ServiceError):  # the endpoint is well, another instance of ours will do
        return _DEFAULT_DELAY if error.retry_after is None else error.retry_after
    if attempts > 1:
        return None  # we tried ourselves: the client's retries would multiply ours, whatever the endpoint wishes
    return _DEFAULT_DELAY if error.retry_after is None else error.retry_after


def _metadata(error: CallerError, report: CallReport) -> dict[str, str]:
    known = {
        "provider_id": report.provider,
        "api": report.api,
        "http_status": "" if error.http_status is None else str(error.http_status),
        "endpoint_code": error.endpoint_code,
        "endpoint_request_id": error.endpoint_request_id or report.endpoint_request_id,
        "url": errors.clipped(report.url, 300),
        "attempts": str(report.attempts) if report.attempts else "",
        "fault": error.fault.value,
    }
    return {key: value for key, value in known.items() if value}


def attempts_made(report: CallReport) -> list[msg.Attempt]:
    """The attempts of a call, in the order in which they began."""
    ordered = sorted(report.made, key=lambda made: made.started) if report.made[1:] else report.made
    return [_attempt(made, report.started) for made in ordered]


def _attempt(made: AttemptMade, call_started: float) -> msg.Attempt:
    reason = made.reason
    word = reason.value if isinstance(reason, Passed) else "" if reason is None else _row(reason)[1]
    return msg.Attempt(
        target=made.target,
        label=made.label,
        endpoint=made.endpoint,
        reason=word,
        started=seconds(made.started - call_started),
        first_output=None if made.first_output is None else seconds(made.first_output - call_started),
        usage=None if made.usage is None else usage(made.usage),
    )


def _failed_attempts(report: CallReport) -> msg.FailedAttempts:
    """As many of a call's attempts as fit into a status."""
    failed = msg.FailedAttempts()
    for attempt in attempts_made(report):
        attempt.endpoint = errors.clipped(attempt.endpoint, _MAX_ENDPOINT)
        failed.attempts.append(attempt)
        if failed.ByteSize() > _MAX_ATTEMPTS:
            del failed.attempts[-1]
            break
    return failed


def _bad_request(error: CallerError, space: int) -> error_details_pb2.BadRequest:
    """As many violations as fit into so many bytes; the first in any case."""
    bad = error_details_pb2.BadRequest()
    for violation in error.violations[:_MAX_VIOLATIONS]:
        bad.field_violations.add(
            field=errors.clipped(violation.field, 200), description=errors.clipped(violation.description, 300)
        )
        if bad.ByteSize() > space - _PACKING and len(bad.field_violations) > 1:
            del bad.field_violations[-1]
            break
    return bad


def _in_base64(size: int) -> int:
    return (size * 4 + 2) // 3


def _packed(detail: Message) -> any_pb2.Any:
    # As its Pack does, in a third of the time.
    return any_pb2.Any(type_url=_TYPE_URL + detail.DESCRIPTOR.full_name, value=detail.SerializeToString())
