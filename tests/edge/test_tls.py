"""TLS of the server's port: certificates that change while it runs, and callers that prove themselves by one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from cryptography import x509

from caller.errors import CallerUnauthenticated
from integration_api.auth.access import problem_of
from integration_api.auth.peer_names import PeerNames
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.access_world import UNKNOWN_CALLER, TokenClient, eventually, replaced, token_line
from tests.edge.certificates import Authority, Pair
from tests.edge.reading import fail

AUTHORITY = Authority()
CLIENTS = Authority("Authority of the clients")


def dns(*names: str) -> Sequence[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


def uri(*names: str) -> Sequence[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(name) for name in names]


class Files:
    """The server's certificate files."""

    def __init__(self, place: Path) -> None:
        self.chain, self.key, self.clients = place / "tls.crt", place / "tls.key", place / "clients.pem"
        self.put(AUTHORITY.sign("first"))
        self.clients.write_bytes(CLIENTS.certificate)

    def put(self, pair: Pair) -> None:
        replaced(self.chain, pair.certificate)
        replaced(self.key, pair.key)

    def settings(self, *, clients: bool = False, **more: Any) -> Settings:
        return Settings(
            port=0,
            shutdown_grace=1.0,
            tls_cert_file=str(self.chain),
            tls_key_file=str(self.key),
            tls_client_ca_file=str(self.clients) if clients else "",
            **more,
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def dialled(server: Server, client: Pair | None = None) -> AsyncIterator[ChatServiceStub]:
    """A stub over TLS, with a client certificate or without."""
    credentials = grpc.ssl_channel_credentials(
        AUTHORITY.certificate, client.key if client else None, client.certificate if client else None
    )
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials, options) as channel:
        yield ChatServiceStub(channel)


async def without_query(port: int) -> str:
    """The common name of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return x509.load_der_x509_certificate(raw).subject.rfc4514_string()


async def cannot_connect(stub: ChatServiceStub, sandbox: Sandbox) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Chat(chat_request(sandbox.url, "echo"), timeout=5)
    return caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_travel_over_tls(files: Files, sandbox: Sandbox) -> None:
    """With a certificate the port speaks TLS, and nothing else."""
    async with Server(files.settings()) as server:
        async with dialled(server) as stub:
            await TokenClient(stub, sandbox).ask()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as plain:
            assert await cannot_connect(ChatServiceStub(plain), sandbox)


async def test_new_certificates_hold_without_a_restart(files: Files, sandbox: Sandbox) -> None:
    """New connections are shown the new certificate; those that are open go on."""
    async with Server(files.settings()) as server, dialled(server) as earlier:
        await TokenClient(earlier, sandbox).ask()
        assert await without_query(server.port) == "CN=first"
        files.put(AUTHORITY.sign("second"))

        async def changed() -> bool:
            return await without_query(server.port) == "CN=second"

        await eventually(changed)
        await TokenClient(earlier, sandbox).ask()
        async with dialled(server) as later:
            await TokenClient(later, sandbox).ask()


async def test_half_a_rotation_changes_nothing(files: Files) -> None:
    """A certificate whose key has not arrived yet is not served; both are, once the key is there."""
    second = AUTHORITY.sign("second")
    with structlog.testing.capture_logs() as logs:
        async with Server(files.settings()) as server:
            replaced(files.chain, second.certificate)

            async def complained() -> bool:
                assert await without_query(server.port) == "CN=first"
                return any(entry["log_level"] == "error" for entry in logs)

            await eventually(complained)
            replaced(files.key, second.key)

            async def changed() -> bool:
                return await without_query(server.port) == "CN=second"

            await eventually(changed)
    assert "PRIVATE" not in str(logs)


@pytest.mark.parametrize(
    ("allowed", "names", "identity"),
    [
        ("", dns("a.agents.test"), "a.agents.test"),
        ("a.agents.test", dns("a.agents.test"), "a.agents.test"),
        ("x.test, *.agents.test", dns("a.agents.test"), "a.agents.test"),
        ("spiffe://td/ns/a", [*dns("a.agents.test"), *uri("spiffe://td/ns/a")], "spiffe://td/ns/a"),
        ("*.agents.test", [*dns("a.agents.test"), *uri("spiffe://td/ns/a")], "a.agents.test"),
    ],
)
async def test_a_client_certificate_names_its_caller(
    files: Files, sandbox: Sandbox, allowed: str, names: Sequence[x509.GeneralName], identity: str
) -> None:
    """A name that is let in is the caller's, in the logs and for the limits."""
    async with (
        Server(files.settings(clients=True, auth_mtls_names=allowed)) as server,
        dialled(server, CLIENTS.sign("client", names)) as stub,
    ):
        await TokenClient(stub, sandbox).ask()
        with structlog.testing.capture_logs() as logs:
            await fail(stub.Chat(chat_request(sandbox.url, "http-error:status=500")))
    assert logs[-1]["identity"] == identity


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        ("b.agents.test", dns("a.agents.test")),
        ("*.agents.test", dns("agents.test")),
        ("*.agents.test", dns("a.b.agents.test")),
        ("*.agents.test", dns("a.agents.test.evil.test")),
        ("*.agents.test", uri("spiffe://a.agents.test")),
        ("spiffe://td/ns/a", uri("spiffe://td/ns/ab")),
        ("a.agents.test", uri("a.agents.test")),
        ("client", ()),
        ("", ()),
        ("", [x509.RFC822Name("client@agents.test")]),
    ],
)
async def test_a_certificate_with_another_name_is_refused(
    files: Files, sandbox: Sandbox, allowed: str, names: Sequence[x509.GeneralName]
) -> None:
    """Signed by the right authority is not enough where names are listed; a common name or an address is no name."""
    async with (
        Server(files.settings(clients=True, auth_mtls_names=allowed)) as server,
        dialled(server, CLIENTS.sign("client", names)) as stub,
    ):
        assert (await TokenClient(stub, sandbox).refused()).said == UNKNOWN_CALLER
    assert not sandbox.requests


async def test_without_a_good_certificate_nobody_connects(files: Files, sandbox: Sandbox) -> None:
    """No certificate, or one of another authority, ends in the handshake."""
    async with Server(files.settings(clients=True)) as server:
        async with dialled(server) as bare:
            assert await cannot_connect(bare, sandbox)
        async with dialled(server, AUTHORITY.sign("client", dns("a.agents.test"))) as foreign:
            assert await cannot_connect(foreign, sandbox)


async def test_a_new_client_authority_holds_without_a_restart(files: Files, sandbox: Sandbox) -> None:
    """Clients of a new authority can connect once its file changed, those of the old one cannot."""
    other = Authority("Another authority of clients")
    old, new = CLIENTS.sign("old", dns("old.test")), other.sign("new", dns("new.test"))

    async def connects(client: Pair) -> bool:
        async with dialled(server, client) as stub:
            try:
                await TokenClient(stub, sandbox).ask()
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return False
                raise
            return True

    async with Server(files.settings(clients=True)) as server:
        assert await connects(old)
        replaced(files.clients, other.certificate)
        await eventually(lambda: connects(new))
        assert not await connects(old)


async def test_a_token_beside_a_certificate_names_the_caller(files: Files, sandbox: Sandbox, tmp_path: Path) -> None:
    """Both must be right where both are presented: the token names the caller, a wrong one is refused."""
    (tmp_path / "tokens").write_text(token_line("billing", "t"))
    settings = files.settings(clients=True, auth_mtls_names="*.test", auth_tokens_file=str(tmp_path / "tokens"))
    async with Server(settings) as server:
        async with dialled(server, CLIENTS.sign("client", dns("proxy.test"))) as stub:
            client = TokenClient(stub, sandbox)
            await client.ask()
            await client.ask("t")
            assert not await client.knows("wrong")
            with structlog.testing.capture_logs() as logs:
                await fail(
                    stub.Chat(
                        chat_request(sandbox.url, "http-error:status=500"), metadata=[("authorization", "Bearer t")]
                    )
                )
            assert logs[-1]["identity"] == "billing"
        async with dialled(server, CLIENTS.sign("client", dns("proxy.other"))) as stub:
            assert not await TokenClient(stub, sandbox).knows("t")


def test_settings_that_do_not_belong_together_are_refused(files: Files, tmp_path: Path) -> None:
    """Half a configuration stops the start, and says what is missing."""
    chain, key, clients = str(files.chain), str(files.key), str(files.clients)
    (tmp_path / "other.key").write_bytes(AUTHORITY.sign("other").key)
    (tmp_path / "junk").write_bytes(b"CANARY")
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tls_cert_file": chain}, "belong together"),
        ({"tls_key_file": key}, "belong together"),
        ({"tls_client_ca_file": clients}, "tls_cert_file"),
        ({"auth_mtls_names": "a.test"}, "tls_client_ca_file"),
        ({"tls_cert_file": chain, "tls_key_file": str(tmp_path / "other.key")}, "belong together"),
        ({"tls_cert_file": str(tmp_path / "junk"), "tls_key_file": key}, "no certificate"),
        ({"tls_cert_file": chain, "tls_key_file": str(tmp_path / "junk")}, "no private key"),
        ({"tls_cert_file": chain, "tls_key_file": key, "tls_client_ca_file": str(tmp_path / "junk")}, "tls_client_ca"),
        ({"tls_cert_file": chain, "tls_key_file": str(tmp_path / "none")}, "cannot be read"),
        ({"tls_client_ca_file": clients, "auth_mtls_names": "a.*.test"}, "first label"),
    )
    for settings, words in refused:
        problem = problem_of(Settings(**settings))
        assert words in problem, (settings, problem)
        assert "CANARY" not in problem
    assert problem_of(files.settings(clients=True, auth_mtls_names="*.a.test, spiffe://td/x")) == ""


def test_names_are_read_from_their_own_kind_only() -> None:
    """No certificate is nobody; without a pattern the first URI, else the first DNS name, is the caller."""
    assert PeerNames(()).identity({}) is None
    context = {"x509_pem_cert": [b"x"], "peer_dns": [b"A.test"], "peer_uri": [b"urn:b"], "x509_common_name": [b"c"]}
    assert PeerNames(()).identity(context) == "urn:b"
    assert PeerNames.parse("a.TEST").identity(context) == "a.test"
    with pytest.raises(CallerUnauthenticated):
        PeerNames.parse("c").identity(context)
