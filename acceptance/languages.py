"""The contract in other languages: each client of examples/ is generated, compiled and run against service and sandbox.

    python -m acceptance.languages [--only go,node,python,java] [--require go,node,python]

Each runs twice: in plain text, and then with TLS and a token against an endpoint that is always 503 with Retry-After,
which may be asked three times by a client with the usual retry policy, who would make four attempts of its own. The
call that it cancels must each time reach the endpoint as a closed connection.

Rule: it starts programs and compares what they print, and knows nothing of what they do. A language whose toolchain is
not on this machine is skipped with a line that says so, or fails where it is required. Exit code 1: one failed.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from integration_api import log
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from scripts import certs

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
# Plugins of protoc for Go, built once per machine.
_PLUGINS = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "integration-api" / "go-plugins"
_GO_PLUGINS = (
    "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1",
)
_SECONDS = 300.0
_TOKEN = "an-example"  # noqa: S105 -- of a service that lives as long as this program
# Our own attempts: none of the client's retries are added to them.
_MOST_POSTS = 3


@dataclass(frozen=True, slots=True)
class Client:
    """One client: the tools it needs, what builds it, and what runs it, first in plain text, then with TLS. What stands
    in braces is filled in."""

    language: str
    tools: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    plain: tuple[str, ...]
    secure: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: where the service is, whether with TLS and a token, which call fails there, and how."""

    address: str
    secure: bool
    failing: str
    error: str
    remedy: str


def _protoc(*options: str) -> tuple[str, ...]:
    python = ROOT / ".venv-proto" / "bin" / "python"
    protos = sorted(str(path) for path in (ROOT / "protos/integration_api/v1").glob("*.proto"))
    return (str(python), "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *options, *protos)


def _flags(*program: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    plain = (*program, "--address", "{address}", "--base-url", "{base_url}", "--failing", "{failing}")
    return plain, (*plain, "--token", "{token}", "--ca", "{ca}")


def _maven(arguments: str) -> tuple[str, ...]:
    return ("mvn", "-q", "-B", "compile", "exec:java", f"-Dexec.args={arguments}")


CLIENTS = (
    Client("python", (), (), *_flags(sys.executable, "client.py")),
    Client("python", (), (), *_flags(sys.executable, "stubs.py"), note="the generated code alone"),
    Client("node", ("node", "npm"), (("npm", "ci", "--no-audit", "--no-fund"),), *_flags("node", "client.mjs")),
    Client(
        "go",
        ("go",),
        (
            *(("go", "install", plugin) for plugin in _GO_PLUGINS),
            _protoc(
                f"--plugin={_PLUGINS}/protoc-gen-go",
                f"--plugin={_PLUGINS}/protoc-gen-go-grpc",
                "--go_out=.",
                "--go_opt=module=integration-api",
                "--go-grpc_out=.",
                "--go-grpc_opt=module=integration-api",
            ),
        ),
        *_flags("go", "run", "."),
    ),
    Client(
        "java",
        ("java", "mvn"),
        (),
        _maven("{address} {base_url} {failing}"),
        _maven("{address} {base_url} {failing} {token} {ca}"),
    ),
)


def wrong(language: str, run: Run, printed: str) -> list[str]:
    """What a client should have printed and did not."""
    expected = (
        f"answer: hello from {language}",
        "word1 word2 word3 word4 word5",
        "tokens: 5",
        "cancelled after 3 pieces",
        run.error,
        f"what to do: {run.remedy}",
    )
    text = printed.replace("|", "")  # stands between the pieces; on a busy machine two tokens are one piece
    missing = [line for line in expected if line not in text]
    return missing if "|" in printed else [*missing, "|"]


async def _output(command: Sequence[str], folder: Path) -> str:
    """What a program prints.

    Raises:
        RuntimeError: it failed, or took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "GOBIN": str(_PLUGINS), "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        raise RuntimeError(f"{command[0]} took longer than {_SECONDS:g} s") from None
    text = printed.decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} … ended with {process.returncode}:\n{text[-2000:]}")
    return text


async def judge(client: Client, runs: Sequence[Run], ca: Path, sandbox: Sandbox) -> str:
    """The verdict on one client: empty when it did all it should."""
    folder = EXAMPLES / client.language
    try:
        for command in client.build:
            await _output(command, folder)
        for run in runs:
            sandbox.requests.clear()
            filled = {
                "address": run.address,
                "base_url": f"{sandbox.url}/v1",
                "failing": run.failing,
                "token": _TOKEN,
                "ca": str(ca),
            }
            command = client.secure if run.secure else client.plain
            printed = await _output([part.format_map(filled) for part in command], folder)
            missing = wrong(client.language, run, printed)
            if missing:
                return f"did not print {missing}, but:\n{printed[-2000:]}"
            asked = sum(run.failing.encode() in request.body for request in sandbox.requests)
            if not 1 <= asked <= _MOST_POSTS:
                return f"{run.failing} was asked {asked} times"
            await sandbox.wait_for_hangup()
    except TimeoutError:
        return "the endpoint did not see that a call was cancelled"
    except RuntimeError as error:
        return str(error)
    return ""


@asynccontextmanager
async def _services(folder: Path) -> AsyncIterator[tuple[Run, Run]]:
    """One service in plain text, and one with TLS that wants a token."""
    certs.make(folder, "unused")
    tokens = folder / "tokens"
    tokens.write_text(f"examples sha256:{hashlib.sha256(_TOKEN.encode()).hexdigest()}\n", "utf-8")
    secure = Settings(
        port=0,
        tls_cert_file=str(folder / "tls.crt"),
        tls_key_file=str(folder / "tls.key"),
        auth_tokens_file=str(tokens),
    )
    async with Server(Settings(port=0)) as plain, Server(secure) as closed:
        yield (
            Run(
                f"127.0.0.1:{plain.port}",
                secure=False,
                failing="http-error:status=401",
                error="ENDPOINT_UNAUTHENTICATED fault: client",
                remedy="put the endpoint's key into",
            ),
            Run(
                f"127.0.0.1:{closed.port}",
                secure=True,
                failing="http-error:status=503,retry=1",
                error="ENDPOINT_OVERLOADED fault: endpoint",
                remedy="try again after the delay",
            ),
        )


async def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma-separated languages; all without it")
    parser.add_argument("--require", default="", help="comma-separated languages that must not be skipped")
    given = parser.parse_args()
    only = [client for client in CLIENTS if not given.only or client.language in given.only.split(",")]
    failed = 0
    log.configure("error", "console")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        async with Sandbox() as sandbox, _services(folder) as runs:
            for client in only:
                absent = [tool for tool in client.tools if shutil.which(tool) is None]
                started = time.monotonic()
                if absent:
                    verdict = f"{', '.join(absent)} not on this machine"
                    word = "FAIL" if client.language in given.require.split(",") else "SKIP"
                else:
                    verdict = await judge(client, runs, folder / "ca.pem", sandbox)
                    word = "FAIL" if verdict else "PASS"
                failed += word == "FAIL"
                print(
                    f"{word} {client.language:8} {time.monotonic() - started:5.1f} s  {verdict or client.note}",
                    flush=True,
                )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
