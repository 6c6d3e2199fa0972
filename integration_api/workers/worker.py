"""A worker: one server process of several on a port, started by a supervisor with a socket between them.

It is what `serve` runs with one process, on a share of the limits and without an admin port. It stops at SIGTERM and
when its supervisor is gone; SIGINT, which a terminal sends to all, is the supervisor's business.
"""

import asyncio
import signal
import socket
from contextlib import suppress

import structlog

from integration_api import log
from integration_api.server import Server, tune_process
from integration_api.workers import messages

# A clear end for what the supervisor reports: the settings cannot be served.
UNUSABLE = 3


class _Worker:
    """The conversation with the supervisor, beside the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Serve until the end; the process' exit code."""
        try:
            start = await messages.read(self._reader)
        except (EOFError, OSError):  # nobody needed this process
            return 0
        if not isinstance(start, messages.Start):
            raise TypeError("the supervisor begins with what to serve")
        settings = start.settings
        log.configure(settings.log_level, settings.log_format)
        structlog.contextvars.bind_contextvars(worker=start.number)
        try:
            server = Server(settings, workers=start.workers)
        except ValueError as error:
            return _unusable(error)
        self._handle_signals(server)
        tune_process()
        try:
            await server.start()
        except (OSError, ValueError) as error:
            await server.abandon()
            return _unusable(error)
        answering = asyncio.create_task(self._answer(server))
        await self._stopping.wait()
        await server.stop()  # and answer in the meantime, as not ready
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering
        return 1 if server.stop_forced else 0

    def _handle_signals(self, server: Server) -> None:
        loop = asyncio.get_running_loop()

        def on_terminate() -> None:
            if self._stopping.is_set():
                server.force_stop()
            self._stopping.set()

        loop.add_signal_handler(signal.SIGTERM, on_terminate)
        loop.add_signal_handler(signal.SIGINT, lambda: None)

    async def _answer(self, server: Server) -> None:
        """Answer the supervisor; when it is gone, stop."""
        try:
            await messages.write(self._writer, messages.Started())
            while True:
                asked = await messages.read(self._reader)
                wanted = isinstance(asked, messages.Ask) and asked.metrics
                text = await server.metrics_text() if wanted else b""
                await messages.write(self._writer, messages.Answer(ready=server.ready, metrics=text))
        except (EOFError, OSError):
            self._stopping.set()


def _unusable(error: Exception) -> int:
    """Say why the settings cannot be served; the exit code."""
    structlog.get_logger("integration_api.workers").error("worker.unusable", error=str(error))
    return UNUSABLE


async def work(descriptor: int) -> int:
    """Serve for the supervisor at the other end of a socket; the process' exit code."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    try:
        return await _Worker(reader, writer).run()
    finally:
        writer.close()
