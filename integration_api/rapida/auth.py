"""Who calls, in the Rapida platform's way: a JWT in the metadata, signed with the platform's shared secret.

The platform signs two kinds. The older one names a user, an organization and a project. The newer one names a service
(`actor_type`, `actor_id`), whom it is for (`aud`) and an organization; a project, and on whose behalf the service acts,
may come with it; it lives for five minutes at most. A token with an `aud` or an `actor_type` is of the newer kind.

This module knows metadata and nothing else of a call. No error repeats what a token says.
"""

import math
import time
import warnings
from collections.abc import Sequence
from typing import Final

import jwt

from caller.errors import CallerUnauthenticated

Metadata = Sequence[tuple[str, str | bytes]] | None

HEADER: Final = "x-internal-service-key"
_CLAIMS: Final = ("userId", "organizationId", "projectId")
_AUDIENCE: Final = "rapida-internal"
_ACTOR_TYPE: Final = "service"
_MAX_LIFETIME = 300.0
# How far the clock of whoever signed may be ahead of ours, in seconds.
_CLOCK_LEEWAY = 30.0
# What the platform says of itself, for logs, and how much of it is kept.
_ORIGIN: Final = {
    "x-client-source": "client_source",
    "x-rapida-environment": "rapida_environment",
    "x-rapida-region": "rapida_region",
}
_MAX_ORIGIN_CHARS = 64


def authenticate_rapida(metadata: Metadata, secret: str) -> str:
    """Who calls: `rapida/<organization>/<project>`, or `rapida/<organization>` for a service without a project.

    The token is HS256 and nothing else, and has not expired. User, organization and project are numbers where they are
    given. One of the older kind names a project, one of the newer kind an organization; on whose behalf a service acts
    does not matter.

    Raises:
        CallerUnauthenticated: it is missing, or not good.
    """
    found = [value for key, value in metadata or () if key == HEADER]
    if len(found) != 1 or not isinstance(found[0], str) or not found[0].strip():
        raise CallerUnauthenticated(f"the metadata entry {HEADER!r} must hold one JWT of the platform")
    claims = _claims(found[0].strip(), secret)
    newer = "aud" in claims or "actor_type" in claims
    problem = _problem_of_newer(claims) if newer else ""
    if problem:
        raise CallerUnauthenticated(f"the JWT in {HEADER!r} {problem}")
    numbers = {name: _number(claims.get(name)) for name in _CLAIMS}
    needed, kind = ("organizationId", "an organization") if newer else ("projectId", "a project")
    if not numbers[needed] or any(number is None for number in numbers.values()):
        raise CallerUnauthenticated(f"the JWT in {HEADER!r} must name {kind}: {needed}, a number above zero")
    project = f"/{numbers['projectId']}" if numbers["projectId"] else ""
    return f"rapida/{numbers['organizationId']}{project}"


def names_of(identity: str) -> tuple[str, ...]:
    """The names by which a client may be meant: a project's own, and its organization's."""
    organization = "/".join(identity.split("/")[:2]) if identity.startswith("rapida/") else identity
    return tuple(dict.fromkeys(name for name in (identity, organization) if name))


def origin(metadata: Metadata) -> dict[str, str]:
    """Where a call comes from, as fields of log lines: short and printable."""
    return {
        _ORIGIN[key]: value[:_MAX_ORIGIN_CHARS]
        for key, value in metadata or ()
        if key in _ORIGIN and isinstance(value, str) and value and value.isprintable()
    }


def _claims(token: str, secret: str) -> dict[str, object]:
    try:
        with warnings.catch_warnings():
            # A short secret is the platform's choice, made where it is deployed; PyJWT would say so on every call.
            warnings.simplefilter("ignore", UserWarning)
            claims: dict[str, object] = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                # Of the audience the older kind says nothing; `sub` says nothing, and `iat` matters to the newer kind.
                options={"require": ["exp"], "verify_aud": False, "verify_sub": False, "verify_iat": False},
            )
    except jwt.ExpiredSignatureError:
        raise CallerUnauthenticated(f"the JWT in {HEADER!r} has expired") from None
    # Beside its own errors PyJWT lets those of parsing through: a token is whatever bytes a stranger sends.
    except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
        raise CallerUnauthenticated(f"the JWT in {HEADER!r} is not a valid one of this platform") from None
    return claims


def _problem_of_newer(claims: dict[str, object]) -> str:
    """What is wrong with a token of the newer kind; empty when nothing is."""
    audience = claims.get("aud", _AUDIENCE)
    if audience != _AUDIENCE and not (isinstance(audience, list) and _AUDIENCE in audience):
        return f"is not meant for this service: 'aud' must be {_AUDIENCE!r}"
    if claims.get("actor_type", _ACTOR_TYPE) != _ACTOR_TYPE:
        return f"must be of a service: 'actor_type' must be {_ACTOR_TYPE!r}"
    issued, expires = _moment(claims.get("iat")), _moment(claims["exp"])
    if issued is None or expires is None:
        return "must say from when to when it is good: 'iat' and 'exp', numbers"
    if issued > time.time() + _CLOCK_LEEWAY:
        return "was issued in the future ('iat')"
    if round(expires - issued, 3) > _MAX_LIFETIME:
        return f"lives longer than {_MAX_LIFETIME:g} s"
    return ""


def _moment(claim: object) -> float | None:
    """A claim as a time in seconds, maybe with a fraction (RFC 7519, section 2); None where it is something else."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not 0 <= claim < math.inf:
        return None
    return claim


def _number(claim: object) -> int | None:
    """A claim as a whole number, 0 where it is missing, None where it is something else."""
    if claim is None:
        return 0
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    if not 0 <= claim < math.inf or claim != int(claim):  # JSON as Python reads it knows Infinity and NaN
        return None
    return int(claim)
