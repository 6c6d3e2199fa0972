"""One scripted conversation through every shape: rules, a picture, a tool call, its result, structured output."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.shapes import FAMILY, SHAPES, answer_of, as_said, asking, envelope, message_of, sent
from tests.contract.situations import FORMAT, FORMAT_ON_THE_WIRE, PNG, TOOLS, TOOLS_ON_THE_WIRE, user

Json = Any

_BEGIN: list[Json] = [
    {"system": {"text": "Be brief."}},
    {"user": {"content": [{"text": "Weather here?"}, {"image": {"data": PNG, "mediaType": "image/png"}}]}},
]
_FOLLOW_UP = user("As JSON, please")


@dataclass
class Conversation:
    """The answers to the three turns of a conversation, and the body of its last request."""

    answers: list[pb.ChatResponse] = field(default_factory=list)
    body: Json = None

    @property
    def said(self) -> list[Json]:
        """Message, end and counts of each turn."""
        return [
            {
                **message_of(answer),
                "finish": msg.FinishReason.Name(answer.choices[0].finish_reason),
                "tokens": (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens),
            }
            for answer in self.answers
        ]


async def converse(sandbox: Sandbox, stub: ChatServiceStub, shape: str, *, streamed: bool) -> Conversation:
    """Three turns: each answer goes back as it came."""
    held = Conversation()

    async def turn(model: str, messages: list[Json], **changes: Json) -> pb.ChatResponse:
        request = asking(sandbox.url, shape, model, messages=messages, tools=TOOLS, **changes)
        held.answers.append(await answer_of(stub, request, streamed=streamed))
        return held.answers[-1]

    called = await turn("tool-call", _BEGIN)
    call = called.choices[0].message.tool_calls[0]
    result = {"tool": {"toolCallId": call.id, "name": call.name, "content": [{"text": "21 °C"}]}}
    answered = await turn("tool-call", [*_BEGIN, as_said(called), result])
    last = [*_BEGIN, as_said(called), result, as_said(answered), _FOLLOW_UP]
    await turn("structured", last, parameters={"response_format": json.dumps(FORMAT)})
    held.body = sent(sandbox)
    return held


def _last_body(shape: str, call_id: str, *, streamed: bool) -> Json:
    """The last request, written by hand."""
    family, args = FAMILY[shape], '{"city":"Rome"}'
    told = "The tool says: 21 °C"
    picture = f"data:image/png;base64,{PNG}"
    called: Json = {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": args}}
    conversation: dict[str, dict[str, Json]] = {
        "chat": {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Weather here?"},
                        {"type": "image_url", "image_url": {"url": picture}},
                    ],
                },
                {"role": "assistant", "tool_calls": [called]},
                {"role": "tool", "tool_call_id": call_id, "content": "21 °C"},
                {"role": "assistant", "content": told},
                {"role": "user", "content": "As JSON, please"},
            ]
        },
        "responses": {
            "input": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Weather here?"},
                        {"type": "input_image", "image_url": picture, "detail": "auto"},
                    ],
                },
                {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": args},
                {"type": "function_call_output", "call_id": call_id, "output": "21 °C"},
                {
                    "type": "message",
                    "id": "msg_4",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": told, "annotations": []}],
                },
                {"role": "user", "content": "As JSON, please"},
            ]
        },
        "anthropic": {
            "system": "Be brief.",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Weather here?"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": call_id, "name": "weather", "input": {"city": "Rome"}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": call_id, "content": "21 °C"}],
                },
                {"role": "assistant", "content": told},
                {"role": "user", "content": "As JSON, please"},
            ],
        },
        "gemini": {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {
                    "role": "user",
                    "parts": [{"text": "Weather here?"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}],
                },
                {
                    "role": "model",
                    "parts": [{"functionCall": {"id": call_id, "name": "weather", "args": {"city": "Rome"}}}],
                },
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"id": call_id, "name": "weather", "response": {"output": "21 °C"}}}
                    ],
                },
                {"role": "model", "parts": [{"text": told}]},
                {"role": "user", "parts": [{"text": "As JSON, please"}]},
            ],
        },
    }
    return {
        **envelope(shape, "structured", streamed=streamed),
        **conversation[family],
        "tools": TOOLS_ON_THE_WIRE[family],
        **FORMAT_ON_THE_WIRE[family],
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_one_conversation_is_the_same_through_every_shape(
    sandbox: Sandbox, stub: ChatServiceStub, streamed: bool
) -> None:
    """Every turn gives the same message, finish reason and usage through all shapes, and the last request is exact."""
    for shape in SHAPES:
        held = await converse(sandbox, stub, shape, streamed=streamed)
        call = held.said[0]["calls"][0]

        assert held.said == [
            {
                "text": "",
                "reasoning": "",
                "refusal": "",
                "calls": [{"id": call["id"], "name": "weather", "arguments": '{"city":"Rome"}'}],
                "finish": "FINISH_REASON_TOOL_CALLS",
                "tokens": (4, 2, 6),
            },
            {
                "text": "The tool says: 21 °C",
                "reasoning": "",
                "refusal": "",
                "calls": [],
                "finish": "FINISH_REASON_STOP",
                "tokens": (6, 5, 11),
            },
            {
                "text": '{"city":"text","celsius":0}',
                "reasoning": "",
                "refusal": "",
                "calls": [],
                "finish": "FINISH_REASON_STOP",
                "tokens": (14, 1, 15),
            },
        ], shape
        assert held.body == _last_body(shape, call["id"], streamed=streamed), shape
