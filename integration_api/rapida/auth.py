"""Who calls, in the Rapida platform's way: a JWT in the metadata, signed with the platform's shared secret.

It knows metadata and nothing else of a call. No error repeats what a token says.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Final

import jwt

from caller.errors import CallerUnauthenticated

Metadata = Sequence[tuple[str, str | bytes]] | None

HEADER: Final = "x-internal-service-key"
_CLAIMS: Final = ("userId", "organizationId", "projectId")
# What the platform says of itself, for logs, and how much of it is kept.
_ORIGIN: Final = {
    "x-client-source": "client_source",
    "x-rapida-environment": "rapida_environment",
    "x-rapida-region": "rapida_region",
}
_MAX_ORIGIN_CHARS = 64


def authenticate_rapida(metadata: Metadata, secret: str) -> str:
    """The project that calls, as `rapida/<organization>/<project>`.

    The token is HS256 and nothing else, has not expired, and names a project; user and organization are numbers where
    they are given.

    Raises:
        CallerUnauthenticated: it is missing, or not good.
    """
    found = [value for key, value in metadata or () if key == HEADER]
    if len(found) != 1 or not isinstance(found[0], str) or not found[0].strip():
        raise CallerUnauthenticated(f"the metadata entry {HEADER!r} must hold one JWT of the platform")
    claims = _claims(found[0].strip(), secret)
    numbers = {name: _number(claims.get(name)) for name in _CLAIMS}
    if not numbers["projectId"] or any(number is None for number in numbers.values()):
        raise CallerUnauthenticated(f"the JWT in {HEADER!r} must name a project: projectId, a number above zero")
    return f"rapida/{numbers['organizationId']}/{numbers['projectId']}"


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
                # The platform's tokens name no audience; `sub` and `iat` are not theirs to be checked.
                options={"require": ["exp"], "verify_aud": False, "verify_sub": False, "verify_iat": False},
            )
    except jwt.ExpiredSignatureError:
        raise CallerUnauthenticated(f"the JWT in {HEADER!r} has expired") from None
    # Beside its own errors PyJWT lets those of parsing through: a token is whatever bytes a stranger sends.
    except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
        raise CallerUnauthenticated(f"the JWT in {HEADER!r} is not a valid one of this platform") from None
    return claims


def _number(claim: object) -> int | None:
    """A claim as a whole number, 0 where it is missing, None where it is something else."""
    if claim is None:
        return 0
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    if not 0 <= claim < math.inf or claim != int(claim):  # JSON as Python reads it knows Infinity and NaN
        return None
    return int(claim)
