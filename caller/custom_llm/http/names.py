"""What names lead to, remembered: answers for half a minute at most, and for minutes which addresses did not answer in
time.

Rule: it remembers within bounds; what an answer may be is decided by the resolver below. A lookup is shared by the
calls of one client only: behind a lookup of another client's, a good name would wait for that client's slow ones.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

_NAMES: Final = 1000
# How long an address that was slower than another of its name stands behind the others, in seconds.
_SLOW_SECONDS: Final = 300.0
LONGEST_TTL: Final = 30.0  # addresses are checked at each connect, whatever is remembered
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class _Answer:
    """The addresses of a name until a time in `loop.time()`; `turn` counts the uses."""

    addresses: tuple[ResolveResult, ...]
    until: float
    turn: int = 0


class Names:
    """The names of one event loop; `ttl` in seconds, at most 30."""

    def __init__(self, resolver: AbstractResolver, *, ttl: float = LONGEST_TTL) -> None:
        self._resolver = resolver
        self._ttl = min(ttl, LONGEST_TTL)
        self._loop = asyncio.get_running_loop()
        self._answers: OrderedDict[tuple[str, int], _Answer] = OrderedDict()
        self._slow: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lookups: dict[tuple[str, str, int], asyncio.Task[tuple[ResolveResult, ...]]] = {}

    async def addresses(self, host: str, port: int, client: str) -> list[ResolveResult]:
        """The addresses of `host` in the order in which to try them.

        They take turns at being the first, but for those that another one had to stand in for lately. Raises what the
        resolver raises; a failure is not remembered.
        """
        answer = self._answers.get((host, port))
        if answer is None or answer.until < self._loop.time():
            answer = _Answer(await self._looked_up(host, port, client), self._loop.time() + self._ttl)
        known = answer.addresses
        _remember(self._answers, (host, port), replace(answer, turn=(answer.turn + 1) % max(1, len(known))))
        in_turn = known[answer.turn :] + known[: answer.turn]
        return sorted(in_turn, key=lambda one: self._is_slow(host, one["host"]))

    def note(self, host: str, attempted: Sequence[str], answered: str) -> None:
        """A connection was made: `answered` is its address, what was tried before it did not answer in time."""
        self._slow.pop((host, answered), None)
        if answered in attempted:
            for address in attempted[: attempted.index(answered)]:
                _remember(self._slow, (host, address), self._loop.time() + _SLOW_SECONDS)

    def forget(self, host: str, port: int) -> None:
        """None of its addresses could be connected to: the name is looked up anew next time."""
        self._answers.pop((host, port), None)

    def clear(self) -> None:
        """Forget every answer."""
        self._answers.clear()

    async def close(self) -> None:
        """End the running lookups, and the resolver."""
        tasks = tuple(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._resolver.close()

    def _is_slow(self, host: str, address: str) -> bool:
        return self._slow.get((host, address), 0.0) > self._loop.time()

    async def _looked_up(self, host: str, port: int, client: str) -> tuple[ResolveResult, ...]:
        key = (client, host, port)
        task = self._lookups.get(key)
        if task is None:
            task = self._lookups[key] = self._loop.create_task(self._look_up(host, port))
            task.add_done_callback(lambda ended: self._ended(key, ended))
        return await asyncio.shield(task)  # a call that is given up does not end it for the others

    async def _look_up(self, host: str, port: int) -> tuple[ResolveResult, ...]:
        return tuple(await self._resolver.resolve(host, port))

    def _ended(self, key: tuple[str, str, int], task: "asyncio.Task[tuple[ResolveResult, ...]]") -> None:
        self._lookups.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits any more


def _remember(memory: "OrderedDict[KeyT, ValueT]", key: KeyT, value: ValueT) -> None:
    """Keep the newest, the oldest go."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _NAMES:
        memory.popitem(last=False)
