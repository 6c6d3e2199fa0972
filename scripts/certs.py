"""Makes certificates for a first try of TLS: an authority, a server's for this machine, a client's.

Rule: for development. Keys are written readable by their owner only; what is there already is left alone.

    python -m scripts.certs [DIRECTORY] [CLIENT]      both have defaults: certs, voice
"""

import datetime as dt
import ipaddress
import os
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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
    authority_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("integration-api development authority")
    authority = _certificate(issuer, issuer, authority_key, authority_key, ())
    written = [_write(directory / "ca.pem", authority.public_bytes(Encoding.PEM), 0o644)]
    for file, name, names in (("tls", "localhost", _LOOPBACK), (client, client, (x509.DNSName(client),))):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(_name(name), issuer, key, authority_key, names)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        written.append(_write(directory / f"{file}.crt", certificate.public_bytes(Encoding.PEM), 0o644))
        written.append(_write(directory / f"{file}.key", secret, 0o600))
    return written


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    names: tuple[x509.GeneralName, ...],
) -> x509.Certificate:
    """Without `names` it is an authority's."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


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
