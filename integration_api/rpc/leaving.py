"""Whole answers on their way: gRPC has them, and nobody waits for them in a frame of ours.

gRPC sends an answer together with its status once the handler has returned, and the call's task is done when both have
left, or have gone with their stream. A client that does not read its answer is given up on after the write timeout:
the bytes count until then and beyond, what drains waits no longer, and the connection is counted as one that leaves
answers unread. The answer itself stays where it is: a client that reads in the end has it, and its status.
"""

import asyncio
from collections.abc import Callable

from integration_api.rpc.connections import Connections
from integration_api.rpc.rpc import Rpc


class Leaving:
    """Knows the answers that have not left, the oldest first. `given_up` is called for each that is given up on."""

    def __init__(self, seconds: float, connections: Connections, given_up: Callable[[], None]) -> None:
        """`seconds`: the write timeout."""
        self._seconds = seconds
        self._connections = connections
        self._given_up = given_up
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Task[object], tuple[Rpc, float]] = {}
        self._unread: dict[asyncio.Task[object], tuple[Rpc, str, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, task: asyncio.Task[object], rpc: Rpc) -> None:
        """The handler of a call returns its answer; `task` is done when that has left."""
        rpc.raw = b""
        self._waiting[task] = (rpc, self._loop.time())
        if self._timer is None:  # one for all: they are given the same time
            self._timer = self._loop.call_later(self._seconds, self._sweep)

    def left(self, task: asyncio.Task[object]) -> bool:
        """A call's task is done; whether its answer had been given up on before."""
        waiting = self._waiting.pop(task, None)
        if waiting is not None:
            waiting[0].release()
            return False
        unread = self._unread.pop(task, None)
        if unread is None:
            return False
        rpc, peer, size = unread
        rpc.release()
        self._connections.gone(peer, size)
        return True

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        for task, (rpc, since) in tuple(self._waiting.items()):
            if since + self._seconds > now:
                self._timer = self._loop.call_at(since + self._seconds, self._sweep)
                return
            del self._waiting[task]
            peer, size = rpc.context.peer(), len(rpc.answer or b"")
            self._unread[task] = (rpc, peer, size)
            self._connections.left_unread(peer, size)
            self._given_up()
