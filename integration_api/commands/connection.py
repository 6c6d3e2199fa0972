"""How a client command reaches the service: the options `--address` and `--tls-…` of `chat` and `health`.

Rule: it reads the environment names of the service's own settings, so that a client beside the service, such as a
container's health check, needs no option. Nothing but gRPC's channel options and credentials comes out.
"""

import functools
import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc

from integration_api.commands.values import SECRET
from integration_api.settings import Settings, env_name

_Command = TypeVar("_Command", bound=Callable[..., object])
# Also what gRPC resolves by itself: `dns:///name:port`, `unix:/path`.
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):\d{1,5}|(?:dns|unix|ipv4|ipv6|xds):\S+")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the service listens, and the TLS to speak there. `server_name` is what its certificate must name."""

    address: str
    credentials: grpc.ChannelCredentials | None = None
    server_name: str = ""

    @property
    def options(self) -> list[tuple[str, int | str]]:
        """A message may be as large as the server allows; no HTTP proxy of the environment stands between."""
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ]
        return [*options, ("grpc.ssl_target_name_override", self.server_name)] if self.server_name else options

    def channel(self) -> grpc.Channel:
        """A blocking channel; a context manager."""
        if self.credentials is None:
            return grpc.insecure_channel(self.address, self.options)
        return grpc.secure_channel(self.address, self.credentials, self.options)

    def aio_channel(self) -> grpc.aio.Channel:
        """A channel for the running event loop; an async context manager."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, self.options)
        return grpc.aio.secure_channel(self.address, self.credentials, self.options)


def token_metadata(token: str) -> tuple[tuple[str, str], ...]:
    """Who calls, for a call's metadata; nothing without a token."""
    return (("authorization", f"Bearer {token}"),) if token else ()


token_option = click.option(
    "--token", type=SECRET, default="", help="Who you are to the service: text, env:NAME or @FILE."
)


def connection_options(function: _Command) -> _Command:
    """Adds the options; the command gets one `connection` for them."""

    @functools.wraps(function)
    def command(**values: Any) -> object:
        connection = _connection(
            address=values.pop("address"),
            tls=values.pop("tls"),
            ca_file=values.pop("tls_ca_file"),
            server_name=values.pop("tls_server_name"),
            pair=(values.pop("tls_cert_file"), values.pop("tls_key_file")),
        )
        return function(connection=connection, **values)

    listens = f"{Settings().host}:{Settings().port}"
    decorated: Any = command
    for option in (
        click.option("--tls-key-file", type=_FILE, help="PEM file of that certificate's private key."),
        click.option("--tls-cert-file", type=_FILE, help="PEM file of your certificate, where the service wants one."),
        click.option("--tls-server-name", default="", help="The name that the service's certificate is for."),
        click.option("--tls-ca-file", type=_FILE, help="PEM file of authorities to trust instead of the system's."),
        click.option("--tls", is_flag=True, help="Speak TLS; each of the other --tls options says so too."),
        click.option(
            "--address",
            default="",
            metavar="HOST:PORT",
            show_default=f"{listens}, or as {env_name('host')}, …PORT and …TLS_CERT_FILE say",
            help="Where the service listens.",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return] # click's decorators keep the signature


def _connection(
    *, address: str, tls: bool, ca_file: Path | None, server_name: str, pair: tuple[Path | None, Path | None]
) -> Connection:
    certificate, key = pair
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert-file and --tls-key-file belong together")
    own = os.environ.get(env_name("tls_cert_file"))
    if not address and own and ca_file is None:
        # The service beside us shows this very certificate, whatever name it is for.
        ca_file, server_name = Path(own), server_name or _name_in(Path(own))
    if address and not _ADDRESS.fullmatch(address):
        raise click.UsageError("--address is HOST:PORT, without http://, for example 127.0.0.1:9004 or [::1]:9004")
    address = address or _address_beside()
    if not (tls or ca_file or server_name or certificate):
        return Connection(address)
    credentials = grpc.ssl_channel_credentials(_bytes(ca_file), _bytes(key), _bytes(certificate))
    return Connection(address, credentials, server_name)


def _bytes(file: Path | None) -> bytes | None:
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from None


def _address_beside() -> str:
    """The address of a service that was started with this environment: loopback where it listens on every address."""
    host = os.environ.get(env_name("host")) or Settings().host
    port = os.environ.get(env_name("port")) or str(Settings().port)
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}:{port}"
    if parsed.is_unspecified:
        parsed = ipaddress.ip_address("127.0.0.1" if parsed.version == 4 else "::1")
    return f"[{parsed}]:{port}" if parsed.version == 6 else f"{parsed}:{port}"


def _name_in(file: Path) -> str:
    """A name that a certificate is for, as a client could ask for it; empty when it has none."""
    from cryptography import x509  # noqa: PLC0415 -- slow to load, and rarely needed

    try:
        certificate = x509.load_pem_x509_certificate(_bytes(file) or b"")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return ""
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return found[0].replace("*", "health", 1) if found else ""
