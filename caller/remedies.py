"""What to do about an error: one table by class, found by the nearest of its parents. Every face renders it.

The texts name things by the contract's names (credential, `baseUrl`, settings), and repeat nothing of a request.
"""

from collections.abc import Mapping
from types import MappingProxyType

from caller import errors
from caller.errors import CallerError

_KEY = 'put the endpoint\'s key into the credential\'s headers, for example {"Authorization": "Bearer …"}'
_ROOT = "check baseUrl: it is the API's root, for example http://localhost:8000/v1"
_RUNS = "check that the endpoint runs and that baseUrl names its host and port"

REMEDIES: Mapping[type[CallerError], str] = MappingProxyType(
    {
        CallerError: "see the text",
        errors.EndpointUnauthenticated: _KEY,
        errors.EndpointForbidden: _KEY,
        errors.EndpointNotFound: _ROOT,
        errors.EndpointPrecondition: _ROOT,
        errors.EndpointTls: "use a certificate of a known authority, or set endpoint_ca_file",
        errors.EgressDenied: "ask the operator to allow the address (egress_policy, egress_allow)",
        errors.EndpointUnreachable: _RUNS,
        errors.ConnectTimeout: _RUNS,
        errors.EndpointFailed: "look into the endpoint's own log",
    }
)


def remedy_of(error: CallerError) -> str:
    """What to do about it."""
    return next(REMEDIES[kind] for kind in type(error).__mro__ if kind in REMEDIES)
