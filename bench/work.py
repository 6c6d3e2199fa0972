"""What the programs here share: the service and what stands beside it as processes, and the work they are given."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from integration_api.v1 import chat_service_pb2 as pb

HERE = Path(__file__).parent
UNARY = "/integration_api.v1.ChatService/Chat"
STREAM = "/integration_api.v1.ChatService/StreamChat"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TOOLS = 12
_ROUNDS = 15
_OWN_CONNECTIONS = [("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Round:
    """What one round of one side gave."""

    cpu: float
    wall: float
    calls: int
    tokens: int = 0
    frames: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def units(self) -> int:
        """Tokens where there are any, else calls."""
        return self.tokens or self.calls


@dataclass(frozen=True)
class Program:
    """A program that serves: its process and its port; `counts` is where a counted one tells how often it called."""

    process: subprocess.Popen[str]
    port: int
    counts: Path | None = None

    @property
    def cpu(self) -> float:
        """User and system seconds so far, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]) * _PAGE

    def channels(self, number: int) -> list[grpc.aio.Channel]:
        """Channels with a connection of their own each."""
        return [grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=_OWN_CONNECTIONS) for _ in range(number)]

    async def calls(self) -> int:
        """How many Python calls it has made, builtins included; it must run under `counted.py`."""
        assert self.counts is not None
        self.counts.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(60):
            while not self.counts.exists():  # noqa: ASYNC110 -- the program tells nobody
                await asyncio.sleep(0.02)
        return int(self.counts.read_text("ascii"))


@contextmanager
def program(name: str, *, counted: bool = False, wrapped: tuple[str, ...] = ()) -> Iterator[Program]:
    """Run one of the programs beside this one, which prints its port; `wrapped` is a command in front of it."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "calls") if counted else None
        command = [*wrapped, sys.executable, *((HERE / "counted.py",) if counted else ()), HERE / name]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "COUNT_FILE": str(counts)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent, env=environment)  # noqa: S603 -- our own programs
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            while not line.strip().isdecimal():  # what a wrapper has to say
                assert line
                line = process.stdout.readline()
            yield Program(process, int(line), counts)
        finally:
            process.kill()
            process.wait()


def request(endpoint: int, model: str, headers: dict[str, str] | None = None, **fields: Any) -> bytes:
    """What is asked, as bytes: the client must not be the limit."""
    credential = {"apiCompatibility": "openai_compatible", "baseUrl": f"http://127.0.0.1:{endpoint}/v1"}
    asked = {
        "providerId": "custom-llm",
        "credential": {"value": credential | ({"headers": headers} if headers else {})},
        "messages": [{"user": {"content": [{"text": "Hello"}]}}],
        "modelParameters": {"model.name": model},
        **fields,
    }
    return bytes(json_format.ParseDict(asked, pb.ChatRequest()).SerializeToString())


def real_turns(endpoint: int, count: int) -> list[bytes]:
    """Turns of one conversation as voice agents have them: 42 messages with tool rounds, twelve tools with schemas,
    about 18 KB. Only the last message differs."""
    said: list[dict[str, Any]] = [{"system": {"text": "You answer the phone for a shop, kindly and briefly. " * 36}}]
    for number in range(_ROUNDS):
        said.append({"user": {"content": [{"text": f"And when will order {number} be here?"}]}})
        if number % 3 == 0:
            call = {"id": f"call-{number}", "name": "tool-1", "arguments": json.dumps({"order": number, "detail": "b"})}
            result = json.dumps({"status": "on its way", "day": "tomorrow"})
            said.append({"assistant": {"toolCalls": [call]}})
            said.append({"tool": {"toolCallId": f"call-{number}", "name": "tool-1", "content": [{"text": result}]}})
        said.append(
            {"assistant": {"text": "It comes tomorrow before noon. Shall I tell the driver to ring twice? " * 2}}
        )
    tools = [_tool(number) for number in range(_TOOLS)]
    parameters = {"model.name": "unary", "temperature": 0.4, "max_tokens": 300}
    turns = [
        [*said, {"user": {"content": [{"text": f"Thank you, that is all, number {turn}."}]}}] for turn in range(count)
    ]
    headers = {"Authorization": "Bearer k"}
    return [
        request(endpoint, "unary", headers, messages=turn, tools=tools, modelParameters=parameters) for turn in turns
    ]


def _tool(number: int) -> dict[str, Any]:
    properties = {
        f"field_{at}": {
            "type": "string",
            "description": f"What field {at} of this tool is good for",
            "enum": ["a", "b", "c"],
        }
        for at in range(6)
    }
    schema = {"type": "object", "properties": properties, "required": ["field_1"], "additionalProperties": False}
    return {"name": f"tool-{number}", "description": "Looks something up for whoever calls. " * 3, "parameters": schema}


async def unary(channel: grpc.aio.Channel, requests: list[bytes], calls: int, at_once: int) -> Round:
    """`calls` Chat calls, `at_once` of them at a time, taking the requests in turn."""
    call = channel.unary_unary(UNARY)
    latencies: list[float] = []

    async def worker(first: int) -> None:
        for number in range(first, calls, at_once):
            started = time.perf_counter()
            await call(requests[number % len(requests)])
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*map(worker, range(at_once)))
    return Round(0, 0, len(latencies), latencies=latencies)


async def streams(channels: list[grpc.aio.Channel], asked: bytes, count: int, tokens: int, at_once: int) -> Round:
    """`count` StreamChat calls of `tokens` tokens, `at_once` at a time."""
    result = Round(0, 0, 0)

    async def worker(number: int, share: int) -> None:
        call = channels[number % len(channels)].unary_stream(STREAM)
        for _ in range(share):
            started = time.perf_counter()
            frames = 0
            async for _ in call(asked):
                frames += 1
                if frames == 1:
                    result.latencies.append(time.perf_counter() - started)
            result.calls += 1
            result.tokens += tokens
            result.frames += frames

    await asyncio.gather(*(worker(number, count // at_once) for number in range(at_once)))
    return result


async def measured(side: Program, work: Callable[[], Awaitable[Round]]) -> Round:
    """The round with the server's CPU and the time it took."""
    cpu, wall = side.cpu, time.perf_counter()
    result = await work()
    result.wall = time.perf_counter() - wall
    result.cpu = side.cpu - cpu
    return result


def percentile(values: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def write(file: str, result: dict[str, Any]) -> None:
    """Keep a result, with the machine it is of; nowhere for an empty name."""
    if file:
        machine = {"python": sys.version.split()[0], "grpcio": grpc.__version__, "cores": os.cpu_count()}
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine, "load": os.getloadavg(), **result}, indent=1) + "\n", "utf-8")
