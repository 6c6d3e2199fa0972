"""Errors of the service in words for a person at a terminal: status, reason, violated fields, what to do.

Rule: status in, text out. It repeats what the service said, which holds no secret, and nothing of the request.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import grpc

from integration_api.client import ServiceError, service_error
from integration_api.commands.unreachable import remedy_when_unreachable

# Where what to do is said by a flag of the command. Elsewhere the service's own words hold.
_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "UNKNOWN_PROVIDER": "name one that the service has with --provider: `integration-api providers` lists them",
        "CREDENTIAL_INVALID": "look at --base-url, --key, --header and --compatibility",
        "REQUEST_INVALID": "look at --param, --parameters, --tool and the message",
        "NOT_SUPPORTED_BY_API": "leave it out, or choose another --compatibility",
        "CALLER_UNAUTHENTICATED": "say who you are with --token (env:NAME and @FILE are read)",
        "CREDENTIAL_NOT_FOUND": "look at --credential: the service has none of that name",
        "ENDPOINT_UNAUTHENTICATED": "give the key that the endpoint asks for: --key env:NAME",
        "ENDPOINT_NOT_FOUND": "look at the path of --base-url: most endpoints want …/v1",
        "MODEL_NOT_FOUND": "name a model the endpoint has with --model",
        "ENDPOINT_PROTOCOL_ERROR": "look at --compatibility and --base-url: does the endpoint speak this API there?",
    }
)
# For statuses that the service did not make: it was not reached, or is something else.
_WITHOUT_REASON: Mapping[grpc.StatusCode, str] = MappingProxyType(
    {
        grpc.StatusCode.UNIMPLEMENTED: "what answers at --address is not this service, or an older one",
        grpc.StatusCode.DEADLINE_EXCEEDED: "no answer within --timeout: is the endpoint slow?",
        grpc.StatusCode.UNAUTHENTICATED: "say who you are with --token (env:NAME and @FILE are read)",
    }
)


def explained(error: grpc.aio.AioRpcError) -> str:
    """The error as lines of text."""
    return "\n".join(_lines(service_error(error)))


def _lines(error: ServiceError) -> Iterator[str]:
    yield f"{error.code.name} · {error.reason}" if error.reason else error.code.name
    yield f"  {error.message}"
    for violation in error.violations:
        yield f"  field {violation.field}: {violation.description}"
    if error.metadata:
        yield f"  known: {', '.join(f'{key} {error.metadata[key]}' for key in sorted(error.metadata))}"
    if error.retry_delay is not None:
        yield f"  again: makes sense after {error.retry_delay:g} s"
    if error.request_id:
        yield f"  request: {error.request_id}"
    remedy = _remedy(error)
    if remedy:
        yield f"  what to do: {remedy}"
    if error.help_url:
        yield f"  more: {error.help_url}"


def _remedy(error: ServiceError) -> str:
    if not error.reason and error.code is grpc.StatusCode.UNAVAILABLE:
        return remedy_when_unreachable(error.message)
    if not error.reason:
        return _WITHOUT_REASON.get(error.code, "")
    return _FLAGS.get(error.reason) or error.remedy
