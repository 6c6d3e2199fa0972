"""The client commands against a guarded service: TLS, tokens, and credentials that the service holds."""

import hashlib
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from tests.edge.certificates import Authority
from tests.edge.processes import Running, chat, run, sandbox, service

TOKEN = "canary-secret"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's certificate for another name than loopback, its authority, a client's certificate, a token."""
    folder = tmp_path_factory.mktemp("access")
    authority = Authority()
    server = authority.sign("service", [x509.DNSName("chat.example.com")])
    client = authority.sign("client")
    for name, content in {
        "ca.pem": authority.certificate,
        "server.pem": server.certificate,
        "server.key": server.key,
        "client.pem": client.certificate,
        "client.key": client.key,
        "tokens": f"tester sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n".encode(),
        "token": TOKEN.encode(),
    }.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with sandbox() as base_url:
        yield base_url


@pytest.fixture(scope="module")
def server(files: Path, endpoint: str) -> Iterator[Running]:
    held = files / "credentials"
    held.mkdir()
    credential = {"apiCompatibility": "openai_compatible", "baseUrl": endpoint, "allowed_callers": ["tester"]}
    (held / "house.json").write_text(json.dumps(credential), encoding="utf-8")
    with service(
        *("--tls-cert-file", str(files / "server.pem"), "--tls-key-file", str(files / "server.key")),
        *("--auth-tokens-file", str(files / "tokens"), "--credentials-dir", str(held)),
    ) as running:
        yield running


def trust(files: Path) -> list[str]:
    return ["--tls-ca-file", str(files / "ca.pem"), "--tls-server-name", "chat.example.com"]


def test_chat_speaks_tls_and_says_who_asks(server: Running, endpoint: str, files: Path) -> None:
    """With the authority, the certificate's name and a token from a file, the answer comes."""
    ended = chat(server, endpoint, *trust(files), "--token", f"@{files / 'token'}", "--model", "echo", "hi")
    assert (ended.returncode, ended.stdout) == (0, "hi\n"), ended.stderr


def test_chat_without_a_token_is_told_so(server: Running, endpoint: str, files: Path) -> None:
    """A caller that is not known is told how to say who it is."""
    ended = chat(server, endpoint, *trust(files), "--model", "echo", "hi")
    assert ended.returncode == 1
    assert "UNAUTHENTICATED · CALLER_UNAUTHENTICATED" in ended.stderr
    assert "--token" in ended.stderr


@pytest.mark.parametrize("name", ["other.example.com", "chat.example.org"])
def test_chat_does_not_trust_another_name(server: Running, endpoint: str, files: Path, name: str) -> None:
    """A certificate for another name is refused before anything is sent."""
    ended = chat(server, endpoint, *trust(files), "--tls-server-name", name, "--token", TOKEN, "--model", "echo", "hi")
    assert ended.returncode == 1
    assert "say one of them with --tls-server-name" in ended.stderr
    assert TOKEN not in ended.stderr


def test_chat_uses_a_credential_of_the_service(server: Running, files: Path) -> None:
    """A credential that the service holds is named instead of a base URL."""
    asked = ("chat", "--address", server.address, *trust(files), "--token", TOKEN, "--model", "echo", "hi")
    held = run(*asked, "--credential", "house")
    unknown = run(*asked, "--credential", "nobody")
    neither = run(*asked)
    assert (held.returncode, held.stdout) == (0, "hi\n"), held.stderr
    assert "CREDENTIAL_NOT_FOUND" in unknown.stderr
    assert "say which endpoint" in neither.stderr
    assert neither.returncode == 2


def test_the_log_is_ours_alone_whatever_strangers_send(files: Path) -> None:
    """Broken handshakes leave no line of the gRPC core beside ours."""
    with service(
        *("--tls-cert-file", str(files / "server.pem"), "--tls-key-file", str(files / "server.key"))
    ) as running:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"x" * 100):
            with socket.create_connection(("127.0.0.1", running.port)) as stranger:
                stranger.sendall(garbage)
                stranger.settimeout(20)
                with suppress(ConnectionError):
                    stranger.recv(100)  # the handshake has failed when this returns
        assert running.end(signal.SIGTERM) == 0
        for line in running.lines:
            json.loads(line)


def test_health_follows_the_service_into_tls(server: Running, files: Path) -> None:
    """In the environment of a service with TLS, health trusts its very certificate, whatever name that is for."""
    beside = {
        "INTEGRATION_API_PORT": str(server.port),
        "INTEGRATION_API_TLS_CERT_FILE": str(files / "server.pem"),
    }
    ended = run("health", env=beside)
    assert (ended.returncode, ended.stdout) == (0, "SERVING\n"), ended.stderr
    assert run("health", "--address", server.address).returncode == 1


def test_a_client_certificate_is_shown_where_one_is_wanted(endpoint: str, files: Path) -> None:
    """With client certificates asked for, the commands show theirs; without one nothing connects."""
    own = ["--tls-cert-file", str(files / "client.pem"), "--tls-key-file", str(files / "client.key")]
    with service(
        *("--tls-cert-file", str(files / "server.pem"), "--tls-key-file", str(files / "server.key")),
        *("--tls-client-ca-file", str(files / "ca.pem")),
    ) as running:
        assert chat(running, endpoint, *trust(files), *own, "--model", "echo", "hi").stdout == "hi\n"
        assert run("health", "--address", running.address, *trust(files), *own).returncode == 0
        assert run("health", "--address", running.address, *trust(files)).returncode == 1
        assert run("health", "--address", running.address, *trust(files), *own[:2]).returncode == 2
