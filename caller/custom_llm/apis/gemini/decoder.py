"""Gemini generateContent answers, streamed and whole, as events. No I/O.

A chunk of a stream is a whole answer in small: both are read by the same code. There is no closing sign; a stream is
complete when it ends after a finishReason, or after the prompt was blocked.

Source of the wire facts: Gemini API reference; deviations name the server.
"""

from collections.abc import Sequence

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Frame, Repeat, ResolvedCall
from caller.custom_llm.apis.gemini.candidate import Candidate
from caller.custom_llm.apis.gemini.spelling import PROTO_NAMES, camel_keys
from caller.custom_llm.apis.gemini.usage import UsageCounts
from caller.custom_llm.apis.parsing import objects_within, parse_document, parse_frame
from caller.custom_llm.errors.endpoint_errors import in_band_error
from caller.errors import CallerError, ProtocolError, ResponseTooLarge, StreamInterrupted
from caller.events import Event, ProviderFields, Started, UsageReported
from caller.fold import MAX_CHOICES
from caller.json_types import JsonObject, count_of, index_of, object_of, text_of, without

# LiteLLM repeats a chunk's text at its top.
_TOP_KEYS = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "error", "text"})
# Counts that are the same again are no news.
_PLAIN_KEYS = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId"})
_NO_BLOCK = "BLOCK_REASON_UNSPECIFIED"
_REMEDY = FACTS[ApiCompatibility.GEMINI_GENERATE_CONTENT].remedy


class GeminiDecoder:
    """Reads one answer."""

    __slots__ = ("_candidates", "_counts", "_extra", "_id", "_model", "_saw_frame", "_wanted", "complete", "done")

    def __init__(self, call: ResolvedCall) -> None:
        self.done = False
        self.complete = False  # every candidate has its finishReason: only usage can come
        self._wanted = count_of(call.parameters.values.get("n")) or 1
        self._saw_frame = False
        self._id = ""
        self._model = ""
        self._extra: JsonObject = {}
        self._counts = UsageCounts()
        self._candidates: dict[int, Candidate] = {}

    def feed(self, frame: Frame) -> Sequence[Event]:
        """The events of one frame."""
        if frame.data.startswith(b"[DONE]"):
            return ()  # a gateway's habit of another API
        try:
            chunks = parse_frame(frame.data)
        except ProtocolError as error:
            error.usage = self._counts.usage
            raise
        return self._read(chunks, frame.event)

    def repeated(self, chunk: JsonObject, event: str) -> Repeat | None:
        """What further chunks like this one mean."""
        candidates = chunk.get("candidates")
        if event or not chunk.keys() <= _PLAIN_KEYS or not isinstance(candidates, list) or len(candidates) != 1:
            return None
        wire = candidates[0]
        named = self._id and self._model
        if not isinstance(wire, dict) or not named:
            return None
        return self._candidate(index_of(wire.get("index"))).repeated(wire)

    def close(self) -> Sequence[Event]:
        """The stream ended."""
        if not self._candidates or any(candidate.reason is None for candidate in self._candidates.values()):
            what = "without a finishReason" if self._saw_frame else "without any event"
            raise StreamInterrupted(f"the endpoint's stream ended {what}", usage=self._counts.usage)
        return self._closed()

    def whole(self, body: bytes) -> Sequence[Event]:
        """The events of a whole answer.

        Raises:
            ProtocolError: `candidates`, or the `content` of one, is missing.
            CallerError: the answer holds an error.
        """
        # A gateway may answer in pieces that it put into one list.
        chunks = parse_frame(body) if body.lstrip().startswith(b"[") else (parse_document(body),)
        events = [*self._read(chunks, "")]
        if not self._candidates:
            raise ProtocolError(f"the endpoint's answer has no `candidates`. {_REMEDY}")
        for chunk in chunks:
            candidates = chunk.get("candidates")
            for number, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
                if not _is_candidate(object_of(candidate)):
                    raise ProtocolError(f"the endpoint's answer has no `candidates[{number}].content`. {_REMEDY}")
        return events + self._closed()

    def _closed(self) -> list[Event]:
        return [event for candidate in self._candidates.values() for event in candidate.close()]

    def _read(self, chunks: Sequence[JsonObject], event: str) -> list[Event]:
        events: list[Event] = []
        try:
            for chunk in chunks:
                self._chunk(chunk, event, events)
        except CallerError as error:
            error.usage = error.usage or self._counts.usage
            raise
        except RecursionError:
            raise ProtocolError("the endpoint's answer is nested too deeply", usage=self._counts.usage) from None
        return events

    def _chunk(self, chunk: JsonObject, event: str, events: list[Event]) -> None:
        if not PROTO_NAMES.isdisjoint(chunk):
            chunk = camel_keys(chunk)
        usage = chunk.get("usageMetadata")
        if isinstance(usage, dict):
            self._usage(usage, events)
        if event or "error" in chunk or "candidates" not in chunk:
            error = in_band_error(chunk, event=event)
            if error is not None:
                raise error
        self._saw_frame = True
        self._top(chunk, events)
        for wire in objects_within(chunk.get("candidates"), MAX_CHOICES, "candidates"):
            self._candidate(index_of(wire.get("index"))).feed(wire, events)
            if "finishReason" in wire or "finish_reason" in wire:
                self.complete = self._all_finished()
        if "promptFeedback" in chunk:
            blocked = text_of(object_of(chunk["promptFeedback"]).get("blockReason"))
            if blocked and blocked != _NO_BLOCK:
                self._candidate(0).block(blocked, events)

    def _all_finished(self) -> bool:
        ends = [candidate.reason is not None for candidate in self._candidates.values()]
        return len(ends) >= self._wanted and all(ends)

    def _candidate(self, index: int) -> Candidate:
        candidate = self._candidates.get(index)
        if candidate is None:
            if len(self._candidates) >= MAX_CHOICES:
                raise ResponseTooLarge(f"the answer has more than {MAX_CHOICES} choices")
            candidate = self._candidates[index] = Candidate(index)
        return candidate

    def _top(self, chunk: JsonObject, events: list[Event]) -> None:
        answer_id, model = chunk.get("responseId"), chunk.get("modelVersion")
        if (answer_id and not self._id) or (model and not self._model):
            self._id = self._id or text_of(answer_id)
            self._model = self._model or text_of(model)
            events.append(Started(self._id, self._model))
        if not chunk.keys() <= _TOP_KEYS:
            extra = without(chunk, _TOP_KEYS)
            if extra and extra != self._extra:
                self._extra = extra
                events.append(ProviderFields(extra))

    def _usage(self, wire: JsonObject, events: list[Event]) -> None:
        counted, other = self._counts.feed(wire)
        if counted and self._counts.usage is not None:
            events.append(UsageReported(self._counts.usage))
        if other:
            events.append(ProviderFields({"usageMetadata": dict(self._counts.other)}))


def _is_candidate(candidate: JsonObject) -> bool:
    return isinstance(candidate.get("content"), dict) or bool(
        candidate.get("finishReason") or candidate.get("finish_reason")
    )
