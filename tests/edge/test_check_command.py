"""`integration-api check`, `verify` and `models` as their users meet them: exit codes, output, what is sent where."""

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from caller.custom_llm.check.table import ROWS, usual
from integration_api.cli import main
from tests.edge.processes import ROOT, Running, arguments, environment, run, service, started

KEY = "canary-key-4711"
_URL = re.compile(r"http://[0-9.:]+")


@contextmanager
def sandbox(*args: str) -> Iterator[str]:
    """The URL of a sandbox that wants the key, as a process of its own."""
    with started("sandbox", "--port", "0", "--require-key", KEY, *args) as running:
        found = _URL.search(running.line_with("sandbox: "))
        assert found is not None
        yield found[0]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with sandbox() as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with service() as running:
        yield running


def test_a_sound_endpoint_ends_with_0(endpoint: str) -> None:
    """The key comes from the environment, and is repeated nowhere."""
    ended = run("check", f"{endpoint}/v1", env={"LLM_KEY": KEY})

    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in usual(deep=False):
        assert f" {name} " in ended.stdout
    assert "requests in" in ended.stdout
    assert KEY not in ended.stdout + ended.stderr


def test_a_provider_of_the_operators_file_is_checked(endpoint: str, tmp_path: Path) -> None:
    """By its name, as the service would call it; names that nobody knows are refused."""
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps({"house": {"baseUrl": f"{endpoint}/v1"}}), "utf-8")
    args = ["check", "--key", KEY, "--model", "assistant", "--json", "--provider"]
    ended = CliRunner().invoke(main, [*args, "House"], env={"INTEGRATION_API_PROVIDERS_FILE": str(rows)})
    unknown = CliRunner().invoke(main, [*args, "cottage", "--providers-file", str(rows)])

    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["endpoint_url"] == f"{endpoint}/v1/chat/completions"
    assert unknown.exit_code == 2
    assert "cottage" in unknown.output


def test_json_has_every_check(endpoint: str) -> None:
    """`ok` is there in any case, and how many requests were made."""
    args = ["check", f"{endpoint}/v1", "--json", "--deep", "--model", "assistant"]
    ended = CliRunner().invoke(main, args, env={"LLM_KEY": KEY})

    found = json.loads(ended.stdout)
    assert found["ok"] is True
    assert found["compatibility"] == "openai_compatible"
    assert found["endpoint_url"] == f"{endpoint}/v1/chat/completions"
    assert found["requests"] == 16
    assert [check["id"] for check in found["checks"]] == [*ROWS]
    assert all({"id", "status", "observed", "remedy", "took_ms"} == check.keys() for check in found["checks"])


def test_a_failed_check_ends_with_1_and_says_what_to_do() -> None:
    """The base URL that works, for a path that does not."""
    with sandbox("--fault", "path") as url:
        ended = CliRunner().invoke(main, ["check", f"{url}/v1", "--key", KEY, "--model", "assistant"])
        told = CliRunner().invoke(main, ["check", f"{url}/v1", "--key", KEY, "--json"])

    assert ended.exit_code == 1
    assert f"use the base URL {url}/api/v1" in " ".join(ended.stdout.split())
    found = json.loads(told.stdout)
    assert found["ok"] is False
    assert {check["id"] for check in found["checks"] if check["status"] == "FAIL"} == {"path"}
    assert {check["observed"] for check in found["checks"] if check["id"] in ("models", "chat", "tools")} == {
        "see `path`"
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["ftp://127.0.0.1"], "http"),
        ([], "BASE_URL"),
        (["http://127.0.0.1:1", "--api", "openai"], "--api"),
        (["http://127.0.0.1:1", "--provider", "nobody"], "nobody"),
        (["http://127.0.0.1:1", "--key", "env:NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE"),
        (["http://127.0.0.1:1", "--key", KEY, "--header", f"Authorization=Bearer {KEY}"], "leave one out"),
        (["--provider", "ollama", "--detect"], "BASE_URL"),
    ],
)
def test_wrong_usage_ends_with_2(args: list[str], said: str) -> None:
    """And repeats no key."""
    ended = CliRunner().invoke(main, ["check", *args])

    assert ended.exit_code == 2
    assert said in ended.stderr
    assert KEY not in ended.output


@pytest.mark.parametrize("api", ["openai_responses", "anthropic_messages", "gemini_generate_content"])
def test_the_key_goes_where_the_api_wants_it(endpoint: str, api: str) -> None:
    """Read from standard input, it stands in no process list."""
    base = f"{endpoint}/{'v1beta' if api.startswith('gemini') else 'v1'}"
    ended = CliRunner().invoke(main, ["check", base, "--api", api, "--key", "-", "--json"], input=f"{KEY}\n")

    found = json.loads(ended.stdout)
    assert found["ok"] is True, ended.output
    assert found["compatibility"] == api


def test_a_key_of_the_environment_gives_way_to_a_header(endpoint: str) -> None:
    """Which was typed for this very call."""
    args = ["check", f"{endpoint}/v1", "--header", f"Authorization=Bearer {KEY}", "--json"]
    ended = CliRunner().invoke(main, args, env={"LLM_KEY": "another"})

    assert ended.exit_code == 0, ended.output


def test_a_provider_by_name_needs_a_key_only(endpoint: str) -> None:
    """Its row says the rest; a base URL given beside it wins."""
    ended = CliRunner().invoke(main, ["check", f"{endpoint}/v1", "--provider", "anthropic", "--key", KEY, "--json"])

    assert json.loads(ended.stdout)["compatibility"] == "anthropic_messages"
    assert ended.exit_code == 0, ended.output


def test_what_is_found_can_be_typed(endpoint: str, server: Running) -> None:
    """From a URL and a key to a streamed answer: the command that is printed works as it stands."""
    told = run("check", endpoint, "--detect", "--header", "x-tenant=canary-tenant", env={"LLM_KEY": KEY}).stdout
    assert "--header 'x-tenant=env:X_TENANT'" in told
    assert "canary" not in told
    command = told[told.rindex(" chat --base-url") :].replace("\\\n", " ")
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]

    ended = run(*words, "--address", server.address, env={"LLM_KEY": KEY, "X_TENANT": "t"})

    assert ended.returncode == 0, ended.stderr
    assert "sky" in ended.stdout


def test_a_service_is_asked_for_the_same(endpoint: str, server: Running) -> None:
    """`verify` and `models` are VerifyCredential and ListModels."""
    reached = ("--address", server.address, "--base-url", f"{endpoint}/v1")
    held = ("--header", "Authorization=Bearer env:LLM_KEY")
    env = {"LLM_KEY": KEY}

    good = CliRunner().invoke(main, ["verify", *reached, *held, "--model", "assistant", "--check", "tools"], env=env)
    bad = CliRunner().invoke(main, ["verify", *reached, "--model", "assistant", "--json"])
    listed = CliRunner().invoke(main, ["models", *reached, *held], env=env)
    wrong = CliRunner().invoke(main, ["verify", *reached, *held, "--check", "nothing"], env=env)

    assert good.exit_code == 0, good.output
    assert " tools " in good.stdout
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["ok"] is False
    assert "assistant" in listed.stdout.split()
    assert wrong.exit_code == 1
    assert "REQUEST_INVALID" in wrong.stderr


def test_a_terminal_is_asked_for_the_key(endpoint: str) -> None:
    """Unseen; and the checks that are still to come are counted on a line of their own."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        arguments("check", f"{endpoint}/v1", "--key", "-"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=ROOT,
        env=environment({"TERM": "xterm", "COLUMNS": "100"}),
        start_new_session=True,
    )
    os.close(terminal)
    shown = _read(controller, until="Key")
    os.write(controller, f"{KEY}\n".encode())
    shown += _read(controller)

    assert process.wait(20) == 0, shown
    os.close(controller)
    assert KEY not in shown
    assert "to go" in shown
    assert "\x1b[32m" in shown


def _read(controller: int, until: str = "", seconds: float = 40) -> str:
    """What a pseudo-terminal shows, up to a word or its end."""
    shown, end = "", time.monotonic() + seconds
    while time.monotonic() < end and not (until and until in shown):
        if not select.select([controller], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(controller, 65536)
        except OSError:  # the other end is closed
            return shown
        if not piece:
            return shown
        shown += piece.decode("utf-8", "replace")
    return shown
