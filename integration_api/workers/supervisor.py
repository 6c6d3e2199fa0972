"""The supervisor: starts the workers, replaces those that die or stop answering, stops them, and holds the admin port.

Rule: it serves no call and knows none. A worker that ends costs its own calls and no others; when none comes up it
gives up, since a restart by whoever runs it will say so louder.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from integration_api import __version__
from integration_api.admin import Admin
from integration_api.server import announce
from integration_api.settings import Settings
from integration_api.telemetry.merged import Merged
from integration_api.workers import messages
from integration_api.workers.spare import Spare, WorkerProcess, launch

# How often a worker is asked, how long it may take, and every how many times what it counts is kept.
_ASK_SECONDS = 1.0
_SILENT_SECONDS = 10.0
_KEEP_EVERY = 5
_START_SECONDS = 60.0
# How long one that closed its end of the socket has to end by itself.
_LAST_SECONDS = 2.0
# How long a scrape waits for a worker that is busy.
_SCRAPE_SECONDS = 2.0
# Pauses before a worker is started again: none after one that served for a while, else longer each time.
_SERVED_SECONDS = 10.0
_FIRST_PAUSE = 0.0
_SECOND_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_MOST_FAILED_STARTS = 4


class NoWorkerError(Exception):
    """No worker comes up."""


@dataclass(eq=False)
class _Worker:
    """One of the workers: its process, as long as there is one, and its state."""

    number: int
    running: WorkerProcess | None = None
    ready: bool = False
    counted: bytes = b""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, *, metrics: bool) -> None:
        """Ask for its state, and what it counted.

        Raises:
            TimeoutError, EOFError, OSError, ValueError: it does not answer, or nonsense.
        """
        async with self.asking:
            running = self.running
            if running is None:
                return
            async with asyncio.timeout(_SILENT_SECONDS):
                await messages.write(running.writer, messages.Ask(metrics=metrics))
                answer = await messages.read(running.reader)
        if isinstance(answer, messages.Answer):
            self.ready = answer.ready
            if answer.metrics:
                self.counted = answer.metrics


class Supervisor:
    """Runs `workers` processes that serve what the settings say, until it is stopped.

    `on_started` is given the port once all of them listen.
    """

    def __init__(self, settings: Settings, workers: int, on_started: Callable[[int], None] = lambda _: None) -> None:
        self._settings = settings
        self._on_started = on_started
        self._workers = [_Worker(number) for number in range(1, workers + 1)]
        self._log = structlog.get_logger("integration_api.workers")
        self._spare = Spare(lambda: all(worker.ready for worker in self._workers))
        self._merged = Merged()
        self._restarts = 0
        self._failed_starts = 0
        self._stopping = asyncio.Event()
        self._forced = False
        self._asked: set[asyncio.Task[None]] = set()
        self._port = 0

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second signal ends at once.

        Raises:
            OSError: the address is taken, or cannot be listened on.
            NoWorkerError: none of the workers comes up.
            asyncio.CancelledError: there was a second signal.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        with reserved(self._settings.host, self._settings.port) as held:
            self._port = held.getsockname()[1]
            try:
                async with AsyncExitStack() as stack:
                    if self._settings.admin_port:
                        await stack.enter_async_context(self._admin())
                    await self._run_all()
            finally:
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)
        self._log.info("server.stopped")
        if self._forced:
            raise asyncio.CancelledError

    async def _run_all(self) -> None:
        up = [asyncio.Event() for _ in self._workers]
        spare = asyncio.create_task(self._spare.run())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._announce(up))
                for worker, event in zip(self._workers, up, strict=True):
                    group.create_task(self._keep(worker, event))
        except* NoWorkerError as failed:
            raise failed.exceptions[0] from None
        finally:
            spare.cancel()
            await asyncio.wait({spare})

    async def _announce(self, up: list[asyncio.Event]) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in up]
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            pending = set(waits)
            while pending and not stopped.done():
                _, rest = await asyncio.wait({*pending, stopped}, return_when=asyncio.FIRST_COMPLETED)
                pending = rest - {stopped}
            if not stopped.done():
                announce(self._settings, self._port, workers=len(self._workers))
                self._on_started(self._port)
        finally:
            for wait in (*waits, stopped):
                wait.cancel()

    async def _keep(self, worker: _Worker, up: asyncio.Event) -> None:
        """Have this worker run until all stop."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        try:
            while not self._stopping.is_set():
                begun = loop.time()
                served = await self._run_one(worker, up)
                if self._stopping.is_set():
                    return
                self._restarts += 1
                if served and loop.time() - begun > _SERVED_SECONDS:
                    pause = _FIRST_PAUSE
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = min(max(_SECOND_PAUSE, pause * 2), _LONGEST_PAUSE)
        finally:
            await self._end(worker)

    async def _run_one(self, worker: _Worker, up: asyncio.Event) -> bool:
        """Start a worker and watch it until it is gone; whether it came up.

        Raises:
            NoWorkerError: too many starts in a row failed.
        """
        running = await self._spawn(worker)
        process = running.process
        why = "it ended"
        served = False
        try:
            served = await self._started(worker, running)
            if served:
                self._failed_starts = 0
                worker.ready = True
                up.set()
                await self._watch(worker, process)
        except TimeoutError:
            why = f"it did not answer for {_SILENT_SECONDS:g} s"
        except (EOFError, OSError, ValueError):
            pass  # its end of the socket is closed
        await self._end(worker)
        self._merged.retire(worker.counted)
        worker.counted = b""
        if not self._stopping.is_set():
            self._log.error("worker.lost", worker=worker.number, pid=process.pid, why=why, code=process.returncode)
            self._failed_starts += not served
            if self._failed_starts >= _MOST_FAILED_STARTS and not any(other.ready for other in self._workers):
                raise NoWorkerError(
                    f"no worker comes up: {self._failed_starts} starts in a row failed, the last with exit code"
                    f" {process.returncode}; the log lines above this one say why"
                )
        return served

    async def _spawn(self, worker: _Worker) -> WorkerProcess:
        running = worker.running = self._spare.take() or await launch()
        if self._stopping.is_set():  # the signal came while there was no process to pass it on to
            running.terminate()
        return running

    async def _started(self, worker: _Worker, running: WorkerProcess) -> bool:
        settings = replace(self._settings, port=self._port)
        await messages.write(running.writer, messages.Start(settings, worker.number, len(self._workers)))
        async with asyncio.timeout(_START_SECONDS):
            return isinstance(await messages.read(running.reader), messages.Started)

    async def _watch(self, worker: _Worker, process: asyncio.subprocess.Process) -> None:
        """Until it is gone. Raises what `ask` raises when it does not answer."""
        asked = 0
        ended = asyncio.ensure_future(process.wait())
        while not (await asyncio.wait({ended}, timeout=_ASK_SECONDS))[0]:
            asked += 1
            await worker.ask(metrics=bool(self._settings.admin_port) and asked % _KEEP_EVERY == 0)

    async def _end(self, worker: _Worker) -> None:
        """No process of this worker runs any more; one that still does is killed, unless all stop in peace."""
        running, worker.running = worker.running, None
        worker.ready = False
        if running is None:
            return
        running.writer.close()
        if not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(running.process.wait(), _LAST_SECONDS)  # it may be about to say why
            running.kill()
        await running.process.wait()

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._forced = True
        else:
            self._log.info("server.draining", workers=len(self._workers), grace=self._settings.shutdown_grace)
        self._stopping.set()
        for worker in self._workers:
            if worker.running is not None:
                worker.running.terminate()

    def _admin(self) -> Admin:
        return Admin(
            self._settings.admin_host,
            self._settings.admin_port,
            metrics=self._metrics_text,
            ready=lambda: not self._stopping.is_set() and any(worker.ready for worker in self._workers),
            version=__version__,
        )

    async def _metrics_text(self) -> bytes:
        """The sums of what all workers count now; of one that is busy, what it counted when it was asked last."""
        asked = [asyncio.create_task(worker.ask(metrics=True)) for worker in self._workers if worker.ready]
        # Not cancelled: an answer that nobody reads would be taken for the next one's. What fails, `_watch` sees, too.
        self._asked.update(asked)
        for task in asked:
            task.add_done_callback(self._asked.discard)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if asked:
            await asyncio.wait(asked, timeout=_SCRAPE_SECONDS)
        return self._merged.text([worker.counted for worker in self._workers if worker.counted], self._own())

    def _own(self) -> list[Metric]:
        up = GaugeMetricFamily("integration_api_workers", "Workers that take calls.")
        up.add_metric([], sum(worker.ready for worker in self._workers))
        restarts = CounterMetricFamily("integration_api_worker_restarts", "Workers that were replaced.")
        restarts.add_metric([], self._restarts)
        return [up, restarts]


def reserved(host: str, port: int) -> socket.socket:
    """A socket that holds the address for the workers, and listens to nobody itself; port 0 takes a free one.

    Raises:
        OSError: somebody has it, or it is not of this machine.
    """
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, proto) as alone:  # who shares the port would let us in: ask without sharing first
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(alone, host, address)
        address = alone.getsockname()
    held = socket.socket(family, kind, proto)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        _bind(held, host, address)
    except BaseException:
        held.close()
        raise
    return held


def _bind(made: socket.socket, host: str, address: tuple[object, ...]) -> None:
    try:
        made.bind(address)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{address[1]}: {error.strerror or error}") from None
