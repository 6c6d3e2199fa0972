"""The guard: the outermost layer of every call of ours. Whatever happens inside ends as a documented status here.

A handler is a function; the guard wraps it into what grpc.aio registers. It takes and gives bytes: parsing happens
inside, since a deserializer that raises would send its exception's text to the client.

Every method is registered as one that streams requests, also those of one request: the wire is the same, and a
stream's handler runs when the headers are there. So who calls, whether this instance drains or is short of memory, and
how much this client is already sending, are asked before a message is read. A second message of a client to a method of
one request is not read, as in grpc's own. Frames are written inside the call, where their time and their bytes are
bounded. The one answer of a unary method is returned: gRPC sends it in one step with its status, where a frame and a
status of their own cost two more system calls and turns of its queue; what bounds it is in `leaving`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from caller.crowds import CrowdTurns
from caller.deadline import DeadlineTimer
from caller.errors import CallerError, ServiceDraining, ServiceOverloaded
from caller.heavy import LARGE, HeavyWork
from integration_api.auth.authenticator import Authenticate
from integration_api.rpc.clients import address_key
from integration_api.rpc.connections import Connections
from integration_api.rpc.failures import Failures, forget_traces, this_task
from integration_api.rpc.leaving import Leaving
from integration_api.rpc.receiving import STRANGERS, ReceiveLimits, Receiver
from integration_api.rpc.rpc import Frame, Rpc
from integration_api.rpc.shares import Shares
from integration_api.rpc.status import HELP_PAGE
from integration_api.rpc.streams import OpenStream, parsed

_NOTHING = Empty()
# Calls take turns to begin, clients one after the other, where many are there and more than a few of them came within
# so many seconds. Some dozens at a time are a busy server and no crowd: turns would only make them wait.
_MANY = 40
_BURST = 8
_MOMENT = 0.05

Request = TypeVar("Request", bound=Message)
Handler = Callable[[Request, Rpc], Awaitable[Frame | None]]
StreamHandler = Callable[[OpenStream[Request]], Awaitable[None]]
# What a call does, in its task; what it returns is the rest of it.
Work = Callable[[Rpc, asyncio.Task[object]], Awaitable[Awaitable[object] | None]]
# For a contract that wants failures inside of an OK answer: makes it of the error and the request's bytes.
InBody = Callable[[CallerError, bytes, Rpc], Message]


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What is bounded for all: bidirectional streams at once, bytes of answers that wait to be read, messages that are
    being read; and the `share` of each that one client may hold while others hold some."""

    open_streams: int = 10_000
    unread_bytes: int = 128 * 1024 * 1024
    receiving: ReceiveLimits = field(default_factory=ReceiveLimits)
    share: float = 0.5


class Guard:
    """Wraps handlers, and knows which of their calls are running. `identify` says who calls before anything of a
    request is read; None lets everybody in, nameless. `overloaded` says why no new call may begin now; empty: it may.
    `help_page` is where the links in errors lead.
    """

    def __init__(
        self,
        write_timeout: float,
        limits: GuardLimits = GuardLimits(),
        *,
        identify: Authenticate | None = None,
        overloaded: Callable[[], str] = str,
        help_page: str = HELP_PAGE,
        heavy: HeavyWork | None = None,
    ) -> None:
        """`heavy` are the turns in which large requests are worked on."""
        self._heavy = heavy or HeavyWork()
        self._arrivals = self._heavy.arrivals
        self._clock = asyncio.get_running_loop().time
        self._starts = CrowdTurns(self._arrivals)  # the turns of calls that come by hundreds in a moment
        self._refusals = CrowdTurns(self._arrivals)  # and of those that end without an answer
        self._crowded = False
        self._moment, self._arrived = 0.0, 0  # when this moment began, and how many calls had come by then
        self._write_timeout = write_timeout
        self._identify_natively = identify
        self._overloaded = overloaded
        self._max_open_streams = limits.open_streams
        self._connections = Connections()
        self._failures = Failures(self._connections, help_page)
        self._leaving = Leaving(write_timeout, self._connections, self._done)
        self._receiver = Receiver(limits.receiving)
        self._strangers = Receiver(STRANGERS)
        self._unread = Shares(limits.unread_bytes, limits.share)
        self._running: dict[asyncio.Task[object], Rpc] = {}
        self._streams: set[OpenStream[Any]] = set()  # of whatever frames
        self._open = Shares(limits.open_streams, limits.share)
        self._calls = 0  # running ones, open streams, and those whose status is on its way
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = self._cutting = False

    @property
    def running(self) -> int:
        """How many calls are running: those whose request or answer is on its way, and turns of open streams."""
        return len(self._running)

    @property
    def reading(self) -> int:
        """How many messages are being read."""
        return self._receiver.reading

    @property
    def unread_bytes(self) -> int:
        """How many bytes of answers wait for clients to read them; small frames are not counted."""
        return self._unread.total

    @property
    def open_streams(self) -> int:
        """How many bidirectional streams are open, with or without a turn."""
        return len(self._streams)

    def drain(self) -> None:
        """Refuse new calls and streams from now on. Open streams stay, and take turns: their clients end them."""
        self._draining = True
        self._receiver.end(_draining)

    async def idle(self) -> None:
        """Wait until no call runs, no stream is open, and every status is sent."""
        await self._idle.wait()

    def cut(self) -> None:
        """End the running calls and the open streams; each still gets its status."""
        self._cutting = True
        for stream in tuple(self._streams):
            stream.cut()
        for task, rpc in tuple(self._running.items()):
            rpc.cutting = True
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
        """A guarded method of one request and one answer. `authenticate` takes the place of the native way."""

        async def work(rpc: Rpc, task: asyncio.Task[object]) -> None:
            self._begin(rpc, task, stopping=self._draining)
            raw = await self._receiver.receive(rpc)
            if in_body is not None:
                rpc.raw = raw
            if self._crowded or len(raw) > LARGE:
                await self._take_turn(rpc, raw)
            handling = handler(parsed(request, raw), rpc)
            del raw  # each form of the request lives only until the next is made
            answer = await handling
            if rpc.initial_metadata:
                await rpc.context.send_initial_metadata(rpc.initial_metadata)
            if rpc.answer is None:  # else the handler gave it
                rpc.give(_NOTHING if answer is None else answer)

        return grpc.stream_unary_rpc_method_handler(self._guarded(method, work, authenticate, in_body, unary=True))

    def server_stream(self, method: str, request: type[Request], handler: Handler[Request]) -> grpc.RpcMethodHandler:
        """A guarded method of one request and many answers; the handler writes its frames through the `Rpc`."""

        async def work(rpc: Rpc, task: asyncio.Task[object]) -> Awaitable[object]:
            self._begin(rpc, task, stopping=self._draining)
            raw = await self._receiver.receive(rpc)
            if self._crowded or len(raw) > LARGE:
                await self._take_turn(rpc, raw)
            # Not awaited here: a frame between would be resumed with every token.
            return handler(parsed(request, raw), rpc)

        return grpc.stream_stream_rpc_method_handler(self._guarded(method, work))

    def bidi(
        self,
        method: str,
        request: type[Request],
        handler: StreamHandler[Request],
        *,
        authenticate: Authenticate | None = None,
    ) -> grpc.RpcMethodHandler:
        """A guarded stream-stream handler. An open stream is no running call; its turns are."""

        async def work(rpc: Rpc, _: asyncio.Task[object]) -> None:
            if self._crowded:
                await self._starts.turn(rpc.client)
            with self._opened(OpenStream(rpc, request, self._turn)) as stream:
                await handler(stream)

        return grpc.stream_stream_rpc_method_handler(self._guarded(method, work, authenticate))

    def _guarded(
        self,
        method: str,
        work: Work,
        authenticate: Authenticate | None = None,
        in_body: InBody | None = None,
        *,
        unary: bool = False,
    ) -> Callable[[object, grpc.aio.ServicerContext], Awaitable[bytes | None]]:
        return partial(
            Guard._call, self, method=method, work=work, authenticate=authenticate, in_body=in_body, unary=unary
        )

    async def _call(  # noqa: C901, PLR0912 -- in every call: a function more would be a call more
        self,
        _: object,
        context: grpc.aio.ServicerContext,
        *,
        method: str,
        work: Work,
        authenticate: Authenticate | None,
        in_body: InBody | None,
        unary: bool,
    ) -> bytes | None:
        task = this_task()
        self._calls += 1
        if self._calls == 1:
            self._idle.clear()
        self._arrivals.count += 1
        task.add_done_callback(self._ended)
        now = self._clock()
        if now - self._moment > _MOMENT:
            self._moment, self._arrived = now, self._arrivals.count
        identity, refusal = self._identified(context, authenticate)
        client = identity or address_key(context.peer())
        held = refusal is not None or (self._refusals.tasks.count > 0 and self._receiver.full(client))
        if held:  # before anything is made for it: thousands of such calls may stand before an honest one
            await self._take_refusal_turn(client)
        timer = DeadlineTimer(task)
        rpc = Rpc(
            context, method, timer, self._unread, self._write_timeout, self._clock, now, client, identity or "", unary
        )
        crowd = self._calls > _MANY and self._arrivals.count - self._arrived > _BURST
        self._crowded = crowd or self._starts.tasks.count > 0
        try:
            try:
                with timer:  # inside: its timeout must become a status, too
                    if refusal is not None:
                        raise refusal
                    rest = await work(rpc, task)
                    if rest is not None:
                        await rest
            finally:
                self._running.pop(task, None)
        except grpc.aio.AbortError as aborted:  # grpc keeps it, and raises it again behind the handler
            forget_traces(aborted)
        except BaseException as error:
            failure = self._failures.failure(error, rpc)
            if failure is None:
                raise
            forget_traces(error)
            rpc.answer = None
            if not held:
                await self._take_refusal_turn(client)
            if in_body is not None:
                failure = await self._answer_failed(failure, rpc, in_body)
            if failure is not None:
                await self._failures.abort(failure, rpc)
        finally:
            if rpc.answer is None and not rpc.left_behind:
                rpc.release()
        if rpc.answer is not None:
            self._leaving.add(task, rpc)
        return rpc.answer

    async def _answer_failed(self, failure: CallerError, rpc: Rpc, in_body: InBody) -> CallerError | None:
        """Answer with the error in the body; returns the error that is left for the status."""
        self._failures.report(failure, rpc)
        if not rpc.raw:
            await self._receive_late(rpc)
        elif rpc.large:
            await self._heavy.turn(rpc.client, further=True)  # it is read once more
        try:
            rpc.give(in_body(failure, rpc.raw, rpc))
        except Exception as error:  # noqa: BLE001 -- whatever it is, its text is not for the client
            return self._failures.failure(error, rpc)
        return None

    async def _take_turn(self, rpc: Rpc, raw: bytes) -> None:
        """Wait until a large request, or one of many that came in a moment, may be worked on."""
        rpc.large = len(raw) > LARGE
        await (self._heavy if rpc.large else self._starts).turn(rpc.client)

    async def _take_refusal_turn(self, client: str) -> None:
        """Wait until one of many calls that came in a moment may be refused, or fail. Some dozens are refused at once:
        until then more of their messages comes in."""
        if self._refusals.tasks.count or self._arrivals.count - self._arrived > _MANY:
            await self._refusals.turn(client)

    async def _receive_late(self, rpc: Rpc) -> None:
        """The request of a client that was refused before it was read, if it is here soon: the answer names it."""
        rpc.client = rpc.client or address_key(rpc.context.peer())
        rpc.timer = DeadlineTimer()
        with suppress(CallerError), rpc.timer:
            rpc.raw = await self._strangers.receive(rpc)

    def _ended(self, task: asyncio.Task[object]) -> None:
        """A call's task is done: its status has left."""
        if not self._leaving.left(task):
            self._done()

    def _done(self) -> None:
        """A call is waited for no longer."""
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    def _identified(
        self, context: grpc.aio.ServicerContext, authenticate: Authenticate | None
    ) -> tuple[str, Exception | None]:
        """Who calls, or why nobody is let in."""
        identify = authenticate or self._identify_natively
        if identify is None:
            return "", None
        try:
            return identify(context), None
        except Exception as error:  # noqa: BLE001 -- the call is refused with it, and a bug ends as every other
            error.__traceback__ = None
            return "", error

    def _begin(self, rpc: Rpc, task: asyncio.Task[object], *, stopping: bool) -> None:
        """Count a task as a running call, if it is admitted; its end takes it out again."""
        self._admit(stopping)
        self._running[task] = rpc

    @contextmanager
    def _turn(self, rpc: Rpc) -> Iterator[None]:
        """Count the current task as a running call of an open stream: new ones are taken until the grace is over."""
        task = this_task()
        self._begin(rpc, task, stopping=self._cutting)
        try:
            yield
        finally:
            del self._running[task]

    @contextmanager
    def _opened(self, stream: OpenStream[Request]) -> Iterator[OpenStream[Request]]:
        """Count an open stream, if there is one left for its client."""
        self._admit(self._draining)
        client = stream.rpc.client
        if not self._open.allows(client):
            raise ServiceOverloaded(
                f"{self._open.total} streams are open, {self._open.held.get(client, 0)} of them this client's "
                f"(max_open_streams, here {self._max_open_streams}, and max_client_share)"
            )
        self._open.acquire(client)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            self._open.release(client)

    def _admit(self, stopping: bool) -> None:
        if stopping:
            raise _draining()
        overloaded = self._overloaded()
        if overloaded:
            raise ServiceOverloaded(overloaded)


def _draining() -> ServiceDraining:
    return ServiceDraining("this instance is stopping; another one will answer")
