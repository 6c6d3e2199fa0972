"""What the long runs share: our service and the sandbox as processes of their own, and a client to load them."""

import asyncio
import json
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf import json_format

from integration_api.client import service_error
from integration_api.v1 import chat_service_pb2 as pb

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Process:
    """A process that serves: where, and what it uses."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text("ascii")
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())


def raise_descriptor_limit() -> None:
    """As far as the machine lets us; the processes that are started inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@asynccontextmanager
async def started(log: Path, module: str, *arguments: str) -> AsyncIterator[Process]:
    """A module as a program, which serves on a free port and says which; its output goes to `log`."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, cwd=ROOT, stdout=output, stderr=output
        )
        try:
            async with asyncio.timeout(20):
                while not (port := _port(log)):  # noqa: ASYNC110 -- the log tells nobody
                    await asyncio.sleep(0.05)
            yield Process(process, port, log)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _port(log: Path) -> int:
    for line in log.read_text("utf-8", "replace").splitlines():
        if line.startswith("sandbox: "):
            return int(line.split()[1].rpartition(":")[2])
        if '"server.started"' in line:
            return int(json.loads(line)["port"])
    return 0


def chat_request(port: int, script: str, text: str = "one two three") -> pb.ChatRequest:
    """A request for the sandbox at a port."""
    return json_format.ParseDict(
        {
            "providerId": "custom-llm",
            "credential": {
                "value": {"apiCompatibility": "openai_compatible", "baseUrl": f"http://127.0.0.1:{port}/v1"}
            },
            "messages": [{"user": {"content": [{"text": text}]}}],
            "modelParameters": {"model.name": script},
        },
        pb.ChatRequest(),
    )


def channels(port: int, number: int) -> list[grpc.aio.Channel]:
    """Channels with a connection of their own each, without retries of their own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    return [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(number)]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in the details of an error of ours; empty when there is none."""
    return service_error(error).reason


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
