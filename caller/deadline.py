"""A timeout that moves: one timer per call instead of one per token. Knows asyncio only.

`arm` costs one clock reading. The timer itself is set again only when it fires too early, so a stream of a thousand
tokens sets a handful of timers.

A timer that fires much too late says that the process was away (stopped, starved, frozen with its machine): what the
block waits for may lie in the socket, unread. So the event loop gets time to read before the block is judged, and what
is late all the same is the service's fault, and no endpoint's.
"""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import msgspec

from caller.errors import CallerError, ServiceOverloaded
from caller.printing import Unprinted

# A timer that fires later than this was not late by the loop's ordinary work. In seconds, as all times here.
_AWAY: Final = 0.1
# From so much on what is late all the same is the service's fault: with less the endpoint had nearly all of its time.
_BLAMED: Final = 0.5
# How long what lies in the sockets may take to be read, and how often a loop that is still catching up is given more.
_READING: Final = 0.05
_MOST_DELAYS: Final = 20


class DeadlineTimer(Unprinted, msgspec.Struct, eq=False):
    """Guards the block it is entered around. When the armed time passes, the block's task is cancelled and leaves the
    block with the armed error.

    Entering and leaving happen in one task, the one that works in the block, unless another one goes on: see `follow`.

    `due` is the armed time and `on_expire` makes its error; `fires_at` is when a timer runs next. Who arms with each
    token may set the first two by himself, and call `arm` where the time is due before that.
    """

    _task: asyncio.Task[object] | None = None  # the one that works in the block, where it is known already
    due: float | None = None
    _loop: asyncio.AbstractEventLoop = msgspec.field(default_factory=asyncio.get_running_loop)
    _timer: asyncio.TimerHandle | None = None
    fires_at: float = math.inf
    on_expire: Callable[[], CallerError] | None = None
    _expired: bool = False
    _cancelling: int = 0
    _away: float = 0.0  # how long the process was away when the armed time passed
    _delays: int = 0

    @property
    def error(self) -> CallerError | None:
        """The armed error once the time has passed and the block is being cancelled for it; else None."""
        return self._made(self.on_expire) if self._expired and self.on_expire is not None else None

    def __enter__(self) -> Self:
        task = self._task or asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline timer guards a task")
        self._task = task
        self._cancelling = task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self.fires_at = None, math.inf
        task, self._task = self._task, None
        expired, self.on_expire = self.on_expire, None  # it may be a method of who holds this timer
        if not self._expired or task is None or expired is None:
            return
        # As in asyncio.timeout: only our own cancellation becomes the error; one from outside goes on.
        ours = task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError)
        del task  # one that ends with the error must not be found from the error's trace
        if ours:
            raise self._made(expired) from error

    def arm(self, due: float, error: Callable[[], CallerError]) -> None:
        """Let the block fail with `error` at `due` (in `loop.time()`), unless it is armed anew before."""
        self.due = due
        self.on_expire = error
        if due < self.fires_at:
            if self._timer is not None:
                self._timer.cancel()
            self._set(due)

    def follow(self) -> None:
        """The block goes on in the current task, although another one entered it: a generator that two tasks read, one
        after the other. That one is guarded from now on."""
        task = asyncio.current_task()
        if self._task is not None and task is not None:
            self._task, self._cancelling = task, task.cancelling()

    def _set(self, due: float) -> None:
        self.fires_at = max(due, self._loop.time())  # uvloop's handles of a time in the past cannot tell it
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        planned, self.fires_at = self.fires_at, math.inf
        self._timer = None
        if self.due is None or self._task is None:
            return
        now = self._loop.time()
        if now < self.due:
            self._away, self._delays = 0.0, 0
            self._set(self.due)
            return
        late = now - planned
        if late > _AWAY and self._delays < _MOST_DELAYS:
            self._delays += 1
            self._away = max(self._away, late)
            self.fires_at = now + _READING
            self._timer = self._loop.call_at(self.fires_at, self._fire)
            return
        self._expired = True
        self._task.cancel()

    def _made(self, expired: Callable[[], CallerError]) -> CallerError:
        error = expired()
        if self._away < _BLAMED:
            return error
        return ServiceOverloaded(f"this instance did not run for {self._away:.1f} s, and then: {error.message}")
