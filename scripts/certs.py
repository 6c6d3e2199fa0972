"""Makes certificates for a first try of TLS: an authority, a server's for this machine, a client's.

Rule: for development. Keys are written readable by their owner only; what is there already is left alone.

    python -m scripts.certs [DIRECTORY] [CLIENT]      both have defaults: certs, voice
"""

import datetime as dt
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_LIFETIME = dt.timedelta(days=365)
_LOOPBACK = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)


def make(directory: Path, client: str) -> list[Path]:
    """Write `ca.pem`, `tls.crt`, `tls.key`, and the client's `.crt` and `.key`; what was written.

    Raises:
        FileExistsError: one of them is there.
        OSError: the directory cannot be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    issuer = name("integration-api development authority"), ec.generate_private_key(ec.SECP256R1())
    authority = certificate(issuer[0], issuer, issuer[1], authority=True)
    written = [_write(directory / "ca.pem", authority.public_bytes(Encoding.PEM), 0o644)]
    for file, common, names in (("tls", "localhost", _LOOPBACK), (client, client, (x509.DNSName(client),))):
        key = ec.generate_private_key(ec.SECP256R1())
        made = certificate(name(common), issuer, key, names)
        written.append(_write(directory / f"{file}.crt", made.public_bytes(Encoding.PEM), 0o644))
        written.append(_write(directory / f"{file}.key", private_pem(key), 0o600))
    return written


def name(common: str) -> x509.Name:
    """The name of an issuer or a subject."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certificate(
    subject: x509.Name,
    issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey],
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName] = (),
    *,
    valid: tuple[dt.timedelta, dt.timedelta] = (dt.timedelta(hours=1), _LIFETIME),
    authority: bool = False,
    key_identifiers: bool = True,
) -> x509.Certificate:
    """A certificate of `key`, signed by the issuer's. `valid`: since how long, and for how long; `authority`: it may
    sign others; `key_identifiers`: since 3.13 Python refuses chains without them (VERIFY_X509_STRICT)."""
    now = dt.datetime.now(dt.UTC)
    since, for_how_long = valid
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - since)
        .not_valid_after(now + for_how_long)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if key_identifiers:
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
        builder = builder.add_extension(own, critical=False).add_extension(signer, critical=False)
    if authority:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1], hashes.SHA256())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key in PEM, without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 -- a descriptor, not a path
        file.write(content)
    return path


def main(arguments: list[str]) -> int:
    """The exit code."""
    directory = Path(arguments[0] if arguments else "certs")
    try:
        written = make(directory, arguments[1] if len(arguments) > 1 else "voice")
    except FileExistsError as error:
        sys.stderr.write(f"{error.filename} is there already: remove {directory}, or name another directory\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"cannot write {error.filename}: {error.strerror}\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
