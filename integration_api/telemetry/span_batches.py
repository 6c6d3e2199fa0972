"""Finished spans on their way to a collector: a bounded queue, and a thread that sends them in batches.

Nothing here holds a call up. What the queue does not take, and what the collector does not, is lost, counted, and said
in a line `traces.lost`. It knows no spans but as bytes.
"""

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import structlog
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
)

_QUEUE, _BATCH, _DELAY_MILLISECONDS = 2048, 512, 5000
_MOST: Final = 10**9
# The first wait in front of another try, in seconds; each further one is twice as long.
_BACK_OFF: Final = 1.0


class Failure(NamedTuple):
    """Why a batch did not arrive. `again`: another try may help, `after` so many seconds if the collector says so."""

    why: str
    again: bool
    after: float | None = None


class Sender(Protocol):
    """Sends to a collector. `timeout` is what one batch may take with all its tries, in seconds."""

    timeout: float

    def send(self, request: bytes, seconds: float) -> Failure | None:
        """Send it; waits for the network, at most so long."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class SpanBatches:
    """Sends spans from a thread of its own, from its start to its close. One thread puts them in.

    `lost`: how many spans were lost so far.
    """

    def __init__(self, sender: Sender, request: Callable[[Sequence[bytes]], bytes]) -> None:
        """`request` makes of spans what is sent.

        Raises:
            ValueError: a variable `OTEL_BSP_…` holds no number above zero.
        """
        self._most = _number(OTEL_BSP_MAX_QUEUE_SIZE, _QUEUE)
        self._batch = min(_number(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, _BATCH), self._most)
        self._delay = _number(OTEL_BSP_SCHEDULE_DELAY, _DELAY_MILLISECONDS) / 1000
        self._sender = sender
        self._request = request
        self._queue: deque[bytes] = deque()
        self._full = threading.Event()
        self._closing = threading.Event()
        self._log = structlog.get_logger("integration_api.telemetry")
        self.lost = 0
        self._lost_in_queue = 0
        self._thread = threading.Thread(target=self._run, name="span-batches", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, spans: Sequence[bytes]) -> None:
        """Send them with others, in a while."""
        queue = self._queue
        free = self._most - len(queue)
        if len(spans) > free:
            self.lost += len(spans) - free
            self._lost_in_queue += len(spans) - free
            spans = spans[:free]
        queue.extend(spans)
        if len(queue) >= self._batch and not self._full.is_set():
            self._full.set()

    def close(self) -> None:
        """Send what waits, and nothing more. May wait for the network."""
        self._closing.set()
        self._full.set()
        self._thread.join()
        self._sender.close()

    def _run(self) -> None:
        closing = False
        while not closing:
            timely = not self._full.wait(self._delay)
            self._full.clear()
            closing = self._closing.is_set()
            while len(self._queue) >= self._batch or (self._queue and (timely or closing)):
                spans = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
                failed = self._sent(self._request(spans))
                self._note(len(spans) if failed else 0, failed)

    def _sent(self, request: bytes) -> str:
        """Send a batch, try again where that may help; what it failed with, or nothing."""
        due = time.monotonic() + self._sender.timeout
        wait = _BACK_OFF
        while True:
            try:
                failure = self._sender.send(request, max(0.001, due - time.monotonic()))
            except Exception as error:  # noqa: BLE001 -- whatever the network's packages raise, the thread goes on
                return type(error).__name__
            if failure is None:
                return ""
            pause = wait * random.uniform(0.8, 1.2) if failure.after is None else failure.after  # noqa: S311 -- no secret
            if not failure.again or time.monotonic() + pause > due or self._closing.wait(pause):
                return failure.why
            wait *= 2

    def _note(self, unsent: int, why: str) -> None:
        dropped, self._lost_in_queue = self._lost_in_queue, 0
        self.lost += unsent
        if unsent or dropped:
            self._log.warning("traces.lost", spans=unsent + dropped, reason=why or "the queue was full")


def _number(name: str, usual: int) -> int:
    given = os.environ.get(name, "").strip()
    try:
        number = int(given) if given else usual
    except ValueError:
        number = 0
    if not 0 < number < _MOST:
        raise ValueError(f"{name} is {given!r}: a whole number above zero")
    return number
