"""The system's name lookup, in threads that no client can fill and that hold nobody at the end of the process.

Rule: it asks the C library (hosts file, resolv.conf, nsswitch as they are) and knows no policy. Whoever asks is the
client of the running request, see `exchange`.

A lookup cannot be cancelled: one whose name server is silent keeps its thread for as long as the C library likes,
also when nobody waits any more. So one client has at most half of the threads, whatever became of its calls, and its
further lookups wait behind its own. The threads are daemons: the interpreter does not wait for them.
"""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from caller.custom_llm.http.exchange import current_client
from caller.deadline import DeadlineTimer
from caller.errors import ConnectTimeout

_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
LookUp = Callable[[str, int, int], Sequence[_AddressInfo]]


def system_lookup(host: str, port: int, family: int) -> Sequence[_AddressInfo]:
    """What the C library answers; raises OSError (`socket.gaierror`) or UnicodeError."""
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)


@dataclass(frozen=True, slots=True)
class _Job:
    look_up: Callable[[], Sequence[_AddressInfo]]
    done: "asyncio.Future[Sequence[_AddressInfo]]"
    client: str


class ThreadedLookup(AbstractResolver):
    """Name lookups, at most `threads` at once and half of them for one client.

    One that takes longer than `timeout` seconds, waiting for a thread included, fails. Every failure is a
    `socket.gaierror`.
    """

    def __init__(self, *, threads: int = 32, timeout: float = 5.0, look_up: LookUp = system_lookup) -> None:
        self._timeout = timeout
        self._look_up = look_up
        self._threads = threads
        self._per_client = max(1, threads // 2)
        self._started = 0
        self._closed = False
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[_Job]] = {}  # clients in turn
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`, both families unless one is asked for."""
        if self._closed:
            raise RuntimeError("the lookup is closed")
        done: asyncio.Future[Sequence[_AddressInfo]] = self._loop.create_future()
        job = _Job(partial(self._look_up, host, port, family), done, current_client())
        self._waiting.setdefault(job.client, deque()).append(job)
        self._start_next()
        try:
            with DeadlineTimer() as timer:
                timer.arm(self._loop.time() + self._timeout, partial(ConnectTimeout, "no answer about a name"))
                infos = await done
        except ConnectTimeout:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {self._timeout:g} s") from None
        except UnicodeError:  # a label that is empty or too long never reaches the C library
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        finally:
            self._withdraw(job)
        return [result(host, port, numeric(address)) for _, _, _, _, address in infos]

    async def close(self) -> None:
        """Start no more lookups; a thread that waits for the C library ends with its answer, or with the process."""
        self._closed = True
        self._waiting.clear()
        for _ in range(self._started):
            self._jobs.put(None)

    def _withdraw(self, job: _Job) -> None:
        """Nobody waits for it: it need not be started."""
        waiting = self._waiting.get(job.client)
        if waiting is not None and job in waiting:
            waiting.remove(job)
            if not waiting:
                del self._waiting[job.client]

    def _start_next(self) -> None:
        """Hand jobs to threads while there are any, one client after the other."""
        running = sum(self._running.values())
        for client in list(self._waiting):
            if running >= self._threads:
                return
            if self._running.get(client, 0) >= self._per_client:
                continue
            waiting = self._waiting.pop(client)
            job = waiting.popleft()
            if waiting:
                self._waiting[client] = waiting  # behind the others
            self._running[client] = self._running.get(client, 0) + 1
            running += 1
            self._jobs.put(job)
            if self._started < running:
                self._started += 1
                threading.Thread(target=_work, args=(self._jobs, self._ended), name="name-lookup", daemon=True).start()

    def _ended(self, job: _Job, infos: Sequence[_AddressInfo], error: Exception | None) -> None:
        """Called by the thread that did the job."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._settle, job, infos, error)

    def _settle(self, job: _Job, infos: Sequence[_AddressInfo], error: Exception | None) -> None:
        self._running[job.client] -= 1
        if not self._running[job.client]:
            del self._running[job.client]
        if not job.done.done():
            if error is None:
                job.done.set_result(infos)
            else:
                job.done.set_exception(error)
        self._start_next()


def _work(
    jobs: "SimpleQueue[_Job | None]", ended: Callable[[_Job, Sequence[_AddressInfo], Exception | None], None]
) -> None:
    while (job := jobs.get()) is not None:
        try:
            infos = job.look_up()
        except Exception as error:  # noqa: BLE001 -- whatever it is, whoever waits gets it
            ended(job, (), error)
        else:
            ended(job, infos, None)


def result(host: str, port: int, address: str) -> ResolveResult:
    """One answer, with a numeric address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=_NUMERIC
    )


def numeric(address: tuple[object, ...]) -> str:
    """The address of a socket address; a scope that IPv6 keeps apart is put back, for a zone is never allowed."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] and "%" not in host else host
