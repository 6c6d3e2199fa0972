"""The fallbacks of a request to domain values. Pure, but for the stored credentials that they name."""

from collections.abc import Callable
from typing import TypeAlias

from caller.errors import CredentialForbidden, CredentialInvalid, CredentialNotFound, Violation
from caller.json_types import JsonObject
from caller.parameters import overridden
from caller.target import MAX_FALLBACKS, Fallbacks, Target, Unusable
from integration_api.chat.request import credential_path, parameters_of
from integration_api.chat.view import ChatRequest
from integration_api.codec.bounds import Violations, refuse
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

MAX_LABEL_CHARS = 128
_PERCENTILES = range(50, 100)
# Finds a credential's value for a provider, and raises where there is none.
FindCredential: TypeAlias = Callable[[msg.Credential, str], JsonObject]


def fallbacks(request: ChatRequest, own: Target, credential: FindCredential) -> Fallbacks:
    """Whom a request asks beside its own target.

    Raises:
        RequestInvalid, CredentialInvalid: with the path of what is malformed.
    """
    violations = Violations()
    if len(request.fallbacks) > MAX_FALLBACKS:
        violations.append(Violation("fallbacks", f"must be at most {MAX_FALLBACKS}"))
    targets = [
        _target(f"fallbacks[{number}]", wire, own, credential, violations)
        for number, wire in enumerate(request.fallbacks[:MAX_FALLBACKS])
    ]
    return _hedged(Fallbacks(tuple(targets)), request.options, violations)


def stored_fallbacks(request: ChatRequest, stored: Fallbacks) -> Fallbacks:
    """Those of a stored credential, hedged as the request wants it, where it wants something.

    Raises:
        RequestInvalid: with the path of what is malformed.
    """
    return _hedged(stored, request.options, Violations())


def _hedged(found: Fallbacks, options: pb.CallOptions, violations: Violations) -> Fallbacks:
    hedge_after = found.hedge_after
    if options.HasField("hedge_after"):
        hedge_after = options.hedge_after.seconds + options.hedge_after.nanos / 1e9
        if hedge_after <= 0:
            violations.append(Violation("options.hedge_after", "must be more than zero"))
    percentile = options.hedge_percentile
    if percentile and percentile not in _PERCENTILES:
        violations.append(Violation("options.hedge_percentile", "must be from 50 to 99"))
    refuse(violations)
    return Fallbacks(found.targets, hedge_after, percentile or None)


def _target(
    path: str,
    wire: msg.Target,
    own: Target,
    credential: FindCredential,
    violations: Violations,
) -> Target | Unusable:
    if len(wire.label) > MAX_LABEL_CHARS:
        violations.append(Violation(f"{path}.label", f"must be at most {MAX_LABEL_CHARS} characters"))
    given, typed = parameters_of(f"{path}.model_parameters", wire, violations)
    provider = wire.provider_id or own.provider
    try:
        value = credential(wire.credential, provider)
    except CredentialInvalid as error:
        raise error.within(path) from None
    except (CredentialNotFound, CredentialForbidden) as error:
        return Unusable(error.with_traceback(None), wire.label)
    return Target(
        provider,
        value,
        own.timeouts,
        overridden(own.parameters, given),
        own.max_attempts,
        wire.label,
        credential_path(wire.credential),
        (own.typed_parameters - given.keys()) | typed,
    )
