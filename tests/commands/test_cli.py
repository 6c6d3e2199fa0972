"""The commands as their users meet them: exit codes, output, signals."""

import json
import signal
import socket
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from integration_api.commands import serve
from integration_api.settings import Settings, env_name, flag
from tests.edge.processes import ROOT, SECONDS, Running, asking, chat, invoked, run, sandbox, service, started

# --- serve


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "some-name.example"])
def test_serve_refuses_to_be_open_to_other_machines(host: str) -> None:
    """Without authentication the service does not listen beyond loopback, and says why and what to do."""
    ended = run("serve", "--host", host, "--port", "0")
    assert ended.returncode == 2
    assert f"refusing to listen on {host}" in ended.stderr
    assert "--allow-anonymous" in ended.stderr
    assert "INTEGRATION_API_ALLOW_ANONYMOUS=true" in ended.stderr


@pytest.mark.parametrize("word", ["true", "on", "1"])
def test_serve_listens_everywhere_when_told_so(word: str) -> None:
    """With allow_anonymous in the environment the service listens on all addresses."""
    with service(env={"INTEGRATION_API_HOST": "0.0.0.0", "INTEGRATION_API_ALLOW_ANONYMOUS": word}) as running:
        assert run("health", "--address", running.address).returncode == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--egress-policy", "allowlist", "--egress-allow", "not a host"], "not a host"),
        (["--rapida-upstream", "original"], "rapida_upstream"),
        (["--egress-allow", "llm.internal"], "choose allowlist"),
        (["--endpoint-ca-file", "/no/such/file.pem"], "/no/such/file.pem"),
        (["--audit-file", "/no/such/folder/audit"], "audit_file /no/such/folder/audit"),
        (["--endpoint-ca-file", __file__], "endpoint_ca_file"),
        (["--endpoint-proxy", "socks5://user:canary-secret@proxy"], "endpoint_proxy"),
        (["--endpoint-proxy", "http://169.254.169.254:80"], "nothing may call"),
        (["--auth-tokens-file", "/no/such/tokens"], "auth_tokens_file"),
        (["--tls-cert-file", __file__], "tls_key_file"),
    ],
)
def test_serve_refuses_settings_it_cannot_use(args: list[str], said: str) -> None:
    """A setting that cannot work ends the command with 2 and is named, before anything listens."""
    ended = run("serve", "--port", "0", *args)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "canary-secret" not in ended.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--egress-policy", "sometimes"], "sometimes"),
        (["--max-request-bytes", "9999999999"], "--max-request-bytes"),
        (["--max-running-calls", "99999999999999999999"], "--max-running-calls"),
        (["--port", "65536"], "--port"),
        (["--total-timeout", "nan"], "finite"),
        (["--connect-timeout", "0"], "--connect-timeout"),
        (["--max-attempts", "0"], "--max-attempts"),
        (["--log-level", "loud"], "loud"),
    ],
)
def test_serve_refuses_settings_it_cannot_read(args: list[str], said: str) -> None:
    """A value that no setting can have ends the command with 2, and the setting is named."""
    ended = invoked("serve", *args)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_an_unreadable_environment_is_refused() -> None:
    """A wrong value in the environment is refused under its name there."""
    ended = invoked("serve", "--port", "0", env={"INTEGRATION_API_MAX_ATTEMPTS": "many"})
    assert ended.exit_code == 2
    assert "INTEGRATION_API_MAX_ATTEMPTS" in ended.stderr


def test_what_is_hardly_meant_is_told_at_the_start(tmp_path: Path) -> None:
    """A misspelt name, an allowlist of nothing, an access that is open to all, an original that nobody gets to, a
    broken credential: the log says so."""
    (tmp_path / "house.json").write_text("no JSON", "utf-8")
    said = {
        "INTEGRATION_API_MAX_ATEMPTS": "2",
        "INTEGRATION_API_SERVICE_HOST": "10.0.0.1",
        "INTEGRATION_API_ALLOW_ANONYMOUS": "true",
        "INTEGRATION_API_RAPIDA_UPSTREAM": "original:9004",
        "INTEGRATION_API_RAPIDA_OWN_PROVIDERS": "groq, opnai",
    }
    args = ("--port", "0", "--log-format", "json", "--host", "0.0.0.0", "--egress-policy", "allowlist")
    events: dict[str, dict[str, str]] = {}
    with started("serve", *args, "--credentials-dir", str(tmp_path), env=said) as running:
        for line in running.lines:
            events.setdefault(json.loads(line)["event"], json.loads(line))
            if "server.started" in events:
                break

    assert "INTEGRATION_API_MAX_ATTEMPTS" in events["settings.unknown"]["advice"]
    assert events["settings.unknown"]["name"] == "INTEGRATION_API_MAX_ATEMPTS"
    assert events["settings.unknown_provider"]["name"] == "opnai"
    assert "did you mean openai" in events["settings.unknown_provider"]["advice"]
    doubtful = {"open_to_all", "empty_allowlist", "upstream_for_nobody"}
    assert {"credential.broken", *(f"settings.{name}" for name in doubtful)} <= set(events)


def test_memory_can_be_more_than_grpcs_numbers() -> None:
    """What we count ourselves ends at no 2 GiB."""
    eight = 8 * 1024**3
    given = [f"--{name}={eight}" for name in ("memory-limit-bytes", "max-receiving-bytes", "max-unread-bytes")]
    read = serve.command.make_context("serve", given).params

    assert [read[name] for name in ("memory_limit_bytes", "max_receiving_bytes", "max_unread_bytes")] == [eight] * 3


def test_help_knows_every_setting() -> None:
    """The help of serve lists each setting's option, environment name and meaning, and ends with an example."""
    ended = run("serve", "--help", env={"COLUMNS": "200"})
    assert ended.returncode == 0
    words = " ".join(ended.stdout.split())
    for entry in fields(Settings):
        assert flag(entry.name) in words
        assert env_name(entry.name) in words
        assert entry.metadata["meaning"].split(",")[0] in words
    assert "integration-api serve --port" in ended.stdout.strip().splitlines()[-1]


def test_the_option_wins_over_the_environment() -> None:
    """An option that is given is stronger than the environment's value."""
    with service("--host", "127.0.0.1", env={"INTEGRATION_API_HOST": "0.0.0.0"}) as running:
        assert run("health", "--address", running.address).returncode == 0


def test_a_second_server_on_the_port_fails(server: Running) -> None:
    """A port that is taken ends the second server with 1 and a message that names it, and leaves the first alone."""
    ended = run("serve", "--port", str(server.port))
    assert ended.returncode == 1
    assert f"cannot listen on {server.address}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert run("health", "--address", server.address).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_stream_finish(endpoint: str, number: signal.Signals) -> None:
    """SIGTERM and SIGINT wait for the stream that runs, and end the service with 0."""
    with service() as running:
        with asking(running, endpoint, "tokens:n=12,gap=80ms") as client:
            assert client.stdout is not None
            first = client.stdout.read(5)
            running.process.send_signal(number)
            rest = client.stdout.read()
            assert client.wait(SECONDS) == 0
        assert (first + rest).split() == [f"word{count}" for count in range(1, 13)]
        assert running.process.wait(SECONDS) == 0


def test_a_second_signal_ends_at_once(endpoint: str) -> None:
    """Who sends the signal twice does not wait for running calls."""
    with service() as running:
        with asking(running, endpoint, "stall:after=1,for=60s") as client:
            assert client.stdout is not None
            assert client.stdout.read(1)
            running.process.send_signal(signal.SIGTERM)
            running.line_with('"server.draining"')
            assert running.end(signal.SIGTERM) == 1
            _, errors = client.communicate(timeout=SECONDS)
        assert client.returncode == 1
        assert "Traceback" not in errors


# --- health


def test_health_knows_each_service(server: Running) -> None:
    """Health answers for the server as a whole and for the chat service by name."""
    for args in ([], ["--service", "integration_api.v1.ChatService"]):
        ended = run("health", "--address", server.address, *args)
        assert (ended.returncode, ended.stdout.strip()) == (0, "SERVING")


def test_health_finds_the_service_beside_it(server: Running) -> None:
    """In the environment of the service, health needs no address, also where it listens on all addresses."""
    beside = {"INTEGRATION_API_HOST": "0.0.0.0", "INTEGRATION_API_PORT": str(server.port)}
    assert run("health", env=beside).returncode == 0


def test_health_fails_where_nothing_answers() -> None:
    """Without a service, and without a free port being one, health ends with 1."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        waited = run("health", "--address", f"127.0.0.1:{port}", "--timeout", "0.5")
    refused = run("health", "--address", f"127.0.0.1:{port}")
    assert (waited.returncode, refused.returncode) == (1, 1)
    assert "Traceback" not in waited.stderr + refused.stderr


def test_health_fails_for_an_unknown_service(server: Running) -> None:
    """A service name that the server does not have ends health with 1, and is repeated."""
    ended = run("health", "--address", server.address, "--service", "nobody.Knows")
    assert ended.returncode == 1
    assert "nobody.Knows" in ended.stderr


# --- demo, sandbox, the group


def test_demo_shows_streamed_tokens() -> None:
    """The demo needs nothing, shows answers, a tool call and usage, and ends with 0."""
    ended = run("demo")
    assert ended.returncode == 0, ended.stderr
    assert "Hello from the sandbox" in ended.stdout
    assert "arrive one by one" in ended.stdout
    assert 'weather({"city":"Rome"})' in ended.stdout
    assert ended.stdout.count("tokens: ") == 4
    assert ended.stderr == ""
    # What it says to type next works where it was typed: the shell of a newcomer knows no `integration-api`.
    line = next(line for line in ended.stdout.splitlines() if "chat --base-url http://127.0.0.1:8000" in line)
    program = line.split(" chat ")[0].split()
    subprocess.run([*program, "chat", "--help"], check=True, capture_output=True, cwd=ROOT, timeout=20)


def test_sandbox_asks_for_its_key(server: Running) -> None:
    """A sandbox with a key refuses requests without it, and does not show it."""
    with sandbox("--require-key", "canary-secret") as base_url:
        without = chat(server, base_url, "--model", "echo", "hi")
        with_key = chat(server, base_url, "--model", "echo", "--header", "Authorization: Bearer canary-secret", "hi")
    assert "ENDPOINT_UNAUTHENTICATED" in without.stderr
    assert (with_key.returncode, with_key.stdout) == (0, "hi\n")


def test_sandbox_help_lists_its_scripts() -> None:
    """The help of the sandbox is where its scripts are looked up."""
    ended = invoked("sandbox", "--help")
    for script in ("tokens:n=200,gap=20ms", "tool-call", "http-error:status=429,retry=2", "example: cut:after=3"):
        assert script in ended.stdout


def test_sandbox_ends_politely_and_alone() -> None:
    """A second sandbox on the port fails with 1; SIGTERM ends the first with 0."""
    with started("sandbox", "--port", "0") as running:
        port = running.line_with("sandbox: ").split()[1].rpartition(":")[2]
        ended = run("sandbox", "--port", port)
        assert ended.returncode == 1
        assert f"port {port}" in ended.stderr
        assert running.end(signal.SIGTERM) == 0


def test_every_command_explains_itself() -> None:
    """Each command is in the list, and its help ends with an example."""
    listed = invoked("--help").stdout
    for name in ("serve", "sandbox", "chat", "demo", "health"):
        assert f"\n  {name} " in listed
        assert "Example" in invoked(name, "--help").stdout


def test_version() -> None:
    """The version is the package's."""
    ended = run("--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith("integration-api, version ")


def test_an_unknown_command_is_refused() -> None:
    """A word that is no command ends with 2."""
    assert invoked("sing").exit_code == 2
