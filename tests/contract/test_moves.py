"""Conversations that begin on one shape and go on through another: all moves, with what a model must get back unread.

On the shape that made it the state returns byte-exact; every other shape gets the text without it.
"""

import base64
import json
from typing import Any

import pytest

from integration_api.sandbox import Sandbox
from integration_api.sandbox.signature import sign
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.contract.families.family import CALL_THOUGHT, THOUGHT, Origin
from tests.contract.routers import CALL_SIGNATURE, DETAIL_SIGNATURE, Router
from tests.contract.shapes import (
    CHAT,
    COMPATIBLE,
    FAMILIES,
    RESPONSES,
    SHAPES,
    answer_of,
    as_said,
    asking,
    envelope,
    message_of,
    sent,
)
from tests.contract.situations import TOOLS, user

Json = Any


async def begin(sandbox: Sandbox, stub: ChatServiceStub, shape: str, *, call: bool, streamed: bool) -> Origin:
    """The first turn, answered with reasoning state and either text or a tool call."""
    changes: dict[str, Json] = {"tools": TOOLS} if call else {}
    if shape in (CHAT, COMPATIBLE):
        async with Router() as router:
            answer = await answer_of(stub, asking(router.url, shape, "echo", **changes), streamed=streamed)
        seals = (DETAIL_SIGNATURE, CALL_SIGNATURE) if call else (DETAIL_SIGNATURE,)
        return Origin(shape, answer, seals, streamed)
    if shape == RESPONSES:  # encrypted reasoning comes from models that are asked to reason
        changes["parameters"] = {"reasoning_effort": "low"}
    model = "reasoning-tool-call" if call else "reasoning"
    answer = await answer_of(stub, asking(sandbox.url, shape, model, **changes), streamed=streamed)
    return Origin(shape, answer, (sign(CALL_THOUGHT if call else THOUGHT),), streamed)


def _body(origin: Origin, shape: str, model: str, *, call: bool, streamed: bool) -> Json:
    """The whole second request."""
    family = FAMILIES[shape]
    returns = FAMILIES[origin.shape].name == family.name
    (field, (first,)), *_ = family.plain("Hello there").items()
    middle = (family.native if returns else family.rebuilt)(origin, call)
    last = family.result(origin, origin.shape == shape) if call else next(iter(family.plain("Go on").values()))[0]
    # Encrypted reasoning that goes back tells that the model can give more of it.
    encrypted = {"include": ["reasoning.encrypted_content"]} if returns and shape == RESPONSES else {}
    return {
        **envelope(shape, model, streamed=streamed),
        field: [first, *middle, last],
        **({"tools": family.tools} if call else {}),
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
        returns = FAMILIES[start].name == FAMILIES[target].name
        assert [one in raw for one in origin.seals] == [returns] * len(origin.seals)
        others = [family for family in FAMILIES.values() if family.name != FAMILIES[target].name]
        foreign = [name for family in others for name in family.state_names]
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
    names = {shape: family.state_names for shape, family in FAMILIES.items()}

    assert names.keys() == set(SHAPES)
    assert names[CHAT] == names[COMPATIBLE]
    assert all(names.values())
    assert len({*names.values()}) == len(SHAPES) - 1
