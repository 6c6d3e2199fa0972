"""The reading of one 200 answer: bytes in, events out. No I/O, no clock; on the token path.

Bytes become frames (`body.sniff`), frames become events (the shape's decoder). Around that stand the rules that hold
for every shape:

* What comes before the first output is held back, so that an attempt that fails before it leaves no trace. Of a whole
  answer nothing leaves before its good end.
* An error inside the answer ends it: events in front of it leave first, usage behind it still counts.
* What holds no output is bounded from one output to the next, see `body.silence`.
* The body may be one JSON document, whatever was asked for.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from caller.api_facts import FACTS
from caller.custom_llm.adapter import Adapter, AnswerDecoder, Frame, HttpRequest, ResolvedCall
from caller.custom_llm.body.repeats import Repeats
from caller.custom_llm.body.silence import DEFAULT_SILENCE, Silence, SilenceLimits
from caller.custom_llm.body.sniff import BodyDecoder, BodyKind
from caller.custom_llm.body.think_tags import ThinkTags
from caller.custom_llm.body.turn import LEAST
from caller.custom_llm.errors.endpoint_errors import (
    foreign_answer,
    in_band_body_error,
    instead_of_answer,
)
from caller.custom_llm.errors.redaction import Redactor
from caller.errors import CallerError, EndpointNotFound, ProtocolError, StreamInterrupted
from caller.events import OUTPUT, Event, ProviderFields, Usage, UsageReported
from caller.fold import merge_usage
from caller.json_types import JsonObject, object_of

_NO_FRAME = Frame("", b"")
_MAX_SILENT = 16 * 1024
_LAST_SILENT = 4
_DOCUMENTS = (BodyKind.JSON, BodyKind.ARRAY)
# How many pieces of one read may be learned from; bytes that teach nothing go the full way at once.
_MAX_PARTS = 32


class AnswerReader:
    """Reads one answer. Feed it the body as it comes until it is `done` or has a `failure`; `close` it where the body,
    or what is wanted of it, ends.

    Attributes:
        complete: whether all of the answer is said, so that only a late usage can come.
        done: whether the endpoint said that nothing more comes.
        failure: the error that ended the answer, behind the events that came with it.
        output_started: whether what came last holds output that may leave.
        silence: what came since then.
        usage: what was reported so far, with the failure's own; None for nothing.
    """

    __slots__ = (
        "_api",
        "_body",
        "_decoder",
        "_held",
        "_ours",
        "_redactor",
        "_repeats",
        "_silent",
        "_stream",
        "_tags",
        "_url",
        "complete",
        "done",
        "failure",
        "output_started",
        "silence",
        "usage",
    )

    def __init__(
        self,
        adapter: Adapter,
        call: ResolvedCall,
        max_event_bytes: int,
        *,
        silence: SilenceLimits = DEFAULT_SILENCE,
        stream: bool = True,
        request: HttpRequest | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        """`stream`: a stream was asked for; `request`: what was sent, for texts, and since a good answer tells what
        was changed in it; `redactor` takes out what must not come back."""
        self.complete = False
        self.done = False
        self.failure: CallerError | None = None
        self.output_started = False
        self.usage: Usage | None = None
        self._decoder: AnswerDecoder = adapter.decoder(call)
        self._body = BodyDecoder(max_event_bytes)
        self._tags = ThinkTags() if call.parse_think_tags else None
        self._held: list[Event] | None = []  # None once something has left
        self.silence = Silence(silence)
        self._stream = stream
        self._api = adapter.api
        self._url = "" if request is None else request.url
        self._ours = {} if request is None else _what_we_did(request)
        self._redactor = redactor
        self._repeats = Repeats(max_event_bytes)
        self._silent: deque[bytes] = deque(maxlen=_LAST_SILENT)  # the last frames that came before or without output

    @property
    def repeated(self) -> int:
        """How many frames took the short way, see `body.repeats`."""
        return self._repeats.taken

    def feed(self, chunk: bytes) -> Sequence[Event]:
        """The events of one read that may leave."""
        if self._held is not None or self._tags is not None or self.done:
            return self._fed(chunk, [], 0, chunk)
        # What nearly every read is: more of the same, and nothing is held back.
        text = self._repeats.only(chunk)
        texts, rest = ((text,), b"") if text else self._repeats.take(chunk)
        like = self._repeats.like
        try:
            events = like.repeat.more(texts) if texts and like is not None else ()
        except CallerError as error:
            return self._failed(self._explained(error), [], self._further(rest))
        if rest:
            return self._fed(chunk, [*events], len(texts), rest)
        self.output_started = bool(events)
        if events:
            self.silence.bytes = self.silence.events = 0
        else:
            self._count_silence(chunk, len(texts))
        return events

    def _fed(self, chunk: bytes, events: list[Event], count: int, rest: bytes) -> Sequence[Event]:
        """The events of a read. Of the first bytes of it, `count` frames, they are there already."""
        frame = _NO_FRAME
        behind: Iterable[Frame] = ()
        decoder, repeats, body = self._decoder, self._repeats, self._body
        parts = 0 if self._stream else _MAX_PARTS  # a whole answer that was asked for repeats nothing
        try:
            while rest and not self.done:
                texts, rest = repeats.take(rest)
                if texts:
                    count += len(texts)
                    events += self._repeated(texts)
                if rest:
                    parts += 1
                    part, rest = self._part(rest) if parts <= _MAX_PARTS else (rest, b"")
                    frame = _NO_FRAME
                    found = body.feed(part)
                    count += len(found)
                    behind = frames = iter(found)
                    for frame in frames:
                        fresh = decoder.feed(frame)
                        silent = self._held is not None or not fresh or type(fresh[-1]) is ProviderFields
                        if silent and len(frame.data) <= _MAX_SILENT:
                            self._silent.append(frame.data)
                        events += fresh
                        if decoder.done:
                            self.done = True
                            break
                    if self._stream:
                        repeats.learn(part, found, body, decoder)
        except CallerError as error:
            return self._failed(self._explained(error, frame.event), events, chain(behind, self._further(rest)))
        self.complete = decoder.complete
        released = self._released(events)
        if self.output_started:
            self.silence.bytes = self.silence.events = 0
        else:
            self._count_silence(chunk, count)
        return released

    def _part(self, chunk: bytes) -> tuple[bytes, bytes]:
        """What takes the full way at once, and the rest."""
        if self._body.kind in _DOCUMENTS:
            return chunk, b""
        cut = self._repeats.part(chunk)
        return chunk[:cut], chunk[cut:]

    def _repeated(self, texts: Sequence[str]) -> Sequence[Event]:
        """The events of frames that repeat one that was read in full."""
        like = self._repeats.like
        if like is None:
            raise RuntimeError("texts that repeat no event")
        if self._held is not None:
            self._silent.extend([like.data] * min(len(texts), _LAST_SILENT))
        return like.repeat.more(texts)

    def _further(self, chunk: bytes) -> Iterator[Frame]:
        """The frames of bytes behind an error."""
        with suppress(CallerError):
            yield from self._body.feed(chunk)

    def close(self) -> Sequence[Event]:
        """The last events: the body is at its end, or nothing more is wanted of it."""
        events: list[Event] = []
        try:
            for frame in () if self.done else self._body_end():
                fresh = self._decoder.feed(frame)
                if not fresh and len(frame.data) <= _MAX_SILENT:
                    self._silent.append(frame.data)
                events += fresh
            if self._body.kind is BodyKind.JSON:
                events += self._whole(self._body.document)
            elif self._body.kind is BodyKind.UNKNOWN and not self._stream:
                raise ProtocolError(f"the endpoint's answer is empty. {FACTS[self._api].remedy}")
            else:
                events += self._decoder.close()
        except CallerError as error:
            return self._failed(self._explained(error), events, ())
        if self._ours:
            events.append(ProviderFields({"integration_api": self._ours}))
        return self._released(events, last=True)

    def _body_end(self) -> Iterator[Frame]:
        yield from self._body.feed(self._repeats.held) if self._repeats.held else ()
        yield from self._body.close()

    def _whole(self, document: bytes) -> Sequence[Event]:
        try:
            return self._decoder.whole(document)
        except EndpointNotFound as error:
            # LM Studio answers a wrong path with 200: the text has to say which URL was called.
            raise in_band_body_error(document, self._url) or error from None
        except ProtocolError as error:
            if error.received is not None:
                raise
            raise instead_of_answer(error, document, self._url) or error from None

    def _explained(self, error: CallerError, event: str = "") -> CallerError:
        """The error, with what the endpoint sent instead of an answer. `event` is the SSE name it came under."""
        explained: CallerError | None = None
        if isinstance(error, ProtocolError) and error.received is not None:
            explained = foreign_answer(error, self._api, event=event, url=self._url)
        elif type(error) in (ProtocolError, StreamInterrupted):
            said = (instead_of_answer(error, data, self._url) for data in reversed(self._silent))
            explained = next(filter(None, said), None)
        if explained is None:
            return error
        explained.usage = explained.usage or error.usage
        return explained

    def _failed(self, error: CallerError, events: list[Event], behind: Iterable[Frame]) -> Sequence[Event]:
        """The events ahead of an error. SGLang reports the usage behind it; nothing else counts any more."""
        self.failure = error
        released = self._released(events, last=True)
        for frame in behind:
            try:
                further = self._decoder.feed(frame)
            except CallerError:
                break
            for event in further:
                if isinstance(event, UsageReported):
                    self.usage = merge_usage(self.usage, event.usage)
        if error.usage is not None:
            self.usage = merge_usage(self.usage, error.usage)
        return released

    def _count_silence(self, chunk: bytes, frames: int) -> None:
        silence = self.silence
        silence.bytes += len(chunk)
        if silence.bytes > LEAST:
            try:
                silence.check(chunk, self._body, frames, len(self._repeats.held))
            except CallerError as error:
                self.failure = error

    def _released(self, events: list[Event], *, last: bool = False) -> Sequence[Event]:
        """What may leave now: nothing before the first output, but at the good end."""
        if not events and not last:
            self.output_started = False
            return events
        if self._tags is not None:
            events = self._tags.feed(events, last=last)
        output = fields = False
        for event in events:
            if type(event) in OUTPUT:
                output = True
            elif type(event) is UsageReported:
                self.usage = merge_usage(self.usage, event.usage)
            elif type(event) is ProviderFields:
                fields = True
        self.output_started = output
        if fields and self._redactor is not None:
            events = [self._concealed(event) if type(event) is ProviderFields else event for event in events]
        held = self._held
        if held is None:
            return events
        held += events
        if (output and self._stream) or (last and self.failure is None):
            self._held = None
            return held
        return ()

    def _concealed(self, event: ProviderFields) -> ProviderFields:
        """What an endpoint repeats of a credential that the server holds is not its client's to know."""
        if self._redactor is None:
            return event
        return ProviderFields(object_of(self._redactor.in_json(event.fields)), event.choice)


def _what_we_did(request: HttpRequest) -> JsonObject:
    """What the client did not ask for and should know: what was left out, and what was changed."""
    done = {"left_out": request.left_out, "adapted": request.adapted}
    return {name: [*sorted(words)] for name, words in done.items() if words}
