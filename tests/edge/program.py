"""The real program, `integration-api serve`, as a process of its own: started, watched, signalled, awaited."""

import asyncio
import json
import signal
from contextlib import suppress
from typing import Self

from tests.edge.loopback import descriptors, resident
from tests.edge.processes import ROOT, arguments, environment
from tests.patience import within


class Program:
    """`integration-api serve` with these flags on a free port; everything it prints is kept in `printed`."""

    def __init__(self, *flags: str, env: dict[str, str] | None = None) -> None:
        self._flags = ("serve", "--port", "0", "--log-format", "json", *flags)
        self._env = environment(env)
        self._started = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None
        self.printed = bytearray()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *arguments(*self._flags),
            cwd=ROOT,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._readers.append(asyncio.ensure_future(self._read(stream)))
        try:
            async with asyncio.timeout(within(20)):
                await self._started.wait()
        except TimeoutError:
            await self.__aexit__()
            raise AssertionError(f"it did not start: {self.printed.decode()}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readers)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.printed += line
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "server.started":
                    self.port = said["port"]
                    self._started.set()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        return resident(self.pid)

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return descriptors(self.pid)

    def said(self, event: str) -> list[dict[str, object]]:
        """The log lines of one event, so far."""
        found = []
        for line in self.printed.decode().splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == event:
                    found.append(entry)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, seconds: float) -> int:
        """Its exit code, once it has ended and all its output is read; TimeoutError if that takes longer."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            code = await self._process.wait()
            await asyncio.gather(*self._readers)
        return code
