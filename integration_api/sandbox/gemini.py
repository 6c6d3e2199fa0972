"""Gemini's generateContent: POST /v1beta/models/{model}:generateContent and :streamGenerateContent, also under /v1.

Rule: this module alone knows the chunks of this API (Gemini API reference; CRLF line ends, no closing sign, token
counts that grow, and an error inside a stream as a bare JSON block, all as the service sends them). Without `alt=sse` a
stream is a JSON array.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, assert_never

from integration_api.sandbox.form import Form
from integration_api.sandbox.gemini_request import read
from integration_api.sandbox.seal import seal
from integration_api.sandbox.story import (
    Alive,
    Ask,
    Call,
    CallFragment,
    CallStart,
    Cut,
    Fault,
    Finish,
    Garbage,
    Message,
    Open,
    Pause,
    Reasoning,
    Refusal,
    Step,
    Story,
    Text,
    Usage,
    Wire,
    count_words,
    fold,
)
from integration_api.sandbox.wire import JsonObject, comment, dump, encode, event

_EOL: Final = "\r\n"
_FINISH: Final[Mapping[Finish, str]] = MappingProxyType(
    {
        Finish.STOP: "STOP",
        Finish.LENGTH: "MAX_TOKENS",
        Finish.TOOL_CALLS: "STOP",
        Finish.CONTENT_FILTER: "SAFETY",
        Finish.REFUSAL: "SAFETY",
    }
)
_STATUS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ABORTED",
        429: "RESOURCE_EXHAUSTED",
        499: "CANCELLED",
        500: "INTERNAL",
        501: "UNIMPLEMENTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)


def error(fault: Fault) -> JsonObject:
    """The body of an error: google.rpc.Status as JSON. A code given by the script becomes the reason in the details."""
    details: list[JsonObject] = []
    if fault.code and fault.param is None:
        info = "type.googleapis.com/google.rpc.ErrorInfo"
        details.append({"@type": info, "reason": fault.code, "domain": "googleapis.com"})
    if fault.retry is not None:
        info = "type.googleapis.com/google.rpc.RetryInfo"
        details.append({"@type": info, "retryDelay": f"{fault.retry:g}s"})
    status = _STATUS.get(fault.status, "INVALID_ARGUMENT" if fault.status < 500 else "UNAVAILABLE")
    tail: JsonObject = {"details": details} if details else {}
    return {"error": {"code": fault.status, "message": fault.message, "status": status, **tail}}


def headers() -> Mapping[str, str]:
    """Headers that every answer has."""
    return {"server-timing": "gfet4t7; dur=1"}


def _usage(counts: Usage, candidates: int, thoughts: int) -> JsonObject:
    cached: JsonObject = {"cachedContentTokenCount": counts.cached} if counts.cached else {}
    thought: JsonObject = {"thoughtsTokenCount": thoughts} if thoughts else {}
    return {
        "promptTokenCount": counts.input,
        **cached,
        "candidatesTokenCount": candidates,
        **thought,
        "totalTokenCount": counts.input + candidates + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": counts.input}],
    }


def _final_usage(counts: Usage) -> JsonObject:
    return _usage(counts, counts.output - counts.reasoning, counts.reasoning)


def _body(ask: Ask, parts: list[JsonObject], usage: JsonObject, finish: Finish | None = None) -> JsonObject:
    content: JsonObject = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    reason: JsonObject = {"finishReason": _FINISH[finish]} if finish else {}
    if finish in (Finish.CONTENT_FILTER, Finish.REFUSAL):
        rating: JsonObject = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
        reason = {**reason, "safetyRatings": [rating]}
    return {
        "candidates": [{"content": content, **reason, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": ask.model,
        "responseId": ask.answer_id,
    }


def _call(ask: Ask, call: Call, story: Story, thought: str) -> JsonObject:
    function: JsonObject = {"id": ask.call_id(call.number), "name": call.name, "args": json.loads(call.arguments)}
    # Only the first of parallel calls carries the signature.
    signed: JsonObject = {"thoughtSignature": seal(thought)} if story.sealed and call.number == 0 else {}
    return {"functionCall": function, **signed}


def _parts(ask: Ask, story: Story, message: Message) -> list[JsonObject]:
    parts: list[JsonObject] = [{"text": message.reasoning, "thought": True}] if message.reasoning else []
    if message.tokens or not (message.calls or message.refusal):
        signed: JsonObject = {"thoughtSignature": seal(message.reasoning)} if story.sealed and not message.calls else {}
        parts.append({"text": message.text, **signed})
    return [*parts, *(_call(ask, call, story, message.reasoning) for call in message.calls)]


def whole(ask: Ask, story: Story) -> JsonObject:
    """The GenerateContentResponse."""
    return _body(ask, _parts(ask, story, fold(story.steps)), _final_usage(story.usage), story.finish)


@dataclass(slots=True)
class _Stream:
    ask: Ask
    story: Story
    written: int = 0
    candidates: int = 0
    thoughts: int = 0
    thought: str = ""
    calls: dict[int, tuple[str, list[str]]] = field(default_factory=dict)

    def wires(self) -> Iterator[Wire]:
        for step in self.story.steps:
            if self.calls and not isinstance(step, CallStart | CallFragment | Pause):
                yield self._calls()
            yield from self._step(step)
            if isinstance(step, Cut | Fault):
                return
        if self.calls:
            yield self._calls()
        if self.story.finish is not None:
            yield self._frame(dump(self._last()))
        if self.ask.json_array:
            yield b"]" if self.written else b"[]"

    def _step(self, step: Step) -> Iterator[Wire]:
        match step:
            case Pause() | Cut():
                yield step
            case Alive():
                yield self._alive()
            case Garbage():
                yield self._frame('{"candidates": [this is not JSON')
            case Fault():
                yield self._error(step)
            case Open() | Text() | Refusal() | Reasoning() | CallStart() | CallFragment():
                yield from self._output(step)
            case _:
                assert_never(step)

    def _last(self) -> JsonObject:
        parts: list[JsonObject] = []
        if not any(isinstance(step, Refusal) for step in self.story.steps):
            spoke = any(isinstance(step, Text) for step in self.story.steps)
            signed: JsonObject = {"thoughtSignature": seal(self.thought)} if self.story.sealed and spoke else {}
            parts = [{"text": "", **signed}]
        return _body(self.ask, parts, _final_usage(self.story.usage), self.story.finish)

    def _output(self, step: Open | Text | Refusal | Reasoning | CallStart | CallFragment) -> Iterator[bytes]:
        match step:
            case Open():
                yield self._chunk({"text": ""})
            case Text(text):
                self.candidates += count_words(text)
                yield self._chunk({"text": text})
            case Refusal():
                pass  # this API stops without saying why in words
            case Reasoning(text):
                self.thought += text
                self.thoughts += count_words(text)
                yield self._chunk({"text": text, "thought": True})
            case CallStart(number, name):
                self.calls[number] = (name, [])
            case CallFragment(number, text):
                self.calls[number][1].append(text)
            case _:
                assert_never(step)

    def _calls(self) -> bytes:
        """The calls, whole: this API does not cut arguments."""
        calls = [Call(number, name, "".join(said)) for number, (name, said) in self.calls.items()]
        self.calls = {}
        self.candidates += sum(1 + count_words(call.arguments) for call in calls)
        return self._chunk(*(_call(self.ask, call, self.story, self.thought) for call in calls))

    def _chunk(self, *parts: JsonObject) -> bytes:
        counts = self.story.usage
        thoughts = min(self.thoughts, counts.reasoning)
        candidates = min(self.candidates, counts.output - counts.reasoning)
        return self._frame(dump(_body(self.ask, list(parts), _usage(counts, candidates, thoughts))))

    def _frame(self, data: str) -> bytes:
        if not self.ask.json_array:
            return event(data, eol=_EOL)
        self.written += 1
        return encode(f"{',' + _EOL if self.written > 1 else '['}{data}")

    def _error(self, fault: Fault) -> bytes:
        block = json.dumps(error(fault), indent=2, ensure_ascii=False)
        if not self.ask.json_array:
            return encode(f"{block}\n")
        return self._frame(block) + b"]"

    def _alive(self) -> bytes:
        return b"\n" if self.ask.json_array else comment("keep-alive", _EOL)


def stream(ask: Ask, story: Story) -> Iterator[Wire]:
    """The chunks of the answer."""
    return _Stream(ask, story).wires()


FORM: Final = Form("gemini", ("x-goog-api-key", "authorization"), read, stream, whole, error, headers)
