"""How the contract suite asks through a shape, and what an answer said.

It must not know adapters: what is expected of each shape is written by hand, in `families`.
"""

from typing import Any

from google.protobuf import json_format

from caller.custom_llm.apis import ADAPTERS
from integration_api.sandbox import Sandbox
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.contract.families import anthropic, chat, gemini, responses
from tests.contract.families.family import Family
from tests.edge.reading import Received, listen

Json = Any

SHAPES = tuple(api.value for api in ADAPTERS)
CHAT, COMPATIBLE, RESPONSES, ANTHROPIC, GEMINI = (
    "openai_chat_completions",
    "openai_compatible",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate_content",
)
FAMILIES: dict[str, Family] = {
    CHAT: chat.STRICT,
    COMPATIBLE: chat.COMPATIBLE,
    RESPONSES: responses.RESPONSES,
    ANTHROPIC: anthropic.ANTHROPIC,
    GEMINI: gemini.GEMINI,
}


def envelope(shape: str, model: str, *, streamed: bool) -> dict[str, Json]:
    """The fields that every request of a shape has, whatever is said in it."""
    family = FAMILIES[shape]
    named = {"model": model} if family.names_model else {}
    return {**named, **family.envelope, **(family.streamed if streamed else {})}


def raw_path(shape: str, model: str, *, streamed: bool) -> str:
    """Path and query of a request; `model` must need no escape in a URL."""
    return FAMILIES[shape].path(model, streamed)


def base_url(shape: str, url: str) -> str:
    """The base URL as the documentation of each API gives it."""
    return url + FAMILIES[shape].root


def asking(url: str, shape: str, model: str, **changes: Json) -> pb.ChatRequest:
    """A request through a shape. `parameters` are added to the model's name, the rest replaces top-level fields."""
    parameters = changes.pop("parameters", {})
    credential = {"apiCompatibility": shape, "baseUrl": base_url(shape, url), "headers": {"Authorization": "Bearer k"}}
    return chat_request(
        url,
        model,
        **{
            "credential": {"value": credential},
            "modelParameters": {"model.name": model, **parameters},
            "options": {"maxAttempts": 1},
            **changes,
        },
    )


def folded(received: Received) -> dict[str, Json]:
    """What the deltas of a stream said, put together as a client does."""
    calls: dict[int, dict[str, str]] = {}
    said = {"text": "", "reasoning": "", "refusal": ""}
    for frame in received.frames:
        kind = frame.WhichOneof("event")
        if kind == "tool_call_delta":
            delta = frame.tool_call_delta
            call = calls.setdefault(delta.index, {"id": delta.id, "name": delta.name, "arguments": ""})
            call["arguments"] += delta.arguments_fragment
        elif kind.endswith("_delta"):
            said[kind.removesuffix("_delta")] += getattr(frame, kind).text
    return {**said, "calls": [calls[index] for index in sorted(calls)]}


def message_of(answer: pb.ChatResponse) -> dict[str, Json]:
    """The one message of an answer, in the form of `folded`."""
    assert len(answer.choices) == 1
    message = answer.choices[0].message
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return {"text": message.text, "reasoning": message.reasoning, "refusal": message.refusal, "calls": calls}


async def answer_of(stub: ChatServiceStub, request: pb.ChatRequest, *, streamed: bool) -> pb.ChatResponse:
    """The answer to a request, through Chat or StreamChat; the deltas of a stream must say what its end says."""
    if not streamed:
        answer: pb.ChatResponse = await stub.Chat(request)
        return answer
    received = await listen(stub.StreamChat(request))
    completed = received.completed
    assert folded(received) == message_of(completed)
    return completed


def as_said(answer: pb.ChatResponse) -> dict[str, Json]:
    """The assistant's message as a client sends it back in the next turn: all of it, opaque state included."""
    return {"assistant": json_format.MessageToDict(answer.choices[0].message)}


def sent(sandbox: Sandbox) -> Json:
    """The whole JSON of the last request that left the process."""
    return sandbox.requests[-1].json()
