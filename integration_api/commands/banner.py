"""What `serve` says at a terminal once it listens: five lines, for a person who has just started it.

Rule: settings in, text out. Logs say the same for machines; where they are JSON there is no banner.
"""

from collections.abc import Iterator

from integration_api.auth.access import is_loopback
from integration_api.commands.program import program
from integration_api.settings import Settings

_EGRESS = {
    "open": "open: every address but metadata and link-local ones",
    "public-only": "public-only: public addresses, no private or loopback ones",
    "allowlist": "allowlist: {allowed}",
}


def banner(settings: Settings, port: int, sandbox_url: str = "") -> str:
    """The five lines. `port` is the one that is listened on; `sandbox_url`: where the embedded endpoint answers."""
    tls = "TLS" if settings.tls_cert_file else "no TLS"
    rows = {
        "address": f"{_host(settings.host)}:{port} (gRPC, {tls})",
        "clients": " or ".join(_clients(settings)),
        "egress": _EGRESS[settings.egress_policy].format(allowed=settings.egress_allow.strip() or "nothing yet"),
        "protocols": ", ".join(_protocols(settings)),
        "try": _command(settings, port, sandbox_url),
    }
    return "\n".join(f"  {name:<10} {text}" for name, text in rows.items())


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _clients(settings: Settings) -> Iterator[str]:
    """Who may call."""
    ways = {
        "auth_tokens_file": "a token",
        "auth_jwt_key_file": "a JWT",
        "tls_client_ca_file": "a client certificate",
    }
    known = [way for name, way in ways.items() if getattr(settings, name)]
    yield from (f"who has {way}" for way in known)
    if not known or settings.allow_anonymous:
        yield "anybody on this machine" if is_loopback(settings.host) else "ANYBODY who reaches this address"


def _protocols(settings: Settings) -> Iterator[str]:
    yield "integration_api.v1.ChatService"
    yield "Rapida's UnifiedProviderService"
    yield "health"
    if settings.reflection:
        yield "reflection"
    if settings.admin_port:
        yield f"http://{_host(settings.admin_host)}:{settings.admin_port}/metrics"


def _command(settings: Settings, port: int, sandbox_url: str) -> str:
    """A call that works as it stands, where there is an endpoint that we know."""
    words = [program(), "chat"]
    if port != Settings().port or not is_loopback(settings.host):
        words += ["--address", f"{_host(settings.host if is_loopback(settings.host) else '127.0.0.1')}:{port}"]
    if settings.tls_cert_file:
        words += ["--tls-ca-file", settings.tls_cert_file]
    if settings.auth_tokens_file or settings.auth_jwt_key_file:
        words += ["--token", "env:TOKEN"]
    if sandbox_url:
        words += ["--base-url", f"{sandbox_url}/v1", "--model", "echo:gap=50ms", '"Say hello"']
    else:
        words += ["--base-url", "BASE_URL", "--model", "NAME", "hi", "  (no endpoint? serve --sandbox)"]
    return " ".join(words)
