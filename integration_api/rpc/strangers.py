"""Serves the methods that ask nobody who calls: health and reflection. Few of their messages are read at once, and
none for long; they are no running calls, and a shutdown does not wait for them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from caller.crowds import Arrivals, CrowdTurns
from caller.deadline import DeadlineTimer
from caller.errors import TotalTimeout
from integration_api.rpc.clients import address_key
from integration_api.rpc.connections import Connections
from integration_api.rpc.failures import Failures, forget_traces
from integration_api.rpc.receiving import STRANGERS, Receiver, crowded, without_request
from integration_api.rpc.rpc import Rpc
from integration_api.rpc.shares import Shares
from integration_api.rpc.status import HELP_PAGE
from integration_api.rpc.streams import parsed

# Longest wait for a stranger that does not read, in seconds.
_WRITE_TIMEOUT = 30.0

Request = TypeVar("Request", bound=Message)


class Strangers:
    """Makes handlers of functions, as the guard does for calls."""

    def __init__(self, help_page: str = HELP_PAGE) -> None:
        self._receiver = Receiver(STRANGERS)
        self._reading: Counter[str] = Counter()  # messages of a connection that are being read
        self._failures = Failures(Connections(), help_page)
        self._arrivals = Arrivals()
        self._clock = asyncio.get_running_loop().time
        self._refusals = CrowdTurns(self._arrivals)
        self._unread = Shares(0, 1.0)

    def method(
        self, name: str, request: type[Request], handler: Callable[[Request, Rpc], Awaitable[None]]
    ) -> grpc.RpcMethodHandler:
        """A method of one request; the handler writes its answers through the `Rpc`."""

        async def work(rpc: Rpc) -> None:
            raw = await self._next(rpc)
            if raw is None:
                raise without_request()
            await handler(parsed(request, raw), rpc)

        return self._served(name, work)

    def conversation(
        self, name: str, request: type[Request], handler: Callable[[AsyncIterator[Request], Rpc], Awaitable[None]]
    ) -> grpc.RpcMethodHandler:
        """A method of many requests. One that is not there in time ends the stream, and ends it well."""

        async def requests(rpc: Rpc) -> AsyncIterator[Request]:
            while (raw := await self._next(rpc)) is not None:
                yield parsed(request, raw)

        async def work(rpc: Rpc) -> None:
            await handler(requests(rpc), rpc)

        return self._served(name, work, ends_idle=True)

    async def _next(self, rpc: Rpc) -> bytes | None:
        peer = rpc.context.peer()
        self._reading[peer] += 1
        try:
            return await self._receiver.next(rpc)
        finally:
            self._reading[peer] -= 1
            if not self._reading[peer]:
                del self._reading[peer]

    def _served(
        self, name: str, work: Callable[[Rpc], Awaitable[None]], *, ends_idle: bool = False
    ) -> grpc.RpcMethodHandler:
        async def served(_: object, context: grpc.aio.ServicerContext) -> None:
            self._arrivals.count += 1
            peer = context.peer()
            client = address_key(peer)
            # While refusals wait one message at a time is enough of a connection: its further calls are refused unread.
            # That one gives way to the next costs more.
            held = self._refusals.tasks.count > 0 and self._reading[peer] > 0
            if held:
                await self._refusals.turn(client)
            timer = DeadlineTimer()
            rpc = Rpc(context, name, timer, self._unread, _WRITE_TIMEOUT, self._clock, self._clock(), client)
            try:
                with timer:
                    await (_refuse() if held else work(rpc))
            except grpc.aio.AbortError as aborted:
                forget_traces(aborted)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, its text is not for the client
                if ends_idle and isinstance(error, TotalTimeout) and not rpc.writing:
                    return
                failure = self._failures.failure(error, rpc)
                if failure is not None:
                    forget_traces(error)
                    if not held:
                        await self._refusals.turn(client)
                    await self._failures.abort(failure, rpc)

        return grpc.stream_stream_rpc_method_handler(served)


async def _refuse() -> None:
    raise crowded()
