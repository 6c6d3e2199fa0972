"""Everything that can go wrong with a chat call, as one tree. What it means in gRPC is the edge's business.

* CallerError
  x ClientError                      the client must change something (fault: client)
    + UnknownProvider, CredentialInvalid, RequestInvalid, NotSupportedByApi
    + CallerUnauthenticated, CredentialNotFound
  x PolicyError                      an operator must allow it (fault: policy)
    + EgressDenied, CredentialForbidden
  x EndpointRefused                  the endpoint answered that the client must change something (fault: client)
    + EndpointUnauthenticated, EndpointForbidden, EndpointNotFound, ModelNotFound
    + EndpointRejected, RequestTooLarge, EndpointPrecondition, ContextLengthExceeded, ContentFiltered
    + QuotaExhausted
  x EndpointFailed                   the endpoint must get well (fault: endpoint)
    + EndpointRateLimited, EndpointOverloaded, EndpointError
    + EndpointUnreachable (LostReusedConnection, ProxyUnreachable), ConnectTimeout, EndpointTls
    + ProtocolError, StreamInterrupted, StreamCut, ResponseTooLarge
    + FirstOutputTimeout, BetweenOutputsTimeout, TotalTimeout
      - ClientTimeout                the client's own time passed (fault: client)
  x ServiceError                     we are the reason (fault: service)
    + ServiceOverloaded, ServiceDraining, ServiceStopped, InternalError

Kind, fault and retryability are class data. A message never holds a secret: no header value, no query string.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Self

from caller.events import Usage

MAX_MESSAGE_BYTES = 1024
MAX_REQUEST_ID = 200
_MAX_RECEIVED = 2048
# What gRPC leaves as it is in a status text: doc/PROTOCOL-HTTP2.md of grpc/grpc, "Percent-Encoded".
_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte != ord("%"))
_CUT = "…".encode()
_LEAST = 3
_MAX_CODE = 120


class Fault(Enum):
    """Who must act."""

    CLIENT = "client"
    POLICY = "policy"
    ENDPOINT = "endpoint"
    SERVICE = "service"


class Retry(Enum):
    """Whether a further attempt can help, as long as the client has seen no output."""

    NEVER = "never"
    YES = "yes"
    ONCE = "once"
    IF_SOON = "if soon"  # only when the endpoint's own Retry-After is short


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a request: the path of the field as the client wrote it, and what to do about it."""

    field: str
    description: str


def trailer_size(text: str) -> int:
    """The bytes of a text in UTF-8, those that gRPC percent-encodes counted twice: together with the copy in base64 in
    the details, each costs less than twice what a plain one does."""
    return _weight(text.encode("utf-8", "replace"))


def clipped(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """The text cut to at most `limit` of `trailer_size`: statuses share the limits for headers of all who pass them on,
    and nginx takes 4 KB."""
    if len(text) <= limit // 2 and text.isascii():
        return text
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit and _weight(raw) <= limit:
        return raw.decode()
    raw = raw[:limit]
    fits = bisect_right(range(len(raw) + 1), limit - _weight(_CUT), key=lambda size: _weight(raw[:size])) - 1
    return (raw[: max(fits, 0)] + _CUT).decode("utf-8", "ignore")


def _weight(raw: bytes) -> int:
    return len(raw) + len(raw.translate(None, _PLAIN))


@dataclass(frozen=True, slots=True)
class ForeignText:
    """What an endpoint or a client wrote, as it came, inside of an error's text: what is secret is taken out ahead of
    clipping. At most `limit` of `trailer_size` leave, by default what the rest of the text leaves."""

    words: str
    limit: int | None = None


def _composed(parts: Sequence[str | ForeignText], hide: Callable[[str], str]) -> str:
    """The text of an error: our own words stay whole, those of others are clipped."""
    hidden = [part if isinstance(part, str) else ForeignText(hide(part.words), part.limit) for part in parts]
    texts = [
        part if isinstance(part, str) else "" if part.limit is None else clipped(part.words, part.limit)
        for part in hidden
    ]
    left = MAX_MESSAGE_BYTES - sum(map(trailer_size, texts))
    for number, part in enumerate(hidden):
        if isinstance(part, ForeignText) and part.limit is None:
            texts[number] = clipped(part.words, max(left, _LEAST))
    return clipped("".join(texts))


def _as_it_is(text: str) -> str:
    return text


class CallerError(Exception):
    """The root. Attributes that are empty or None do not apply.

    Where the text repeats what others wrote it is given in parts, see `ForeignText`: `conceal` takes secrets out of it.
    `retry_after` is in seconds; `url` has no query; `usage` is what the failed answer itself reported. `after_output`:
    the client has seen a part of the answer; `final`: the endpoint itself said that a retry does not help. Whose call
    failed, where, and after how many attempts stands in its record, see `call.CallReport`.
    """

    fault: ClassVar[Fault] = Fault.SERVICE
    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(
        self,
        message: str | Sequence[str | ForeignText],
        *,
        violations: Sequence[Violation] = (),
        http_status: int | None = None,
        endpoint_code: str = "",
        endpoint_request_id: str = "",
        retry_after: float | None = None,
        url: str = "",
        usage: Usage | None = None,
    ) -> None:
        self.parts: Sequence[str | ForeignText] = (message,) if isinstance(message, str) else message
        super().__init__(clipped(message) if isinstance(message, str) else _composed(message, _as_it_is))
        self.violations = tuple(violations)
        self.http_status = http_status
        self._unclipped = endpoint_code, endpoint_request_id
        self.endpoint_code = clipped(endpoint_code, _MAX_CODE)
        self.endpoint_request_id = clipped(endpoint_request_id, MAX_REQUEST_ID)
        self.retry_after = retry_after
        self.url = url
        self.usage = usage
        self.after_output = False
        self.final = False

    @property
    def message(self) -> str:
        """The text, at most 1 KB; half of it where all of it is percent-encoded."""
        return str(self.args[0])

    def conceal(self, hide: Callable[[str], str]) -> None:
        """Make all texts anew, secrets taken out by `hide` ahead of clipping. What was not clipped is let go."""
        self.args = (_composed(self.parts, hide),)
        code, request_id = self._unclipped
        self.endpoint_code = clipped(hide(code), _MAX_CODE)
        self.endpoint_request_id = clipped(hide(request_id), MAX_REQUEST_ID)
        self.parts = (self.message,)
        self._unclipped = self.endpoint_code, self.endpoint_request_id


class ClientError(CallerError):
    """The client must change something; nothing was sent to the endpoint."""

    fault = Fault.CLIENT

    def within(self, path: str) -> Self:
        """The same error of a part of the request: its violations stand under the part's path."""
        violations = [Violation(f"{path}.{each.field}", each.description) for each in self.violations]
        leads = bool(self.violations) and self.message.startswith(self.violations[0].field)
        return type(self)(f"{path}{'.' if leads else ': '}{self.message}", violations=violations)


class UnknownProvider(ClientError):
    """No caller answers to the provider id."""


class CredentialInvalid(ClientError):
    """The credential is malformed."""


class RequestInvalid(ClientError):
    """The request is malformed."""


class NotSupportedByApi(ClientError):
    """Something was asked that this API shape cannot carry."""


class CallerUnauthenticated(ClientError):
    """The client is not known to us."""


class CredentialNotFound(ClientError):
    """The server holds no credential of this name."""


class PolicyError(CallerError):
    """An operator's rule forbids it."""

    fault = Fault.POLICY


class EgressDenied(PolicyError):
    """The egress policy does not allow the address."""


class CredentialForbidden(PolicyError):
    """The named credential is not for this client."""


class EndpointRefused(CallerError):
    """The endpoint answered that the client must change something."""

    fault = Fault.CLIENT


class EndpointUnauthenticated(EndpointRefused):
    """The endpoint does not take the key: 401, or its own words for it."""


class EndpointForbidden(EndpointRefused):
    """The endpoint does not allow it: 403."""


class EndpointNotFound(EndpointRefused):
    """Nothing is at the called URL: 404."""


class ModelNotFound(EndpointRefused):
    """The endpoint does not know the model."""


class EndpointRejected(EndpointRefused):
    """The endpoint rejects the request: 400, 413, 422."""


class RequestTooLarge(EndpointRejected):
    """One request is larger than what a whole minute allows: no waiting lets it pass."""


class EndpointPrecondition(EndpointRefused):
    """The endpoint answers with another 4xx."""


class ContextLengthExceeded(EndpointRefused):
    """The conversation is longer than the model can read."""


class ContentFiltered(EndpointRefused):
    """The endpoint's filter refused the request."""


class QuotaExhausted(EndpointRefused):
    """The account is used up: 402, or a 429 that says so."""


class EndpointFailed(CallerError):
    """The endpoint must get well."""

    fault = Fault.ENDPOINT


class EndpointRateLimited(EndpointFailed):
    """The endpoint asks to slow down: 429."""

    retry = Retry.IF_SOON


class EndpointOverloaded(EndpointFailed):
    """The endpoint is overloaded, or starting: 408, 502, 503, 504, 529."""

    retry = Retry.YES


class EndpointError(EndpointFailed):
    """The endpoint failed: another 5xx, or an error inside a 200 without a better code."""

    retry = Retry.ONCE


class EndpointUnreachable(EndpointFailed):
    """The endpoint cannot be reached: no address, refused, reset before the headers."""

    retry = Retry.YES


class LostReusedConnection(EndpointUnreachable):
    """A kept connection turned out to be closed before a byte of the answer came: most likely the endpoint closed it
    while it was idle. Retried by a rule of its own."""


class ProxyUnreachable(EndpointUnreachable):
    """The operator's proxy cannot be reached: not the endpoint's fault."""

    fault = Fault.SERVICE


class ConnectTimeout(EndpointFailed):
    """No connection in time."""

    retry = Retry.YES


class EndpointTls(EndpointFailed):
    """No TLS with the endpoint: its certificate is not trusted, or there is nothing in common."""


class ProtocolError(EndpointFailed):
    """The answer is not what its API shape promises: a redirect, not JSON, `choices` missing.

    `received`: the beginning of what came, where it is no JSON; its text may say why.
    """

    received: bytes | None = None

    @classmethod
    def not_json(cls, message: str, received: bytes) -> "ProtocolError":
        """What came is neither JSON nor an event stream, or an event of it is no JSON."""
        error = cls(message)
        error.received = received[:_MAX_RECEIVED]
        return error


class StreamInterrupted(EndpointFailed):
    """A stream broke off before any output."""


class StreamCut(EndpointFailed):
    """A stream broke off after output."""


class ResponseTooLarge(EndpointFailed):
    """The answer, or one event of it, is larger than our bounds."""


class FirstOutputTimeout(EndpointFailed):
    """The first output did not come in time."""


class BetweenOutputsTimeout(EndpointFailed):
    """The next output did not come in time."""


class TotalTimeout(EndpointFailed):
    """The whole call took too long."""


class ClientTimeout(TotalTimeout):
    """The client's own time passed: its deadline, or what it has for sending and reading."""

    fault = Fault.CLIENT


class ServiceError(CallerError):
    """We are the reason."""

    fault = Fault.SERVICE


class ServiceOverloaded(ServiceError):
    """The instance is full."""

    retry = Retry.YES


class ServiceDraining(ServiceError):
    """The instance is stopping, and takes no new call."""

    retry = Retry.YES


class ServiceStopped(ServiceError):
    """The instance stopped in the middle of the call."""


class InternalError(ServiceError):
    """A bug of ours."""
