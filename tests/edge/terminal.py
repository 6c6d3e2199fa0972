"""A pseudo-terminal with the real command in it: typed into, read from, as a person would."""

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.edge.processes import ROOT, SECONDS, arguments, environment


class Terminal:
    """`integration-api …` on a terminal of its own; what it shows is kept in `shown`. `home`: for its history."""

    def __init__(self, *args: str, home: Path, env: dict[str, str] | None = None) -> None:
        self._args = args
        self._env = {
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody here answers where the cursor is
            "XDG_STATE_HOME": str(home),
            "COLUMNS": "200",
            **(env or {}),
        }
        self._seen = 0
        self.shown = ""

    def __enter__(self) -> Self:
        self._master, inner = pty.openpty()
        self._process = subprocess.Popen(
            arguments(*self._args),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=ROOT,
            env=environment(self._env),
            start_new_session=True,
        )
        os.close(inner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        """Keys, as a terminal sends them: a carriage return is Enter, an Escape before a key is Alt."""
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C while an answer runs: the terminal makes a signal of it."""
        self._process.send_signal(signal.SIGINT)

    def until(self, text: str) -> str:
        """What is shown next, up to and with this text."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown[self._seen :]:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{text!r} was not shown; but: {self.shown[self._seen :]!r}")
        end = self.shown.index(text, self._seen) + len(text)
        found, self._seen = self.shown[self._seen : end], end
        return found

    def press_until(self, keys: str, text: str) -> None:
        """Press keys again and again until a text is shown: for what gets ready without a sign, such as the history."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown[self._seen :]:
            assert time.monotonic() < deadline, f"{text!r} was not shown; but: {self.shown[self._seen :]!r}"
            self.type(keys)
            self._read(0.5)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(SECONDS)

    def _read(self, seconds: float) -> bool:
        """Some more of what is shown; False at the end."""
        ready, _, _ = select.select([self._master], [], [], max(seconds, 0))
        if not ready:
            return False
        try:
            raw = os.read(self._master, 65536)
        except OSError:  # what Linux says once the other side is closed
            return False
        self.shown += raw.decode("utf-8", "replace")
        return bool(raw)
