"""Anthropic Messages answers, streamed and whole, as events. No I/O.

A whole answer is read by the same code as the `message` of a stream's start. Per token this is one parse, a few
look-ups and one small event. Unknown events are ignored, as Anthropic's docs ask.

Source of the wire facts: Anthropic's API reference and SDK; deviations name the server.
"""

from collections.abc import Sequence

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Frame, Repeat, ResolvedCall
from caller.custom_llm.apis.anthropic.blocks import ContentBlocks
from caller.custom_llm.apis.anthropic.usage import UsageTracker
from caller.custom_llm.apis.finish_words import beside_calls, finish_reason, finish_word
from caller.custom_llm.apis.parsing import parse_document, parse_frame
from caller.custom_llm.errors.endpoint_errors import in_band_error
from caller.errors import CallerError, ProtocolError, StreamInterrupted
from caller.events import Event, Finished, FinishReason, ProviderFields, Started, Usage
from caller.json_types import JsonObject, list_of, object_of, text_of, without

_REMEDY = FACTS[ApiCompatibility.ANTHROPIC_MESSAGES].remedy
_STOP_KEYS = frozenset({"stop_reason", "stop_sequence", "stop_details"})
_MESSAGE_KEYS = frozenset({"id", "type", "role", "model", "content", "usage", "error"}) | _STOP_KEYS
_EVENT_KEYS = frozenset({"type", "delta", "usage", "message", "error"})
_BEDROCK = {
    "inputTokenCount": "input_tokens",
    "outputTokenCount": "output_tokens",
    "cacheReadInputTokenCount": "cache_read_input_tokens",
    "cacheWriteInputTokenCount": "cache_creation_input_tokens",
}


class AnthropicDecoder:
    """Reads one answer."""

    __slots__ = (
        "_content",
        "_emitted_reason",
        "_extra",
        "_id",
        "_raw",
        "_reason",
        "_started",
        "_usage",
        "complete",
        "done",
    )

    def __init__(self, call: ResolvedCall) -> None:
        del call
        self.done = False
        self.complete = False  # a stop reason came and every block is closed: only usage can come
        self._started = False
        self._raw = ""
        self._reason = self._emitted_reason = FinishReason.UNSPECIFIED
        self._id = ""
        self._extra: JsonObject = {}
        self._content = ContentBlocks()
        self._usage = UsageTracker()

    def feed(self, frame: Frame) -> Sequence[Event]:
        """The events of one frame."""
        data = frame.data
        if data.startswith(b"[DONE]"):  # gateways add it; behind a stop_reason it stands for message_stop
            self.done = self.done or bool(self._raw)
            return ()
        events: list[Event] = []
        try:
            for chunk in parse_frame(data):
                self._chunk(chunk, frame.event, events)
        except CallerError as error:
            error.usage = self._usage.usage
            raise
        except RecursionError:
            raise ProtocolError("an event of the endpoint's stream is nested too deeply") from None
        return events

    def repeated(self, chunk: JsonObject, event: str) -> Repeat | None:
        """What further chunks like this one mean."""
        delta = chunk.get("delta")
        plain = chunk.get("type") == "content_block_delta" and "error" not in chunk and event != "error"
        return self._content.repeated(chunk.get("index"), delta) if plain and isinstance(delta, dict) else None

    def close(self) -> Sequence[Event]:
        """The stream ended. Gateways leave out message_stop: what is complete without it is complete."""
        if not (self.done or self.complete):
            remedy = "" if self._started else f", and without message_start. {_REMEDY}"
            raise StreamInterrupted(
                f"the endpoint's stream ended without message_stop{remedy}", usage=self._usage.usage
            )
        if not (self._raw or self._content.begun):
            raise StreamInterrupted(
                "the endpoint's answer holds nothing: no content and no stop_reason", usage=self._usage.usage
            )
        events: list[Event] = []
        self._content.finish(events)
        meant = beside_calls(self._reason, called=self._content.called)
        if meant is not self._emitted_reason or not self._raw:  # vLLM: no stop_reason for what it has no word for
            events.append(Finished(meant, self._raw))
        return events

    def whole(self, body: bytes) -> Sequence[Event]:
        """The events of a whole answer.

        Raises:
            ProtocolError: `content` is missing.
            CallerError: the answer holds an error.
        """
        message = parse_document(body)
        events: list[Event] = []
        try:
            self._raise_error(message, "", events)
            if "content" not in message or not isinstance(message["content"], list | str | None):
                raise ProtocolError(f"the endpoint's answer has no `content`. {_REMEDY}")
            self._message(message, events)
            self.done = True
            events += self.close()
        except CallerError as error:
            error.usage = self._usage.usage
            raise
        except RecursionError:
            raise ProtocolError("the endpoint's answer is nested too deeply") from None
        return events

    def _chunk(self, chunk: JsonObject, event: str, events: list[Event]) -> None:
        kind = chunk.get("type") or event  # the name stands for a missing type, as in Anthropic's SDK
        if kind != "content_block_delta" or "error" in chunk:
            self._raise_error(chunk, event, events)
        match kind:
            case "content_block_delta":
                delta = chunk.get("delta")
                if isinstance(delta, dict):
                    self._content.delta(chunk.get("index"), delta, events)
            case "message_start":
                self._message_start(object_of(chunk.get("message")), events)
            case "content_block_start":
                self.complete = False
                self._content.start(chunk.get("index"), object_of(chunk.get("content_block")), events)
            case "content_block_stop":
                self._content.stop(chunk.get("index"), events)
                self.complete = bool(self._raw) and self._content.closed
            case "message_delta":
                self._message_delta(chunk, object_of(chunk.get("delta")), events)
                self.complete = bool(self._raw) and self._content.closed
            case "message_stop":
                self.done = True
                self._usage.feed(chunk.get("usage") or _bedrock_usage(chunk, self._usage.usage), events)
                self._keep(without(chunk, _EVENT_KEYS), events)  # Bedrock: its metrics
            case _:
                pass  # `ping`, and what later versions add

    def _raise_error(self, chunk: JsonObject, event: str, events: list[Event]) -> None:
        error = in_band_error(chunk, event=event)
        if error is not None:
            self._usage.feed(chunk.get("usage"), events)
            raise error

    def _message_start(self, message: JsonObject, events: list[Event]) -> None:
        """Gateways send it twice: the same answer again, or the beginning of another attempt."""
        again = text_of(message.get("id")) not in ("", self._id)
        if not self._started or (again and not self._content.begun):  # the first, or another before anything was said
            self._message(message, events)
        elif again:
            raise ProtocolError(f"a second answer began in the middle of the endpoint's stream. {_REMEDY}")

    def _message_delta(self, chunk: JsonObject, delta: JsonObject, events: list[Event]) -> None:
        self._usage.feed(chunk.get("usage") or delta.get("usage"), events)
        self._stop(delta, events)
        self._keep(without(delta, _STOP_KEYS | {"usage"}) | without(chunk, _EVENT_KEYS), events)

    def _message(self, message: JsonObject, events: list[Event]) -> None:
        self._started = True
        self._id = text_of(message.get("id"))
        events.append(Started(self._id, text_of(message.get("model"))))
        self._usage.feed(message.get("usage"), events)
        content = message.get("content")
        if content and isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for index, block in enumerate(list_of(content)):
            self._content.start(index, object_of(block), events)
            self._content.stop(index, events)
        self._stop(message, events)
        self._keep(without(message, _MESSAGE_KEYS), events)

    def _stop(self, fields: JsonObject, events: list[Event]) -> None:
        details = {key: fields[key] for key in ("stop_sequence", "stop_details") if fields.get(key)}
        if details:
            events.append(ProviderFields(details, 0))
        raw = finish_word(fields.get("stop_reason"))
        if not raw:
            return
        self._reason, self._raw = finish_reason(raw), raw
        self._emitted_reason = beside_calls(self._reason, called=self._content.called)
        events.append(Finished(self._emitted_reason, raw))

    def _keep(self, extra: JsonObject, events: list[Event]) -> None:
        """What we have no field for, once."""
        new = {key: value for key, value in extra.items() if self._extra.get(key) != value}
        if new:
            self._content.budget.consume(new)
            self._extra |= new
            events.append(ProviderFields(new))


def _bedrock_usage(chunk: JsonObject, known: Usage | None) -> JsonObject:
    """Bedrock's counts at the end, where nothing else reported any."""
    metrics = object_of(chunk.get("amazon-bedrock-invocationMetrics"))
    return {} if known is not None else {name: metrics[word] for word, name in _BEDROCK.items() if word in metrics}
