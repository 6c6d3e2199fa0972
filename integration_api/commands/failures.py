"""Errors of the service in words for a person at a terminal: status, reason, violated fields, what to do.

Rule: status in, text out. It repeats what the service said, which holds no secret, and nothing of the request.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from caller.remedies import remedy_for
from integration_api.rpc.status import TABLE

_Detail = TypeVar("_Detail", bound=Message)
_DETAILS = "grpc-status-details-bin"

# Where the command has words of its own for what to do: its flags. Elsewhere the service's words hold.
_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "UNKNOWN_PROVIDER": "name a provider that the service has with --provider",
        "CREDENTIAL_INVALID": "look at --base-url, --header and --compatibility",
        "REQUEST_INVALID": "look at --param, --parameters, --tool and the message",
        "NOT_SUPPORTED_BY_API": "leave it out, or choose another --compatibility",
        "CALLER_UNAUTHENTICATED": "say who you are with --token (env:NAME and @FILE are read)",
        "CREDENTIAL_NOT_FOUND": "look at --credential: the service has none of that name",
        "CREDENTIAL_FORBIDDEN": "another --token, or the service's operator: the credential is not for you",
        "EGRESS_DENIED": "the service's operator decides where it may call: egress_policy and egress_allow",
        "ENDPOINT_UNAUTHENTICATED": "give the key the endpoint asks for, as in --header 'Authorization=Bearer env:KEY'",
        "ENDPOINT_FORBIDDEN": "the key is known but may not do this: look at its rights at the endpoint",
        "ENDPOINT_NOT_FOUND": "look at the path of --base-url: most endpoints want …/v1",
        "MODEL_NOT_FOUND": "name a model the endpoint has with --model",
        "ENDPOINT_RATE_LIMITED": "wait, then ask again",
        "ENDPOINT_OVERLOADED": "wait, then ask again",
        "QUOTA_EXHAUSTED": "look at the account's quota at the endpoint",
        "ENDPOINT_UNREACHABLE": "is the endpoint running, and can the service (not this command) reach its address?",
        "CONNECT_TIMEOUT": "is the endpoint running, and can the service (not this command) reach its address?",
        "ENDPOINT_TLS": "the service's operator can trust a private authority with endpoint_ca_file",
        "ENDPOINT_PROTOCOL_ERROR": "look at --compatibility and --base-url: does the endpoint speak this API there?",
        "CONTEXT_LENGTH_EXCEEDED": "send less",
        "SERVICE_OVERLOADED": "wait, then ask again",
        "SERVICE_DRAINING": "the service is being stopped: ask again",
    }
)
# For statuses that the service did not make: it was not reached, or is something else.
_WITHOUT_REASON: Mapping[grpc.StatusCode, str] = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: "no service answers at --address: is it running? (integration-api serve)",
        grpc.StatusCode.UNIMPLEMENTED: "what answers at --address is not this service, or an older one",
        grpc.StatusCode.DEADLINE_EXCEEDED: "no answer within --timeout: is the endpoint slow?",
        grpc.StatusCode.UNAUTHENTICATED: "say who you are with --token (env:NAME and @FILE are read)",
    }
)


def remedy_of_reason(reason: str) -> str:
    """What a user of the command can do about an error with this reason; empty for one that is not known here."""
    known = (remedy_for(kind) for kind, (_, word) in TABLE.items() if word == reason)
    return _FLAGS.get(reason) or next(known, "")


def explained(error: grpc.aio.AioRpcError) -> str:
    """The error as lines of text."""
    trailers = error.trailing_metadata() or ()
    status = _status(next((value for key, value in trailers if key == _DETAILS), b""))
    return "\n".join(_lines(error.code(), error.details() or "", status))


def _status(packed: bytes) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(packed)
    except DecodeError:
        return status_pb2.Status()


def _lines(code: grpc.StatusCode, text: str, status: status_pb2.Status) -> Iterator[str]:
    info = _detail(status, error_details_pb2.ErrorInfo())
    yield f"{code.name} · {info.reason}" if info.reason else code.name
    yield f"  {text}"
    for violation in _detail(status, error_details_pb2.BadRequest()).field_violations:
        yield f"  field {violation.field}: {violation.description}"
    known = [f"{key} {info.metadata[key]}" for key in sorted(info.metadata)]
    if known:
        yield f"  known: {', '.join(known)}"
    retry = _detail(status, error_details_pb2.RetryInfo())
    if retry.HasField("retry_delay"):
        yield f"  again: makes sense after {retry.retry_delay.ToTimedelta().total_seconds():g} s"
    request_id = _detail(status, error_details_pb2.RequestInfo()).request_id
    if request_id:
        yield f"  request: {request_id}"
    remedy = remedy_of_reason(info.reason) if info.reason else _WITHOUT_REASON.get(code, "")
    if remedy:
        yield f"  what to do: {remedy}"


def _detail(status: status_pb2.Status, empty: _Detail) -> _Detail:
    """Fills `empty` with the detail of its kind, if there is one."""
    for packed in status.details:
        if packed.Unpack(empty):
            break
    return empty
