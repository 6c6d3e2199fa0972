"""The contract in other languages: each client of examples/ is generated, compiled and run against service and sandbox.

    python -m acceptance.languages [--only go,node,python,java] [--require go,node,python]

Each runs twice: the second time against an endpoint that is always 503 with Retry-After, which may be asked three times
by a client with the usual retry policy, who would make four attempts of its own.

Rule: it starts programs and compares what they print, and knows nothing of what they do. A language whose toolchain is
not on this machine is skipped with a line that says so, or fails where it is required. Exit code 1: one failed.
"""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from integration_api import log
from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
# Plugins of protoc for Go, built once per machine.
_PLUGINS = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "integration-api" / "go-plugins"
_GO_PLUGINS = (
    "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.6",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1",
)
_SECONDS = 300.0
# The model of the call that fails, and what is printed of it.
_FAILING = {
    "http-error:status=401": "ENDPOINT_UNAUTHENTICATED fault: client",
    "http-error:status=503,retry=1": "ENDPOINT_OVERLOADED fault: endpoint",
}
# Our own attempts: none of the client's retries are added to them.
_MOST_POSTS = 3


@dataclass(frozen=True, slots=True)
class Client:
    """One client: the tools it needs, what builds it, and what runs it. {address}, {base_url} and {failing}, the model
    of the call that fails, are filled in."""

    language: str
    tools: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    run: tuple[str, ...]


def _protoc(*options: str) -> tuple[str, ...]:
    python = ROOT / ".venv-proto" / "bin" / "python"
    protos = sorted(str(path) for path in (ROOT / "protos/integration_api/v1").glob("*.proto"))
    return (str(python), "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *options, *protos)


_ARGUMENTS = ("--address", "{address}", "--base-url", "{base_url}", "--failing", "{failing}")
CLIENTS = (
    Client("python", (), (), (sys.executable, "client.py", *_ARGUMENTS)),
    Client(
        "node",
        ("node", "npm"),
        (("npm", "ci", "--no-audit", "--no-fund"),),
        ("node", "client.mjs", *_ARGUMENTS),
    ),
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
        ("go", "run", ".", *_ARGUMENTS),
    ),
    Client(
        "java",
        ("java", "mvn"),
        (),
        ("mvn", "-q", "-B", "compile", "exec:java", "-Dexec.args={address} {base_url} {failing}"),
    ),
)


def wrong(language: str, reason: str, printed: str) -> list[str]:
    """What a client should have printed and did not."""
    expected = (
        f"answer: hello from {language}",
        "word1| word2| word3| word4| word5|",
        "tokens: 5",
        reason,
    )
    return [line for line in expected if line not in printed]


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


async def judge(client: Client, address: str, sandbox: Sandbox) -> str:
    """The verdict on one client: empty when it did all it should."""
    folder = EXAMPLES / client.language
    try:
        for command in client.build:
            await _output(command, folder)
        for failing, reason in _FAILING.items():
            sandbox.requests.clear()
            filled = {"address": address, "base_url": f"{sandbox.url}/v1", "failing": failing}
            printed = await _output([part.format_map(filled) for part in client.run], folder)
            missing = wrong(client.language, reason, printed)
            if missing:
                return f"did not print {missing}, but:\n{printed[-2000:]}"
            asked = sum(failing.encode() in request.body for request in sandbox.requests)
            if not 1 <= asked <= _MOST_POSTS:
                return f"{failing} was asked {asked} times"
    except RuntimeError as error:
        return str(error)
    return ""


async def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma-separated languages; all without it")
    parser.add_argument("--require", default="", help="comma-separated languages that must not be skipped")
    given = parser.parse_args()
    only = [client for client in CLIENTS if not given.only or client.language in given.only.split(",")]
    failed = 0
    log.configure("error", "console")
    async with Sandbox() as sandbox, Server(Settings(port=0)) as server:
        for client in only:
            absent = [tool for tool in client.tools if shutil.which(tool) is None]
            started = time.monotonic()
            if absent:
                verdict = f"{', '.join(absent)} not on this machine"
                required = client.language in given.require.split(",")
                word = "FAIL" if required else "SKIP"
            else:
                verdict = await judge(client, f"127.0.0.1:{server.port}", sandbox)
                word = "FAIL" if verdict else "PASS"
            failed += word == "FAIL"
            print(f"{word} {client.language:8} {time.monotonic() - started:5.1f} s  {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
