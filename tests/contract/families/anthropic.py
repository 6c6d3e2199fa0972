"""Anthropic's Messages as they are on the wire."""

from integration_api.v1 import messages_pb2 as msg
from tests.contract.families.family import (
    AS_OBJECT,
    CITY,
    CITY_OF,
    NAMED,
    PNG,
    SCHEMA,
    SPOKEN,
    STOPS,
    TOLD,
    USER_ID,
    VALUE,
    ZONE,
    ZONE_OF,
    Body,
    Family,
    Json,
    Origin,
    same,
)

_PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
_FORMAT: Body = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}


def _call(call_id: str, name: str, given: Json) -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def _result(call_id: str) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "21 °C"}


def _conversation(call_id: str) -> Body:
    return {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather here?"}, _PICTURE]},
            {"role": "assistant", "content": [_call(call_id, "weather", CITY_OF)]},
            {"role": "user", "content": [_result(call_id)]},
            {"role": "assistant", "content": TOLD},
            {"role": "user", "content": "As JSON, please"},
        ],
    }


def _native(origin: Origin, call: bool) -> list[Json]:
    said = _call(origin.call_id, "weather", CITY_OF) if call else {"type": "text", "text": SPOKEN}
    thinking = {"type": "thinking", "thinking": origin.thought(call=call), "signature": origin.seals[0]}
    return [{"role": "assistant", "content": [thinking, said]}]


def _rebuilt(origin: Origin, call: bool) -> list[Json]:
    content: Json = [_call(origin.call_id, "weather", CITY_OF)] if call else origin.text
    return [{"role": "assistant", "content": content}]


ANTHROPIC = Family(
    name="anthropic",
    root="",
    path=lambda _, __: "/v1/messages",
    headers={"anthropic-version": "2023-06-01"},
    envelope={"max_tokens": 4096},
    streamed={"stream": True},
    tools=[
        {"name": "weather", "description": "The weather now.", "input_schema": CITY},
        {"name": "local_time", "input_schema": ZONE},
    ],
    response_format=_FORMAT,
    plain=lambda text: {"messages": [{"role": "user", "content": text}]},
    rules={
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Say please."}],
        "messages": [{"role": "user", "content": "Hello there"}],
    },
    images={
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    _PICTURE,
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
                    _PICTURE,
                ],
            }
        ]
    },
    results={
        "messages": [
            {"role": "user", "content": "Weather and time?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    _call("c1", "weather", CITY_OF),
                    _call("c2", "local_time", ZONE_OF),
                ],
            },
            {
                "role": "user",
                "content": [
                    _result("c1"),
                    {"type": "tool_result", "tool_use_id": "c2", "content": "no clock", "is_error": True},
                ],
            },
        ]
    },
    failure_has_a_field=True,
    conversation=_conversation,
    parameters={
        **same({"temperature": 0.5, "top_p": 0.25, "top_k": 20, "max_tokens": 64, "metadata": USER_ID}),
        **same({"service_tier": "auto"}),
        "max_completion_tokens": {"max_tokens": 65},
        "max_output_tokens": {"max_tokens": 66},
        "stop": {"stop_sequences": STOPS},
        "tool_choice": {"tool_choice": {"type": "any"}},
        "parallel_tool_calls": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "response_format": _FORMAT,
        "reasoning_effort": {"output_config": {"effort": "low"}},
        "user": {"metadata": {"user_id": "u-1"}},
    },
    tool_choice={
        "auto": {"tool_choice": {"type": "auto"}},
        "required": {"tool_choice": {"type": "any"}},
        "none": {"tool_choice": {"type": "none"}},
        NAMED: {"tool_choice": {"type": "tool", "name": "weather"}},
    },
    formats={"text": {}, "json_object": None},
    ends={
        msg.FINISH_REASON_STOP: "end_turn",
        msg.FINISH_REASON_LENGTH: "max_tokens",
        msg.FINISH_REASON_TOOL_CALLS: "tool_use",
        msg.FINISH_REASON_CONTENT_FILTER: "refusal",
    },
    refusal=("I'm sorry, I cannot help with that.", ""),
    refusal_is_filter=True,
    called={"type": "message", "content": [_call("c1", "weather", VALUE)], "stop_reason": "tool_use"},
    arguments=AS_OBJECT,
    media=[
        {"file": {"data": PNG, "mediaType": "application/pdf", "filename": "a.pdf"}},
        {"file": {"data": "SGk=", "mediaType": "text/plain"}},
        {"file": {"url": "https://example.com/a.pdf"}},
    ],
    state_names=('"thinking"',),
    native=_native,
    rebuilt=_rebuilt,
    result=lambda origin, _: {"role": "user", "content": [_result(origin.call_id)]},
    whole={
        "id": "a",
        "type": "message",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "fine"}],
    },
    first={"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one "}},
)
