"""The command `chat` as its users meet it: a real client of a real service, each in a process of its own."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from integration_api.cli import main
from tests.edge.processes import Running, asking, chat, invoked, run, sandbox, service
from tests.edge.terminal import Terminal


@pytest.mark.parametrize("mode", [[], ["--unary"]])
def test_chat_prints_the_answer(server: Running, endpoint: str, mode: list[str]) -> None:
    """The answer alone is on standard output; usage and times are on standard error."""
    ended = chat(server, endpoint, "--model", "echo", *mode, "Hello there")
    assert (ended.returncode, ended.stdout) == (0, "Hello there\n")
    assert "tokens: 2 in" in ended.stderr
    assert "total" in ended.stderr
    assert ("first output" in ended.stderr) is (not mode)


def test_chat_prints_tokens_as_they_come(server: Running, endpoint: str) -> None:
    """The first token is there while the answer still runs."""
    with asking(server, endpoint, "stall:after=1,for=60s") as client:
        assert client.stdout is not None
        assert client.stdout.read(1)
        assert client.poll() is None


def test_an_answer_is_no_command_to_the_terminal(server: Running, endpoint: str, tmp_path: Path) -> None:
    """Its control sequences are seen instead of obeyed; what is piped has them as they came."""
    model = "tokens:n=1,text=%1B]0;owned%07 %C2%9B2J end"
    asked = ("--base-url", endpoint, "--model", model, "hi")
    with Terminal("chat", "--address", server.address, *asked, home=tmp_path) as terminal:
        shown = terminal.until("total")
    piped = chat(server, endpoint, "--model", model, "hi")

    assert "\u241b]0;owned\u2407 \ufffd2J end" in shown
    assert "\x1b]0;" not in shown
    assert piped.stdout.startswith("\x1b]0;owned\x07 \x9b2J end")


def test_chat_reads_standard_input(server: Running, endpoint: str) -> None:
    """Without a message on the command line, standard input is what the user says."""
    assert chat(server, endpoint, "--model", "echo", stdin="from a pipe\n").stdout == "from a pipe\n"


def test_chat_keeps_reasoning_apart(server: Running, endpoint: str) -> None:
    """Reasoning goes to standard error, so that a pipe gets the answer only."""
    ended = chat(server, endpoint, "--model", "reasoning", "Which is it?")
    assert ended.stdout == "Which is it?\n"
    assert "The user wants" in ended.stderr


@pytest.mark.parametrize("mode", [[], ["--unary"]])
def test_chat_shows_tool_calls(server: Running, endpoint: str, mode: list[str]) -> None:
    """Tool calls are shown whole, one a line, fragments or not."""
    ended = chat(server, endpoint, "--model", "parallel-tool-calls", *mode, "Weather?")
    weather, time = ended.stdout.splitlines()
    assert weather.startswith('weather({"city":"Rome"})  call_')
    assert time.startswith('local_time({"zone":"Europe/Rome"})  call_')
    assert "tool calls" in ended.stderr


def test_chat_prints_raw_frames(server: Running, endpoint: str) -> None:
    """With --json every message of the service is one line of JSON, the last one the whole answer."""
    ended = chat(server, endpoint, "--model", "tokens:n=3", "--json", "hi")
    frames = [json.loads(line) for line in ended.stdout.splitlines()]
    assert "started" in frames[0]
    assert frames[-1]["completed"]["choices"][0]["message"]["text"] == "word1 word2 word3"
    assert ended.stderr == ""


def test_chat_takes_parameters(server: Running, endpoint: str) -> None:
    """Parameters reach the endpoint as what they are: two answers for n=2, the single option before the object."""
    ended = chat(server, endpoint, "--model", "echo", "--param", "n=2", "--parameters", '{"n": 3}', "hi")
    assert ended.stdout.splitlines() == ["hi", "[1] hi"]


def test_chat_takes_a_system_message_and_tools(server: Running, endpoint: str, tmp_path: Path) -> None:
    """The system message counts as input, and a tool is read from a file."""
    tool = tmp_path / "tool.json"
    tool.write_text('{"name": "weather", "parameters": {"type": "object"}}', encoding="utf-8")
    ended = chat(server, endpoint, "--model", "echo", "--system", "Be very brief.", "--tool", f"@{tool}", "hi")
    assert (ended.returncode, ended.stdout) == (0, "hi\n")
    assert "tokens: 4 in" in ended.stderr


@pytest.mark.parametrize("value", ["Bearer canary-secret", "Bearer env:THE_KEY", "Bearer @{file}"])
def test_chat_reads_keys_from_elsewhere(server: Running, endpoint: str, tmp_path: Path, value: str) -> None:
    """A header's value can be text, or come from the environment or a file."""
    key = tmp_path / "key"
    key.write_text("canary-secret\n", encoding="utf-8")
    header = f"Authorization={value.format(file=key)}"
    ended = chat(
        server,
        endpoint,
        *("--model", "key:value=canary-secret", "--header", header, "hi"),
        env={"THE_KEY": "canary-secret"},
    )
    assert (ended.returncode, ended.stdout) == (0, "hi\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--header", "canary-secret"], "NAME=VALUE"),
        (["--header", "Authorization=env:NOT_THERE"], "NOT_THERE"),
        (["--header", "Authorization=@/no/such/file"], "/no/such/file"),
        (["--param", "temperature"], "KEY=VALUE"),
        (["--parameters", "[1]"], "not a JSON object"),
        (["--parameters", "{"], "not JSON"),
        (["--tool", '{"nome": "weather"}'], "nome"),
        (["--compatibility", "telepathy"], "telepathy"),
    ],
)
def test_chat_refuses_options_it_cannot_read(args: list[str], said: str) -> None:
    """An option that cannot be read ends the command with 2, names the fault, and repeats no header."""
    ended = invoked("chat", "--base-url", "http://127.0.0.1:1/v1", "--model", "echo", *args, "hi")
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert "canary-secret" not in ended.output


def test_chat_explains_an_error_of_the_endpoint(server: Running, endpoint: str) -> None:
    """An error says its status, its reason, what the endpoint said and what to do, and ends the command with 1."""
    ended = chat(server, endpoint, "--model", "key", "--header", "Authorization=Bearer canary-secret", "hi")
    assert ended.returncode == 1
    assert "UNAUTHENTICATED · ENDPOINT_UNAUTHENTICATED" in ended.stderr
    assert "http_status 401" in ended.stderr
    assert "what to do: give the key" in ended.stderr
    assert "more: docs/errors.md#endpoint_unauthenticated" in ended.stderr
    assert "canary-secret" not in ended.stderr


def test_chat_names_the_violated_field(server: Running) -> None:
    """A violation is shown with the path of its field."""
    ended = chat(server, "ftp://example.com", "--model", "echo", "hi")
    assert ended.returncode == 1
    assert "field credential.value.baseUrl: must start with http" in ended.stderr


def test_chat_tells_when_a_retry_makes_sense(server: Running, endpoint: str) -> None:
    """The endpoint's Retry-After is shown."""
    ended = chat(server, endpoint, "--model", "http-error:status=429,retry=90", "hi")
    assert "RESOURCE_EXHAUSTED · ENDPOINT_RATE_LIMITED" in ended.stderr
    assert "makes sense after 90 s" in ended.stderr


def test_chat_keeps_what_came_before_an_error(server: Running, endpoint: str) -> None:
    """What was said before a stream broke stays on standard output."""
    ended = chat(server, endpoint, "--model", "cut:after=3", "hi")
    assert ended.returncode == 1
    assert ended.stdout.split()[0] == "hi"
    assert "ABORTED · STREAM_INTERRUPTED" in ended.stderr


def test_chat_says_when_there_is_no_service(endpoint: str) -> None:
    """A service that is not there is told apart from an endpoint that is not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = run("chat", "--address", f"127.0.0.1:{port}", "--base-url", endpoint, "--model", "echo", "hi")
    assert ended.returncode == 1
    assert "nothing listens at --address: start it (integration-api serve)" in ended.stderr


def test_chat_has_a_deadline(server: Running, endpoint: str) -> None:
    """--timeout ends a call that takes longer."""
    ended = chat(server, endpoint, "--model", "silence", "--timeout", "0.5", "hi")
    assert ended.returncode == 1
    assert "DEADLINE_EXCEEDED" in ended.stderr


def test_chat_names_a_provider(tmp_path: Path, endpoint: str) -> None:
    """With its key, and with a base URL beside it; the key goes where the provider wants it."""
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps({"house": {"baseUrl": endpoint, "apiCompatibility": "openai_compatible"}}))
    with service("--providers-file", str(rows)) as server:
        options = ("--address", server.address, "--model", "echo", "Hello")
        named = run("chat", "--provider", "house", "--key", "env:KEY", *options, env={"KEY": "k"})
        from_the_environment = run("chat", "--provider", "house", *options, env={"LLM_KEY": "k"})
        beside = run("chat", "--provider", "anthropic", "--base-url", endpoint, "--key", "k", *options)
        listed = run("providers", "--address", server.address, "--json")
    assert (named.stdout, beside.stdout) == ("Hello\n", "Hello\n"), named.stderr + beside.stderr
    assert from_the_environment.stdout == "Hello\n"
    assert "house" in {provider["id"] for provider in json.loads(listed.stdout)["providers"]}


@pytest.mark.parametrize(
    "options",
    [[], ["--key", "k"], ["--key", "k", "--credential", "c"], ["--base-url", "http://h", "--credential", "c"]],
)
def test_chat_wants_to_know_the_endpoint(options: list[str]) -> None:
    """One way to name it, and one key."""
    ended = CliRunner().invoke(main, ["chat", "--model", "m", *options, "hi"])
    assert ended.exit_code == 2
    assert "say which endpoint" in ended.stderr or "leave --key out" in ended.stderr


@pytest.mark.parametrize("compatibility", ["openai_compatible", "anthropic_messages", "gemini_generate_content"])
def test_a_key_goes_where_the_api_wants_it(server: Running, compatibility: str) -> None:
    """Of any endpoint, without the name of a header."""
    with sandbox("--require-key", "k") as url:
        base = url if compatibility != "gemini_generate_content" else url.replace("/v1", "/v1beta")
        asked = ["chat", "--address", server.address, "--base-url", base, "--compatibility", compatibility]
        ended = CliRunner().invoke(main, [*asked, "--key", "k", "--model", "echo", "hi"])
    assert ended.stdout == "hi\n", ended.stderr


def test_providers_are_shown_without_a_service() -> None:
    """Those that every service has, and a word that none answered; a named address has to answer."""
    nowhere = {"INTEGRATION_API_PORT": "1"}
    ended = CliRunner().invoke(main, ["providers"], env=nowhere)
    assert ended.exit_code == 0
    assert "groq" in ended.stdout
    assert "No service answers here" in ended.stderr
    assert CliRunner().invoke(main, ["providers", "--address", "127.0.0.1:1"]).exit_code == 1


def test_a_key_of_the_environment_gives_way(server: Running) -> None:
    """To a header that is typed; two keys that are typed are one too many."""
    header = ("--header", "authorization=Bearer k")
    with sandbox("--require-key", "k") as url:
        asked = ["chat", "--address", server.address, "--base-url", url, *header, "--model", "echo", "hi"]
        typed = CliRunner().invoke(main, asked, env={"LLM_KEY": "of another endpoint"})
        twice = CliRunner().invoke(main, [*asked, "--key", "k"])
    assert typed.stdout == "hi\n", typed.stderr
    assert twice.exit_code == 2
    assert "both give Authorization" in twice.stderr


def test_chat_wants_a_model() -> None:
    """And says how to find one."""
    ended = CliRunner().invoke(main, ["chat", "--base-url", "http://h", "hi"])
    assert ended.exit_code == 2
    assert "integration-api models" in ended.stderr
