"""What to do about an error: one table by class, found by the nearest of its parents. Every face renders it.

The texts name things by the contract's names (credential, `baseUrl`, settings), and repeat nothing of a request.
"""

from collections.abc import Mapping
from types import MappingProxyType

from caller import errors
from caller.errors import CallerError

_KEY = (
    'put the endpoint\'s key into the credential\'s headers, for example {"Authorization": "Bearer …"}; of a provider '
    "by name, into `key`"
)
_ROOT = "check baseUrl: it is the API's root, for example http://localhost:8000/v1"
_RUNS = "check that the endpoint runs and that baseUrl names its host and port"
_FIELDS = "mend the fields that the details name, and send the request again"
_FASTER = "raise the timeout of the request or of the settings, or use a faster model"
_LATER = "try again after the delay that the details name"

REMEDIES: Mapping[type[CallerError], str] = MappingProxyType(
    {
        CallerError: "see the text",
        errors.UnknownProvider: "name a provider that this service has: custom-llm, or one that ListProviders shows",
        errors.CredentialInvalid: "mend the fields of the credential that the details name",
        errors.RequestInvalid: _FIELDS,
        errors.NotSupportedByApi: "leave it out, choose another apiCompatibility, or give it inside model.parameters",
        errors.CallerUnauthenticated: "present a bearer token, a JWT or a client certificate that this service knows",
        errors.CredentialNotFound: "name a credential that the server holds, or give one with the request",
        errors.CredentialForbidden: "ask the operator to let you use the credential (its allowed_callers)",
        errors.EgressDenied: "ask the operator to allow the address (egress_policy, egress_allow)",
        errors.EndpointUnauthenticated: _KEY,
        errors.EndpointForbidden: _KEY,
        errors.EndpointNotFound: _ROOT,
        errors.ModelNotFound: "check the model's name; ListModels shows those that the endpoint knows",
        errors.EndpointRejected: "change what the endpoint's text names, and send the request again",
        errors.RequestTooLarge: "send less at once: the request alone is above the endpoint's limit",
        errors.EndpointPrecondition: _ROOT,
        errors.ContextLengthExceeded: "send less, ask for fewer tokens, or take a model with a larger context",
        errors.ContentFiltered: "change what the endpoint's content filter objects to",
        errors.QuotaExhausted: "raise the quota or the credit of the account at the endpoint",
        errors.EndpointFailed: "read the endpoint's own log",
        errors.EndpointRateLimited: "send fewer requests, or try again after the delay that the details name",
        errors.EndpointOverloaded: _LATER,
        errors.EndpointUnreachable: _RUNS,
        errors.ProxyUnreachable: "ask the operator to check endpoint_proxy",
        errors.ConnectTimeout: _RUNS,
        errors.EndpointTls: "use a certificate of a known authority, or set endpoint_ca_file",
        errors.ProtocolError: "choose the apiCompatibility that the endpoint speaks under baseUrl",
        errors.StreamInterrupted: "try again: the endpoint, or a proxy before it, broke the answer off",
        errors.StreamCut: "ask again, or go on with the part that came: it is not repeated by itself",
        errors.ResponseTooLarge: "ask for less, or raise max_answer_bytes, max_event_bytes or max_silent_bytes",
        errors.FirstOutputTimeout: _FASTER,
        errors.BetweenOutputsTimeout: _FASTER,
        errors.TotalTimeout: _FASTER,
        errors.ClientTimeout: "give the call more time: its own deadline, or its client, ended it",
        errors.ServiceOverloaded: _LATER,
        errors.ServiceDraining: "try again at once: another instance answers",
        errors.ServiceStopped: "ask again: this instance stopped in the middle of the answer",
        errors.InternalError: "tell the operator the request's id",
    }
)


def remedy_of(error: CallerError) -> str:
    """What to do about it."""
    return remedy_for(type(error))


def remedy_for(kind: type[CallerError]) -> str:
    """What to do about errors of a class."""
    return next(REMEDIES[parent] for parent in kind.__mro__ if parent in REMEDIES)
