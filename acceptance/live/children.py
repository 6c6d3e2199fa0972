"""Child processes that never outlive this program: run to an end, or kept running until they are no longer needed.

Rule: it knows processes and their logs, and nothing of what they serve. Every child leads a process group of its own,
so that its own children end with it, and Ctrl-C reaches this program only, which then ends the children in order.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

# How long a child may take to end by itself after SIGTERM, in seconds.
_GRACE = 10.0
_TAIL = 20


class ChildError(Exception):
    """A child did not do its work; the text has the last lines that it printed."""


class ToolMissing(Exception):
    """A program that is needed is not on this machine; the text says how to have it."""


class Child:
    """A running process. What it prints goes to `log`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._stopped = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Its exit code, once it has ended; negative: the signal that ended it."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end, wait, end it and its group; its exit code."""
        if self._stopped:
            return await self._process.wait()
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await self._process.wait()
        with suppress(ProcessLookupError):  # the group holds only what this child started
            os.killpg(self._process.pid, signal.SIGKILL)
        self._stopped = True
        return await self._process.wait()

    def tail(self) -> str:
        """The last lines that it printed."""
        return "\n".join(self.printed().splitlines()[-_TAIL:])

    def printed(self) -> str:
        """All that it printed."""
        return self.log.read_text(errors="replace")


async def start(
    name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Child:
    """Start a process. `env` is added to the environment.

    Raises:
        ChildError: there is no such program.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        try:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildError(f"{name} cannot be started: {error}") from None
    return Child(name, process, log)


async def complete(
    name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run a process to its end; what it printed.

    Raises:
        ChildError: it failed.
    """
    child = await start(name, command, log, env, cwd)
    try:
        code = await child.wait()
    finally:
        await child.stop()
    if code:
        raise ChildError(f"{name} failed ({code}), its log is {log}:\n{child.tail()}")
    return child.printed()


@asynccontextmanager
async def running(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    ready: Callable[[], Awaitable[bool]],
    within: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncIterator[Child]:
    """A process that is ready to serve, ended on the way out. `ready` is asked again and again, `within` seconds long.

    Raises:
        ChildError: it ended, or was not ready in time.
    """
    child = await start(name, command, log, env, cwd)
    try:
        try:
            async with asyncio.timeout(within):
                while not await ready():
                    if child.ended:
                        raise ChildError(f"{name} ended at once ({await child.wait()}):\n{child.tail()}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ChildError(f"{name} was not ready within {within:g} s:\n{child.tail()}") from None
        yield child
    finally:
        await child.stop()
