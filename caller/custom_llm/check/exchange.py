"""One request of a check and all that came of it, raw and read. No retries; what fails is a value, not an exception.

Rule: it knows HTTP exchanges and the reading of answers. What is asked is `probes`' business, what it means the rows'.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from caller.call import CallReport, Completion
from caller.custom_llm.adapter import Adapter, HttpRequest, ResolvedCall
from caller.custom_llm.answer import AnswerReader
from caller.custom_llm.attempt import total_timeout
from caller.custom_llm.base_url import without_query
from caller.custom_llm.errors.endpoint_errors import endpoint_error
from caller.custom_llm.errors.redaction import Redactor
from caller.custom_llm.http.response import Response
from caller.custom_llm.http.transport import Transport
from caller.deadline import DeadlineTimer
from caller.errors import CallerError, LostReusedConnection, ResponseTooLarge, TotalTimeout
from caller.fold import Folder
from caller.target import Timeouts
from caller.warming import ConnectionTimes

# What a model that was asked for a few words may say.
MAX_PROBE_BYTES = 1 << 20
_MOST_READ = 2048
# Bytes of a stream that are kept: of its beginning, and of its end.
_HEAD, _TAIL = 64, 4096
# How long a complete answer waits for more, in seconds: some endpoints keep the connection open behind it.
_LATE = 1.0


@dataclass(slots=True)
class Answer:
    """What came of one request. Times are `loop.time()` in seconds; `body` is bounded.

    `error` is what it failed with, our secrets taken out; what came before it is kept. `first_output` and `reads` are
    of output: text, reasoning, a refusal, a tool call.
    """

    url: str
    stream: bool = False
    status: int = 0
    body: bytearray = field(default_factory=bytearray, repr=False)
    completion: Completion | None = None
    error: CallerError | None = None
    started: float = 0.0
    first_output: float | None = None
    reads: int = 0
    ended: float = 0.0

    @property
    def took(self) -> float:
        """Seconds from its start to its end."""
        return self.ended - self.started

    @property
    def head(self) -> str:
        """How it was answered, in words."""
        return f"HTTP {self.status}" if self.status else "no answer: the connection is closed"

    @property
    def text(self) -> str:
        """The text of the answer."""
        return "".join(choice.message.text for choice in self.completion.choices) if self.completion else ""

    @property
    def until_output(self) -> float | None:
        """Seconds to the first output; None for none."""
        return None if self.first_output is None else self.first_output - self.started


class Exchanges:
    """Makes the requests of one check. `made` counts them; `late`: the time of all of them together has passed.

    `own_time`: each request has the total time of `timeouts`; else all of them together do, from the report's start.
    """

    def __init__(
        self,
        transport: Transport,
        adapter: Adapter,
        secrets: tuple[str, ...],
        timeouts: Timeouts,
        report: CallReport,
        *,
        max_bytes: int,
        own_time: bool = False,
    ) -> None:
        self.made = 0
        self.late = False
        self._transport = transport
        self._adapter = adapter
        self.redacted = Redactor(secrets)
        self._timeouts = timeouts
        self._report = report
        self._max_bytes = max_bytes
        self._own_time = own_time
        self._clock = asyncio.get_running_loop().time

    def excerpt(self, text: str, most: int) -> str:
        """The beginning of what an endpoint said, without our secrets."""
        return self.redacted(text[:_MOST_READ])[:most].strip()

    async def connect(self, like: HttpRequest) -> ConnectionTimes | CallerError | None:
        """What opening a connection for such a request took, or failed with; None: one is kept. Nothing is sent."""
        try:
            return await self._transport.open_ahead(like, self._timeouts.connect, self._report.client, 1)
        except CallerError as error:
            return self._concealed(error)

    async def get(self, request: HttpRequest) -> Answer:
        """The body of an answer, as it is."""
        return await self._exchange(request, None, Answer(without_query(request.url)))

    async def ask(
        self, request: HttpRequest, call: ResolvedCall, *, stream: bool, leave: bool = False, apart: str = ""
    ) -> Answer:
        """An answer of the API shape, read. `leave`: it is left at its first output; `apart` names a connection of its
        own. Of a stream's body the beginning and the end are kept."""
        answer = Answer(without_query(request.url), stream)
        reader = AnswerReader(
            self._adapter, call, self._max_bytes, stream=stream, request=request, redactor=self.redacted
        )
        await self._exchange(request, reader, answer, leave=leave, apart=apart)
        if stream:
            del answer.body[_HEAD:-_TAIL]
        return answer

    async def _exchange(
        self, request: HttpRequest, reader: AnswerReader | None, answer: Answer, *, leave: bool = False, apart: str = ""
    ) -> Answer:
        answer.started = self._clock()
        since = answer.started if self._own_time else self._report.started
        folder = Folder(MAX_PROBE_BYTES)
        try:
            with DeadlineTimer() as timer:
                timer.arm(since + self._timeouts.total, partial(total_timeout, self._timeouts))
                async with await self._sent(request, apart) as response:
                    answer.status = response.status
                    if not 200 <= response.status < 300:
                        answer.body += await response.read_error()
                        raise endpoint_error(
                            response.status, response.headers, bytes(answer.body), url=request.url, sent=request.body
                        )
                    await self._read(response, reader, answer, folder, leave=leave)
        except CallerError as error:
            answer.error = self._concealed(error)
            self.late |= isinstance(error, TotalTimeout) and not self._own_time
        answer.ended = self._clock()
        if reader is not None:
            reader.failure = None  # its traceback leads back here
            answer.completion = folder.completion()
        return answer

    async def _read(
        self, response: Response, reader: AnswerReader | None, answer: Answer, folder: Folder, *, leave: bool
    ) -> None:
        done, most = False, self._max_bytes if reader is None else MAX_PROBE_BYTES
        while not done:
            chunk = b""
            if reader is None or not reader.done:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LATE if reader is not None and reader.complete else None):
                        chunk = await response.read()
            done = not chunk
            answer.body += chunk
            if len(answer.body) > most:
                raise ResponseTooLarge(f"the answer is larger than {most} bytes")
            if reader is None:
                continue
            events = reader.feed(chunk) if chunk else reader.close()
            for event in events:
                folder.feed(event)
            if reader.output_started:
                answer.reads += 1
                answer.first_output = answer.first_output or self._clock()
                if leave:
                    return
            if reader.failure is not None:
                raise reader.failure
        response.finish()

    async def _sent(self, request: HttpRequest, apart: str) -> Response:
        """A kept connection that turns out to be lost is made anew once."""
        connect, client = self._timeouts.connect, self._report.client + apart
        self._count(request)
        try:
            return await self._transport.send(request, connect, client, self._report.waits)
        except LostReusedConnection:
            self._count(request)
            return await self._transport.send(request, connect, client, self._report.waits)

    def _count(self, request: HttpRequest) -> None:
        self.made += 1
        self._report.attempts += 1
        self._report.url = without_query(request.url)

    def _concealed(self, error: CallerError) -> CallerError:
        """The error without our secrets, and without the frames that hold the request."""
        error.conceal(self.redacted)
        return error.with_traceback(None)
