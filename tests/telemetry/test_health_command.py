"""`health` as the image runs it: by the environment alone, whatever the service asks of its clients."""

import socket
from pathlib import Path

import pytest

from integration_api.settings import env_name
from tests.edge.certificates import Authority
from tests.edge.loopback import free_port
from tests.edge.processes import run, service


def test_health_asks_the_admin_port_where_it_is_set(tmp_path: Path) -> None:
    """No client certificate is needed, where the service wants one; and nothing answers once it is gone."""
    authority = Authority()
    pair = authority.sign("localhost")
    (tmp_path / "cert.pem").write_bytes(pair.certificate)
    (tmp_path / "key.pem").write_bytes(pair.key)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    port = free_port()
    env = {
        env_name("admin_port"): str(port),
        env_name("tls_cert_file"): str(tmp_path / "cert.pem"),
        env_name("tls_key_file"): str(tmp_path / "key.pem"),
        env_name("tls_client_ca_file"): str(tmp_path / "ca.pem"),
    }
    with service(env=env) as running:
        env[env_name("port")] = str(running.port)
        asked = run("health", env=env)
        assert (asked.returncode, asked.stdout) == (0, "SERVING\n")
        over_grpc = run("health", "--address", running.address, "--timeout", "1", env=env)
        assert over_grpc.returncode == 1
    gone = run("health", env=env)
    assert gone.returncode == 1
    assert "no admin port answers" in gone.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_admin_port_is_said(workers: str) -> None:
    """The service does not start without what was asked for, and names the setting that it is about."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("serve", "--port", "0", "--workers", workers, "--admin-port", str(taken.getsockname()[1]))
    assert ended.returncode == 1
    assert "cannot listen on the admin port" in ended.stderr
    assert "choose one with --admin-port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_effective_settings() -> None:
    """Every setting with its value, and of secrets only that they are set."""
    with service("--log-level", "debug", "--endpoint-proxy", "http://user:CANARY@127.0.0.1:3128") as running:
        line = running.line_with("server.settings")
    assert "max_attempts" in line
    assert "CANARY" not in line
