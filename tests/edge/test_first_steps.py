"""What new users stumbled over, by the same steps: each says now what to do, and what it says works."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from integration_api.auth.tokens import parse_tokens
from integration_api.commands.serve import unusable
from integration_api.commands.unreachable import remedy_when_unreachable
from integration_api.settings import Settings
from scripts import certs
from tests.edge.loopback import free_port
from tests.edge.processes import ROOT, SECONDS, Running, environment, invoked, service

TLS = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Tls handshake failed: SSL_ERROR_SSL: "


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("…: Failed to connect to remote host: connect: Connection refused (111)", "nothing listens at --address"),
        ("errors resolving h:1: [field:hostname lookup error:… Domain name not found]", "--address is HOST:PORT"),
        ("DNS resolution failed for h:1: C-ares status is not ARES_SUCCESS", "no service answers at --address"),
        (
            "Failed parsing HTTP/2 (…) (Trying to connect an http1.x server (HTTP status 400))",
            "speaks HTTP/1, not gRPC",
        ),
        (TLS + "error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER", "leave the --tls options out"),
        (TLS + "error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED", "--tls-ca-file FILE"),
        ("Custom verification check failed with error: … Hostname Verification Check failed.", "--tls-server-name"),
        ("failed to connect to all addresses; last error: UNAVAILABLE: ipv4:…: Socket closed", "it may want TLS"),
        ("Failed to create security handshaker.", "in PEM"),
        ("something else", "is it running?"),
    ],
)
def test_each_way_not_to_reach_a_service_has_its_remedy(text: str, remedy: str) -> None:
    """By the words in which gRPC's core says why."""
    assert remedy in remedy_when_unreachable(text)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make certs` writes."""
    directory = tmp_path_factory.mktemp("certs")
    certs.make(directory, "voice")
    return directory


@pytest.fixture(scope="module")
def secure(files: Path) -> Iterator[Running]:
    """A service that wants a client's certificate."""
    pair = ("--tls-cert-file", str(files / "tls.crt"), "--tls-key-file", str(files / "tls.key"))
    with service(*pair, "--tls-client-ca-file", str(files / "ca.pem")) as running:
        yield running


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ([], "it may want TLS"),
        (["--tls"], "--tls-ca-file FILE"),
        (["--tls-ca-file", "ca.pem"], "a certificate of yours (--tls-cert-file)"),
        (["--tls-ca-file", "tls.key"], "in PEM"),
    ],
)
def test_clients_own_tls_faults_are_told(secure: Running, files: Path, options: list[str], remedy: str) -> None:
    """Not as a service that is not running."""
    given = [str(files / option) if (files / option).exists() else option for option in options]
    ended = invoked("chat", "--address", secure.address, *given, "--base-url", "http://h", "--model", "m", "hi")
    assert ended.exit_code == 1
    assert remedy in ended.stderr
    assert "is it running" not in ended.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "http://127.0.0.1:9004", "127.0.0.1:port", ":9004"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    """Before anything is called: without a port gRPC would go to 443."""
    ended = invoked("chat", "--address", address, "--base-url", "http://h", "--model", "m", "hi")
    assert ended.exit_code == 2
    assert "HOST:PORT" in ended.stderr


def test_a_token_is_made_with_its_line(tmp_path: Path) -> None:
    """The file has the hash only; a second name goes behind the first."""
    file = tmp_path / "tokens"
    file.write_text("# ours", "utf-8")
    made = {name: invoked("token", "new", name, "--file", str(file)).stdout.strip() for name in ("voice", "billing")}
    tokens = parse_tokens(file.read_bytes())
    assert {token: tokens(token) for token in made.values()} == {token: name for name, token in made.items()}
    assert not any(token in file.read_text("utf-8") for token in made.values())

    shown = invoked("token", "new", "voice")
    line = next(line for line in shown.stderr.splitlines() if line.startswith("voice "))
    assert parse_tokens(line.encode())(shown.stdout.strip()) == "voice"
    assert invoked("token", "new", "two words").exit_code == 2


def test_a_wrong_line_of_the_tokens_file_is_not_quoted(tmp_path: Path) -> None:
    """The error says the form that a line has, and how to get one; not what reads like one's own line."""
    (tmp_path / "tokens").write_text("voice hunter2\n", "utf-8")
    said = unusable(Settings(auth_tokens_file=str(tmp_path / "tokens")))
    assert "line 1 does not have the form NAME sha256:HASH" in said
    assert "token new NAME" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("url", ["", f"https://example.com/{'p' * 200}"])
def test_the_link_of_errors_is_short(url: str) -> None:
    """It stands in the trailers of every error, which share 4 KB."""
    assert "error_docs_url must have 1 to 200 characters" in unusable(Settings(error_docs_url=url))


def test_certificates_are_not_written_over(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys are their owner's, and what is there stays."""
    assert (files / "tls.key").stat().st_mode & 0o077 == 0
    assert certs.main([str(files)]) == 1
    assert "is there already" in capsys.readouterr().err


def blocks() -> list[str]:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


@contextmanager
def pasted(block: str, home: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A block as a shell runs it, in a process group of its own."""
    shell = ["bash", "-e", "-c", block]
    with subprocess.Popen(shell, cwd=home, env=env, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", range(0, len(blocks()), 2))
def test_blocks_about_access_can_be_pasted(number: int, tmp_path: Path) -> None:
    """Each pair of docs/security.md: the service in one terminal, the call in another."""
    port, sandbox_port = free_port(), free_port()
    (tmp_path / "bin").mkdir()
    for name, command in (("integration-api", "-m integration_api"), ("python", "")):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n', "utf-8")
        program.chmod(0o755)
    env = environment({"INTEGRATION_API_PORT": str(port), "PYTHONPATH": str(ROOT)})
    env["PATH"] = f"{tmp_path / 'bin'}:{env['PATH']}"
    serving, calling = (block.replace(":8000", f":{sandbox_port}") for block in blocks()[number : number + 2])
    serving = serving.replace("make certs", "python -m scripts.certs")
    serving = serving.replace("--sandbox", f"--sandbox --sandbox-port {sandbox_port}")
    with pasted(serving, tmp_path, env):
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)  # nothing tells when it listens but that it does
        with pasted(calling, tmp_path, env) as call:
            answer, _ = call.communicate(timeout=SECONDS)
    assert (call.returncode, answer) == (0, b"hi\n")
