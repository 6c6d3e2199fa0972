"""One StreamChat stream of Rapida's contract: the machine of its turns.

Three kinds of tasks, each with one job:

* the reader reads frames for the stream's whole life, and decides at once what each means;
* every turn has a task that calls its endpoint and enqueues frames in the outbox; cancelling it closes the endpoint's
  connection, and can never break the stream, since it does not write;
* the stream's own task takes frames from the outbox and is the only one that writes.

A stream is one phone call: the platform takes a `close` of ours as its end, and opens no second one. So only the
client ends a stream; we do when the operator's limit of idleness, or the grace of a shutdown, is over.

The outbox is bounded: turns, and then the reader, wait for a client that does not read.
"""

import asyncio
import math
from collections import deque
from contextlib import suppress
from functools import partial

import structlog

from caller.call import MAX_PROVIDER, CallReport, Outcome
from caller.errors import CallerError, InternalError, RequestInvalid, ServiceOverloaded, clipped
from caller.fold import Folder
from caller.heavy import LARGE
from integration_api import unified_provider_pb2 as pb
from integration_api.rapida import response as unified_response
from integration_api.rapida.calls import Configuration, RapidaCalls, now
from integration_api.rapida.errors import code_of, not_configured
from integration_api.rapida.request import repeated_id, unknown_options
from integration_api.rapida.turn import Turn, TurnAnswer, stopped
from integration_api.rapida.upstream import check_passing_on
from integration_api.rpc.failures import forget_traces
from integration_api.rpc.rpc import ClientGoneError
from integration_api.rpc.streams import OpenStream

_MOST_FRAMES = 64
_MOST_WAITING = 64
# What they hold together: as much as one large conversation.
_MOST_WAITING_BYTES = 16 * 1024 * 1024
STOPPING = "this instance is stopping and its grace is over; connect again"


class Conversation:
    """One stream. Call `run` once, in the stream's own task."""

    def __init__(self, stream: OpenStream[pb.StreamChatRequest], calls: RapidaCalls, idle_timeout: float) -> None:
        """`idle_timeout`: the longest time without a turn in seconds; 0 is no limit."""
        self._stream = stream
        self._calls = calls
        self._idle_timeout = idle_timeout or math.inf
        self._log = structlog.get_logger("integration_api.turn")
        self._configuration: Configuration | None = None
        self._refused: CallerError | None = None  # what was wrong with the last configuration
        self._options_noted = False
        self._prewarming: asyncio.Task[None] | None = None
        self._prewarmed: Configuration | None = None
        self._turn: Turn | None = None  # the one that is being answered
        self._waiting: deque[Turn] = deque()
        # Of turns, those that still let go of their endpoint included, and of connections that are opened ahead.
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbox: deque[tuple[Turn | None, pb.StreamChatResponse]] = deque()
        self._space = asyncio.Event()
        self._changed = asyncio.Event()
        self._half_closed = False
        self._closed = False
        self._handed_over: bytes | None = None
        self._idle_due = now() + self._idle_timeout

    async def run(self) -> bytes | None:
        """Until the client or the server ends the stream; or up to a configuration for a provider that is answered
        elsewhere, which is returned.

        Raises:
            CallerError: the stream as a whole cannot go on.
            ClientGoneError: the client hung up.
        """
        self._stream.when_cut(self._changed.set)
        reader = asyncio.create_task(self._read())
        reader.add_done_callback(lambda _: self._changed.set())
        try:
            while not self._over(reader):
                if self._outbox:
                    _, frame = self._outbox.popleft()
                    self._space.set()
                    await self._stream.rpc.write(frame)
                else:
                    await self._wait()
        finally:
            tasks = {reader, *self._tasks}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return self._handed_over

    def _over(self, reader: asyncio.Task[None]) -> bool:
        """Whether nothing is left to do. What ends the stream from our side is said here first."""
        if self._outbox:
            return False
        if self._closed or self._handed_over is not None:
            return True
        if reader.done() and not self._half_closed:
            if reader.cancelled():  # not by us: grpc.aio ends the reads of a dead call so
                raise ClientGoneError
            reader.result()
        if self._turn is not None:
            return False
        if self._half_closed:
            return True
        if self._stream.cutting:
            self._close(STOPPING)
        elif now() >= self._idle_due:
            self._close(f"idle for {self._idle_timeout:g} s")
        return False

    async def _wait(self) -> None:
        """Until something happens, or the stream was idle for too long."""
        self._changed.clear()
        limited = self._turn is None and self._idle_due < math.inf
        left = max(0.0, self._idle_due - now()) if limited else None
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._changed.wait()

    # -- frames in ---------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """The one reader. It never waits for an answer, only for a client that does not read what it is sent."""
        while not self._closed and self._handed_over is None:
            raw = await self._stream.receive()
            if raw is None:
                self._half_closed = True
                return
            self._idle_due = now() + self._idle_timeout
            if len(raw) > LARGE:
                await self._calls.calls.heavy.turn(self._stream.rpc.client)
            self._handle(raw)
            await self._until_space()

    def _handle(self, raw: bytes) -> None:
        frame = self._stream.parsed(raw)
        match frame.WhichOneof("request"):
            case "chat":
                self._chat(frame.chat, len(raw))
            case "configuration":
                self._configure(frame.configuration, raw)
            case "close":
                self._stop_all()
                self._close(clipped(frame.close.reason))
            case _:
                self._refuse("", RequestInvalid("the frame holds none of configuration, chat and close"))

    def _configure(self, wire: pb.StreamChatConfiguration, raw: bytes) -> None:
        """Take a configuration. One that fails leaves none: no turn uses a credential that was to be replaced."""
        provider = clipped(wire.providerName.lower(), MAX_PROVIDER)
        try:
            if self._calls.elsewhere(wire.providerName):
                check_passing_on(self._stream.rpc)
                self._hand_over(raw)
                return
            self._note_options(wire)
            self._configuration, self._refused = self._calls.configuration(wire, self._stream.rpc.identity), None
        except CallerError as error:
            forget_traces(error)  # they hold the credential
            self._configuration, self._refused = None, error
            self._note_failure("", error)
            self._enqueue(None, unified_response.configured(provider, error))
        else:
            self._enqueue(None, unified_response.configured(provider))
            self._prewarm(self._configuration)

    def _prewarm(self, configuration: Configuration) -> None:
        """Have a connection ready for the next turn, while nobody waits for one; for the newest configuration only."""
        if self._prewarming is not None:
            if configuration is self._prewarmed:
                return
            self._prewarming.cancel()
        self._prewarmed = configuration
        self._prewarming = asyncio.create_task(self._warm(configuration))
        self._tasks.add(self._prewarming)
        self._prewarming.add_done_callback(self._let_go)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        """As of turns: it holds how it was cancelled, and through that this conversation."""
        self._tasks.discard(task)
        if task is self._prewarming:
            self._prewarming = None

    async def _warm(self, configuration: Configuration) -> None:
        error = await self._calls.warm(self._stream.rpc.client, configuration)
        if error is not None:  # the turns will say so
            self._log.info("stream.not_prewarmed", kind=type(error).__name__, identity=self._stream.rpc.identity)

    def _hand_over(self, raw: bytes) -> None:
        """End what runs here with a word: from this frame on the stream is the original's."""
        if self._turn is not None:
            self._supersede(self._turn, None)
            self._turn = None
        self._handed_over = raw
        self._changed.set()

    def _note_options(self, wire: pb.StreamChatConfiguration) -> None:
        """Log, once for a stream, the options of a client that nobody reads."""
        unknown = unknown_options(wire.connectionOptions)
        if unknown and not self._options_noted:
            self._options_noted = True
            self._log.warning("stream.unknown_options", options=unknown, identity=self._stream.rpc.identity)

    def _chat(self, question: pb.StreamChatInput, size: int) -> None:
        if self._configuration is None:
            self._refuse(repeated_id(question), not_configured(self._refused))
            return
        turn = Turn(question, size, self._configuration, self._stream.rpc)
        earlier = self._turn
        if earlier is None:
            self._start(turn)
        elif not turn.configuration.turns_wait:
            self._supersede(earlier, turn.request_id)
            self._start(turn)
        elif len(self._waiting) < _MOST_WAITING and self._waiting_bytes + size <= _MOST_WAITING_BYTES:
            self._waiting.append(turn)
        else:
            waiting = f"{len(self._waiting)} turns of this stream, {self._waiting_bytes} bytes, are waiting"
            self._refuse(turn.request_id, ServiceOverloaded(waiting))

    @property
    def _waiting_bytes(self) -> int:
        return sum(turn.size for turn in self._waiting)

    def _refuse(self, request_id: str, error: CallerError) -> None:
        """Answer a turn that is not even begun."""
        self._note_failure(request_id, error)
        found = self._calls.timings(request_id, CallReport(started=now()))
        self._enqueue(None, unified_response.failed_turn(request_id, error, found))

    # -- turns -------------------------------------------------------------------------------------------------------

    def _start(self, turn: Turn) -> None:
        self._turn = turn
        turn.task = asyncio.create_task(self._answer(turn))
        self._tasks.add(turn.task)
        turn.task.add_done_callback(partial(self._ended, turn))

    def _ended(self, turn: Turn, task: asyncio.Task[None]) -> None:
        """Let go of a turn's task: it holds how it was cancelled, and through that the turn with its conversation."""
        self._tasks.discard(task)
        turn.task = None

    def _supersede(self, turn: Turn, newest: str | None) -> None:
        """Barge-in: cancel the call, discard what did not leave, and send what the answer was so far. A turn that is
        asked again under its own id, which is `newest`, would end with that: nothing is sent of its first answer."""
        self._discard(turn)
        if turn.request_id != newest:
            completion = (turn.folder or Folder(0)).completion()
            found = self._calls.timings(turn.request_id, turn.report, completion.usage)
            self._enqueue(None, unified_response.superseded(turn.request_id, completion, found))
        # Turns that waited in the older order come no more: the newest takes the place of all.
        while self._waiting:
            self._supersede(self._waiting.popleft(), newest)

    def _stop_all(self) -> None:
        """Stop whatever runs or waits, without a word."""
        self._waiting.clear()
        if self._turn is not None:
            self._discard(self._turn)
            self._turn = None

    def _discard(self, turn: Turn) -> None:
        turn.discarded = True
        if turn.task is not None:
            turn.task.cancel()
        kept = [(owner, frame) for owner, frame in self._outbox if owner is not turn]
        self._outbox.clear()
        self._outbox.extend(kept)
        self._space.set()

    async def _answer(self, turn: Turn) -> None:
        """A turn's task: deltas, then the one final frame."""
        last = await self._last_frame(turn)
        await self._until_space()
        if turn.discarded:  # what runs at the end of a cancelled call may fail in ways of its own
            return
        self._enqueue(turn, last)
        self._turn = None  # in one step with the final frame: a turn is superseded or ended, never both
        self._idle_due = now() + self._idle_timeout
        if self._waiting:
            self._start(self._waiting.popleft())

    async def _last_frame(self, turn: Turn) -> pb.StreamChatResponse:
        try:
            with self._stream.turn():
                return await self._call(turn)
        except CallerError as error:
            return self._failed(turn, error)
        except asyncio.CancelledError:
            if turn.discarded or not self._stream.cutting:
                raise
            _uncancel()
            return self._failed(turn, stopped())
        except Exception as error:  # noqa: BLE001 -- a bug in one turn does not end the stream
            return self._failed(turn, error)

    async def _call(self, turn: Turn) -> pb.StreamChatResponse:
        question, turn.question = turn.question, None
        if question is None:
            raise RuntimeError("a turn is answered once")
        turn.report.request_id = self._stream.rpc.name(turn.request_id)
        answer = TurnAnswer(turn, self._stream, self._calls, self._enqueue, self._until_space)
        read = partial(self._calls.turn, question, turn.configuration, turn.report)
        del question  # the call lets go of it once it is read
        await self._calls.calls.run(answer, turn.report, read, answer)
        return answer.last

    def _failed(self, turn: Turn, error: Exception) -> pb.StreamChatResponse:
        """The last frame. What failed inside of a call its observers have logged; here is what failed outside."""
        failure = (
            error
            if isinstance(error, CallerError)
            else InternalError(f"internal error, request id {self._stream.rpc.request_id}")
        )
        if turn.report.outcome in (Outcome.RUNNING, Outcome.COMPLETED):
            self._note_failure(turn.request_id, failure, None if failure is error else error)
        found = self._calls.timings(turn.request_id, turn.report)
        return unified_response.failed_turn(turn.request_id, failure, found)

    def _note_failure(self, request_id: str, error: CallerError, bug: Exception | None = None) -> None:
        self._log.info(
            "turn.refused",
            request_id=request_id[:128],
            kind=type(error).__name__,
            code=code_of(error),
            message=error.message,
            exc_info=bug,
        )

    # -- frames out --------------------------------------------------------------------------------------------------

    def _enqueue(self, turn: Turn | None, frame: pb.StreamChatResponse) -> None:
        if turn is not None and not turn.answered:
            turn.answered = True
            self._prewarm(turn.configuration)  # a barge-in closes the connection that this turn has
        self._outbox.append((turn, frame))
        self._changed.set()

    async def _until_space(self) -> None:
        while len(self._outbox) >= _MOST_FRAMES:
            self._space.clear()
            await self._space.wait()

    def _close(self, reason: str) -> None:
        """Say the end, and end after it."""
        self._enqueue(None, unified_response.closed(reason))
        self._closed = True


def _uncancel() -> None:
    """Go on in the current task. A function of its own: an error that holds the frame must not find the task in it."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
