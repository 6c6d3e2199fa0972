"""One scripted conversation through every shape: rules, a picture, a tool call, its result, structured output."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.families.family import FORMAT, PNG
from tests.contract.shapes import FAMILIES, SHAPES, answer_of, as_said, asking, envelope, message_of, sent
from tests.contract.situations import TOOLS, user

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
    family = FAMILIES[shape]
    return {
        **envelope(shape, "structured", streamed=streamed),
        **family.conversation(call_id),
        "tools": family.tools,
        **family.response_format,
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
