"""The server under attack: a process of its own, from any checkout, and what the operating system says of it.

Rule: nothing here knows what an attack is, and nothing is asked of the server itself.
"""

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import free_port

_TICK = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 30.0
# A pipe that fills fast: the page size is the least that Linux gives.
_PIPE_BYTES = 4096
_RESET_PEAK = "5"  # proc(5), clear_refs: sets VmHWM to what is resident now


@dataclass
class Server:
    """One process. `log` is where its standard error goes; `reader` is the reading end where that is a pipe."""

    process: asyncio.subprocess.Process
    port: int
    log: Path
    folder: Path
    reader: int = -1
    ended: float = field(default=0.0)  # seconds from SIGTERM to the end

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The largest resident memory since `reset_peak`, in bytes."""
        return self._status("VmHWM")

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def reset_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text(_RESET_PEAK, "ascii")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise ValueError(f"process {self.pid} has no {name}")

    async def stop(self, seconds: float) -> int | None:
        """The exit code after SIGTERM, None when it had to be killed. `ended` says how long it took."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return None
        finally:
            self.ended = time.monotonic() - began

    def kill(self) -> None:
        """End it whatever it does, and let go of its pipe."""
        if self.process.returncode is None:
            self.process.kill()
        self.close_reader()

    def close_reader(self) -> None:
        """The reader of standard error dies."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


async def start(
    project: Path, folder: Path, flags: Sequence[str], *, pipe: bool = False, resolver: str = "", bare: bool = False
) -> Server:
    """Start `serve` from a checkout; it listens when this returns. `pipe`: standard error is a small pipe that nobody
    reads; `resolver`: the address of the only name server that the process knows; `bare`: gRPC's server alone instead.

    Raises:
        TimeoutError: it does not listen.
    """
    port, log = free_port(), folder / "serve.log"
    command = [str(project / ".venv/bin/python"), "-m", "integration_api", "serve", "--port", str(port)]
    command += ["--log-format", "json", "--shutdown-grace", "1", *flags]
    if bare:
        command = [str(project / ".venv/bin/python"), "-m", "acceptance.hostile.bare", "--port", str(port)]
    if resolver:
        command = _with_resolver(folder, resolver, command)
    reader, writer = os.pipe() if pipe else (-1, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    if pipe:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(reader, False)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INTEGRATION_API_")}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=project, env={**kept, "PYTHONPATH": str(project)}, stdout=writer, stderr=writer
    )
    os.close(writer)
    server = Server(process, port, log, folder, reader)
    async with asyncio.timeout(_START_SECONDS):
        while not await _listens(port):
            if process.returncode is not None:
                raise TimeoutError(f"the server ended with {process.returncode}: {log.read_text('utf-8')[-2000:]}")
            await asyncio.sleep(0.05)
    return server


def _with_resolver(folder: Path, resolver: str, command: list[str]) -> list[str]:
    """The command in a mount namespace of its own, where /etc/resolv.conf is ours."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {resolver}\noptions timeout:5 attempts:2\n", "ascii")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(file), *command]


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
