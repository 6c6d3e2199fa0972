"""The guard: the outermost layer of every call of ours. Whatever happens inside ends as a documented status here.

A handler is a function; the guard wraps it into what grpc.aio registers. It takes and gives bytes: parsing happens
inside, since a deserializer that raises would send its exception's text to the client.

The traps of grpc.aio that it closes (grpcio 1.85.1):

* an exception's text goes to the client: here it goes to the log, the client gets the request id;
* a CancelledError that nobody asked for ends the call without any status, and the client hangs: it becomes INTERNAL;
* a client that is gone shows as CancelledError or as an error of the write: both mean the same;
* `abort` waits behind a message that the client does not read: it gets a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from caller.custom_llm.watchdog import Watchdog
from caller.errors import CallerError, InternalError, RequestInvalid, ServiceDraining, ServiceStopped
from integration_api.interceptors.rpc import ClientGoneError, Rpc
from integration_api.interceptors.status import ending_of

_ABORT_SECONDS = 1.0

Request = TypeVar("Request", bound=Message)
Handler = Callable[[Request, Rpc], Awaitable[Message | None]]


class Guard:
    """Wraps handlers, and knows which of their calls are running."""

    def __init__(self, write_timeout: float) -> None:
        self._write_timeout = write_timeout
        self._log = structlog.get_logger("integration_api.call")
        self._running: dict[asyncio.Task[object], Rpc] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._cutting = False

    @property
    def running(self) -> int:
        """How many calls are running."""
        return len(self._running)

    def drain(self) -> None:
        """Refuse new calls from now on."""
        self._draining = True

    async def idle(self) -> None:
        """Wait until no call runs."""
        await self._idle.wait()

    def cut(self) -> None:
        """End the running calls; each still gets its status."""
        self._cutting = True
        for task in tuple(self._running):
            task.cancel()

    def unary(self, method: str, request: type[Request], handler: Handler[Request]) -> grpc.RpcMethodHandler:
        """A guarded unary-unary handler."""

        async def guarded(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return await self._call(method, request, handler, raw, context)

        return grpc.unary_unary_rpc_method_handler(guarded)

    def server_stream(self, method: str, request: type[Request], handler: Handler[Request]) -> grpc.RpcMethodHandler:
        """A guarded unary-stream handler; the handler writes its frames through the `Rpc`."""

        async def guarded(raw: bytes, context: grpc.aio.ServicerContext) -> None:
            await self._call(method, request, handler, raw, context)

        return grpc.unary_stream_rpc_method_handler(guarded)

    async def _call(
        self,
        method: str,
        request: type[Request],
        handler: Handler[Request],
        raw: bytes,
        context: grpc.aio.ServicerContext,
    ) -> bytes:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call runs in a task")
        dog = Watchdog()
        rpc = Rpc(context, method, self._write_timeout, dog)
        self._running[task] = rpc
        self._idle.clear()
        try:
            async with dog:  # inside: its timeout must become a status, too
                self._admit(rpc)
                answer = await handler(_parsed(request, raw), rpc)
                return b"" if answer is None else answer.SerializeToString()
        except grpc.aio.AbortError:
            raise
        except BaseException as error:
            await self._end(error, rpc, task)
            raise
        finally:
            del self._running[task]
            if not self._running:
                self._idle.set()

    def _admit(self, rpc: Rpc) -> None:
        if self._draining:
            rpc.name("")
            raise ServiceDraining("this instance is stopping; another one will answer")

    async def _end(self, error: BaseException, rpc: Rpc, task: asyncio.Task[object]) -> None:
        if isinstance(error, asyncio.CancelledError):
            if self._cutting and rpc.time_left() != 0:
                task.uncancel()
                error = (ServiceStopped if rpc.spoke else ServiceDraining)("this instance is stopping")
            elif task.cancelling():
                self._log.info("call.cancelled", method=rpc.method, request_id=rpc.request_id)
                return
        if isinstance(error, ClientGoneError):
            self._log.info("call.client_gone", method=rpc.method, request_id=rpc.request_id)
            raise asyncio.CancelledError from error
        if not isinstance(error, CallerError):
            self._log.error("call.bug", method=rpc.method, request_id=rpc.name(rpc.request_id), exc_info=error)
            error = InternalError(f"internal error, request id {rpc.request_id}")
        await self._abort(error, rpc)

    async def _abort(self, error: CallerError, rpc: Rpc) -> None:
        ending = ending_of(error, rpc.request_id or rpc.name(""))
        self._log.info(
            "call.failed",
            method=rpc.method,
            request_id=rpc.request_id,
            reason=ending.reason,
            status=ending.code.name,
            message=ending.message,
            attempts=error.attempts,
            url=error.url,
        )
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                await rpc.context.abort(ending.code, ending.message, ending.trailers)
        except TimeoutError:  # the client does not read: the status waits in grpc's buffer, nobody waits for it here
            raise asyncio.CancelledError from error


def _parsed(request: type[Request], raw: bytes) -> Request:
    try:
        return request.FromString(raw)
    except DecodeError:
        raise RequestInvalid(f"the request is not a {request.DESCRIPTOR.full_name}") from None
