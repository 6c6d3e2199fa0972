"""Chat Completions, in both spellings, as it is on the wire."""

from dataclasses import replace

from integration_api.v1 import messages_pb2 as msg
from tests.contract.families.family import (
    AREA,
    AS_TEXT,
    BIAS,
    CITY,
    FORMAT,
    FUNCTION,
    NAMED,
    PICTURE,
    PNG,
    ROME,
    STOPS,
    TOLD,
    USER_ID,
    ZONE,
    Body,
    Family,
    Json,
    Origin,
    same,
)
from tests.contract.routers import CALL_ID, DETAILS, EXTRA, TEXT

_HELLO: Json = {"role": "user", "content": "Hello there"}
_BRIEF: Json = {"role": "system", "content": "Be brief."}


def _call(call_id: str, name: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _conversation(call_id: str) -> Body:
    picture = [{"type": "text", "text": "Weather here?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    return {
        "messages": [
            _BRIEF,
            {"role": "user", "content": picture},
            {"role": "assistant", "tool_calls": [_call(call_id, "weather", ROME)]},
            {"role": "tool", "tool_call_id": call_id, "content": "21 °C"},
            {"role": "assistant", "content": TOLD},
            {"role": "user", "content": "As JSON, please"},
        ]
    }


def _native(origin: Origin, call: bool) -> list[Json]:
    del origin
    said: Json = {"content": TEXT}
    if call:
        said = {"tool_calls": [{**_call(CALL_ID, "weather", ROME), "extra_content": EXTRA}]}
    return [{"role": "assistant", **said, "reasoning_details": DETAILS}]


def _rebuilt(origin: Origin, call: bool) -> list[Json]:
    if not call:
        return [{"role": "assistant", "content": origin.text}]
    return [{"role": "assistant", "tool_calls": [_call(origin.call_id, "weather", ROME)]}]


COMPATIBLE = Family(
    name="chat",
    root="/v1",
    path=lambda _, __: "/v1/chat/completions",
    streamed={"stream": True, "stream_options": {"include_usage": True}},
    tools=[
        {"type": "function", "function": {"name": "weather", "description": "The weather now.", "parameters": CITY}},
        {"type": "function", "function": {"name": "local_time", "parameters": ZONE}},
    ],
    response_format={"response_format": FORMAT},
    plain=lambda text: {"messages": [{"role": "user", "content": text}]},
    rules={"messages": [_BRIEF, {"role": "system", "content": "Say please."}, _HELLO]},
    images={
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                ],
            }
        ]
    },
    results={
        "messages": [
            {"role": "user", "content": "Weather and time?"},
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [_call("c1", "weather", ROME), _call("c2", "local_time", AREA)],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "21 °C"},
            {"role": "tool", "tool_call_id": "c2", "content": "Error: no clock"},
        ]
    },
    conversation=_conversation,
    parameters={
        **same({"temperature": 0.5, "top_p": 0.25, "top_k": 20, "max_tokens": 64, "max_completion_tokens": 65}),
        **same({"frequency_penalty": 0.5, "presence_penalty": -0.5, "seed": 7, "n": 1, "stop": STOPS}),
        **same({"tool_choice": "required", "parallel_tool_calls": False, "response_format": FORMAT}),
        **same({"reasoning_effort": "low", "verbosity": "low", "user": "u-1", "metadata": USER_ID, "logprobs": True}),
        **same({"logit_bias": BIAS, "store": True, "service_tier": "auto"}),
        "top_logprobs": {"top_logprobs": 2, "logprobs": True},
    },
    tool_choice={
        **{word: {"tool_choice": word} for word in ("auto", "required", "none")},
        NAMED: {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
    },
    formats={kind: {"response_format": {"type": kind}} for kind in ("text", "json_object")},
    ends={
        msg.FINISH_REASON_STOP: "stop",
        msg.FINISH_REASON_LENGTH: "length",
        msg.FINISH_REASON_TOOL_CALLS: "tool_calls",
        msg.FINISH_REASON_CONTENT_FILTER: "content_filter",
    },
    refusal=("", "I'm sorry, I cannot help with that."),
    called={
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}],
                },
            }
        ]
    },
    arguments=AS_TEXT,
    media=[
        {"audio": {"data": PNG, "format": "wav"}},
        {"file": {"data": PNG, "mediaType": "application/pdf", "filename": "a.pdf"}},
        {"file": {"fileId": "file-1"}},
        {"image": {"url": "https://example.com/a.png", "detail": "low"}},
    ],
    state_names=("reasoning_details", "extra_content", "thought_signature"),
    native=_native,
    rebuilt=_rebuilt,
    result=lambda origin, _: {"role": "tool", "tool_call_id": origin.call_id, "content": "21 °C"},
    whole={"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "fine"}}]},
    first={"id": "c", "choices": [{"index": 0, "delta": {"content": "one "}}]},
)
STRICT = replace(COMPATIBLE, rules={"messages": [_BRIEF, {"role": "developer", "content": "Say please."}, _HELLO]})
