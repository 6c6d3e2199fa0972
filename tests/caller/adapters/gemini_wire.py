"""Gemini's wire in the words of tests: chunks, streams, and what was heard of them."""

import json
from typing import Any

from caller.credentials import Credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.apis.gemini.model import API
from caller.messages import AssistantMessage, TextPart, UserMessage
from caller.parameters import merge_parameters
from tests.recordings_reader import Received, receive

ADAPTER = ADAPTERS[API]
HI = UserMessage((TextPart("Hi"),))
CALL = ResolvedCall(Credential(API, "http://127.0.0.1:1", {}), merge_parameters({"model.name": "gemini-3-pro"}), (HI,))
STOP: dict[str, Any] = {"finishReason": "STOP"}


def chunk(*parts: Any, index: int = 0, top: dict[str, Any] | None = None, **candidate: Any) -> dict[str, Any]:
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    return {"candidates": [{**content, **candidate, "index": index}], **(top or {})}


def usage(**counts: Any) -> dict[str, Any]:
    return {"usageMetadata": counts}


def sse(*chunks: Any, end: str = "\r\n") -> bytes:
    return "".join(f"data: {json.dumps(one, ensure_ascii=False)}{end}{end}" for one in chunks).encode()


def stream(*chunks: Any) -> Received:
    return receive(ADAPTER, CALL, sse(*chunks))


def good(received: Received) -> Received:
    assert received.error is None, received.error
    return received


def message(received: Received) -> AssistantMessage:
    return good(received).completion.choices[0].message


def calls(received: Received) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in message(received).tool_calls]


def replayed(said: AssistantMessage) -> list[Any]:
    """The parts that the next request sends back for what was said."""
    call = ResolvedCall(CALL.credential, CALL.parameters, (HI, said))
    parts: list[Any] = json.loads(ADAPTER.request(call, False).body)["contents"][1]["parts"]
    return parts


FULL = (
    chunk({"text": ""}, top={**usage(promptTokenCount=9, totalTokenCount=9), "modelVersion": "g-1", "responseId": "r"}),
    chunk({"text": "Plän", "thought": True}, top=usage(promptTokenCount=9, thoughtsTokenCount=20, totalTokenCount=29)),
    chunk({"text": "ned\u2028", "thought": True}),
    chunk({"text": "It 🦊 "}),
    chunk({"text": "is."}),
    chunk(
        {"functionCall": {"id": "n1", "name": "f", "args": {"b": 1, "a": [{}]}}, "thoughtSignature": "c2lnbmF0dXJl"},
        {"functionCall": {"name": "g"}},
    ),
    chunk(
        {"text": ""},
        **STOP,
        top=usage(
            promptTokenCount=9,
            cachedContentTokenCount=4,
            candidatesTokenCount=5,
            thoughtsTokenCount=20,
            totalTokenCount=34,
        ),
    ),
)
FULL_PARTS = [
    {"text": "Plänned\u2028", "thought": True},
    {"text": "It 🦊 is."},
    {"functionCall": {"id": "n1", "name": "f", "args": {"b": 1, "a": [{}]}}, "thoughtSignature": "c2lnbmF0dXJl"},
    {"functionCall": {"name": "g"}},
]
