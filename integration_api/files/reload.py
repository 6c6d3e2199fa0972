"""Files that are read again when they change: token lists, keys, certificates, credentials.

One thread per server polls them once a second, so that no call and no token ever waits for a disk. It knows when a file
changed; what the bytes mean is the business of whoever watches. A change that cannot be read or makes no sense
leaves the old value in force and is logged, once per content, and again every minute while that lasts: what is in force
then is older than what the files say, and a file that was taken away takes nothing out of force.

Kubernetes swaps a symbolic link (`..data`) under mounted secrets; a path through the link finds the new file.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import structlog

_INTERVAL = 1.0
# Two writes within the clock's grain are alike, so a file this young (in seconds) is read again at the next poll.
_YOUNG = 2.0
_JOIN_SECONDS = 5.0
_REMIND_SECONDS = 60.0
_STALE = "what was read before stays in force; to take something out of force, write files without it"

_T = TypeVar("_T")
# What was found under each path: its bytes, or why there are none.
Found: TypeAlias = Mapping[Path, bytes | OSError]
_Signature: TypeAlias = tuple[tuple[Path, int, int, int], ...]


class Reloaded(Generic[_T]):
    """A value made from files. `find` lists them; `parse` makes the value, raising ValueError with words that hold no
    secret. `name` is the setting it belongs to. Files above `max_bytes` are not read. `depends` gives what else the
    value is made of: where that changes, it is made again."""

    def __init__(
        self,
        name: str,
        find: Callable[[], Sequence[Path]],
        parse: Callable[[Found], _T],
        max_bytes: int = 1024 * 1024,
        *,
        remind_seconds: float = _REMIND_SECONDS,
        depends: Callable[[], object] = lambda: None,
    ) -> None:
        self._name = name
        self._find = find
        self._parse = parse
        self._max_bytes = max_bytes
        self._remind_seconds = remind_seconds
        self._depends = depends
        self._made_with: object = None
        self._signature: _Signature | None = None
        self._content: dict[Path, bytes | str] | str | None = None
        self._values: list[_T] = []  # empty until loaded
        self._problem: tuple[str, str] | None = None  # event and words of what is wrong with the files now
        self._logged = 0.0  # when that was logged last
        self._log = structlog.get_logger("integration_api.files")

    @property
    def value(self) -> _T:
        """The newest good value. It must have been loaded."""
        return self._values[0]

    def load(self) -> None:
        """Read it for the first time.

        Raises:
            ValueError: the files cannot be read, or make no sense.
        """
        try:
            self._read()
        except OSError as error:
            raise ValueError(f"{self._name}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{self._name}: {error}") from None

    def poll(self) -> None:
        """Read it again where it changed. What goes wrong is logged; the old value stays. It raises nothing."""
        try:
            if self._read():
                self._problem = None
                self._log.info("files.reloaded", setting=self._name)
                return
        except OSError as error:
            self._problem, self._logged = ("files.unreadable", str(error.strerror)), 0.0
        except ValueError as error:
            self._problem, self._logged = ("files.broken", str(error)), 0.0
        except Exception as error:  # noqa: BLE001 -- a bug in one parser does not end the watch over all files
            self._problem, self._logged = ("files.bug", type(error).__name__), 0.0
        if self._problem is not None and (not self._logged or time.monotonic() - self._logged >= self._remind_seconds):
            self._logged = time.monotonic()
            event, words = self._problem
            self._log.error(event, setting=self._name, error=words, advice=_STALE)

    def _read(self) -> bool:
        """Whether the value was made again. What fails is raised once, for each content."""
        depends = self._depends()
        again = depends is not self._made_with
        self._made_with = depends
        try:
            paths = tuple(self._find())
        except OSError as error:
            if self._content == str(error.strerror):
                return False
            self._signature, self._content = None, str(error.strerror)
            raise
        signature = _signature(paths)
        if signature is not None and signature == self._signature and not again:
            return False
        found = {path: self._bytes_of(path) for path in paths}
        self._signature = signature
        content = {path: raw if isinstance(raw, bytes) else str(raw.strerror) for path, raw in found.items()}
        if content == self._content and not again:
            return False
        self._content = content
        self._values = [self._parse(found)]
        return True

    def _bytes_of(self, path: Path) -> bytes | OSError:
        try:
            with path.open("rb") as file:
                raw = file.read(self._max_bytes + 1)
        except OSError as error:
            return error
        if len(raw) > self._max_bytes:
            return OSError(0, f"larger than {self._max_bytes} bytes")
        return raw


class FileWatcher:
    """Keeps watched values current. `load` first, then `start`, at the end `stop`."""

    def __init__(self, interval: float = _INTERVAL) -> None:
        self._interval = interval
        self._reloaded: list[Reloaded[Any]] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, reloaded: Reloaded[_T]) -> Reloaded[_T]:
        """Watch it, too; returns it."""
        self._reloaded.append(reloaded)
        return reloaded

    def load(self) -> None:
        """Read everything for the first time. It reads files: call it off the event loop.

        Raises:
            ValueError: something cannot be read, or makes no sense.
        """
        for reloaded in self._reloaded:
            reloaded.load()

    def start(self) -> None:
        """Poll once a second from now on."""
        if self._reloaded and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="file-watcher", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Poll no more. It waits for the poll that is under way: call it off the event loop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            for reloaded in self._reloaded:
                reloaded.poll()


def one_file(name: str, path: str, parse: Callable[[bytes], _T]) -> Reloaded[_T]:
    """A value made from one file."""
    file = Path(path)

    def parse_found(found: Found) -> _T:
        return parse(readable(found[file]))

    return Reloaded(name, lambda: (file,), parse_found)


def readable(raw: bytes | OSError) -> bytes:
    """The bytes.

    Raises:
        OSError: there are none.
    """
    if isinstance(raw, OSError):
        raise raw
    return raw


def _signature(paths: Sequence[Path]) -> _Signature | None:
    """What changes when a file does; None where a change cannot be noticed yet."""
    entries: list[tuple[Path, int, int, int]] = []
    youngest = 0.0
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            return None
        youngest = max(youngest, stat.st_mtime)
        entries.append((path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return None if time.time() - youngest < _YOUNG else tuple(entries)
