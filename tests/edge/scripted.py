"""Endpoints of a race, each of whose events a test sends when it wants."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.edge.loopback import STREAM_HEAD, ScriptedServer, until
from tests.patience import within


class Scripted(ScriptedServer):
    """Takes one request on each connection, and then sends what the test gives it to the newest of them.

    `asked` is set once a request has come; `hung_up` is set when its client closes the connection, at `gone`.
    """

    def __init__(self) -> None:
        super().__init__(self._take)
        self.asked = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.gone = 0.0
        self.waiting = 0  # connections whose request has come
        self._writer: asyncio.StreamWriter | None = None

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await self.request(reader)
        self._writer = writer
        self.asked.set()
        self.waiting += 1
        try:
            await reader.read()
        finally:
            self.waiting -= 1
        self.gone = asyncio.get_running_loop().time()
        self.hung_up.set()

    async def begin(self) -> None:
        """Wait for a request, and send the head of a stream."""
        async with asyncio.timeout(within(5)):
            await self.asked.wait()
        self.send(STREAM_HEAD)

    def send(self, raw: bytes) -> None:
        """Send bytes, if somebody is there to take them."""
        if self._writer is not None and not self._writer.transport.is_closing():
            with suppress(RuntimeError):  # uvloop's word for a client that has just gone
                self._writer.write(raw)

    def end(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()

    async def left(self) -> None:
        """Wait until nobody waits for an answer; a connection that has not been used may be there."""
        await until(lambda: not self.waiting, 1)


@asynccontextmanager
async def scripted(count: int = 2) -> AsyncIterator[list[Scripted]]:
    """So many endpoints."""
    made = [Scripted() for _ in range(count)]
    for each in made:
        await each.__aenter__()
    try:
        yield made
    finally:
        for each in made:
            await each.__aexit__()


def merges(first: int, second: int) -> list[tuple[int, ...]]:
    """All orders in which two sequences of so many events can happen: 0 is an event of the first, 1 of the second."""
    total = first + second
    return [
        tuple(1 if at in taken else 0 for at in range(total)) for taken in itertools.combinations(range(total), second)
    ]


def target(
    url: str, model: str, /, api: str = "openai_compatible", label: str = "spare", **more: Any
) -> dict[str, Any]:
    """A fallback as JSON clients write it."""
    return {
        "providerId": "custom-llm",
        "credential": {"value": {"apiCompatibility": api, "baseUrl": f"{url}/v1"}},
        "modelParameters": {"model.name": model},
        "label": label,
        **more,
    }
