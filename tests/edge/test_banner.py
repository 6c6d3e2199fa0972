"""What `serve` says to the person who started it, and that the command which it names works."""

import json
import shlex
import subprocess

import pytest

from integration_api.commands.banner import banner
from integration_api.commands.serve import sandbox_problem
from integration_api.settings import Settings
from tests.edge.processes import ROOT, SECONDS, environment, started


def rows(settings: Settings, sandbox_url: str = "") -> dict[str, str]:
    lines = banner(settings, 9004, sandbox_url).splitlines()
    assert len(lines) == 5
    return {name: text.strip() for name, text in (line.strip().split(maxsplit=1) for line in lines)}


def test_it_says_what_a_new_user_asks() -> None:
    """Address, clients, egress, protocols, and a command."""
    said = rows(Settings())
    assert said["address"] == "127.0.0.1:9004 (gRPC, no TLS)"
    assert said["clients"] == "anybody on this machine"
    assert said["egress"].startswith("open: every address but metadata")
    assert "integration_api.v1.ChatService" in said["protocols"]
    assert "chat --base-url" in said["try"]


@pytest.mark.parametrize(
    ("settings", "row", "words"),
    [
        ({"host": "0.0.0.0", "allow_anonymous": True}, "clients", "ANYBODY who reaches this address"),
        ({"auth_tokens_file": "t", "auth_jwt_key_file": "k"}, "clients", "who has a token or who has a JWT"),
        ({"auth_tokens_file": "t"}, "try", "--token env:TOKEN"),
        ({"tls_cert_file": "tls.crt"}, "address", "(gRPC, TLS)"),
        ({"tls_cert_file": "tls.crt"}, "try", "--tls-ca-file tls.crt"),
        ({"host": "::"}, "try", "--address 127.0.0.1:9004"),
        ({"egress_policy": "allowlist", "egress_allow": "llm.internal:8000"}, "egress", "allowlist: llm.internal:8000"),
        ({"egress_policy": "allowlist"}, "egress", "allowlist: nothing yet"),
        ({"reflection": False}, "protocols", "health"),
        ({"admin_port": 9100}, "protocols", "http://127.0.0.1:9100/metrics"),
    ],
)
def test_it_says_what_was_set(settings: dict[str, object], row: str, words: str) -> None:
    """Who may call, over what, and what they need for it."""
    assert words in rows(Settings(**settings))[row]  # type: ignore[arg-type]


def test_one_command_is_enough_for_a_first_token() -> None:
    """`serve --sandbox`; what it tells to try streams an answer as it stands."""
    with started("serve", "--port", "0", "--sandbox", "--sandbox-port", "0") as running:
        told = running.line_with("  try ").strip().removeprefix("try").strip()
        words = shlex.split(told)
        asked = subprocess.run(
            words, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT, env=environment()
        )
    assert (asked.returncode, asked.stdout) == (0, "Say hello\n"), asked.stderr


def test_machines_get_no_banner() -> None:
    """With JSON logs every line is JSON."""
    with started("serve", "--port", "0", "--log-format", "json", "--sandbox", "--sandbox-port", "0") as running:
        events = []
        for line in running.lines:
            events.append(json.loads(line)["event"])
            if events[-1] == "server.started":
                running.process.terminate()
    assert events[:2] == ["sandbox.started", "server.started"]
    assert events[-1] == "server.stopped"


def test_a_sandbox_that_could_not_be_called_is_refused() -> None:
    """Before anything listens."""
    problem = sandbox_problem(Settings(egress_policy="public-only"))
    assert "--sandbox listens on loopback" in problem
    assert not sandbox_problem(Settings())
