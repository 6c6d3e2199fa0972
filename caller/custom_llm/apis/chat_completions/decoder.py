"""Chat Completions answers, streamed and whole, as events. No I/O.

A whole answer is read by the same code as a stream: its `message` is one delta. Per token this is one parse, a few
look-ups and one small event; everything rare stands behind a test of what the chunk holds.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import KeysView, Sequence

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Frame, Repeat, ResolvedCall
from caller.custom_llm.apis.chat_completions.choice import PLAIN_DELTA, OpenChoice
from caller.custom_llm.apis.chat_completions.plain import plain_answer
from caller.custom_llm.apis.finish_words import finish_word, telling_word
from caller.custom_llm.apis.logprobs import logprobs_of
from caller.custom_llm.apis.parsing import objects_within, parse, parse_document, parse_frame
from caller.custom_llm.apis.usage import other_usage, usage_of
from caller.custom_llm.errors.endpoint_errors import failure, in_band_error
from caller.errors import CallerError, ProtocolError, ResponseTooLarge, StreamInterrupted
from caller.events import OUTPUT, Event, ProviderFields, Started, TextDelta, TokenLogprob, Usage, UsageReported
from caller.fold import MAX_CHOICES, merge_usage
from caller.json_types import (
    JsonObject,
    JsonValue,
    count_of,
    index_of,
    list_of,
    object_of,
    objects_of,
    text_of,
    without,
)

_REMEDY = FACTS[ApiCompatibility.OPENAI_CHAT_COMPLETIONS].remedy
# OpenAI pads chunks with random text against traffic analysis: `obfuscation` means nothing.
_TOP_KEYS = frozenset({"id", "object", "model", "choices", "usage", "error", "x_groq", "obfuscation"})
_CHOICE_KEYS = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs", "usage"})
# Beside choices, where an error may be: of most servers, MiniMax, Groq, FastChat.
_ERROR_KEYS = frozenset({"error", "base_resp", "x_groq", "error_code"})
_USAGE_KEYS = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
# They change with every chunk of some servers.
_FREE = ("id", "obfuscation")
_NOT_PLAIN: tuple[None, int] = (None, 0)
_PLAIN_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs"})


class ChatDecoder:
    """Reads one answer."""

    __slots__ = (
        "_choices",
        "_deltas",
        "_extra",
        "_failure",
        "_id",
        "_model",
        "_plain_keys",
        "_saw_done",
        "_saw_frame",
        "_seen_keys",
        "_single",
        "_tools",
        "_wanted",
        "complete",
        "done",
    )

    def __init__(self, call: ResolvedCall) -> None:
        self.done = False
        self.complete = False  # every choice has its finish reason: only usage can come
        given = call.parameters.values
        self._wanted = (count_of(given["n"]) or 1) if "n" in given else 1
        # Servers number `choices` by chunk (Foundry Local), or put text and calls into two (Copilot): where one answer
        # was asked for, all of it is that one.
        self._single = self._wanted == 1
        self._tools = call.tool_names
        self._saw_done = False
        self._saw_frame = False
        self._deltas = False
        self._failure: CallerError | None = None  # it came in one frame with output, which leaves first
        self._id = ""
        self._model = ""
        self._extra: JsonObject = {}  # what came last; most servers repeat it in every chunk
        self._seen_keys = _TOP_KEYS
        self._plain_keys: KeysView[str] | None = None  # of a chunk that was read in full
        self._choices: dict[int, OpenChoice] = {}

    def feed(self, frame: Frame) -> Sequence[Event]:
        """The events of one frame."""
        data = frame.data
        if data.startswith(b"[DONE]"):
            return self._done_marker()
        if frame.event == "error":
            raise _error_event(data)
        try:
            chunks = parse_frame(data)
        except ProtocolError:
            if data.strip(b"[] ").lower() == b"done":
                return self._done_marker()
            raise
        if len(chunks) == 1:
            plain = self._plain(chunks[0])
            if plain is not None:
                return (plain,)
        events: list[Event] = []
        try:
            for chunk in chunks:
                self._chunk(chunk, events)
        except CallerError as error:
            error.usage = error.usage or _usage_among(events)
            if not any(isinstance(event, OUTPUT) for event in events):
                raise
            self._failure = error
            self.done = True
        return events

    def _done_marker(self) -> Sequence[Event]:
        self._saw_done = True
        # Without any finish_reason the transfer's own end must confirm it: llama-cpp-python sends [DONE] and
        # breaks the connection when it was interrupted.
        self.done = bool(self._choices) and all(choice.finished for choice in self._choices.values())
        return ()

    def _plain(self, chunk: JsonObject) -> TextDelta | None:
        """The delta of a chunk that is text and nothing new: what nearly all of them are. None for any other."""
        delta, index = self._plain_delta(chunk)
        if delta is None or not delta.keys() <= PLAIN_DELTA:
            return None
        content = delta.get("content")
        if type(content) is not str or not content:
            return None
        self._choices[index].emitted.add("content")
        return TextDelta(content, index)

    def _plain_delta(self, chunk: JsonObject) -> tuple[JsonObject | None, int]:
        """The delta of a chunk that brings nothing new beside it, and its choice; None for any other chunk."""
        choices = chunk.get("choices")
        if chunk.keys() != self._plain_keys or chunk.get("usage") or type(choices) is not list or len(choices) != 1:
            return _NOT_PLAIN
        choice = choices[0]
        if type(choice) is not dict or not choice.keys() <= _PLAIN_CHOICE or choice.get("finish_reason"):
            return _NOT_PLAIN
        delta, index = choice.get("delta"), choice.get("index", 0)
        if type(delta) is not dict or choice.get("logprobs"):
            return _NOT_PLAIN
        if self._single:
            index = 0
        if type(index) is not int or index not in self._choices:
            return _NOT_PLAIN
        for key, value in self._extra.items():
            if chunk.get(key) != value:
                return _NOT_PLAIN
        return delta, index

    def repeated(self, chunk: JsonObject, event: str) -> Repeat | None:
        """What further chunks like this one mean."""
        delta, index = (None, 0) if event == "error" else self._plain_delta(chunk)
        if delta is None:
            return None
        return self._choices[index].repeated(delta, _FREE if self._id and self._model else ())

    def close(self) -> Sequence[Event]:
        """The stream ended."""
        if self._failure is not None:
            raise self._failure
        if self._saw_done and not self._choices:
            raise ProtocolError(f"the endpoint's stream has no `choices`. {_REMEDY}")
        if not self._saw_done and not self._all_finished():
            what = "without a finish_reason and without [DONE]" if self._saw_frame else "without any event"
            raise StreamInterrupted(f"the endpoint's stream ended {what}")
        if not any(choice.finished or choice.has_output for choice in self._choices.values()):
            raise StreamInterrupted("the endpoint's answer holds nothing: no output and no finish_reason")
        return [event for choice in self._choices.values() for event in choice.close()]

    def _all_finished(self) -> bool:
        finished = [choice.finished for choice in self._choices.values()]
        return len(finished) >= self._wanted and all(finished)

    def whole(self, body: bytes) -> Sequence[Event]:
        """The events of a whole answer.

        Raises:
            ProtocolError: `choices`, or the `message` of one, is missing.
            CallerError: the answer holds an error.
        """
        plain = plain_answer(body) if self._wanted == 1 and not self._saw_frame else None
        return self._whole_in_full(body) if plain is None else plain

    def _whole_in_full(self, body: bytes) -> Sequence[Event]:
        answer = parse_document(body)
        events: list[Event] = []
        error = in_band_error(answer)
        if error is not None:
            self._usage(answer.get("usage"), events)
            error.usage = _usage_among(events)
            raise error
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices:
            raise ProtocolError(f"the endpoint's answer has no `choices`. {_REMEDY}")
        for number, choice in enumerate(choices[: MAX_CHOICES + 1]):
            # A gateway that was asked for a stream may answer with one chunk.
            if not isinstance(choice, dict) or not isinstance(choice.get("message", choice.get("delta")), dict):
                raise ProtocolError(f"the endpoint's answer has no `choices[{number}].message`. {_REMEDY}")
        self._single = self._single and not _are_alternatives(choices)
        try:
            self._chunk(answer, events)
        except CallerError as failed:
            failed.usage = failed.usage or _usage_among(events)
            raise
        self._saw_done = True
        return [*events, *self.close()]

    def _chunk(self, chunk: JsonObject, events: list[Event]) -> None:
        if (not chunk.get("choices") and not _is_usage(chunk)) or not _ERROR_KEYS.isdisjoint(chunk):
            error = in_band_error(chunk)
            if error is not None:
                self._usage(chunk.get("usage"), events)
                self._output_of(chunk, events)
                raise error
        self._saw_frame = True
        self._plain_keys = None if "error" in chunk or "x_groq" in chunk else chunk.keys()
        self._top(chunk, events)
        if chunk.get("usage"):
            self._usage(chunk["usage"], events)
        elif "x_groq" in chunk:
            self._usage(object_of(chunk["x_groq"]).get("usage"), events)
        choices = chunk.get("choices")
        if choices:
            for choice in objects_within(choices, MAX_CHOICES, "choices"):
                self._choice(choice, events)

    def _output_of(self, chunk: JsonObject, events: list[Event]) -> None:
        """What the model said in the very chunk that is an error (OpenRouter)."""
        for choice in objects_of(list_of(chunk.get("choices"))[:MAX_CHOICES]):
            delta = choice.get("delta")
            if isinstance(delta, dict):
                OpenChoice(0 if self._single else index_of(choice.get("index"))).delta(
                    {key: value for key, value in delta.items() if key in PLAIN_DELTA}, (), events
                )

    def _top(self, chunk: JsonObject, events: list[Event]) -> None:
        if not (self._id and self._model):
            answer_id, model = self._id or text_of(chunk.get("id")), self._model or text_of(chunk.get("model"))
            if (answer_id, model) != (self._id, self._model):
                self._id, self._model = answer_id, model
                events.append(Started(answer_id, model))
        if not chunk.keys() <= self._seen_keys or any(chunk.get(key) != value for key, value in self._extra.items()):
            self._seen_keys = _TOP_KEYS.union(chunk)
            extra = {key: value for key, value in chunk.items() if key not in _TOP_KEYS}
            fresh: JsonObject = {
                key: value for key, value in extra.items() if value is not None and value != self._extra.get(key)
            }
            self._extra = extra
            if fresh:
                events.append(ProviderFields(fresh))
        groq = without(object_of(chunk.get("x_groq")), frozenset({"usage"})) if "x_groq" in chunk else {}
        if groq:
            events.append(ProviderFields({"x_groq": groq}))

    def _choice(self, choice: JsonObject, events: list[Event]) -> None:
        index = 0 if self._single else index_of(choice.get("index"))
        state = self._choices.get(index)
        if state is None:
            if len(self._choices) >= MAX_CHOICES:
                raise ResponseTooLarge(f"the answer has more than {MAX_CHOICES} choices")
            state = self._choices[index] = OpenChoice(index, self._tools)
            self.complete = False
        delta = self._delta_of(choice, state, index, events)
        logprobs = choice.get("logprobs")
        tokens = _tokens(logprobs, index, events) if logprobs else ()
        if isinstance(delta, dict) and delta:
            state.delta(delta, tokens, events)
        elif tokens:
            events.append(TextDelta("", index, tokens))  # vLLM: log probabilities in a chunk of their own
        usage = choice.get("usage") or (delta.get("usage") if isinstance(delta, dict) else None)
        if usage:
            self._usage(usage, events)
        if not choice.keys() <= _CHOICE_KEYS:
            _extra_of(choice, index, events)
        reason = choice.get("finish_reason")
        word = finish_word(reason) if reason else ""
        if word:
            native = choice.get("native_finish_reason")
            state.finish(telling_word(word, native) if native else word, events)
            self.complete = self._all_finished()

    def _delta_of(self, choice: JsonObject, state: OpenChoice, index: int, events: list[Event]) -> JsonValue:
        """The delta of a choice. A `message` stands for it, or behind deltas says once more what they said."""
        delta = choice.get("delta")
        if delta is not None:
            self._deltas = True
        elif not self._deltas:
            return _without_delta(choice, index)
        if not delta and isinstance(choice.get("message"), dict):
            state.whole(object_of(choice["message"]), events)
        return delta

    def _usage(self, wire: JsonValue, events: list[Event]) -> None:
        if not isinstance(wire, dict):
            return
        usage = usage_of(wire)
        if usage is not None:
            events.append(UsageReported(usage))
        other = other_usage(wire)
        if other:
            events.append(ProviderFields({"usage": other}))


def _is_usage(chunk: JsonObject) -> bool:
    """The chunk of usage that ends most streams: it has no member in which an error could stand."""
    return chunk.keys() <= _USAGE_KEYS and chunk.get("object") != "error" and bool(chunk.get("usage"))


def _are_alternatives(choices: list[JsonValue]) -> bool:
    """Several texts are several answers, whatever was asked for."""
    messages = [object_of(object_of(choice).get("message")) for choice in choices]
    return sum(bool(message.get("content")) for message in messages) > 1


def _error_event(data: bytes) -> CallerError:
    """An event that is named `error` is one, whatever it holds: an object, a text, no JSON at all."""
    try:
        value = parse(data)
    except ValueError:
        if data.lstrip().startswith((b"{", b"[")):
            return ProtocolError(f"an event of the endpoint's stream is not JSON. {_REMEDY}")
        value = data.decode("utf-8", "replace")
    error = failure(value)
    error.usage = usage_of(object_of(object_of(value).get("usage")))
    return error


def _without_delta(choice: JsonObject, index: int) -> JsonValue:
    """A whole answer, or a gateway that only pretends to stream, has a `message`."""
    message = choice.get("message")
    if message is None and choice.get("text"):
        raise ProtocolError(
            f"the endpoint's stream has no `choices[{index}].delta`: it answers as the legacy Completions API. "
            f"{_REMEDY}"
        )
    return message


def _tokens(logprobs: JsonValue, index: int, events: list[Event]) -> tuple[TokenLogprob, ...]:
    """Log probabilities; in a form that is not Chat's they are kept as they are."""
    tokens = logprobs_of(logprobs)
    if not tokens and any(object_of(logprobs).values()):
        events.append(ProviderFields({"logprobs": logprobs}, index))
    return tokens


def _extra_of(choice: JsonObject, index: int, events: list[Event]) -> None:
    extra = without(choice, _CHOICE_KEYS)
    error = in_band_error({"choices": [choice]}) if extra.get("error") else None
    if error is not None:
        raise error  # OpenRouter: one choice failed
    if extra:
        events.append(ProviderFields(extra, index))


def _usage_among(events: Sequence[Event]) -> Usage | None:
    usage: Usage | None = None
    for event in events:
        if isinstance(event, UsageReported):
            usage = merge_usage(usage, event.usage)
    return usage
