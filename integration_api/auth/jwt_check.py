"""JSON Web Tokens (RFC 7519) of clients: signature, time, audience, and whom they name.

The algorithms are bound to the key, never to what a token says of itself: a public key can only check signatures of
its own kind, and `none` is not an algorithm.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from caller.errors import CallerUnauthenticated

# Clocks differ by seconds; a token that is valid "from now on" must not be refused for that.
_NOT_BEFORE_LEEWAY = 5.0
MAX_IDENTITY_CHARS = 256
_PEM: Final = b"-----BEGIN "

_HMAC: Final = {"HS256": 32, "HS384": 48, "HS512": 64}  # with the shortest key: RFC 7518, section 3.2
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS: Final = (*_HMAC, *_RSA, *_CURVES.values(), "EdDSA")

_Public: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A key and the algorithms it may be used with."""

    key: bytes | _Public = field(repr=False)
    algorithms: tuple[str, ...]


class JwtCheck:
    """Finds whom a JWT names. `key` gives the current key; empty `audience` and `issuer` are not asked for."""

    def __init__(self, key: Callable[[], JwtKey], audience: str = "", issuer: str = "") -> None:
        self._key = key
        self._audience = audience or None
        self._issuer = issuer or None

    def __call__(self, token: str) -> str | None:
        """The `sub` of the token; None where it is no JWT at all.

        Raises:
            CallerUnauthenticated: it is one, and is not good.
        """
        if token.count(".") != 2:
            return None
        key = self._key()
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(key.algorithms),
                audience=self._audience,
                issuer=self._issuer,
                # `iat` says when, not whether; `nbf` is checked below, with leeway for clocks.
                options={"require": ["exp", "sub"], "verify_iat": False, "verify_nbf": False},
            )
            problem = _claims_problem(claims)
        # Beside its own errors PyJWT lets those of parsing through: a token is whatever bytes a stranger sends.
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            problem = _problem(error)
        else:
            if not problem:
                return str(claims["sub"])
        raise CallerUnauthenticated(f"the JWT in 'authorization' {problem}")


def parse_key(raw: bytes, algorithms: str) -> JwtKey:
    """The key of a file: a public key or certificate in PEM, or a shared secret. `algorithms`: the setting, comma
    separated; empty takes the usual one for the key.

    Raises:
        ValueError: it is no usable key, or does not fit the algorithms.
    """
    wanted = tuple(name.strip() for name in algorithms.split(",") if name.strip())
    for name in wanted:
        if name not in ALGORITHMS:
            raise ValueError(
                f"unknown algorithm {name[:20]!r} in auth_jwt_algorithms; known are {', '.join(ALGORITHMS)}"
            )
    if _PEM in raw:
        public = _public_key(raw)
        fitting = _fitting(public)
        chosen = wanted or fitting[:1]
        key: bytes | _Public = public
    else:
        key = raw.strip()
        fitting = tuple(name for name, least in _HMAC.items() if len(key) >= least)
        chosen = wanted or ("HS256",)
    for name in chosen:
        if name in _HMAC and name not in fitting and not isinstance(key, bytes):
            raise ValueError(f"a public key cannot check {name}")
        if name in _HMAC and name not in fitting:
            raise ValueError(f"the secret is shorter than the {_HMAC[name]} bytes that {name} needs")
        if name not in fitting:
            raise ValueError(f"the key cannot check {name}")
    return JwtKey(key, chosen)


def _public_key(raw: bytes) -> _Public:
    try:
        if b"CERTIFICATE-----" in raw:
            key: object = x509.load_pem_x509_certificate(raw).public_key()
        elif b"PRIVATE KEY-----" in raw:
            raise ValueError("is a private key; give the public one, the private one stays with the issuer")
        else:
            key = serialization.load_pem_public_key(raw)
    except UnsupportedAlgorithm:
        raise ValueError("is a key of an unknown kind") from None
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key
    raise ValueError("is neither an RSA, an EC nor an Ed25519 key")


def _fitting(key: _Public) -> tuple[str, ...]:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            raise ValueError("the RSA key is shorter than 2048 bits")
        return _RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise ValueError(f"no JWT algorithm uses the curve {key.curve.name}")
        return (_CURVES[key.curve.name],)
    return ("EdDSA",)


def _claims_problem(claims: dict[str, object]) -> str:
    not_before = claims.get("nbf")
    if not_before is not None:
        if isinstance(not_before, bool) or not isinstance(not_before, int | float):
            return "has an 'nbf' that is not a number"
        if not_before > time.time() + _NOT_BEFORE_LEEWAY:
            return "is not valid yet (nbf)"
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_IDENTITY_CHARS or not subject.isprintable():
        return f"must name the client in 'sub': 1 to {MAX_IDENTITY_CHARS} printable characters"
    return ""


_PROBLEMS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.ExpiredSignatureError, "has expired; get a new one"),
    (jwt.InvalidAudienceError, "is not meant for this service (aud)"),
    (jwt.InvalidIssuerError, "comes from another issuer (iss)"),
    (jwt.InvalidSignatureError, "has a signature that does not fit this server's key"),
    (jwt.InvalidAlgorithmError, "is signed with an algorithm that this server does not accept"),
)


def _problem(error: Exception) -> str:
    """What is wrong, in words of our own: PyJWT's can repeat what the token says."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"lacks the claim {error.claim!r}"
    for kind, words in _PROBLEMS:
        if isinstance(error, kind):
            return words
    return "cannot be read"
