"""Chat Completions answers, streamed and whole, as events. No I/O.

A whole answer is read by the same code as a stream: its `message` is one delta. Per token this is one parse, a few
look-ups and one small event; everything rare stands behind a test of what the chunk holds.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import KeysView, Sequence

from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.adapters.chat_request import STATE_SHAPE
from caller.custom_llm.adapters.chat_usage import logprobs_of, other_usage, usage_of
from caller.custom_llm.adapters.common import arguments_text, parse_document, parse_frame
from caller.custom_llm.adapters.tool_calls import ToolCallTracker
from caller.custom_llm.endpoint_errors import PROTOCOL_REMEDY, finish_reason_error, in_band_error
from caller.custom_llm.sse import Frame
from caller.errors import ProtocolError, ResponseTooLarge, StreamInterrupted
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ProviderFields,
    ProviderState,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from caller.fold import MAX_CHOICES
from caller.json_types import JsonObject, JsonValue, index_of, list_of, object_of, objects_of, text_of, without

# OpenAI pads chunks with random text against traffic analysis: `obfuscation` means nothing.
_TOP_KEYS = frozenset({"id", "object", "model", "choices", "usage", "error", "x_groq", "obfuscation"})
_CHOICE_KEYS = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs", "usage"})
_DELTA_KEYS = frozenset(
    {
        "role",
        "content",
        "refusal",
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "tool_calls",
        "function_call",
        "index",
    }
)
# What most chunks hold and nothing else: such a delta is text.
_PLAIN = frozenset({"role", "content"})
_PLAIN_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs"})
_REASONS = {
    "stop": FinishReason.STOP,
    "eos_token": FinishReason.STOP,  # TGI
    "stop_sequence": FinishReason.STOP,  # TGI
    "length": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,  # LocalAI, and OpenAI's legacy
    "content_filter": FinishReason.CONTENT_FILTER,
}


class _OpenChoice:
    """What must be remembered of one choice."""

    __slots__ = ("calls", "details", "extras", "finished", "legacy", "state_fields")

    def __init__(self, index: int) -> None:
        self.calls = ToolCallTracker(index)
        self.details: list[JsonValue] = []  # OpenRouter's reasoning_details, to be sent back unchanged
        self.extras: list[JsonObject] = []  # per call: extra_content (Gemini's compatible route)
        self.state_fields: JsonObject = {}
        self.finished = False
        self.legacy: bool | None = None


class ChatDecoder:
    """Reads one answer."""

    __slots__ = ("_choices", "_deltas", "_extra", "_id", "_model", "_saw_done", "_saw_frame", "_plain_keys", "_seen_keys", "done")

    def __init__(self, call: ResolvedCall) -> None:
        del call
        self.done = False
        self._saw_done = False
        self._saw_frame = False
        self._deltas = False
        self._id = ""
        self._model = ""
        self._extra: JsonObject = {}  # what came last; most servers repeat it in every chunk
        self._seen_keys = _TOP_KEYS
        self._plain_keys: KeysView[str] | None = None  # of a chunk that was read in full
        self._choices: dict[int, _OpenChoice] = {}

    def feed(self, frame: Frame) -> Sequence[Event]:
        """The events of one frame."""
        data = frame.data
        if data.startswith(b"[DONE]"):
            self._saw_done = True
            # Without any finish_reason the transfer's own end must confirm it: llama-cpp-python sends [DONE] and
            # breaks the connection when it was interrupted.
            self.done = bool(self._choices) and all(choice.finished for choice in self._choices.values())
            return ()
        chunks = parse_frame(data)
        if len(chunks) == 1 and not frame.event:
            plain = self._plain(chunks[0])
            if plain is not None:
                return (plain,)
        events: list[Event] = []
        for chunk in chunks:
            self._chunk(chunk, frame.event, events)
        return events

    def _plain(self, chunk: JsonObject) -> TextDelta | None:
        """The delta of a chunk that is text and nothing new: what nearly all of them are. None for any other."""
        choices = chunk.get("choices")
        if chunk.keys() != self._plain_keys or chunk.get("usage") or type(choices) is not list or len(choices) != 1:
            return None
        choice = choices[0]
        if type(choice) is not dict or not choice.keys() <= _PLAIN_CHOICE or choice.get("finish_reason"):
            return None
        delta, index = choice.get("delta"), choice.get("index", 0)
        if type(delta) is not dict or not delta.keys() <= _PLAIN or choice.get("logprobs"):
            return None
        content = delta.get("content")
        if type(content) is not str or not content or type(index) is not int or index not in self._choices:
            return None
        for key, value in self._extra.items():
            if chunk.get(key) != value:
                return None
        return TextDelta(content, index)

    def close(self) -> Sequence[Event]:
        """The stream ended."""
        if not self._saw_done and not any(choice.finished for choice in self._choices.values()):
            what = "without a finish_reason and without [DONE]" if self._saw_frame else "without any event"
            raise StreamInterrupted(f"the endpoint's stream ended {what}")
        events: list[Event] = []
        for index, choice in self._choices.items():
            events += choice.calls.close()
            if not choice.finished and choice.calls.seen:
                events.append(Finished(FinishReason.TOOL_CALLS, "", index))
            events += _state(index, choice)
        return events

    def whole(self, body: JsonObject) -> Sequence[Event]:
        """The events of a whole answer.

        Raises:
            ProtocolError: `choices`, or the `message` of one, is missing.
            CallerError: the answer holds an error.
        """
        error = in_band_error(body)
        if error is not None:
            raise error
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices:
            raise ProtocolError(f"the endpoint's answer has no `choices`. {PROTOCOL_REMEDY}")
        for number, choice in enumerate(choices):
            if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
                raise ProtocolError(f"the endpoint's answer has no `choices[{number}].message`. {PROTOCOL_REMEDY}")
        events: list[Event] = []
        self._chunk(body, "", events)
        self._saw_done = True
        events += self.close()
        return events

    def _chunk(self, chunk: JsonObject, event: str, events: list[Event]) -> None:
        if event or "error" in chunk or "choices" not in chunk:
            error = in_band_error(chunk, event=event)
            if error is not None:
                self._usage(chunk.get("usage"), events)
                error.usage = _usage_among(events)
                raise error
        self._saw_frame = True
        self._plain_keys = None if "error" in chunk or "x_groq" in chunk else chunk.keys()
        self._top(chunk, events)
        choices = chunk.get("choices")
        if choices:
            for choice in objects_of(choices):
                self._choice(choice, events)
        if chunk.get("usage"):
            self._usage(chunk["usage"], events)
        elif "x_groq" in chunk:
            self._usage(object_of(chunk["x_groq"]).get("usage"), events)

    def _top(self, chunk: JsonObject, events: list[Event]) -> None:
        answer_id, model = chunk.get("id"), chunk.get("model")
        if (answer_id and not self._id) or (model and not self._model):
            self._id = self._id or text_of(answer_id)
            self._model = self._model or text_of(model)
            events.append(Started(self._id, self._model))
        if not chunk.keys() <= self._seen_keys or any(chunk.get(key) != value for key, value in self._extra.items()):
            self._seen_keys = _TOP_KEYS.union(chunk)
            extra = without(chunk, _TOP_KEYS)
            if extra and extra != self._extra:
                self._extra = extra
                events.append(ProviderFields(extra))

    def _choice(self, choice: JsonObject, events: list[Event]) -> None:
        index = index_of(choice.get("index"))
        state = self._choices.get(index)
        if state is None:
            if len(self._choices) >= MAX_CHOICES:
                raise ResponseTooLarge(f"the answer has more than {MAX_CHOICES} choices")
            state = self._choices[index] = _OpenChoice(index)
        delta = choice.get("delta")
        if delta is None and not self._deltas:
            delta = choice.get("message")  # a whole answer, or a gateway that only pretends to stream
        elif delta is not None:
            self._deltas = True
        logprobs = choice.get("logprobs")
        tokens = logprobs_of(logprobs) if logprobs else ()
        if isinstance(delta, dict) and delta:
            self._delta(index, state, delta, tokens, events)
        elif tokens:
            events.append(TextDelta("", index, tokens))  # vLLM: log probabilities in a chunk of their own
        if choice.get("usage"):
            self._usage(choice["usage"], events)
        if not choice.keys() <= _CHOICE_KEYS:
            extra = without(choice, _CHOICE_KEYS)
            if extra:
                events.append(ProviderFields(extra, index))
        reason = choice.get("finish_reason")
        if reason:
            _finish(index, state, text_of(reason), events)

    def _delta(
        self, index: int, state: _OpenChoice, delta: JsonObject, tokens: tuple[TokenLogprob, ...], events: list[Event]
    ) -> None:
        content = delta.get("content")
        if not delta.keys() <= _PLAIN:
            _reasoning(index, state, delta, events)
            refusal = delta.get("refusal")
            if refusal and isinstance(refusal, str):
                events.append(RefusalDelta(refusal, index))
        if isinstance(content, str):
            if content or tokens:
                events.append(TextDelta(content, index, tokens))
        elif isinstance(content, list):
            _content_parts(index, content, events)
        elif tokens:
            events.append(TextDelta("", index, tokens))
        if "tool_calls" in delta or "function_call" in delta:
            _tool_calls(index, state, delta, events)
        if not delta.keys() <= _DELTA_KEYS:
            extra = without(delta, _DELTA_KEYS)
            if extra:
                _keep_signature(state, extra)
                events.append(ProviderFields(extra, index))

    def _usage(self, wire: JsonValue, events: list[Event]) -> None:
        if not isinstance(wire, dict):
            return
        usage = usage_of(wire)
        if usage is not None:
            events.append(UsageReported(usage))
        other = other_usage(wire)
        if other:
            events.append(ProviderFields({"usage": other}))


def decode_chat(call: ResolvedCall, body: bytes) -> Sequence[Event]:
    """The events of a whole answer."""
    return ChatDecoder(call).whole(parse_document(body))


def _finish(index: int, state: _OpenChoice, raw: str, events: list[Event]) -> None:
    error = finish_reason_error(raw)
    if error is not None:
        raise error
    reason = _REASONS.get(raw, FinishReason.OTHER)
    if reason is FinishReason.STOP and state.calls.seen:
        reason = FinishReason.TOOL_CALLS  # vLLM with a named tool, Gemini's compatible route
    state.finished = True
    events.append(Finished(reason, raw, index))


def _reasoning(index: int, state: _OpenChoice, delta: JsonObject, events: list[Event]) -> None:
    """One of the forms, never two of them: gateways send the same text under several names."""
    details = objects_of(delta.get("reasoning_details"))
    text = ""
    if details:
        state.details += details
        text = "".join(text_of(detail.get("text")) or text_of(detail.get("summary")) for detail in details)
    text = text or text_of(delta.get("reasoning_content")) or text_of(delta.get("reasoning"))
    if text:
        events.append(ReasoningDelta(text, index))


def _content_parts(index: int, content: list[JsonValue], events: list[Event]) -> None:
    """Content as a list (Mistral): text, thinking, and what else there may be."""
    others: list[JsonValue] = []
    for part in content:
        if isinstance(part, str):
            events.append(TextDelta(part, index))
            continue
        kind = object_of(part).get("type")
        if kind == "text":
            events.append(TextDelta(text_of(object_of(part).get("text")), index))
        elif kind == "thinking":
            thinking = object_of(part).get("thinking")
            text = text_of(thinking) or "".join(text_of(piece.get("text")) for piece in objects_of(thinking))
            events.append(ReasoningDelta(text, index))
        else:
            others.append(part)
    if others:
        events.append(ProviderFields({"content_parts": others}, index))


def _tool_calls(index: int, state: _OpenChoice, delta: JsonObject, events: list[Event]) -> None:
    calls = objects_of(delta.get("tool_calls"))
    for wire in calls:
        function = object_of(wire.get("function"))
        wire_index = wire.get("index")
        deltas = state.calls.feed(
            wire_index if isinstance(wire_index, int) else None,
            text_of(wire.get("id")).strip() if wire.get("id") != "null" else "",
            text_of(function.get("name")),
            arguments_text(function.get("arguments")),
        )
        events += deltas
        extra = wire.get("extra_content")
        if isinstance(extra, dict):
            _keep_extra(state, deltas, extra)
    legacy = object_of(delta.get("function_call"))
    name, arguments = text_of(legacy.get("name")), arguments_text(legacy.get("arguments"))
    if state.legacy is None and (calls or name or arguments):
        state.legacy = not calls  # llama-cpp-python sends both: counted once
    if state.legacy and (name or arguments):
        events += state.calls.feed(0, "", name, arguments)


def _keep_extra(state: _OpenChoice, deltas: list[ToolCallDelta], extra: JsonObject) -> None:
    number = deltas[0].index if deltas else max(len(state.extras) - 1, 0)
    while len(state.extras) <= number:
        state.extras.append({})
    state.extras[number] = {"extra_content": extra}


def _keep_signature(state: _OpenChoice, extra: JsonObject) -> None:
    """Gemini's compatible route puts the thought signature on the message; it must be echoed."""
    for key in ("extra_content", "thought_signature"):
        if key in extra:
            state.state_fields[key] = extra[key]


def _state(index: int, state: _OpenChoice) -> list[Event]:
    fields = dict(state.state_fields)
    if state.details:
        fields["reasoning_details"] = state.details
    content: JsonObject = {}
    if fields:
        content["message"] = fields
    if state.extras:
        content["tool_calls"] = list_of(list(state.extras))
    return [ProviderState(STATE_SHAPE, content, index)] if content else []


def _usage_among(events: list[Event]) -> Usage | None:
    return next((event.usage for event in reversed(events) if isinstance(event, UsageReported)), None)
