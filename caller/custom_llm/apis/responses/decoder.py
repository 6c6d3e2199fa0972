"""Responses answers, streamed and whole, as events. No I/O; what the output items say is `output`'s.

A whole answer is read by the code that fills the gaps at the end of a stream: its output is all gap. Per token this is
one parse, a few look-ups and one small event; everything rare stands behind a look-up in a table.

The terminal sign is a response that completed, is incomplete or failed. `[DONE]`, which some gateways add, is none:
LiteLLM sends it after a broken answer too.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from collections.abc import Sequence
from typing import Final, NoReturn

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Frame, Repeat, ResolvedCall
from caller.custom_llm.apis.parsing import parse_document, parse_frame
from caller.custom_llm.apis.responses.answer import finish_reason, other_fields, provider_state
from caller.custom_llm.apis.responses.output import DELTAS, DONES, HANDLERS, Output
from caller.custom_llm.apis.usage import usage_of
from caller.custom_llm.errors.endpoint_errors import failure, in_band_error
from caller.errors import CallerError, ProtocolError, StreamInterrupted
from caller.events import Event, Finished, Started, Usage, UsageReported
from caller.fold import merge_usage
from caller.json_types import JsonObject, JsonValue, object_of, text_of

_TERMINAL: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_DONE: Final = "response.done"  # the Realtime API's name, as some gateways have it; a bare `done` ends nothing
# What a status cannot be any more once an event ends the response.
_UNFINISHED: Final = frozenset({"", "queued", "in_progress"})
_EVENT: Final = "response."
_NO_RESPONSE: Final = FACTS[ApiCompatibility.OPENAI_RESPONSES].remedy


class ResponsesDecoder:
    """Reads one answer."""

    __slots__ = ("_id", "_model", "_output", "_stored", "_usage", "complete", "done")

    def __init__(self, call: ResolvedCall) -> None:
        self.done = False
        self.complete = False  # never ahead of the terminal event, which says all: then the answer is done
        self._stored = call.parameters.values.get("store") is True
        self._output = Output()
        self._id = ""
        self._model = ""
        self._usage: Usage | None = None

    def feed(self, frame: Frame) -> Sequence[Event]:
        """The events of one frame."""
        events = self._output.events = []
        if self.done or frame.data.startswith(b"[DONE]"):
            return events
        for chunk in parse_frame(frame.data):
            if self.done:
                break
            kind = text_of(chunk.get("type")) or frame.event
            route = DELTAS.get(kind)
            if route is None or "error" in chunk or frame.event == "error":
                self._check(chunk, frame.event)
            if route is not None:
                self._output.delta(route, chunk)
            else:
                self._rare(kind, chunk)
        return events

    def repeated(self, chunk: JsonObject, event: str) -> Repeat | None:
        """What further chunks like this one mean."""
        route = DELTAS.get(text_of(chunk.get("type")) or event)
        if route is None or self.done or "error" in chunk or event == "error" or chunk.get("logprobs"):
            return None
        return self._output.repeated(route, chunk)

    def close(self) -> Sequence[Event]:
        """The stream ended."""
        if not self.done:
            raise StreamInterrupted("the endpoint's stream ended without response.completed", usage=self._usage)
        state = provider_state(self._output.items(), stored=self._stored)
        return [] if state is None else [state]

    def whole(self, body: bytes) -> Sequence[Event]:
        """The events of a whole answer.

        Raises:
            ProtocolError: `output` is missing.
            CallerError: the answer holds an error, or failed.
        """
        response = parse_document(body)
        self._check(response, "")
        output = response.get("output")
        if response.get("status") != "failed" and not (isinstance(output, list) or response.get("output_text")):
            raise ProtocolError(f"the endpoint's answer has no `output`. {_NO_RESPONSE}")
        self._response(response, "", {})
        return [*self._output.events, *self.close()]

    def _check(self, chunk: JsonObject, event: str) -> None:
        error = in_band_error(chunk, event=event)
        if error is not None:
            self._count(chunk.get("usage"))
            self._fail(error)

    def _fail(self, error: CallerError) -> NoReturn:
        error.usage = self._usage
        raise error

    def _rare(self, kind: str, chunk: JsonObject) -> None:
        route, handler = DONES.get(kind), HANDLERS.get(kind)
        word = kind.removeprefix("response.")
        if route is not None:
            self._output.text_done(route, chunk)
        elif handler is not None:
            handler(self._output, chunk)
        elif word in _TERMINAL or (kind == _DONE and isinstance(chunk.get("response"), dict)):
            bare = chunk.get("object") == "response"
            self._response(chunk if bare else object_of(chunk.get("response")), word, {} if bare else chunk)
        elif isinstance(chunk.get("response"), dict):
            self._top(object_of(chunk["response"]))
        elif chunk.get("object") == "response":
            self._bare(chunk, kind)

    def _bare(self, response: JsonObject, kind: str) -> None:
        """A response without an event around it: a gateway only pretends to stream; or it is the beginning of one, by
        its own status or by the event's name."""
        if kind.startswith(_EVENT) or text_of(response.get("status")) in _UNFINISHED - {""}:
            self._top(response)
        else:
            self._response(response, "", {})

    def _top(self, response: JsonObject) -> None:
        answer_id, model = text_of(response.get("id")), text_of(response.get("model"))
        if (answer_id and not self._id) or (model and not self._model):
            self._id = self._id or answer_id
            self._model = self._model or model
            self._output.events.append(Started(self._id, self._model))
        usage = self._count(response.get("usage"))
        if usage is not None:
            self._output.events.append(UsageReported(usage))

    def _count(self, wire: JsonValue) -> Usage | None:
        usage = usage_of(object_of(wire))
        if usage is not None:
            self._usage = merge_usage(self._usage, usage)
        return usage

    def _response(self, response: JsonObject, word: str, chunk: JsonObject) -> None:
        """The end, by the status of the response; `word` is what the event's name says about it."""
        self._top(response)
        status = text_of(response.get("status"))
        if word and status in _UNFINISHED:
            status = "completed" if word == "done" else word
        if "failed" in (status, word) or in_band_error(response) is not None:
            self._fail(failure(response))
        output = self._output
        output.finish(response.get("output"), text_of(response.get("output_text")))
        if not (status or output.items()):
            self._fail(StreamInterrupted("the endpoint's answer holds nothing: no output and no status"))
        try:
            reason = finish_reason(status, response, calls=output.has_calls)
        except CallerError as error:
            self._fail(error)
        output.events += other_fields(response, chunk, output.items())
        output.events.append(Finished(reason, status))
        self.done = True
