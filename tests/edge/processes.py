"""Runs the command line as a user does: in processes of its own, spoken to over loopback and signals only; or in this
one, for what it says before it does anything."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from click.testing import CliRunner, Result

from integration_api.cli import main

ROOT = Path(__file__).parents[2]
SECONDS = 30


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without our own settings, so that the machine's do not decide; then `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INTEGRATION_API_")}
    return {**kept, **(changes or {})}


def arguments(*args: str) -> list[str]:
    return [sys.executable, "-m", "integration_api", *args]


def run(*args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        arguments(*args),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
        cwd=ROOT,
        env=environment(env),
    )


def invoked(*args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Result:
    """A command in this process: for its words and its exit code, where it starts nothing and logs nothing."""
    away = {name: None for name in os.environ if name.startswith("INTEGRATION_API_")}
    return CliRunner().invoke(main, args, input=stdin, env={**away, **(env or {})})


def chat(
    server: "Running", base_url: str, *args: str, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Asks through a service, to the end."""
    return run("chat", "--address", server.address, "--base-url", base_url, *args, stdin=stdin, env=env)


@contextmanager
def asking(server: "Running", base_url: str, model: str) -> Iterator[subprocess.Popen[str]]:
    """Asks through a service, and goes on asking until the block ends."""
    with subprocess.Popen(
        arguments("chat", "--address", server.address, "--base-url", base_url, "--model", model, "hi"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        env=environment(),
    ) as client:
        try:
            yield client
        finally:
            if client.poll() is None:
                client.kill()


@dataclass
class Running:
    """A process that serves. `lines` is what it writes: errors and output in one."""

    process: subprocess.Popen[str]
    lines: IO[str]
    port: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def line_with(self, text: str) -> str:
        """The next line that holds a text; waits for it. Fails when the process ends first."""
        for line in self.lines:
            if text in line:
                return line
        raise AssertionError(f"the process ended without a line that holds {text!r}")

    def end(self, signal: int) -> int:
        """Sends a signal; the exit code."""
        self.process.send_signal(signal)
        return self.process.wait(SECONDS)


@contextmanager
def started(*args: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A command that runs until the block ends."""
    with subprocess.Popen(
        arguments(*args),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        env=environment(env),
    ) as process:
        assert process.stdout is not None
        try:
            yield Running(process, process.stdout)
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def service(*args: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`serve` on a free port, ready."""
    with started("serve", "--port", "0", "--log-format", "json", *args, env=env) as running:
        running.port = int(json.loads(running.line_with('"server.started"'))["port"])
        yield running


@contextmanager
def sandbox(*args: str) -> Iterator[str]:
    """`sandbox` on a free port, ready: its URL, as a base URL of OpenAI's APIs."""
    with started("sandbox", "--port", "0", *args) as running:
        yield running.line_with("sandbox: ").split()[1] + "/v1"
