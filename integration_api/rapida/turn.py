"""One turn of a StreamChat stream: its question, and the answer of its call as frames.

What a turn is to the others of its stream, and when its frames leave, is `conversation`'s.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from caller.call import CallReport, Completion
from caller.errors import CallerError, ServiceStopped
from caller.events import Event
from caller.fold import Folder
from caller.heavy import LARGE
from integration_api import unified_provider_pb2 as pb
from integration_api.rapida import response as unified_response
from integration_api.rapida.calls import Configuration, RapidaCalls, now
from integration_api.rapida.request import repeated_id
from integration_api.rpc.rpc import Rpc
from integration_api.rpc.streams import OpenStream


class Turn:
    """One question and what is known of its answer. `answered`: its first frame is made; `discarded`: nothing more of
    it may leave. The question is dropped once it is read, since it holds the conversation."""

    __slots__ = ("answered", "configuration", "discarded", "folder", "question", "report", "request_id", "size", "task")

    def __init__(self, question: pb.StreamChatInput, size: int, configuration: Configuration, rpc: Rpc) -> None:
        """`size`: bytes of the frame that it came in."""
        self.size = size
        self.question: pb.StreamChatInput | None = question
        self.request_id = repeated_id(question)
        self.configuration = configuration
        self.report = CallReport(
            started=now(),
            service=rpc.service,
            method=rpc.method,
            client=rpc.client,
            metadata=rpc.context.invocation_metadata,
            large=size > LARGE,
        )
        self.folder: Folder | None = None  # the answer so far, once it began
        self.answered = self.discarded = False
        self.task: asyncio.Task[None] | None = None


class TurnAnswer:
    """The client and the sink of one turn's call: makes its frames. Only the turn's task holds it."""

    stream = True

    def __init__(
        self,
        turn: Turn,
        stream: OpenStream[pb.StreamChatRequest],
        calls: RapidaCalls,
        enqueue: Callable[[Turn | None, pb.StreamChatResponse], None],
        until_space: Callable[[], Awaitable[None]],
    ) -> None:
        self._turn = turn
        self._stream = stream
        self._calls = calls
        self._enqueue = enqueue
        self._until_space = until_space
        self._calling = False
        self.deadline = math.inf  # frames are written by another task, whose time is its own
        self.last = pb.StreamChatResponse()

    def time_left(self) -> float | None:
        """Seconds to the stream's deadline."""
        return self._stream.rpc.time_left()

    def interruption(self) -> CallerError | None:
        """A turn is cancelled when this instance stops, or by its client: superseded, or with its stream."""
        return stopped() if self._stream.cutting and not self._turn.discarded else None

    def events(self, events: Sequence[Event], folder: Folder) -> Awaitable[None] | None:
        """Text up to the first tool call leaves as it comes."""
        self._turn.folder = folder
        if self._calling:
            return None
        frame, self._calling = unified_response.delta(self._turn.request_id, events)
        return None if frame is None else self._deliver(frame)

    async def _deliver(self, frame: pb.StreamChatResponse) -> None:
        report, begun = self._turn.report, monotonic()
        await self._until_space()
        report.waits.seconds += monotonic() - begun
        report.count_frame(frame.ByteSize())
        self._enqueue(self._turn, frame)

    def completed(self, completion: Completion) -> None:
        """The last frame of a good turn."""
        turn = self._turn
        found = self._calls.timings(turn.request_id or turn.report.request_id, turn.report, completion.usage)
        self.last = unified_response.final(turn.request_id, completion, found)
        turn.report.count_frame(self._calls.bounded(self.last))


def stopped() -> CallerError:
    """The error of a turn that this instance cuts."""
    return ServiceStopped("this instance stopped in the middle of the turn")
