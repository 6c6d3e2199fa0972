"""Says when the process is so near to its memory limit that no new call may begin: a process that is killed takes every
open stream with it.

The limit is the container's (cgroup v2 or v1), or a setting where that is less or the only one. Workers share it: each
of them counts the memory of all. Resident memory is read in the background, never by a call. It knows files of Linux;
where they are not, and nothing is set, it never says so.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

_PART = 0.85
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
# Above what one read brings (256 KiB, the event loop's buffer): a mapping for each would cost as much as its tokens.
_LARGE_BLOCK = 512 * 1024
# What may stay free at the heap's end: else it is given back and asked for again with every read.
_FREE_AT_END = 4 * 1024 * 1024
_SECONDS = 0.5
# How often what is free inside of the heap is given back, and from how much memory on that is worth it.
_TRIM_SECONDS = 2.0
_SMALL = 128 * 1024 * 1024
_PROCESSES = Path("/proc")
_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# A limit of cgroup v1 that is none is a number near 2^63.
_NO_LIMIT = 1 << 60


def return_large_blocks() -> bool:
    """Let what is freed of large blocks go back to the system at once; whether this C library can.

    glibc gives a large block a mapping of its own, until the first such block is freed: from then on blocks up to that
    size, 32 MiB at most, come out of the heap, where one small neighbour keeps megabytes. A threshold that is set
    stays.
    """
    try:
        # A C library without it has no symbol; on Windows there is no such library.
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK) and mallopt(_M_TRIM_THRESHOLD, _FREE_AT_END))


class HeapTrimmer:
    """Gives back what is free inside of the heap. A large message comes in hundreds of small blocks, in gRPC's threads,
    and each of them may leave pages that nobody uses: as much as the message, for each stream that stays open."""

    def __init__(self) -> None:
        self._trimming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, where the C library can."""
        with suppress(OSError, AttributeError, TypeError):
            self._trimming = asyncio.create_task(_trim(ctypes.CDLL(None).malloc_trim))

    def stop(self) -> None:
        """End."""
        if self._trimming is not None:
            self._trimming.cancel()


async def _trim(malloc_trim: Callable[[int], int]) -> None:
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        if resident_bytes() > _SMALL:
            await asyncio.to_thread(malloc_trim, 0)  # ctypes lets others run meanwhile


def resident_bytes() -> int:
    """Resident memory of this process; 0 where that cannot be read."""
    return _pages("self")[0] * os.sysconf("SC_PAGE_SIZE")


def resident_of_workers() -> int:
    """Resident memory of this process, of its parent and of the parent's other children; of those without what they
    share with anybody, such as the code of libraries. Only this process' own where they cannot be read."""
    own, parent = os.getpid(), os.getppid()
    pages = _pages("self")[0]
    with suppress(OSError, ValueError):
        children = (_PROCESSES / f"{parent}/task/{parent}/children").read_text("ascii").split()
        for process in {parent, *map(int, children)} - {own}:
            resident, shared = _pages(str(process))
            pages += resident - shared
    return pages * os.sysconf("SC_PAGE_SIZE")


def _pages(process: str) -> tuple[int, int]:
    """Resident and shared pages (proc(5), statm); none of a process that cannot be read, or is gone."""
    with suppress(OSError, ValueError):
        _, resident, shared, *_ = map(int, (_PROCESSES / process / "statm").read_text("ascii").split())
        return resident, shared
    return 0, 0


def memory_limit(setting: int) -> int:
    """The limit that holds, in bytes; 0 where there is none. `setting`: 0 for none."""
    return min((limit for limit in (setting, _container_limit()) if limit), default=0)


def _container_limit() -> int:
    for path in _CGROUPS:
        with suppress(OSError, ValueError):
            limit = int(path.read_text("ascii"))
            return limit if limit < _NO_LIMIT else 0
    return 0


class MemoryGuard:
    """Watches resident memory, as `resident` gives it in bytes, against `limit` bytes; 0 watches nothing."""

    def __init__(self, limit: int, resident: Callable[[], int] = resident_bytes) -> None:
        self._bound = int(limit * _PART)
        self._resident = resident
        self._limit = limit
        self._reason = ""
        self._watching: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("integration_api.memory")

    def overloaded(self) -> str:
        """Why no new call may begin; empty when it may."""
        return self._reason

    def start(self) -> None:
        """Watch from now on."""
        if self._bound:
            self._watching = asyncio.create_task(self._watch())

    def stop(self) -> None:
        """Watch no more."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            self.measure()
            await asyncio.sleep(_SECONDS)

    def measure(self) -> None:
        """Compare once."""
        resident = self._resident()
        short = resident > self._bound
        if short and not self._reason:
            self._log_change("memory.short", resident)
            self._reason = "this instance is short of memory"
        elif self._reason and not short:
            self._log_change("memory.enough", resident)
            self._reason = ""

    def _log_change(self, event: str, resident: int) -> None:
        with suppress(Exception):  # a log that fails changes nothing
            self._log.warning(event, resident=resident, limit=self._limit)
