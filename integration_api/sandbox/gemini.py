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

from integration_api.sandbox import models
from integration_api.sandbox.api_format import ApiFormat, Place
from integration_api.sandbox.gemini_request import read
from integration_api.sandbox.scenario import (
    Call,
    CallFragment,
    CallStart,
    Cut,
    Finish,
    Garbage,
    HttpError,
    KeepAlive,
    Message,
    Open,
    Pause,
    Reasoning,
    Refusal,
    Request,
    Scenario,
    Step,
    Text,
    Usage,
    Wire,
    count_words,
    fold,
)
from integration_api.sandbox.signature import sign
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


def error(http_error: HttpError) -> JsonObject:
    """The body of an error: google.rpc.Status as JSON. A code given by the script becomes the reason in the details."""
    details: list[JsonObject] = []
    if http_error.code and http_error.param is None:
        info = "type.googleapis.com/google.rpc.ErrorInfo"
        details.append({"@type": info, "reason": http_error.code, "domain": "googleapis.com"})
    if http_error.retry is not None:
        info = "type.googleapis.com/google.rpc.RetryInfo"
        details.append({"@type": info, "retryDelay": f"{http_error.retry:g}s"})
    status = _STATUS.get(http_error.status, "INVALID_ARGUMENT" if http_error.status < 500 else "UNAVAILABLE")
    tail: JsonObject = {"details": details} if details else {}
    return {"error": {"code": http_error.status, "message": http_error.message, "status": status, **tail}}


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


def _body(request: Request, parts: list[JsonObject], usage: JsonObject, finish: Finish | None = None) -> JsonObject:
    content: JsonObject = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    reason: JsonObject = {"finishReason": _FINISH[finish]} if finish else {}
    if finish in (Finish.CONTENT_FILTER, Finish.REFUSAL):
        rating: JsonObject = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
        reason = {**reason, "safetyRatings": [rating]}
    return {
        "candidates": [{"content": content, **reason, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": request.model,
        "responseId": request.answer_id,
    }


def _call(request: Request, call: Call, scenario: Scenario, thought: str) -> JsonObject:
    function: JsonObject = {"id": request.call_id(call.number), "name": call.name, "args": json.loads(call.arguments)}
    # Only the first of parallel calls carries the signature.
    signed: JsonObject = {"thoughtSignature": sign(thought)} if scenario.signed and call.number == 0 else {}
    return {"functionCall": function, **signed}


def _parts(request: Request, scenario: Scenario, message: Message) -> list[JsonObject]:
    parts: list[JsonObject] = [{"text": message.reasoning, "thought": True}] if message.reasoning else []
    if message.tokens or not (message.calls or message.refusal):
        signed: JsonObject = (
            {"thoughtSignature": sign(message.reasoning)} if scenario.signed and not message.calls else {}
        )
        parts.append({"text": message.text, **signed})
    return [*parts, *(_call(request, call, scenario, message.reasoning) for call in message.calls)]


def whole(request: Request, scenario: Scenario) -> JsonObject:
    """The GenerateContentResponse."""
    return _body(
        request, _parts(request, scenario, fold(scenario.steps)), _final_usage(scenario.usage), scenario.finish
    )


@dataclass(slots=True)
class _Stream:
    request: Request
    scenario: Scenario
    written: int = 0
    candidates: int = 0
    thoughts: int = 0
    thought: str = ""
    calls: dict[int, tuple[str, list[str]]] = field(default_factory=dict)

    def wires(self) -> Iterator[Wire]:
        for step in self.scenario.steps:
            if self.calls and not isinstance(step, CallStart | CallFragment | Pause):
                yield self._calls()
            yield from self._step(step)
            if isinstance(step, Cut | HttpError):
                return
        if self.calls:
            yield self._calls()
        if self.scenario.finish is not None:
            yield self._frame(dump(self._last()))
        if self.request.json_array:
            yield b"]" if self.written else b"[]"

    def _step(self, step: Step) -> Iterator[Wire]:
        match step:
            case Pause() | Cut():
                yield step
            case KeepAlive():
                yield self._alive()
            case Garbage():
                yield self._frame('{"candidates": [this is not JSON')
            case HttpError():
                yield self._error(step)
            case Open() | Text() | Refusal() | Reasoning() | CallStart() | CallFragment():
                yield from self._output(step)
            case _:
                assert_never(step)

    def _last(self) -> JsonObject:
        parts: list[JsonObject] = []
        if not any(isinstance(step, Refusal) for step in self.scenario.steps):
            has_text = any(isinstance(step, Text) for step in self.scenario.steps)
            signed: JsonObject = {"thoughtSignature": sign(self.thought)} if self.scenario.signed and has_text else {}
            parts = [{"text": "", **signed}]
        return _body(self.request, parts, _final_usage(self.scenario.usage), self.scenario.finish)

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
        calls = [Call(number, name, "".join(pieces)) for number, (name, pieces) in self.calls.items()]
        self.calls = {}
        self.candidates += sum(1 + count_words(call.arguments) for call in calls)
        return self._chunk(*(_call(self.request, call, self.scenario, self.thought) for call in calls))

    def _chunk(self, *parts: JsonObject) -> bytes:
        counts = self.scenario.usage
        thoughts = min(self.thoughts, counts.reasoning)
        candidates = min(self.candidates, counts.output - counts.reasoning)
        return self._frame(dump(_body(self.request, list(parts), _usage(counts, candidates, thoughts))))

    def _frame(self, data: str) -> bytes:
        if not self.request.json_array:
            return event(data, eol=_EOL)
        self.written += 1
        return encode(f"{',' + _EOL if self.written > 1 else '['}{data}")

    def _error(self, http_error: HttpError) -> bytes:
        block = json.dumps(error(http_error), indent=2, ensure_ascii=False)
        if not self.request.json_array:
            return encode(f"{block}\n")
        return self._frame(block) + b"]"

    def _alive(self) -> bytes:
        return b"\n" if self.request.json_array else comment("keep-alive", _EOL)


def stream(request: Request, scenario: Scenario) -> Iterator[Wire]:
    """The chunks of the answer."""
    return _Stream(request, scenario).wires()


def _emptied(body: JsonObject) -> JsonObject:
    return {**body, "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model"}}]}


FORMAT: Final = ApiFormat(
    "gemini",
    Place(
        ("/v1beta/models/{target:.+}", "/v1/models/{target:.+}"),  # newer SDKs call the stable version
        own="/v1beta",
        models="/v1beta/models",
        header="x-goog-api-key",
        methods=MappingProxyType({"generateContent": False, "streamGenerateContent": True}),
    ),
    models.GEMINI,
    ("x-goog-api-key", "authorization"),
    read,
    stream,
    whole,
    error,
    headers,
    _emptied,
    usage="usageMetadata",
    key_parameter="key",
)
