"""How a call ends that does not end well: its error as a log line and as a status.

The traps of grpc.aio that it closes (grpcio 1.85.3):

* an exception's text goes to the client: here it goes to the log, the client gets the request id;
* a CancelledError that nobody asked for ends the call without any status, and the client hangs: it becomes INTERNAL;
* a client that is gone shows as CancelledError or as an error of the write: both mean the same;
* `abort` waits behind a message that the client does not read: it gets a second here, and goes on by itself.

A refusal has to cost little, since thousands of them may stand before an honest call: where frames are written and
none was, the status is set and grpc sends it, without an exception on its way; and of lines that say the same most are
only counted.
A log that fails changes no status: what it raises is dropped.
"""

import asyncio
from contextlib import suppress

import grpc
import structlog

from caller.call import CallReport, Outcome
from caller.errors import CallerError, InternalError
from integration_api.rpc.connections import EARLY_SECONDS, Connections
from integration_api.rpc.rpc import ClientGoneError, Rpc
from integration_api.rpc.status import HELP_PAGE, StatusDetails, status_details
from integration_api.rpc.throttle import Throttle

_ABORT_SECONDS = 1.0


class Failures:
    """Makes statuses of errors, whose links lead to `help_page`, and tells `connections` what their clients leave
    behind."""

    def __init__(self, connections: Connections, help_page: str = HELP_PAGE) -> None:
        self._log = structlog.get_logger("integration_api.call")
        self._clock = asyncio.get_running_loop().time
        self._connections = connections
        self._help_page = help_page
        self._waiting: set[asyncio.Task[None]] = set()
        self._lines = Throttle(self._log)

    def failure(self, error: BaseException, rpc: Rpc) -> CallerError | None:
        """The error that the client gets; None for a cancellation from outside, which goes on."""
        failure: BaseException = error
        if isinstance(error, asyncio.CancelledError):
            failure = rpc.interruption() or error
        if isinstance(failure, asyncio.CancelledError):
            if not rpc.output_started and self._clock() - rpc.started < EARLY_SECONDS:
                self._connections.reset(rpc.context.peer())
            self._note("info", "call.cancelled", rpc)
            return None
        if isinstance(error, asyncio.CancelledError) and this_task().cancelling():
            this_task().uncancel()
        if isinstance(failure, ClientGoneError):
            self._note("info", "call.client_gone", rpc)
            raise asyncio.CancelledError from error
        if isinstance(failure, CallerError):
            return failure
        if not rpc.request_id:
            rpc.name("")
        self._note("error", "call.bug", rpc, exc_info=error)
        return InternalError(f"internal error, request id {rpc.request_id}")

    def report(self, error: CallerError, rpc: Rpc) -> StatusDetails:
        """The status that an error means."""
        report = rpc.report or CallReport(started=rpc.started)
        details = status_details(error, report, rpc.request_id or rpc.name(""), self._help_page)
        self._note("info", "call.failed", rpc, reason=details.reason, status=details.code.name, message=details.message)
        return details

    async def abort(self, error: CallerError, rpc: Rpc) -> None:
        """End the call with the error's status.

        Raises:
            asyncio.CancelledError: the client is gone, or does not read.
        """
        details = self.report(error, rpc)
        context = rpc.context
        if rpc.unary:  # an empty answer would leave in front of a status that is only set, and nobody tries again
            try:
                await context.abort(details.code, details.message, details.trailers)
            except grpc.aio.AbortError as aborted:
                forget_traces(aborted)
            except grpc.aio.BaseError:
                raise asyncio.CancelledError from error
            return
        if not (rpc.output_started or rpc.writing):
            context.set_code(details.code)
            context.set_details(details.message)
            context.set_trailing_metadata(details.trailers)
            return
        if rpc.writing:
            await self._abort_behind(details, rpc)
            return
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                await context.abort(details.code, details.message, details.trailers)
        except grpc.aio.AbortError as aborted:
            forget_traces(aborted)
        except (TimeoutError, grpc.aio.BaseError):  # it takes nothing more, or is gone
            raise asyncio.CancelledError from error

    async def _abort_behind(self, details: StatusDetails, rpc: Rpc) -> None:
        """The status leaves once the client has read the frame in front of it, or its stream is gone: nobody here waits
        for that longer than for any other, and the frame counts until then."""
        peer = rpc.context.peer()
        sending = asyncio.create_task(_send(details, rpc))
        done, _ = await asyncio.wait({sending}, timeout=_ABORT_SECONDS)
        if done:
            return
        size, rpc.left_behind = rpc.writing, True
        self._connections.left_unread(peer, size)
        self._waiting.add(sending)

        def sent(_: object) -> None:
            self._waiting.discard(sending)
            rpc.release()
            self._connections.gone(peer, size)

        sending.add_done_callback(sent)
        raise asyncio.CancelledError

    def _note(self, level: str, event: str, rpc: Rpc, **fields: object) -> None:
        """What fails inside of a call its observers log; this is what fails outside of one."""
        if rpc.report is not None and rpc.report.outcome not in (Outcome.RUNNING, Outcome.COMPLETED):
            return
        if not self._lines.allow(event, str(fields.get("reason", ""))):
            return
        with suppress(Exception):
            who = {"method": rpc.method, "request_id": rpc.request_id, "identity": rpc.identity}
            getattr(self._log, level)(event, **who, **fields)


async def _send(details: StatusDetails, rpc: Rpc) -> None:
    with suppress(grpc.aio.BaseError):
        await rpc.context.abort(details.code, details.message, details.trailers)


def forget_traces(error: BaseException) -> None:
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


def this_task() -> asyncio.Task[object]:
    """The task of the running call."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a call runs in a task")
    return task
