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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from msgspec.structs import asdict, replace

from caller.deadline import DeadlineTimer
from caller.errors import CallerError, InternalError, ServiceDraining, ServiceOverloaded, ServiceStopped
from caller.events import Usage, UsageSource
from integration_api.auth.authenticator import Authenticate
from integration_api.rpc.rpc import ClientGoneError, Rpc
from integration_api.rpc.status import StatusDetails, status_details
from integration_api.rpc.streams import OpenStream, parsed

_ABORT_SECONDS = 1.0

Request = TypeVar("Request", bound=Message)
Handler = Callable[[Request, Rpc], Awaitable[Message | None]]
StreamHandler = Callable[[OpenStream[Request]], Awaitable[None]]
# For a contract that wants failures inside of an OK answer: makes it of the error and the request's bytes.
InBody = Callable[[CallerError, bytes, Rpc], Message]


class Guard:
    """Wraps handlers, and knows which of their calls are running. `identify` says who calls before anything of a
    request is read; None lets everybody in, nameless."""

    def __init__(
        self, write_timeout: float, max_open_streams: int = 10_000, *, identify: Authenticate | None = None
    ) -> None:
        self._write_timeout = write_timeout
        self._identify_natively = identify
        self._max_open_streams = max_open_streams
        self._log = structlog.get_logger("integration_api.call")
        self._running: dict[asyncio.Task[object], Rpc] = {}
        self._streams: set[OpenStream[Any]] = set()  # of whatever frames
        self._calls = 0  # running ones, open streams, and those whose status is on its way
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._cutting = False

    @property
    def running(self) -> int:
        """How many calls are running, turns of open streams included."""
        return len(self._running)

    @property
    def open_streams(self) -> int:
        """How many bidirectional streams are open, with or without a turn."""
        return len(self._streams)

    def drain(self) -> None:
        """Refuse new calls from now on; idle streams end now, busy ones after their turn."""
        self._draining = True
        for stream in tuple(self._streams):
            stream.drain()

    async def idle(self) -> None:
        """Wait until no call runs, no stream is open, and every status is sent."""
        await self._idle.wait()

    def cut(self) -> None:
        """End the running calls; each still gets its status."""
        self._cutting = True
        for stream in self._streams:
            stream.cutting = True
        for task in tuple(self._running):
            task.cancel()

    def unary(
        self,
        method: str,
        request: type[Request],
        handler: Handler[Request],
        *,
        in_body: InBody | None = None,
        authenticate: Authenticate | None = None,
    ) -> grpc.RpcMethodHandler:
        """A guarded unary-unary handler. `authenticate` takes the place of the native way."""

        async def work(raw: bytes, rpc: Rpc) -> bytes:
            self._identify(rpc, authenticate)
            with self._counted(rpc):
                answer = await handler(parsed(request, raw), rpc)
                return b"" if answer is None else answer.SerializeToString()

        async def guarded(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return await self._call(method, work, raw, context, in_body)

        return grpc.unary_unary_rpc_method_handler(guarded)

    def server_stream(self, method: str, request: type[Request], handler: Handler[Request]) -> grpc.RpcMethodHandler:
        """A guarded unary-stream handler; the handler writes its frames through the `Rpc`."""

        async def work(raw: bytes, rpc: Rpc) -> bytes:
            self._identify(rpc, None)
            with self._counted(rpc):
                await handler(parsed(request, raw), rpc)
                return b""

        async def guarded(raw: bytes, context: grpc.aio.ServicerContext) -> None:
            await self._call(method, work, raw, context, None)

        return grpc.unary_stream_rpc_method_handler(guarded)

    def bidi(
        self,
        method: str,
        request: type[Request],
        handler: StreamHandler[Request],
        *,
        authenticate: Authenticate | None = None,
    ) -> grpc.RpcMethodHandler:
        """A guarded stream-stream handler. An open stream is no running call; its turns are."""

        async def work(_: bytes, rpc: Rpc) -> bytes:
            self._identify(rpc, authenticate)
            with self._opened(OpenStream(rpc, request, self._counted)) as stream:
                await handler(stream)
            return b""

        async def guarded(_: object, context: grpc.aio.ServicerContext) -> None:
            await self._call(method, work, b"", context, None)

        return grpc.stream_stream_rpc_method_handler(guarded)

    async def _call(
        self,
        method: str,
        work: Callable[[bytes, Rpc], Awaitable[bytes]],
        raw: bytes,
        context: grpc.aio.ServicerContext,
        in_body: InBody | None,
    ) -> bytes:
        timer = DeadlineTimer()
        rpc = Rpc(context, method, self._write_timeout, timer)
        self._calls += 1
        self._idle.clear()
        try:
            async with timer:  # inside: its timeout must become a status, too
                return await work(raw, rpc)
        except grpc.aio.AbortError as aborted:
            return _left_to_grpc(aborted)
        except BaseException as error:
            failure = self._failure(error, rpc)
            if failure is None:
                raise
            _forget_traces(error)
            if in_body is not None:
                self._log_failure(failure, rpc)
                return in_body(failure, raw, rpc).SerializeToString()
            await self._abort(failure, rpc)
            return b""
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    def _identify(self, rpc: Rpc, authenticate: Authenticate | None) -> None:
        if authenticate is not None:
            rpc.identity = authenticate(rpc.context)
        elif self._identify_natively is not None:
            rpc.identity = self._identify_natively(rpc.context)

    @contextmanager
    def _counted(self, rpc: Rpc) -> Iterator[None]:
        """Count the current task as a running call, if it is admitted."""
        task = _this_task()
        self._admit()
        self._running[task] = rpc
        try:
            yield
        finally:
            del self._running[task]

    @contextmanager
    def _opened(self, stream: OpenStream[Request]) -> Iterator[OpenStream[Request]]:
        """Count an open stream, if there is room for it."""
        if self._draining:
            raise ServiceDraining("this instance is stopping; another one will answer")
        if len(self._streams) >= self._max_open_streams:
            raise ServiceOverloaded(f"more than {self._max_open_streams} streams are open")
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def _admit(self) -> None:
        if self._draining:
            raise ServiceDraining("this instance is stopping; another one will answer")

    def _failure(self, error: BaseException, rpc: Rpc) -> CallerError | None:
        """The error that the client is told; None for a cancellation from outside, which goes on."""
        if isinstance(error, asyncio.CancelledError):
            task = _this_task()
            if self._cutting and rpc.time_left() != 0:
                task.uncancel()
                return _stopped(rpc)
            if task.cancelling():
                self._log.info("call.cancelled", **_who(rpc), **_used(rpc))
                return None
        if isinstance(error, ClientGoneError):
            self._log.info("call.client_gone", **_who(rpc), **_used(rpc))
            raise asyncio.CancelledError from error
        if not isinstance(error, CallerError):
            rpc.name(rpc.request_id)
            self._log.error("call.bug", **_who(rpc), exc_info=error)
            return InternalError(f"internal error, request id {rpc.request_id}")
        return error

    def _log_failure(self, error: CallerError, rpc: Rpc) -> StatusDetails:
        ending = status_details(error, rpc.request_id or rpc.name(""))
        self._log.info(
            "call.failed",
            **_who(rpc),
            reason=ending.reason,
            status=ending.code.name,
            message=ending.message,
            attempts=error.attempts,
            url=error.url,
        )
        return ending

    async def _abort(self, error: CallerError, rpc: Rpc) -> None:
        ending = self._log_failure(error, rpc)
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                await rpc.context.abort(ending.code, ending.message, ending.trailers)
        except grpc.aio.AbortError as aborted:
            _left_to_grpc(aborted)
        except TimeoutError:  # the client does not read: the status waits in grpc's buffer, nobody waits for it here
            raise asyncio.CancelledError from error


def _who(rpc: Rpc) -> dict[str, str]:
    """What every log line of a call says."""
    return {"method": rpc.method, "request_id": rpc.request_id, "identity": rpc.identity}


def _used(rpc: Rpc) -> dict[str, object]:
    """What is known of a call that its client gave up: somebody pays for it."""
    report = rpc.report
    if report is None:
        return {}
    used: dict[str, object] = {"attempts": report.attempts, "url": report.url}
    usage = _partial(report.usage)
    if usage is not None:
        used["usage"] = {name: count for name, count in asdict(usage).items() if isinstance(count, int)}
        used["usage_source"] = usage.source.name
    return used


def _partial(usage: Usage | None) -> Usage | None:
    return None if usage is None else replace(usage, source=UsageSource.PARTIAL)


def _left_to_grpc(aborted: grpc.aio.AbortError) -> bytes:
    """An answer that grpc does not send: it keeps the error of an abort, and raises it again behind the handler."""
    _forget_traces(aborted)
    return b""


def _forget_traces(error: BaseException) -> None:
    """Tracebacks hold the frames of a call, and with them the conversation, in cycles that only the collector finds:
    seldom. What is worth knowing of them has been logged."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        known = waiting.pop()
        if known is not None and id(known) not in seen:
            seen.add(id(known))
            known.__traceback__ = None
            waiting += (known.__cause__, known.__context__)


def _stopped(rpc: Rpc) -> CallerError:
    """The error of a call that is cut at shutdown."""
    error = (ServiceStopped if rpc.spoke else ServiceDraining)("this instance is stopping")
    if rpc.report is not None:
        error.usage = _partial(rpc.report.usage)
        error.attempts, error.url, error.api = rpc.report.attempts, rpc.report.url, rpc.report.api
    return error


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a call runs in a task")
    return task
