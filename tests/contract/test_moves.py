"""Conversations that begin on one shape and go on through another: all moves, with what a model must get back unread.

On the shape that made it the state returns byte-exact; every other shape gets the text without it.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

import pytest

from integration_api.sandbox import Sandbox
from integration_api.sandbox.signature import sign
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.routers import CALL_ID, CALL_SIGNATURE, DETAIL_SIGNATURE, DETAILS, EXTRA, TEXT, Router
from tests.contract.shapes import (
    ANTHROPIC,
    CHAT,
    COMPATIBLE,
    FAMILY,
    GEMINI,
    RESPONSES,
    SHAPES,
    answer_of,
    as_said,
    asking,
    envelope,
    message_of,
    sent,
)
from tests.contract.situations import TOOLS, TOOLS_ON_THE_WIRE, plain, user

Json = Any

# What each shape calls its state; none of these names may stand in a request through a shape that has another.
_NAMES = {
    "chat": ("reasoning_details", "extra_content", "thought_signature"),
    "responses": ("encrypted_content",),
    "anthropic": ('"thinking"',),
    "gemini": ("thoughtSignature", '"thought"'),
}
_THOUGHT = "The user wants to hear the same words again."
_CALL_THOUGHT = "I must look at the weather first."
_ARGUMENTS = '{"city":"Rome"}'
_SPOKEN = "Hello there word3"


@dataclass(frozen=True)
class Origin:
    """The first answer of a conversation, as it came through a shape, and the strings that are its state."""

    shape: str
    answer: pb.ChatResponse
    seals: tuple[str, ...]
    streamed: bool

    @property
    def text(self) -> str:
        return self.answer.choices[0].message.text

    @property
    def call_id(self) -> str:
        return self.answer.choices[0].message.tool_calls[0].id

    @property
    def answer_id(self) -> str:
        return self.answer.response_id.removeprefix("resp_")


async def begin(sandbox: Sandbox, stub: ChatServiceStub, shape: str, *, call: bool, streamed: bool) -> Origin:
    """The first turn, answered with reasoning state and either text or a tool call."""
    changes: dict[str, Json] = {"tools": TOOLS} if call else {}
    if FAMILY[shape] == "chat":
        async with Router() as router:
            answer = await answer_of(stub, asking(router.url, shape, "echo", **changes), streamed=streamed)
        seals = (DETAIL_SIGNATURE, CALL_SIGNATURE) if call else (DETAIL_SIGNATURE,)
        return Origin(shape, answer, seals, streamed)
    if shape == RESPONSES:  # encrypted reasoning comes from models that are asked to reason
        changes["parameters"] = {"reasoning_effort": "low"}
    model = "reasoning-tool-call" if call else "reasoning"
    answer = await answer_of(stub, asking(sandbox.url, shape, model, **changes), streamed=streamed)
    return Origin(shape, answer, (sign(_CALL_THOUGHT if call else _THOUGHT),), streamed)


def _native(origin: Origin, shape: str, *, call: bool) -> list[Json]:
    """The first answer in its native form, written by hand: messages, items, blocks' message or content."""
    thought, (first, *_) = (_CALL_THOUGHT if call else _THOUGHT), origin.seals
    arguments = {"city": "Rome"}
    match FAMILY[shape]:
        case "chat":
            function = {"name": "weather", "arguments": _ARGUMENTS}
            said: Json = {"content": TEXT}
            if call:
                said = {
                    "tool_calls": [{"id": CALL_ID, "type": "function", "function": function, "extra_content": EXTRA}]
                }
            return [{"role": "assistant", **said, "reasoning_details": DETAILS}]
        case "responses":
            reasoning = {
                "id": f"rs_{origin.answer_id}00",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": thought}],
                "encrypted_content": first,
            }
            text = {"type": "output_text", "annotations": [], "logprobs": [], "text": _SPOKEN}
            said = {"id": f"msg_{origin.answer_id}01", "type": "message", "content": [text], "role": "assistant"}
            if call:
                said = {
                    "id": f"fc_{origin.answer_id}01",
                    "type": "function_call",
                    "arguments": _ARGUMENTS,
                    "call_id": origin.call_id,
                    "name": "weather",
                }
            return [reasoning, {**said, "status": "completed"}]
        case "anthropic":
            said = {"type": "text", "text": _SPOKEN}
            if call:
                said = {"type": "tool_use", "id": origin.call_id, "name": "weather", "input": arguments}
            return [
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": thought, "signature": first}, said],
                }
            ]
        case _:
            return [{"role": "model", "parts": _native_parts(origin, thought, first, call=call)}]


def _native_parts(origin: Origin, thought: str, signature: str, *, call: bool) -> list[Json]:
    """Gemini signs the last, empty part of a streamed text, and the text itself of a whole answer."""
    parts: list[Json] = [{"text": thought, "thought": True}]
    if call:
        function = {"id": origin.call_id, "name": "weather", "args": {"city": "Rome"}}
        return [*parts, {"functionCall": function, "thoughtSignature": signature}]
    if origin.streamed:
        return [*parts, {"text": _SPOKEN}, {"text": "", "thoughtSignature": signature}]
    return [*parts, {"text": _SPOKEN, "thoughtSignature": signature}]


def _rebuilt(origin: Origin, shape: str, *, call: bool) -> list[Json]:
    """The first answer as a shape says it that knows only its text and its call."""
    arguments = {"city": "Rome"}
    match FAMILY[shape]:
        case "chat":
            if not call:
                return [{"role": "assistant", "content": origin.text}]
            function = {"name": "weather", "arguments": _ARGUMENTS}
            return [
                {"role": "assistant", "tool_calls": [{"id": origin.call_id, "type": "function", "function": function}]}
            ]
        case "responses":
            if call:
                return [
                    {
                        "type": "function_call",
                        "call_id": origin.call_id,
                        "name": "weather",
                        "arguments": _ARGUMENTS,
                    }
                ]
            content = [{"type": "output_text", "text": origin.text, "annotations": []}]
            return [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}]
        case "anthropic":
            if not call:
                return [{"role": "assistant", "content": origin.text}]
            block = {"type": "tool_use", "id": origin.call_id, "name": "weather", "input": arguments}
            return [{"role": "assistant", "content": [block]}]
        case _:
            if not call:
                return [{"role": "model", "parts": [{"text": origin.text}]}]
            return [{"role": "model", "parts": [{"functionCall": {"name": "weather", "args": arguments}}]}]


def _last(origin: Origin, shape: str, *, call: bool) -> Json:
    """The last message of the second turn: the tool's result, or more of the user's words."""
    if not call:
        return next(iter(plain("Go on")[FAMILY[shape]].values()))[0]
    match FAMILY[shape]:
        case "chat":
            return {"role": "tool", "tool_call_id": origin.call_id, "content": "21 °C"}
        case "responses":
            return {"type": "function_call_output", "call_id": origin.call_id, "output": "21 °C"}
        case "anthropic":
            result = {"type": "tool_result", "tool_use_id": origin.call_id, "content": "21 °C"}
            return {"role": "user", "content": [result]}
        case _:
            named = {"id": origin.call_id} if origin.shape == shape else {}
            response = {**named, "name": "weather", "response": {"output": "21 °C"}}
            return {"role": "user", "parts": [{"functionResponse": response}]}


def _body(origin: Origin, shape: str, model: str, *, call: bool, streamed: bool) -> Json:
    """The whole second request."""
    family = FAMILY[shape]
    returns = FAMILY[origin.shape] == family
    (field, (first,)), *_ = plain("Hello there")[family].items()
    middle = (_native if returns else _rebuilt)(origin, shape, call=call)
    # Encrypted reasoning that goes back tells that the model can give more of it.
    encrypted = {"include": ["reasoning.encrypted_content"]} if returns and family == "responses" else {}
    return {
        **envelope(shape, model, streamed=streamed),
        field: [first, *middle, _last(origin, shape, call=call)],
        **({"tools": TOOLS_ON_THE_WIRE[family]} if call else {}),
        **encrypted,
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("target", SHAPES)
@pytest.mark.parametrize("start", SHAPES)
async def test_a_move(sandbox: Sandbox, stub: ChatServiceStub, start: str, target: str, streamed: bool) -> None:
    """State returns to the shape that made it and nowhere else; text, calls and results always go along."""
    for call in (False, True):
        origin = await begin(sandbox, stub, start, call=call, streamed=streamed)
        result = {"tool": {"toolCallId": origin.call_id, "content": [{"text": "21 °C"}]}} if call else user("Go on")
        # This script wants its state back: the sandbox, too, checks that it is the same.
        model = "reasoning-tool-call" if call and start == target else "tool-call" if call else "echo"
        request = asking(
            sandbox.url,
            target,
            model,
            messages=[user("Hello there"), as_said(origin.answer), result],
            tools=TOOLS if call else [],
        )
        assert origin.answer.choices[0].message.provider_state
        answer = await answer_of(stub, request, streamed=streamed)
        raw = sandbox.requests[-1].body.decode()

        assert message_of(answer)["text"] == ("The tool says: 21 °C" if call else "Go on")
        assert sent(sandbox) == _body(origin, target, model, call=call, streamed=streamed)
        returns = FAMILY[start] == FAMILY[target]
        assert [one in raw for one in origin.seals] == [returns] * len(origin.seals)
        foreign = [name for family, names in _NAMES.items() if family != FAMILY[target] for name in names]
        assert [name for name in foreign if name in raw] == []


def _changed(said: Json) -> dict[str, Json]:
    """An answer that is not the one that came: its text edited, or its state not of this shape, or no state at all."""
    state = base64.b64decode(said["assistant"]["providerState"])
    renamed = {**json.loads(state), "shape": "another_shape"}
    texts = {"edited": {"text": "Edited."}}
    states = {"renamed": json.dumps(renamed).encode(), "cut": state[:-1], "not ours": b"\xff\x00", "a list": b"[1]"}
    texts |= {name: {"providerState": base64.b64encode(bent).decode()} for name, bent in states.items()}
    return {name: {"assistant": {**said["assistant"], **change}} for name, change in texts.items()}


@pytest.mark.parametrize("shape", SHAPES)
async def test_state_of_another_message_stays_behind(sandbox: Sandbox, stub: ChatServiceStub, shape: str) -> None:
    """An edited text does not carry the signature of the text before it, and state that is not whole is no state."""
    origin = await begin(sandbox, stub, shape, call=False, streamed=False)
    for name, said in _changed(as_said(origin.answer)).items():
        request = asking(sandbox.url, shape, "echo", messages=[user("Hello there"), said, user("Go on")])
        await answer_of(stub, request, streamed=False)
        raw = sandbox.requests[-1].body.decode()

        assert said["assistant"]["text"] in raw, name
        assert [one in raw for one in origin.seals] == [False] * len(origin.seals), name


def test_the_moves_cover_every_state() -> None:
    """The two spellings of Chat Completions share their state; every other shape has its own."""
    assert {FAMILY[shape] for shape in (CHAT, COMPATIBLE)} == {"chat"}
    assert len({FAMILY[shape] for shape in (CHAT, RESPONSES, ANTHROPIC, GEMINI)}) == len(_NAMES)
    assert {FAMILY[shape] for shape in SHAPES} == _NAMES.keys()
