"""Who calls: bearer tokens, JWTs and client certificates, each by setting, several at once.

The rule: whatever a client presents must be right, and one right thing is enough. Where both are there the bearer
token names the client, since a certificate can be a proxy's. All three share one space of names.

It reads gRPC's context and nothing else; no error repeats a token.
"""

from collections.abc import Callable, Sequence

import grpc

from caller.errors import CallerUnauthenticated
from integration_api.auth.jwt_check import JwtCheck, JwtKey, parse_key
from integration_api.auth.peer_names import PeerNames
from integration_api.auth.tokens import parse_tokens
from integration_api.files.reload import FileWatcher, one_file
from integration_api.settings import Settings

# Takes the call's context, returns who calls (empty: nobody said, and nobody need say), raises CallerUnauthenticated.
Authenticate = Callable[[grpc.aio.ServicerContext], str]
# Takes a bearer token, returns its owner, or None where it is unknown; raises CallerUnauthenticated where it is bad.
BearerCheck = Callable[[str], str | None]

_HEADER = "authorization"


class Authenticator:
    """An `Authenticate` made of what the settings allow."""

    def __init__(self, bearers: Sequence[BearerCheck], peers: PeerNames | None, *, allow_anonymous: bool) -> None:
        self._bearers = tuple(bearers)
        self._peers = peers
        self._allow_anonymous = allow_anonymous

    def __call__(self, context: grpc.aio.ServicerContext) -> str:
        """Who calls; empty for an anonymous client that is let in.

        Raises:
            CallerUnauthenticated: nothing was presented, or something wrong.
        """
        peer = None if self._peers is None else self._peers.identity(context.auth_context())
        token = _bearer_token(context.invocation_metadata()) if self._bearers else None
        if token is not None:
            return self._owner(token)
        if peer is not None:
            return peer
        if self._allow_anonymous:
            return ""
        ways = ["send the metadata entry 'authorization: Bearer <token>'"] if self._bearers else []
        ways += ["present a client certificate"] if self._peers is not None else []
        if not ways:  # the Rapida platform's secret is the only authentication: it proves nothing here
            raise CallerUnauthenticated("this server serves clients of the Rapida platform only")
        raise CallerUnauthenticated(f"this server must know who calls: {', or '.join(ways)}")

    def _owner(self, token: str) -> str:
        for check in self._bearers:
            owner = check(token)
            if owner is not None:
                return owner
        raise CallerUnauthenticated("the bearer token in 'authorization' is not known to this server")


def authenticator(settings: Settings, files: FileWatcher) -> Authenticate | None:
    """What the settings ask for; None where they ask for no authentication. Its files join the watcher.

    Raises:
        ValueError: settings that do not go together.
    """
    bearers: list[BearerCheck] = []
    if settings.auth_tokens_file:
        tokens = files.add(one_file("auth_tokens_file", settings.auth_tokens_file, parse_tokens))
        bearers.append(lambda token: tokens.value(token))  # noqa: PLW0108 -- the value changes with the file
    if settings.auth_jwt_key_file:
        bearers.append(_jwt_check(settings, files))
    if settings.auth_mtls_names and not settings.tls_client_ca_file:
        raise ValueError("auth_mtls_names needs tls_client_ca_file: the authority that signs client certificates")
    peers = PeerNames.parse(settings.auth_mtls_names) if settings.tls_client_ca_file else None
    if not is_authenticated_setup(settings):
        return None
    return Authenticator(bearers, peers, allow_anonymous=settings.allow_anonymous)


def is_authenticated_setup(settings: Settings) -> bool:
    """Whether clients can prove who they are. Without it, and without `allow_anonymous`, a server stays on loopback.

    The Rapida platform's secret counts: where it is the only one, the native service lets nobody in.
    """
    native = settings.auth_tokens_file or settings.auth_jwt_key_file or settings.tls_client_ca_file
    return bool(native or settings.rapida_jwt_secret)


def _jwt_check(settings: Settings, files: FileWatcher) -> JwtCheck:
    def parse(raw: bytes) -> JwtKey:
        return parse_key(raw, settings.auth_jwt_algorithms)

    key = files.add(one_file("auth_jwt_key_file", settings.auth_jwt_key_file, parse))
    return JwtCheck(lambda: key.value, settings.auth_jwt_audience, settings.auth_jwt_issuer)


def _bearer_token(metadata: Sequence[tuple[str, str | bytes]] | None) -> str | None:
    """The token of the call's metadata; None where there is none.

    Raises:
        CallerUnauthenticated: something else than one bearer token.
    """
    found = [value for key, value in metadata or () if key == _HEADER]
    if not found:
        return None
    value = found[0] if isinstance(found[0], str) else ""
    scheme, _, token = value.partition(" ")
    if len(found) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise CallerUnauthenticated("the metadata entry 'authorization' must be given once, as 'Bearer <token>'")
    return token.strip()
