"""Processes that are measured: the gateways, the endpoint, the load; their CPU and memory as /proc has them."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.gateways import ROOT, Gateway

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_START_SECONDS = 180.0
# Those that this program may use.
_CORES = os.sched_getaffinity(0)
# A gateway is at rest below this part of a core; how often that is looked at, and how long it is waited for.
_IDLE = 0.1
_LOOK_SECONDS = 0.3
_SETTLE_SECONDS = 20.0
_LOAD = ROOT / ".cache" / "peers" / "load"


@dataclass(frozen=True)
class Work:
    """What callers do: calls, or streams, of one model; `spread` is the time in which they begin, in seconds."""

    name: str
    model: str
    callers: int
    seconds: float
    stream: bool = False
    spread: float = 0.0


@dataclass(frozen=True)
class Running:
    """A gateway that runs (`process` is None for the endpoint alone), and where it is called."""

    gateway: Gateway
    process: int | None
    port: int
    folder: Path
    endpoint: int

    @property
    def cpu(self) -> float:
        """User and system seconds so far of the process and those that it started."""
        return sum(map(_cpu, self._all()))

    @property
    def resident(self) -> int:
        """Resident memory of them in bytes."""
        return sum(_resident(each) for each in self._all())

    def settle(self) -> None:
        """Wait until it has done with what was cut, so that the next one has the machine for itself."""
        end = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < end:
            before = self.cpu
            time.sleep(_LOOK_SECONDS)
            if self.cpu - before < _IDLE * _LOOK_SECONDS:
                return

    def _all(self) -> list[int]:
        return [] if self.process is None else [self.process, *_children(self.process)]


def _stat(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _cpu(process: int) -> float:
    fields = _stat(process)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * _PAGE
    except OSError:
        return 0


def _children(process: int) -> list[int]:
    found = []
    for entry in Path(f"/proc/{process}/task").iterdir():
        try:
            direct = [int(each) for each in (entry / "children").read_text("ascii").split()]
        except OSError:
            continue
        for each in direct:
            found += [each, *_children(each)]
    return found


def machine_busy() -> float:
    """Seconds that the machine's cores have worked so far, for whomever."""
    first = Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:]
    numbers = [int(each) for each in first]
    return (sum(numbers[:8]) - numbers[3] - numbers[4]) / _TICKS


def prefer() -> None:
    """Let this process, and all that it starts, run whenever it can, before what else the machine does. Needs root.

    A nice number is not enough: who sleeps often, as threads do that hand work to each other, would still wait for
    other work at each waking, and who never sleeps would not.
    """
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def pin_to(*, gateways: bool) -> None:
    """Have this process, and what it starts from now on, on the last core (gateways) or on the others (all else)."""
    cores = sorted(_CORES)
    os.sched_setaffinity(0, cores[-1:] if gateways else cores[:-1] or cores)


def build_load() -> None:
    """Compile the client, which needs Go."""
    command = ("go", "build", "-o", str(_LOAD), ".")
    subprocess.run(command, cwd=Path(__file__).parent / "load", check=True)  # noqa: S603 -- a compiler on the path


def _free_port() -> int:
    """A port whose neighbour is free, too: the routers' own metrics go there."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@contextmanager
def running(gateway: Gateway, endpoint: int, folder: Path) -> Iterator[Running]:
    """A gateway in front of the endpoint, once it answers.

    Raises:
        RuntimeError: it does not.
    """
    folder.mkdir(parents=True)
    if gateway.start is None:
        yield Running(gateway, None, endpoint, folder, endpoint)
        return
    port = _free_port()
    how = gateway.start(port, endpoint, folder)
    with (folder / "output.log").open("wb") as output:
        pin_to(gateways=True)
        process = subprocess.Popen(  # noqa: S603 -- commands of this folder
            how.command,
            cwd=folder,
            env={**os.environ, **how.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        pin_to(gateways=False)
        try:
            found = Running(gateway, process.pid, port, folder, endpoint)
            _until_ready(found, process)
            yield found
        finally:
            _stop(process)


def _until_ready(gateway: Running, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        told = load(gateway, Work("ready", "unary", callers=1, seconds=0.05))
        if told["calls"] and not told["failed"]:
            return
        time.sleep(0.5)
    text = (gateway.folder / "output.log").read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"{gateway.gateway.name} does not answer: {text}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group that was made for it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def load(gateway: Running, work: Work) -> dict[str, Any]:
    """What the load client saw of one work."""
    body = gateway.folder / f"{work.model}-{work.stream}"
    if not body.exists():
        body.write_bytes(gateway.gateway.body(gateway.endpoint, work.model, stream=work.stream))
    where: Sequence[str] = ("-kind", gateway.gateway.kind, "-address", f"127.0.0.1:{gateway.port}", "-body", str(body))
    how = ("-callers", str(work.callers), "-seconds", str(work.seconds), "-spread", str(work.spread))
    headers = [part for each in gateway.gateway.headers(gateway.endpoint) for part in ("-header", each)]
    command = [str(_LOAD), *where, *how, *(["-stream"] if work.stream else []), *headers]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=work.seconds + 120)  # noqa: S603 -- ours
    found: dict[str, Any] = json.loads(told.stdout)
    return found
