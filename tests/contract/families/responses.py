"""The Responses API as it is on the wire."""

from integration_api.v1 import messages_pb2 as msg
from tests.contract.families.family import (
    AREA,
    AS_TEXT,
    CITY,
    FUNCTION,
    NAMED,
    PICTURE,
    PNG,
    ROME,
    SCHEMA,
    SPOKEN,
    TOLD,
    USER_ID,
    ZONE,
    Body,
    Family,
    Json,
    Origin,
    same,
)

_LOGPROBS = {"include": ["message.output_text.logprobs"]}
_FORMAT: Body = {"text": {"format": {"type": "json_schema", "name": "report", "schema": SCHEMA, "strict": True}}}


def _said(message: int, text: str) -> Json:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "type": "message",
        "id": f"msg_{message}",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


def _call(call_id: str, name: str, arguments: str) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def _result(call_id: str, output: str) -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _conversation(call_id: str) -> Body:
    picture = {"type": "input_image", "image_url": PICTURE, "detail": "auto"}
    return {
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Weather here?"}, picture]},
            _call(call_id, "weather", ROME),
            _result(call_id, "21 °C"),
            _said(4, TOLD),
            {"role": "user", "content": "As JSON, please"},
        ]
    }


def _native(origin: Origin, call: bool) -> list[Json]:
    reasoning = {
        "id": f"rs_{origin.answer_id}00",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": origin.thought(call=call)}],
        "encrypted_content": origin.seals[0],
    }
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": SPOKEN}
    said: Json = {"id": f"msg_{origin.answer_id}01", "type": "message", "content": [text], "role": "assistant"}
    if call:
        said = {"id": f"fc_{origin.answer_id}01", **_call(origin.call_id, "weather", ROME)}
    return [reasoning, {**said, "status": "completed"}]


def _rebuilt(origin: Origin, call: bool) -> list[Json]:
    return [_call(origin.call_id, "weather", ROME) if call else _said(1, origin.text)]


RESPONSES = Family(
    name="responses",
    root="/v1",
    path=lambda _, __: "/v1/responses",
    envelope={"store": False},
    streamed={"stream": True},
    tools=[
        {
            "type": "function",
            "name": "weather",
            "description": "The weather now.",
            "parameters": CITY,
            "strict": False,
        },
        {"type": "function", "name": "local_time", "parameters": ZONE, "strict": False},
    ],
    response_format=_FORMAT,
    plain=lambda text: {"input": [{"role": "user", "content": text}]},
    rules={
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Say please."},
            {"role": "user", "content": "Hello there"},
        ]
    },
    images={
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
                    {"type": "input_image", "image_url": "https://example.com/a.jpg", "detail": "auto"},
                    {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
                ],
            }
        ]
    },
    results={
        "input": [
            {"role": "user", "content": "Weather and time?"},
            _said(1, "I look."),
            _call("c1", "weather", ROME),
            _call("c2", "local_time", AREA),
            _result("c1", "21 °C"),
            _result("c2", "Error: no clock"),
        ]
    },
    conversation=_conversation,
    parameters={
        **same({"temperature": 0.5, "top_p": 0.25, "tool_choice": "required", "parallel_tool_calls": False}),
        **same({"user": "u-1", "metadata": USER_ID, "store": True, "service_tier": "auto"}),
        "max_tokens": {"max_output_tokens": 64},
        "max_completion_tokens": {"max_output_tokens": 65},
        "max_output_tokens": {"max_output_tokens": 66},
        "response_format": _FORMAT,
        "reasoning_effort": {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]},
        "verbosity": {"text": {"verbosity": "low"}},
        "logprobs": _LOGPROBS,
        "top_logprobs": {"top_logprobs": 2, **_LOGPROBS},
    },
    tool_choice={
        **{word: {"tool_choice": word} for word in ("auto", "required", "none")},
        NAMED: {"tool_choice": {"type": "function", "name": "weather"}},
    },
    formats={kind: {"text": {"format": {"type": kind}}} for kind in ("text", "json_object")},
    ends={
        msg.FINISH_REASON_STOP: "completed",
        msg.FINISH_REASON_LENGTH: "incomplete",
        msg.FINISH_REASON_TOOL_CALLS: "completed",
        msg.FINISH_REASON_CONTENT_FILTER: "incomplete",
    },
    refusal=("", "I'm sorry, I cannot help with that."),
    called={"status": "completed", "output": [{"type": "function_call", "call_id": "c1", **FUNCTION}]},
    arguments=AS_TEXT,
    media=[
        {"file": {"data": PNG, "mediaType": "application/pdf", "filename": "a.pdf"}},
        {"file": {"url": "https://example.com/a.pdf"}},
        {"file": {"fileId": "file-1"}},
        {"image": {"url": "https://example.com/a.png", "detail": "high"}},
    ],
    state_names=("encrypted_content",),
    native=_native,
    rebuilt=_rebuilt,
    result=lambda origin, _: _result(origin.call_id, "21 °C"),
    whole={
        "id": "r",
        "status": "completed",
        "output": [{"type": "message", "id": "m", "content": [{"type": "output_text", "text": "fine"}]}],
    },
    first={"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "one "},
)
