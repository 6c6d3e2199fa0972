"""Anthropic's Messages: POST /v1/messages.

Rule: this module alone knows the blocks and events of this API (Anthropic API reference: Messages, streaming).
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, assert_never

from integration_api.sandbox import models
from integration_api.sandbox.api_format import ApiFormat, Place
from integration_api.sandbox.messages_request import read
from integration_api.sandbox.scenario import (
    CallFragment,
    CallStart,
    Cut,
    Finish,
    Garbage,
    HttpError,
    KeepAlive,
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
    fold,
)
from integration_api.sandbox.signature import sign
from integration_api.sandbox.wire import Json, JsonObject, dump, event, without

_STOP: Final[Mapping[Finish | None, str | None]] = MappingProxyType(
    {
        Finish.STOP: "end_turn",
        Finish.LENGTH: "max_tokens",
        Finish.TOOL_CALLS: "tool_use",
        Finish.CONTENT_FILTER: "refusal",
        Finish.REFUSAL: "refusal",
        None: None,
    }
)
_ERRORS: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        409: "conflict_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)


def error(http_error: HttpError) -> JsonObject:
    """The body of an error; a code given by the script takes the place of the type."""
    default = "invalid_request_error" if http_error.status < 500 else "api_error"
    # A code that comes with a parameter is OpenAI's word, from the check of the request.
    kind = _ERRORS.get(http_error.status, default) if http_error.param or http_error.code is None else http_error.code
    request_id = f"req_{secrets.token_hex(12)}"
    return {"type": "error", "error": {"type": kind, "message": http_error.message}, "request_id": request_id}


def headers() -> Mapping[str, str]:
    """Headers that every answer has."""
    return {
        "request-id": f"req_{secrets.token_hex(12)}",
        "anthropic-ratelimit-requests-limit": "10000",
        "anthropic-ratelimit-requests-remaining": "9999",
        "anthropic-ratelimit-requests-reset": "2030-01-01T00:00:00Z",
    }


def _input(counts: Usage) -> JsonObject:
    """What was read: cached tokens stand beside `input_tokens`, not in it."""
    return {
        "input_tokens": counts.input - counts.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached,
    }


def _usage(counts: Usage, output: int) -> JsonObject:
    return {
        **_input(counts),
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    }


def _output(counts: Usage) -> JsonObject:
    details: JsonObject = {"output_tokens_details": {"thinking_tokens": counts.reasoning}} if counts.reasoning else {}
    return {"output_tokens": counts.output, **details}


def _stop(scenario: Scenario) -> JsonObject:
    details: JsonObject | None = None
    if scenario.finish in (Finish.REFUSAL, Finish.CONTENT_FILTER):
        details = {"type": "refusal", "category": None, "explanation": "The sandbox was asked to refuse."}
    return {"stop_reason": _STOP[scenario.finish], "stop_sequence": None, "stop_details": details}


def _head(request: Request, scenario: Scenario, content: Json) -> JsonObject:
    return {
        "id": f"msg_{request.answer_id}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": _usage(scenario.usage, min(scenario.usage.output, 1)),  # never more than the end says
    }


def whole(request: Request, scenario: Scenario) -> JsonObject:
    """The message object."""
    message = fold(scenario.steps)
    blocks: list[JsonObject] = []
    if message.reasoning:
        blocks.append({"type": "thinking", "thinking": message.reasoning, "signature": sign(message.reasoning)})
    if message.text or message.refusal:
        blocks.append({"type": "text", "text": message.text or message.refusal})
    blocks += [
        {"type": "tool_use", "id": request.call_id(call.number), "name": call.name, "input": json.loads(call.arguments)}
        for call in message.calls
    ]
    counts = {**_usage(scenario.usage, scenario.usage.output), **_output(scenario.usage)}
    return {**_head(request, scenario, blocks), **_stop(scenario), "usage": counts}


def _one_call_at_a_time(steps: Sequence[Step]) -> list[Step]:
    """The steps with the fragments of each call together: blocks of this API follow each other."""
    calls = [step for step in steps if isinstance(step, CallStart | CallFragment)]
    if not calls:
        return list(steps)
    first = steps.index(calls[0])
    rest = [step for step in steps[first:] if not isinstance(step, CallStart | CallFragment)]
    return [*steps[:first], *sorted(calls, key=lambda step: step.number), *rest]


@dataclass(slots=True)
class _Stream:
    request: Request
    scenario: Scenario
    opened: bool = False
    pinged: bool = False
    index: int = -1
    block: str = ""
    thought: str = ""

    def wires(self) -> Iterator[Wire]:
        for step in _one_call_at_a_time(self.scenario.steps):
            match step:
                case Pause() | Cut():
                    yield step
                case Garbage():
                    yield event('{"type": "content_block_delta", this is not JSON', "content_block_delta")
                case HttpError():
                    yield event(dump(error(step)), "error")
                case KeepAlive():
                    yield from self._open()
                    yield _ping()
                case Open() | Text() | Refusal() | Reasoning() | CallStart() | CallFragment():
                    yield from self._open()
                    yield from self._output(step)
                case _:
                    assert_never(step)
            if isinstance(step, Cut | HttpError):
                return
        yield from self._open()
        if self.scenario.finish is None:
            return
        yield from self._close()
        counts = {**_input(self.scenario.usage), **_output(self.scenario.usage)}
        yield _event("message_delta", delta=_stop(self.scenario), usage=counts)
        yield _event("message_stop")

    def _open(self) -> Iterator[bytes]:
        if not self.opened:
            self.opened = True
            yield _event("message_start", message=_head(self.request, self.scenario, []))

    def _output(self, step: Open | Text | Refusal | Reasoning | CallStart | CallFragment) -> Iterator[bytes]:
        match step:
            case Open():
                pass
            case Text(text) | Refusal(text):
                yield from self._begin("text", {"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            case Reasoning(text):
                yield from self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                self.thought += text
                yield self._delta({"type": "thinking_delta", "thinking": text})
            case CallStart(number, name):
                call: JsonObject = {"type": "tool_use", "id": self.request.call_id(number), "name": name, "input": {}}
                yield from self._begin(f"call {number}", call)
                yield self._delta({"type": "input_json_delta", "partial_json": ""})
            case CallFragment(_, text):
                yield self._delta({"type": "input_json_delta", "partial_json": text})
            case _:
                assert_never(step)

    def _begin(self, block: str, content: JsonObject) -> Iterator[bytes]:
        if self.block == block:
            return
        yield from self._close()
        self.block = block
        self.index += 1
        yield _event("content_block_start", index=self.index, content_block=content)
        if not self.pinged:
            self.pinged = True
            yield _ping()

    def _delta(self, delta: JsonObject) -> bytes:
        return _event("content_block_delta", index=self.index, delta=delta)

    def _close(self) -> Iterator[bytes]:
        if self.block == "thinking":
            yield self._delta({"type": "signature_delta", "signature": sign(self.thought)})
        if self.block:
            yield _event("content_block_stop", index=self.index)
        self.block = ""


def _event(kind: str, **fields: Json) -> bytes:
    return event(dump({"type": kind, **fields}), kind)


def _ping() -> bytes:
    return _event("ping")


def stream(request: Request, scenario: Scenario) -> Iterator[Wire]:
    """The events of the message."""
    return _Stream(request, scenario).wires()


FORMAT: Final = ApiFormat(
    "messages",
    Place(("/v1/messages",), own="/v1/messages", header="anthropic-version"),
    models.ANTHROPIC,
    ("x-api-key", "authorization"),
    read,
    stream,
    whole,
    error,
    headers,
    lambda body: without(body, "content"),
)
