"""TLS of the server's own port, with certificates that are changed while it runs.

gRPC asks for the current certificates at each handshake, on a thread of its own: it gets what the file watcher last
made of the files. Connections that are open keep the certificate they began with.
"""

from collections.abc import Callable
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from integration_api.files.reload import FileWatcher, Found, Reloaded, readable
from integration_api.settings import Settings


def reloaded_certificates(
    settings: Settings, files: FileWatcher
) -> Reloaded[grpc.ServerCertificateConfiguration] | None:
    """The server's certificates, as the watcher keeps them; None where the settings ask for no TLS.

    Raises:
        ValueError: settings that do not go together.
    """
    if not settings.tls_cert_file and not settings.tls_key_file:
        if settings.tls_client_ca_file:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file: the server's own certificate")
        return None
    if not settings.tls_cert_file or not settings.tls_key_file:
        raise ValueError("tls_cert_file and tls_key_file belong together: give both, or neither")
    chain, key = Path(settings.tls_cert_file), Path(settings.tls_key_file)
    authority = Path(settings.tls_client_ca_file) if settings.tls_client_ca_file else None
    paths = (chain, key) if authority is None else (chain, key, authority)

    def parse(found: Found) -> grpc.ServerCertificateConfiguration:
        trusted = None if authority is None else readable(found[authority])
        return _configuration(readable(found[chain]), readable(found[key]), trusted)

    return files.add(Reloaded("tls_cert_file", lambda: paths, parse))


def credentials(
    certificates: Reloaded[grpc.ServerCertificateConfiguration], *, client_certificates: bool
) -> grpc.ServerCredentials:
    """What a secure port is added with. With `client_certificates` a client without one cannot connect."""
    return grpc.dynamic_ssl_server_credentials(
        certificates.value, _fetcher(certificates), require_client_authentication=client_certificates
    )


def _fetcher(
    certificates: Reloaded[grpc.ServerCertificateConfiguration],
) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    given = certificates.value

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """The certificates where they changed since the last handshake. Two handshakes at once may both get them."""
        nonlocal given
        current = certificates.value
        if current is given:
            return None
        given = current
        return current

    return fetch


def _configuration(chain: bytes, key: bytes, authority: bytes | None) -> grpc.ServerCertificateConfiguration:
    """Checked here, since gRPC takes anything and then fails every handshake. A certificate and a key that do not
    belong together are what a rotation looks like between its two writes."""
    if _public_of_chain(chain) != _public_of_key(key):
        raise ValueError("the certificate and tls_key_file do not belong together")
    if authority is not None:
        _certificates("tls_client_ca_file", authority)
    return grpc.ssl_server_certificate_configuration([(key, chain)], authority)


def _public_of_chain(chain: bytes) -> bytes:
    first = _certificates("the file", chain)[0]
    return first.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certificates(name: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"{name} holds no certificate in PEM") from None


def _public_of_key(key: bytes) -> bytes:
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("tls_key_file holds no private key in PEM without a password") from None
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
