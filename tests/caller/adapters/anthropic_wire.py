"""Frames of the Anthropic Messages API, built and heard, for its tests."""

import json
from collections.abc import Iterable
from typing import Any

from caller.call import Completion
from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis.anthropic.adapter import ANTHROPIC_MESSAGES
from caller.events import Event
from caller.fold import Folder
from caller.json_types import objects_of
from caller.messages import AssistantMessage
from caller.parameters import Parameters
from caller.provider_state import unseal
from tests.recordings_reader import Received, receive

Wire = dict[str, Any]  # JSON as it stands on the wire
CALL = ResolvedCall(
    Credential(ApiCompatibility.ANTHROPIC_MESSAGES, "http://127.0.0.1:1", {"x-api-key": "k"}), Parameters("c"), ()
)
_MESSAGE: Wire = {"id": "m1", "type": "message", "role": "assistant", "model": "c", "content": []}
STOP: Wire = {"type": "message_stop"}


def sse(*events: Wire) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def start(**more: Any) -> Wire:
    message: Wire = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [],
        "stop_reason": None,
    }
    return {"type": "message_start", "message": message | {"usage": {"input_tokens": 9, "output_tokens": 1}} | more}


def block(index: int, **fields: Any) -> Wire:
    return {"type": "content_block_start", "index": index, "content_block": fields}


def delta(index: int, kind: str, **fields: Any) -> Wire:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind} | fields}


def stop(index: int) -> Wire:
    return {"type": "content_block_stop", "index": index}


def end(reason: str | None = "end_turn", **more: Any) -> Wire:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None} | more,
        "usage": {"output_tokens": 17},
    }


def text(index: int, *pieces: str) -> list[Wire]:
    deltas = [delta(index, "text_delta", text=piece) for piece in pieces]
    return [block(index, type="text", text=""), *deltas, stop(index)]


def received(*events: Wire) -> Received:
    return receive(ANTHROPIC_MESSAGES, CALL, sse(*events))


def answer(*events: Wire) -> Completion:
    result = received(*events)
    assert result.error is None, result.error
    return result.completion


def whole(**fields: Any) -> Completion:
    body: Wire = {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [],
        "stop_reason": "end_turn",
    }
    usage = {"input_tokens": 9, "output_tokens": 17}
    return folded(ANTHROPIC_MESSAGES.decoder(CALL).whole(json.dumps(body | {"usage": usage} | fields).encode()))


def folded(events: Iterable[Event]) -> Completion:
    folder = Folder(1_000_000)
    for event in events:
        folder.feed(event)
    return folder.completion()


def message(completion: Completion) -> AssistantMessage:
    (choice,) = completion.choices
    return choice.message


def replayed(completion: Completion) -> list[Wire]:
    state = unseal("anthropic_messages", message(completion)) or {}
    return objects_of(state.get("content"))


RICH: tuple[Wire, ...] = (
    start(usage={"input_tokens": 9, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 3}),
    {"type": "ping"},
    block(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="Rome… "),
    delta(0, "thinking_delta", thinking="𝄞"),
    delta(0, "signature_delta", signature="Eq/+=="),
    stop(0),
    block(1, type="redacted_thinking", data="gA=="),
    stop(1),
    *text(2, "It ", "is\u2028", "21 °C"),
    block(3, type="tool_use", id="t1", name="f", input={}),
    delta(3, "input_json_delta", partial_json=""),
    delta(3, "input_json_delta", partial_json='{"city":'),
    delta(3, "input_json_delta", partial_json='"Rome"}'),
    stop(3),
    block(4, type="tool_use", id="t2", name="g", input={}),
    delta(4, "input_json_delta", partial_json=""),
    stop(4),
    end("tool_use"),
    STOP,
)
RICH_CONTENT: list[Wire] = [
    {"type": "thinking", "thinking": "Rome… 𝄞", "signature": "Eq/+=="},
    {"type": "redacted_thinking", "data": "gA=="},
    {"type": "text", "text": "It is\u202821 °C"},
    {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Rome"}},
    {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
]
RICH_USAGE: Wire = {
    "input_tokens": 9,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 3,
    "output_tokens": 17,
}
