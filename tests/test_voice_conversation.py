"""What the voice plugins of examples/ make of a framework's messages; the plugins themselves run in `make voice`."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from examples.voice.voice_plugins.conversation import Turns
from integration_api.client import VOICE_TIMEOUTS, ChatResponse, Client, TextDelta, chat_request, endpoint
from integration_api.v1 import messages_pb2 as msg

Json = dict[str, Any]
_CALLS = (("a", '{"city":"Rome"}'), ("b", '{"city":"Oslo"}'))


@pytest.fixture
async def turns() -> AsyncIterator[Turns]:
    first = chat_request([], model="m", credential=endpoint("http://127.0.0.1:1"), timeouts=VOICE_TIMEOUTS)
    async with Client("127.0.0.1:1") as client:
        yield Turns(client, first)


def answer(text: str = "") -> ChatResponse:
    """An answer that calls two tools, with something signed."""
    calls = [msg.ToolCall(id=name, name="weather", arguments=arguments) for name, arguments in _CALLS]
    message = msg.AssistantMessage(text=text, tool_calls=calls, provider_state=b"signed")
    return ChatResponse(choices=[msg.Choice(message=message)])


def said(text: str) -> Json:
    return {"role": "assistant", "content": text}


def called(name: str) -> Json:
    """As a framework writes a call: with the arguments of its own JSON."""
    function = {"name": "weather", "arguments": '{ "city" : "Rome" }'}
    return {"role": "assistant", "tool_calls": [{"id": name, "type": "function", "function": function}]}


def result(name: str) -> Json:
    return {"role": "tool", "tool_call_id": name, "content": "21 °C"}


async def test_messages_of_every_role(turns: Turns) -> None:
    """Texts, pictures, sounds and calls arrive in the contract's fields, beside what the first request has."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    items: list[Json] = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "text", "text": "Look."}, picture, sound]},
        {**called("x"), "content": None},
        result("x"),
        said("Rome."),
    ]
    weather = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True}}
    request = turns.request(items, [weather], {"model.name": "other"})

    roles = [message.WhichOneof("role") for message in request.messages]
    assert roles == ["system", "developer", "user", "assistant", "tool", "assistant"]
    parts = request.messages[2].user.content
    assert (parts[0].text, parts[1].image.url[:10], parts[2].audio.data) == ("Look.", "data:image", b"\0\0\0")
    assert request.messages[3].assistant.tool_calls[0].arguments == '{ "city" : "Rome" }'
    assert request.messages[4].tool.content[0].text == "21 °C"
    assert (request.tools[0].name, request.tools[0].strict) == ("weather", True)
    assert request.model_parameters["model.name"] == "other"
    assert request.timeouts == turns.first.timeouts
    assert turns.timeout == 31
    assert not turns.first.messages


@pytest.mark.parametrize(
    "items",
    [
        [said("One moment."), called("a"), result("a"), called("b"), result("b")],
        [said("One mo"), called("a"), called("b"), result("a"), result("b")],
        [called("a"), result("a"), called("b"), result("b")],
    ],
)
async def test_an_answer_with_calls_goes_back_as_it_came(turns: Turns, items: list[Json]) -> None:
    """One message, to the letter and with its state, however many a framework makes of it."""
    turns.remember(answer("One moment."))
    request = turns.request(items)

    assert [message.WhichOneof("role") for message in request.messages] == ["assistant", "tool", "tool"]
    assert request.messages[0].assistant == answer("One moment.").choices[0].message


async def test_a_call_without_its_result_is_left_to_the_framework(turns: Turns) -> None:
    """An answer of which a call is missing would be refused by the endpoint."""
    turns.remember(answer())
    request = turns.request([said("Hello."), called("a"), result("a")])

    assert [message.WhichOneof("role") for message in request.messages] == ["assistant", "assistant", "tool"]
    assert request.messages[1].assistant.tool_calls[0].arguments == '{ "city" : "Rome" }'
    assert not request.messages[1].assistant.provider_state


@pytest.mark.parametrize("item", [{"role": "robot"}, {"role": "user", "content": [{"type": "smell"}]}])
async def test_what_the_contract_cannot_hold_is_said(turns: Turns, item: Json) -> None:
    """By its name, and before anything is sent."""
    with pytest.raises(ValueError, match=r"robot|smell"):
        turns.request([item])


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_the_page_cuts_sentences(size: int) -> None:
    """What docs/voice.md shows gives whole sentences, however the text was cut into pieces."""
    page = (Path(__file__).parent.parent / "docs" / "voice.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 -- our own page
    text = "Hello there. It costs 3.5 percent!  Really? Yes…"

    async def pieces() -> AsyncIterator[TextDelta]:
        for start in range(0, len(text), size):
            yield TextDelta(text=text[start : start + size])

    cut = [sentence async for sentence in names["sentences"](pieces())]
    assert cut == ["Hello there.", "It costs 3.5 percent!", "Really?", "Yes…"]
