"""A small certificate authority for tests: its own certificate, and those it signs."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from scripts import certs

LOOPBACK: Sequence[x509.GeneralName] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
)
_VALID_SINCE = dt.timedelta(days=2)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


class Authority:
    """Signs certificates with a key of its own; without `key_identifiers`, as many private authorities do."""

    def __init__(self, name: str = "Test authority", *, key_identifiers: bool = True) -> None:
        self._issuer = certs.name(name), ec.generate_private_key(ec.SECP256R1())
        self._key_identifiers = key_identifiers
        certificate = certs.certificate(
            self._issuer[0], self._issuer, self._issuer[1], authority=True, key_identifiers=key_identifiers
        )
        self.certificate = certificate.public_bytes(Encoding.PEM)

    def sign(
        self,
        name: str,
        names: Sequence[x509.GeneralName] = LOOPBACK,
        *,
        valid_until: dt.timedelta = dt.timedelta(days=1),
    ) -> Pair:
        """A certificate for `names`; `name` is its common name. A negative `valid_until`: it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = certs.certificate(
            certs.name(name),
            self._issuer,
            key,
            names,
            valid=(_VALID_SINCE, valid_until),
            key_identifiers=self._key_identifiers,
        )
        return Pair(certificate.public_bytes(Encoding.PEM), certs.private_pem(key))
