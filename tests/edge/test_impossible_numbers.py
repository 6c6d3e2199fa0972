"""Numbers that no endpoint means are the endpoint's nonsense: they are left out, and the answer is a good one."""

import asyncio
import json
from typing import Any

import pytest

from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.loopback import ScriptedServer, answer

# As many as 32 bits can hold: a sum of two of them is more than our contract's field.
_MANY = 2**32 - 1
_ENDLESS = "1" + 400 * "0"
_CHAT = {"choices": [{"index": 0, "message": {"content": "fine"}, "finish_reason": "stop"}]}
_MESSAGE = {"content": [{"type": "text", "text": "fine"}], "stop_reason": "end_turn"}
_GEMINI: dict[str, Any] = {"candidates": [{"content": {"parts": [{"text": "fine"}]}, "finishReason": "STOP"}]}
_CHOSEN = {"chosenCandidates": [{"token": "fine", "logProbability": "ENDLESS"}]}
# By shape and what is too large, the answer of the endpoint.
ANSWERS: dict[tuple[str, str], dict[str, Any]] = {
    ("openai_compatible", "counts"): {**_CHAT, "usage": {"prompt_tokens": _MANY, "completion_tokens": _MANY}},
    ("openai_compatible", "cached"): {
        **_CHAT,
        "usage": {"input_tokens": _MANY, "cache_read_input_tokens": _MANY, "output_tokens": 1},
    },
    ("anthropic_messages", "counts"): {**_MESSAGE, "usage": {"input_tokens": _MANY, "output_tokens": _MANY}},
    ("gemini_generate_content", "counts"): {
        **_GEMINI,
        "usageMetadata": {"promptTokenCount": _MANY, "toolUsePromptTokenCount": _MANY, "candidatesTokenCount": _MANY},
    },
    ("gemini_generate_content", "logprob"): {"candidates": [{**_GEMINI["candidates"][0], "logprobsResult": _CHOSEN}]},
}


@pytest.mark.parametrize(("shape", "what"), ANSWERS)
async def test_numbers_too_large_are_left_out(stub: ChatServiceStub, shape: str, what: str) -> None:
    """They are no fault of the service, and no reason to lose an answer."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await endpoint.request(reader)
        writer.write(answer(json.dumps(ANSWERS[shape, what]).replace('"ENDLESS"', _ENDLESS)))
        await writer.drain()

    async with ScriptedServer(talk) as endpoint:
        credential = {"apiCompatibility": shape, "baseUrl": f"{endpoint.url}/v1"}
        said = await stub.Chat(chat_request(endpoint.url, "m", credential={"value": credential}))

    (choice,) = said.choices
    assert choice.message.text == "fine"
    assert not said.usage.total_tokens
    assert [token.logprob for token in choice.logprobs] == ([-9999.0] if what == "logprob" else [])
