"""OpenAI's Chat Completions: POST /v1/chat/completions.

Rule: this module alone knows how a chunk and a completion of this API look (OpenAI API reference; `reasoning_content`
as DeepSeek sends it; an error inside a stream and the `[DONE]` after it as vLLM does).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, assert_never

from integration_api.sandbox import models
from integration_api.sandbox.api_format import ApiFormat, Place, alternatives
from integration_api.sandbox.chat_request import read
from integration_api.sandbox.openai_errors import error, headers
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
    fold,
)
from integration_api.sandbox.wire import Json, JsonObject, comment, dump, event

_FINISH: Final[Mapping[Finish | None, str | None]] = MappingProxyType(
    {
        Finish.STOP: "stop",
        Finish.LENGTH: "length",
        Finish.TOOL_CALLS: "tool_calls",
        Finish.CONTENT_FILTER: "content_filter",
        Finish.REFUSAL: "stop",
        None: None,
    }
)


def usage(counts: Usage, choices: int = 1) -> JsonObject:
    """The usage object of a completion with this many choices."""
    output = counts.output * choices
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": output,
        "total_tokens": counts.input + output,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning * choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _logprobs(request: Request, tokens: Iterable[str]) -> Json:
    if request.logprobs is None:
        return None
    return {"content": [_token(token, request.logprobs) for token in tokens], "refusal": None}


def _token(token: str, top: int) -> JsonObject:
    listed = [_weighed(word, weight) for word, weight in alternatives(token, max(top, 1))]
    return {**listed[0], "top_logprobs": listed[:top]}


def _weighed(token: str, logprob: float) -> dict[str, Json]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}


def whole(request: Request, scenario: Scenario) -> JsonObject:
    """The completion object."""
    message = fold(scenario.steps)
    return {
        "id": f"chatcmpl-{request.answer_id}",
        "object": "chat.completion",
        "created": request.created,
        "model": request.model,
        "choices": [
            {
                "index": index,
                "message": _message(request, message, index),
                "logprobs": _logprobs(request, message.tokens) if message.tokens else None,
                "finish_reason": _FINISH[scenario.finish],
            }
            for index in range(request.choices)
        ],
        "usage": usage(scenario.usage, request.choices),
        "service_tier": "default",
        "system_fingerprint": "fp_sandbox",
    }


def _message(request: Request, message: Message, index: int) -> JsonObject:
    silent = (message.calls or message.refusal) and not message.tokens
    result: dict[str, Json] = {
        "role": "assistant",
        "content": None if silent else message.text,
        "refusal": message.refusal or None,
        "annotations": [],
    }
    if message.reasoning:
        result["reasoning_content"] = message.reasoning
    if message.calls:
        result["tool_calls"] = [_call(request, call, index) for call in message.calls]
    return result


def _call(request: Request, call: Call, index: int) -> JsonObject:
    function: JsonObject = {"name": call.name, "arguments": call.arguments}
    return {"id": _choice_call_id(request, call.number, index), "type": "function", "function": function}


def _choice_call_id(request: Request, number: int, index: int) -> str:
    call_id = request.call_id(number)
    return f"{call_id}_{index}" if index else call_id


@dataclass(slots=True)
class _Stream:
    request: Request
    scenario: Scenario
    opened: bool = False
    head: JsonObject = field(init=False)

    def __post_init__(self) -> None:
        self.head = {
            "id": f"chatcmpl-{self.request.answer_id}",
            "object": "chat.completion.chunk",
            "created": self.request.created,
            "model": self.request.model,
            "service_tier": "default",
            "system_fingerprint": "fp_sandbox",
        }

    def wires(self) -> Iterator[Wire]:
        for step in self.scenario.steps:
            yield from self._step(step)
            if isinstance(step, Cut | HttpError):
                return
        yield from self._open()
        if self.scenario.finish is None:
            return
        yield from self._chunks({}, _FINISH[self.scenario.finish])
        if self.request.stream_usage:
            yield event(dump({**self.head, "choices": [], "usage": usage(self.scenario.usage, self.request.choices)}))
        yield event("[DONE]")

    def _step(self, step: Step) -> Iterator[Wire]:
        match step:
            case Pause() | Cut():
                yield step
            case KeepAlive():
                yield comment("keep-alive")
            case Garbage():
                yield event('{"choices": [{"index": 0, "delta": {"content": this is not JSON')
            case HttpError():
                yield event(dump(error(step, in_stream=True)))
                yield event("[DONE]")
            case Open() | Text() | Refusal() | Reasoning() | CallStart() | CallFragment():
                yield from self._open()
                yield from self._output(step)
            case _:
                assert_never(step)

    def _output(self, step: Open | Text | Refusal | Reasoning | CallStart | CallFragment) -> Iterator[bytes]:
        match step:
            case Open():
                pass
            case Text(text):
                yield from self._chunks({"content": text}, logprobs=_logprobs(self.request, (text,)))
            case Refusal(text):
                yield from self._chunks({"refusal": text})
            case Reasoning(text):
                yield from self._chunks({"reasoning_content": text})
            case CallStart(number, name):
                for index in range(self.request.choices):
                    call: JsonObject = {
                        "index": number,
                        "id": _choice_call_id(self.request, number, index),
                        "type": "function",
                        "function": {"name": name, "arguments": ""},
                    }
                    yield self._chunk(index, {"tool_calls": [call]})
            case CallFragment(number, text):
                yield from self._chunks({"tool_calls": [{"index": number, "function": {"arguments": text}}]})
            case _:
                assert_never(step)

    def _open(self) -> Iterator[bytes]:
        if not self.opened:
            self.opened = True
            silent = any(isinstance(step, CallStart | Refusal) for step in self.scenario.steps)
            yield from self._chunks({"role": "assistant", "content": None if silent else "", "refusal": None})

    def _chunks(self, delta: JsonObject, finish: str | None = None, logprobs: Json = None) -> Iterator[bytes]:
        for index in range(self.request.choices):
            yield self._chunk(index, delta, finish, logprobs)

    def _chunk(self, index: int, delta: JsonObject, finish: str | None = None, logprobs: Json = None) -> bytes:
        choice: JsonObject = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        tail: JsonObject = {"usage": None} if self.request.stream_usage else {}
        return event(dump({**self.head, "choices": [choice], **tail}))


def stream(request: Request, scenario: Scenario) -> Iterator[Wire]:
    """The chunks of the completion."""
    return _Stream(request, scenario).wires()


def _emptied(body: JsonObject) -> JsonObject:
    return {**body, "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}]}


FORMAT: Final = ApiFormat(
    "chat",
    Place(("/v1/chat/completions",), own="/v1/chat"),
    models.OPENAI,
    ("authorization", "api-key"),
    read,
    stream,
    whole,
    error,
    headers,
    _emptied,
)
