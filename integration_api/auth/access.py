"""What stands between a client and the service: its certificates, who clients are, the credentials that it holds, and
the providers that it knows by name.

Made once from the settings; every file behind it is kept current by one watcher.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from caller.providers import Providers
from integration_api.auth import tls
from integration_api.auth.authenticator import Authenticate, authenticator, is_authenticated_setup
from integration_api.files.credential_store import CredentialStore
from integration_api.files.provider_rows import reloaded_providers
from integration_api.files.reload import FileWatcher, Reloaded
from integration_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """The parts; None for what the settings do not ask for."""

    files: FileWatcher
    identify: Authenticate | None
    certificates: Reloaded[grpc.ServerCertificateConfiguration] | None
    credentials: CredentialStore | None
    providers: Callable[[], Providers]


def make_access(settings: Settings) -> Access:
    """Make the parts; their files are read by `files.load()`.

    Raises:
        ValueError: settings that do not go together.
    """
    files = FileWatcher()
    providers = reloaded_providers(settings.providers_file, files)
    held = CredentialStore(settings.credentials_dir, files, providers) if settings.credentials_dir else None
    return Access(
        files=files,
        identify=authenticator(settings, files),
        certificates=tls.reloaded_certificates(settings, files),
        credentials=held,
        providers=providers,
    )


def problem_of(settings: Settings) -> str:
    """What is wrong with the settings or the files they name; empty when nothing is. Repeats no secret."""
    try:
        make_access(settings).files.load()
    except ValueError as error:
        return str(error)
    return ""


def clear_text(settings: Settings) -> bool:
    """Whether clients on other machines would send their tokens unencrypted, as far as this server can tell."""
    bearer = settings.auth_tokens_file or settings.auth_jwt_key_file
    return bool(bearer) and not settings.tls_cert_file and not is_loopback(settings.host)


def exposed(settings: Settings) -> bool:
    """Whether strangers on other machines could call: nothing says who they are, and nobody allowed that."""
    return not (settings.allow_anonymous or is_authenticated_setup(settings) or is_loopback(settings.host))


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only. A name may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
