"""The processes of workers, and the one that stands ready: it has loaded its modules and waits for what to serve.

Rule: it starts processes, and knows neither settings nor calls. A process takes a second to load its modules, several
on a busy machine; a worker that dies is replaced by one that has done so.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

_PROGRAM = (sys.executable, "-m", "integration_api.commands.worker")
# How often it is asked whether all workers are up, before another process takes their time for its start.
_LOOK_SECONDS = 1.0
# The pause behind one that ended by itself.
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class WorkerProcess:
    """A process, and the socket to it."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def terminate(self) -> None:
        """Ask it to stop, if it still runs."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, if it still runs."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()


async def launch() -> WorkerProcess:
    """Start one, which waits for what it is to serve.

    Raises:
        OSError: the system has none to give.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            process = await asyncio.create_subprocess_exec(
                *_PROGRAM, str(theirs.fileno()), pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL
            )
        except BaseException:
            writer.close()
            raise
    return WorkerProcess(process, reader, writer)  # nothing waits between the process' start and here


class Spare:
    """Keeps one process ready while `run` runs. `complete` tells whether all workers are up."""

    def __init__(self, complete: Callable[[], bool]) -> None:
        self._complete = complete
        self._held: WorkerProcess | None = None
        self._taken = asyncio.Event()

    def take(self) -> WorkerProcess | None:
        """The process, which is the caller's from now on; None where there is none."""
        held, self._held = self._held, None
        self._taken.set()
        return held if held is not None and held.process.returncode is None else None

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                while not self._complete():  # noqa: ASYNC110 -- a second more or less is nothing here
                    await asyncio.sleep(_LOOK_SECONDS)
                self._taken.clear()
                with suppress(OSError):  # no process to be had: the next death is slower, no more
                    self._held = await launch()
                if self._held is None or await self._ended(self._held):
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            held = self.take()
            if held is not None:
                held.kill()
                held.writer.close()
                await held.process.wait()

    async def _ended(self, held: WorkerProcess) -> bool:
        """Wait until it is taken, or has ended by itself."""
        waits = {asyncio.ensure_future(held.process.wait()), asyncio.ensure_future(self._taken.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._held is not held:
            return False
        self._held = None
        held.writer.close()
        return True
