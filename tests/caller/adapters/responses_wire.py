"""A Responses endpoint as bytes: whole answers, and the stream that OpenAI would send of the same answer."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from caller.call import Completion
from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis.responses.adapter import OPENAI_RESPONSES
from caller.events import Event
from caller.fold import Folder
from caller.json_types import JsonValue
from caller.messages import Message, TextPart, ToolDefinition, UserMessage
from caller.parameters import merge_parameters
from tests.recordings_reader import Received, receive

HELLO = (UserMessage((TextPart("hello"),)),)


def a_call(
    parameters: Mapping[str, JsonValue] | None = None,
    messages: tuple[Message, ...] = HELLO,
    tools: tuple[ToolDefinition, ...] = (),
    *,
    base_url: str = "http://127.0.0.1:1/v1",
    omitted: frozenset[str] = frozenset(),
) -> ResolvedCall:
    """A call of the model `m`."""
    return ResolvedCall(
        credential=Credential(ApiCompatibility.OPENAI_RESPONSES, base_url, {"Authorization": "Bearer k"}),
        parameters=merge_parameters({"model.name": "m", **(parameters or {})}),
        messages=messages,
        tools=tools,
        demands=dict.fromkeys(omitted, ""),
    )


def sent(call: ResolvedCall, *, stream: bool = False) -> dict[str, Any]:
    """The whole JSON that leaves the process for a call."""
    body: dict[str, Any] = json.loads(OPENAI_RESPONSES.request(call, stream).body)
    return body


def message(*parts: dict[str, Any], item_id: str = "msg_1", **more: Any) -> dict[str, Any]:
    """A message item."""
    return {
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [*parts],
        **more,
    }


def text(said: str, **more: Any) -> dict[str, Any]:
    """A text part."""
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": [], **more}


def function_call(name: str, arguments: str, call_id: str, **more: Any) -> dict[str, Any]:
    """A function call item."""
    return {
        "id": f"fc_{call_id}",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **more,
    }


def reasoning(*summary: str, raw: tuple[str, ...] = (), item_id: str = "rs_1", **more: Any) -> dict[str, Any]:
    """A reasoning item."""
    item: dict[str, Any] = {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": piece} for piece in summary],
        **more,
    }
    return item | ({"content": [{"type": "reasoning_text", "text": piece} for piece in raw]} if raw else {})


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A whole answer."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "m-1",
        "output": [*output],
        "temperature": 1.0,
        "tools": [],
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 17,
        },
        **more,
    }


def events_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The events in which OpenAI streams an answer."""
    early = {**answer, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": early},
        {"type": "response.in_progress", "response": early},
    ]
    for index, item in enumerate(answer["output"]):
        place = {"output_index": index, "item_id": item.get("id", "")}
        events += [{**place, **event} for event in _item_events(item)]
    events.append({"type": f"response.{answer['status']}", "response": answer})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _item_events(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    hollow: dict[str, dict[str, Any]] = {
        "message": {"content": [], "status": "in_progress"},
        "reasoning": {"summary": [], "encrypted_content": "unfinished"} if "encrypted_content" in item else {},
        "function_call": {"arguments": "", "status": "in_progress"},
        "custom_tool_call": {"input": "", "status": "in_progress"},
    }
    yield {"type": "response.output_item.added", "item": {**item, **hollow.get(item["type"], {})}}
    for at, part in enumerate(item.get("summary", ())):
        place = {"summary_index": at}
        yield {"type": "response.reasoning_summary_part.added", "part": {**part, "text": ""}, **place}
        yield from _pieces("response.reasoning_summary_text", "text", part["text"], place)
        yield {"type": "response.reasoning_summary_part.done", "part": part, **place}
    names = {
        "output_text": ("output_text", "text"),
        "refusal": ("refusal", "refusal"),
        "reasoning_text": ("reasoning_text", "text"),
    }
    for at, part in enumerate(item.get("content", ())):
        place = {"content_index": at}
        if part["type"] in names:
            name, field = names[part["type"]]
            yield {"type": "response.content_part.added", "part": {**part, field: ""}, **place}
            yield from _pieces(f"response.{name}", field, part[field], place, part.get("logprobs"))
        yield {"type": "response.content_part.done", "part": part, **place}
    if "arguments" in item:
        yield from _pieces("response.function_call_arguments", "arguments", item["arguments"], {})
    if "input" in item:
        yield from _pieces("response.custom_tool_call_input", "input", item["input"], {})
    yield {"type": "response.output_item.done", "item": item}


def _pieces(
    name: str, field: str, whole: str, place: dict[str, Any], logprobs: list[Any] | None = None
) -> Iterator[dict[str, Any]]:
    for start in range(0, len(whole), 5):
        piece = {"type": f"{name}.delta", "delta": whole[start : start + 5], "obfuscation": "x1y2", **place}
        yield piece | ({"logprobs": logprobs if start == 0 else []} if logprobs is not None else {})
    yield {"type": f"{name}.done", field: whole, **place} | ({"logprobs": logprobs} if logprobs is not None else {})


def sse(events: list[dict[str, Any]], *, named: bool = True) -> bytes:
    """Events as bytes, with or without `event:` lines."""
    lines = []
    for event in events:
        name = f"event: {event['type']}\n" if named and "type" in event else ""
        lines.append(f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n")
    return "".join(lines).encode()


def streamed(events: list[dict[str, Any]], call: ResolvedCall | None = None, *, tail: bytes = b"") -> Received:
    """What is heard of a stream."""
    return receive(OPENAI_RESPONSES, call or a_call(), sse(events) + tail)


def whole(answer: dict[str, Any], call: ResolvedCall | None = None) -> Completion:
    """The fold of a whole answer."""
    return folded(OPENAI_RESPONSES.decoder(call or a_call()).whole(json.dumps(answer).encode()))


def folded(events: list[Event] | Any) -> Completion:
    """The fold of events."""
    folder = Folder(1_000_000)
    for event in events:
        folder.feed(event)
    return folder.completion()
