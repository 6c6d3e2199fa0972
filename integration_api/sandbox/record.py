"""What the sandbox keeps of its clients: requests as they came, and events that can be waited for.

Rule: no network.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, repr=False)
class Recorded:
    """A request as it came.

    `headers` and `query` are multidicts (headers are found in any case), `path` is decoded and `raw_path` as it stood
    on the wire with its query, `started` is the event loop's time in seconds, `peer` the client's address. No repr:
    headers hold keys.
    """

    method: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    started: float
    peer: str

    def json(self) -> Any:
        """The body, parsed. Raises ValueError."""
        return json.loads(self.body)


class Feed(Generic[_T]):
    """Events, each given once to whoever waits for the next; the oldest are forgotten."""

    def __init__(self, keep: int) -> None:
        self._items: deque[_T] = deque(maxlen=keep)
        self._arrived = asyncio.Event()

    def put(self, item: _T) -> None:
        self._items.append(item)
        self._arrived.set()

    async def next(self, timeout: float) -> _T:  # noqa: ASYNC109 -- a test says how long it is willing to wait
        async with asyncio.timeout(timeout):
            while not self._items:
                self._arrived.clear()
                await self._arrived.wait()
        return self._items.popleft()
