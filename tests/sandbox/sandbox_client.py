"""A client that reads the sandbox strictly: raw HTTP, SSE by its framing, one meaning for all APIs."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from integration_api.sandbox import Sandbox

FORMS = ("chat", "responses", "messages", "gemini")


@dataclass
class Received:
    """What an answer said, whichever API carried it."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    finish: str | None = None
    usage: tuple[int, int, int, int] | None = None
    seals: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)


def request(form: str, model: str, *, stream: bool, prompt: Any = "Say hello, world!", **extra: Any) -> tuple[str, Any]:
    """Path and body of a plain question."""
    body: dict[str, Any]
    match form:
        case "chat":
            path, body = "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": prompt}]}
            if stream:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
        case "responses":
            path, body = "/v1/responses", {"model": model, "input": prompt, "stream": stream}
            body |= {"include": ["reasoning.encrypted_content"]}
        case "messages":
            messages = [{"role": "user", "content": prompt}]
            path, body = "/v1/messages", {"model": model, "max_tokens": 99, "messages": messages, "stream": stream}
        case _:
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            path = f"/v1beta/models/{model}:{method}"
            body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    return path, body | extra


def sse(raw: bytes, eol: bytes = b"\n") -> Iterator[tuple[str, str]]:
    """(event, data) of a body that is server-sent events to the last byte."""
    assert raw.endswith(eol + eol), raw[-50:]
    for block in raw.removesuffix(eol + eol).split(eol + eol):
        name = data = ""
        for line in block.split(eol):
            text = line.decode()
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: "):
                data = text.removeprefix("data: ")
            else:
                assert text.startswith(":"), block
        if data:
            yield name, data


def receive(form: str, raw: bytes, *, stream: bool) -> Received:
    """Reads an answer of this API."""
    if not stream:
        return _WHOLE[form](json.loads(raw))
    received = Received()
    for name, data in sse(raw, b"\r\n" if form == "gemini" else b"\n"):
        if data == "[DONE]":
            received.events.append(data)
            continue
        value = json.loads(data)
        received.events.append(value)
        if form in ("responses", "messages"):
            assert name == value["type"]
        else:
            assert not name
        _STREAMED[form](received, value)
    if form != "gemini":  # their arguments come in fragments
        received.calls = [(call_id, name, json.loads(text or "{}")) for call_id, name, text in received.calls]
    return received


def _openai_usage(usage: Mapping[str, Any]) -> tuple[int, int, int, int]:
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    return usage["prompt_tokens"], usage["completion_tokens"], cached, reasoning


def _chat_whole(value: Any) -> Received:
    assert value["object"] == "chat.completion"
    choice = value["choices"][0]
    message = choice["message"]
    return Received(
        text=message["content"] or "",
        reasoning=message.get("reasoning_content", ""),
        refusal=message["refusal"] or "",
        calls=[
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", [])
        ],
        finish=choice["finish_reason"],
        usage=_openai_usage(value["usage"]),
    )


def _chat_chunk(received: Received, value: Any) -> None:
    if "error" in value:
        return
    assert value["object"] == "chat.completion.chunk"
    if not value["choices"]:
        received.usage = _openai_usage(value["usage"])
        return
    (choice,) = value["choices"]
    assert value.get("usage") is None
    delta = choice["delta"]
    received.text += delta.get("content") or ""
    received.reasoning += delta.get("reasoning_content") or ""
    received.refusal += delta.get("refusal") or ""
    for call in delta.get("tool_calls", []):
        if "id" in call:
            assert call["index"] == len(received.calls)
            received.calls.append((call["id"], call["function"]["name"], ""))
        call_id, name, text = received.calls[call["index"]]
        received.calls[call["index"]] = (call_id, name, text + call["function"]["arguments"])
    received.finish = choice["finish_reason"] or received.finish


def _responses_whole(value: Any) -> Received:
    assert value["object"] == "response"
    received = Received()
    for item in value["output"]:
        match item["type"]:
            case "reasoning":
                received.reasoning += "".join(part["text"] for part in item["summary"])
                received.seals.append(item["encrypted_content"])
            case "function_call":
                received.calls.append((item["call_id"], item["name"], json.loads(item["arguments"])))
            case "message":
                received.text += "".join(part.get("text", "") for part in item["content"])
                received.refusal += "".join(part.get("refusal", "") for part in item["content"])
            case other:
                raise AssertionError(other)
    details = value["incomplete_details"]
    received.finish = details["reason"] if details else value["status"]
    usage = value["usage"]
    if usage:
        assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"]
        cached, reasoning = usage["input_tokens_details"]["cached_tokens"], usage["output_tokens_details"]
        received.usage = (usage["input_tokens"], usage["output_tokens"], cached, reasoning["reasoning_tokens"])
    return received


def _responses_event(received: Received, value: Any) -> None:
    assert value["sequence_number"] == len(received.events) - 1
    match value["type"]:
        case "response.output_text.delta":
            received.text += value["delta"]
        case "response.refusal.delta":
            received.refusal += value["delta"]
        case "response.reasoning_summary_text.delta":
            received.reasoning += value["delta"]
        case "response.output_item.added" if value["item"]["type"] == "function_call":
            received.calls.append((value["item"]["call_id"], value["item"]["name"], ""))
        case "response.function_call_arguments.done":
            deltas = [
                event["delta"]
                for event in received.events
                if event["type"] == "response.function_call_arguments.delta" and event["item_id"] == value["item_id"]
            ]
            assert "".join(deltas) == value["arguments"]
            at = next(number for number, call in enumerate(received.calls) if call[1] == value["name"])
            received.calls[at] = (*received.calls[at][:2], value["arguments"])
        case "response.completed" | "response.incomplete":
            whole = _responses_whole(value["response"])
            assert (whole.text, whole.reasoning, whole.refusal) == (received.text, received.reasoning, received.refusal)
            received.finish, received.usage, received.seals = whole.finish, whole.usage, whole.seals
        case _:
            pass  # structure


def _messages_usage(usage: Mapping[str, Any]) -> tuple[int, int, int, int]:
    cached = usage["cache_read_input_tokens"]
    thinking = usage.get("output_tokens_details", {"thinking_tokens": 0})["thinking_tokens"]
    return usage["input_tokens"] + cached, usage["output_tokens"], cached, thinking


def _messages_whole(value: Any) -> Received:
    assert (value["type"], value["role"]) == ("message", "assistant")
    received = Received(finish=value["stop_reason"], usage=_messages_usage(value["usage"]))
    for block in value["content"]:
        match block["type"]:
            case "text":
                received.text += block["text"]
            case "thinking":
                received.reasoning += block["thinking"]
                received.seals.append(block["signature"])
            case "tool_use":
                received.calls.append((block["id"], block["name"], block["input"]))
            case other:
                raise AssertionError(other)
    return received


def _messages_event(received: Received, value: Any) -> None:
    match value["type"]:
        case "content_block_start":
            open_blocks = [event["index"] for event in received.events if event["type"] == "content_block_start"]
            assert open_blocks == list(range(value["index"] + 1)), "blocks follow each other"
            if value["content_block"]["type"] == "tool_use":
                received.calls.append((value["content_block"]["id"], value["content_block"]["name"], ""))
        case "content_block_delta":
            delta = value["delta"]
            received.text += delta.get("text", "")
            received.reasoning += delta.get("thinking", "")
            if "partial_json" in delta:
                received.calls[-1] = (*received.calls[-1][:2], received.calls[-1][2] + delta["partial_json"])
            if "signature" in delta:
                received.seals.append(delta["signature"])
        case "message_delta":
            received.finish, received.usage = value["delta"]["stop_reason"], _messages_usage(value["usage"])
        case _:
            pass  # structure


def _gemini_whole(value: Any) -> Received:
    received = Received()
    _gemini_chunk(received, value)
    return received


def _gemini_chunk(received: Received, value: Any) -> None:
    (candidate,) = value["candidates"]
    for part in candidate["content"].get("parts", []):
        if "functionCall" in part:
            call = part["functionCall"]
            received.calls.append((call["id"], call["name"], call["args"]))
        elif part.get("thought"):
            received.reasoning += part["text"]
        else:
            received.text += part["text"]
        if "thoughtSignature" in part:
            received.seals.append(part["thoughtSignature"])
    received.finish = candidate.get("finishReason", received.finish)
    usage = value["usageMetadata"]
    prompt, thoughts = usage["promptTokenCount"], usage.get("thoughtsTokenCount", 0)
    output = usage["candidatesTokenCount"] + thoughts
    assert prompt + output == usage["totalTokenCount"]
    assert received.usage is None or received.usage[1] <= output, "token counts only grow"
    received.usage = (prompt, output, usage.get("cachedContentTokenCount", 0), thoughts)


_WHOLE: dict[str, Callable[[Any], Received]] = {
    "chat": _chat_whole,
    "responses": _responses_whole,
    "messages": _messages_whole,
    "gemini": _gemini_whole,
}
_STREAMED: dict[str, Callable[[Received, Any], None]] = {
    "chat": _chat_chunk,
    "responses": _responses_event,
    "messages": _messages_event,
    "gemini": _gemini_chunk,
}


@dataclass
class Client:
    """Asks a sandbox."""

    session: aiohttp.ClientSession
    sandbox: Sandbox

    def post(self, form: str, model: str, *, stream: bool, headers: Any = None, **extra: Any) -> Any:
        path, body = request(form, model, stream=stream, **extra)
        return self.session.post(self.sandbox.url + path, json=body, headers=headers, allow_redirects=False)

    async def ask(self, form: str, model: str, *, stream: bool, **extra: Any) -> Received:
        async with self.post(form, model, stream=stream, **extra) as response:
            raw = await response.read()
            assert response.status == 200, raw
            assert response.content_type == ("text/event-stream" if stream else "application/json")
            return receive(form, raw, stream=stream)

    async def error(self, form: str, body: Any, *, model: str = "echo", headers: Any = None) -> tuple[int, Any]:
        """Status and body of an answer to this body alone."""
        path, _ = request(form, model, stream=False)
        async with self.session.post(self.sandbox.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()
