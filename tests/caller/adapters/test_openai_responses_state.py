"""Provider state of `openai_responses`: what a model must get back unread, goes back as it came, or not at all."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from caller.json_types import JsonValue
from caller.messages import AssistantMessage, TextPart, ToolMessage, UserMessage
from caller.provider_state import seal
from tests.caller.adapters.responses_wire import (
    HELLO,
    a_call,
    events_of,
    function_call,
    message,
    reasoning,
    response,
    sent,
    streamed,
    text,
    whole,
)

SEALED = 'gAAAAABo+/é\u2028\\" =='
THINKING = [
    reasoning("Hm.", encrypted_content=SEALED),
    function_call("weather", '{"city":  "Rome"}', "c1"),
    reasoning(encrypted_content=SEALED + "2", item_id="rs_2"),
    message(text("Let me see."), phase="commentary"),
    function_call("weather", '{"city": "Oslo"}', "c2"),
]
CUSTOM = {
    "id": "ctc_1",
    "type": "custom_tool_call",
    "status": "completed",
    "call_id": "x1",
    "name": "sql",
    "input": "select",
}


def answered(*output: dict[str, Any], stored: bool = False, **more: Any) -> AssistantMessage:
    """The assistant message that both ways of reading an answer agree on."""
    call = a_call({"store": True} if stored else {})
    answer = response(*output, **more)
    said = whole(answer, call).choices[0].message
    assert streamed(events_of(answer), call).completion.choices[0].message == said
    return said


def replayed(said: AssistantMessage, **parameters: JsonValue) -> dict[str, Any]:
    """The next request of the conversation."""
    return sent(a_call(parameters, messages=(*HELLO, said, UserMessage((TextPart("go on"),)))))


def test_native_items_go_back_as_they_came() -> None:
    """Reasoning, calls and text return byte-exact and in their order, and more encrypted reasoning is asked for."""
    said = answered(*THINKING)
    assert said.provider_state
    body = replayed(said)
    assert body["input"][1:-1] == THINKING
    assert json.dumps(body["input"][1:-1]) == json.dumps(THINKING)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert "include" not in replayed(said, store=True)


def test_the_finished_item_is_the_one_that_returns() -> None:
    """Encrypted content is final in `output_item.done` only, and the end may repeat no items at all."""
    events = events_of(response(*THINKING))
    assert '"encrypted_content": "unfinished"' in json.dumps(events[2])
    events[-1]["response"]["output"] = []
    said = streamed(events).completion.choices[0].message
    assert replayed(said)["input"][1:-1] == THINKING


def test_items_that_only_the_end_brings_return_in_their_place() -> None:
    """A stream without finished items takes them from the final response."""
    events = [event for event in events_of(response(*THINKING)) if not event["type"].endswith("item.done")]
    said = streamed(events).completion.choices[0].message
    assert replayed(said)["input"][1:-1] == THINKING


def test_an_item_that_was_not_streamed_returns_between_the_others() -> None:
    """The order is that of the final response, where it holds more than the stream did."""
    events = [event for event in events_of(response(*THINKING)) if event.get("output_index") != 2]
    said = streamed(events).completion.choices[0].message
    assert replayed(said)["input"][1:-1] == THINKING


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Let me think."},
        {"tool_calls": ()},
        {"provider_state": b"\x00"},
        {"provider_state": seal("anthropic_messages", {"content": []}, "Let me see.", ())},
        {"provider_state": b""},
    ],
)
def test_a_changed_or_foreign_message_is_rebuilt(change: dict[str, Any]) -> None:
    """State that does not fit the message is left out; text and calls stay, reasoning is not made up."""
    said = replace(answered(*THINKING), **change)
    items = replayed(said)["input"][1:-1]
    assert [item["type"] for item in items] == ["message", *["function_call"] * len(said.tool_calls)]
    assert items[0]["content"] == [{"type": "output_text", "text": said.text, "annotations": []}]
    assert SEALED not in json.dumps(items)


@pytest.mark.parametrize(
    "output",
    [
        [message(text("hello"))],
        [message(text("hello")), function_call("f", "{}", "c1"), function_call("g", "{}", "c2")],
        [function_call("f", "{}", "c1")],
        [],
    ],
)
def test_plain_answers_have_no_state(output: list[dict[str, Any]]) -> None:
    """Where rebuilding loses nothing, the answer is not carried twice."""
    assert answered(*output).provider_state == b""


@pytest.mark.parametrize(
    "output",
    [
        [function_call("f", "{}", "c1"), message(text("after"))],
        [message(text("one")), message(text("two"), item_id="msg_2")],
        [message(text("x"), phase="final_answer")],
        [{"id": "ws", "type": "web_search_call", "status": "completed"}, message(text("x"))],
        [reasoning(raw=("open thought",)), message(text("x"))],
        [CUSTOM],
    ],
)
def test_what_rebuilding_would_lose_is_kept(output: list[dict[str, Any]]) -> None:
    """Another order, phases, searches, open reasoning and custom calls return as they were."""
    assert replayed(answered(*output))["input"][1:-1] == output


def test_reasoning_that_nobody_would_know_again_is_not_sent() -> None:
    """An id alone is forgotten by an endpoint that stores nothing; one that stores knows it."""
    output = [reasoning("Only a summary."), message(text("x"))]
    assert answered(*output).provider_state == b""
    assert replayed(answered(*output, stored=True), store=True)["input"][1:-1] == output


def test_reasoning_without_its_following_item_is_not_sent() -> None:
    """An answer cut while thinking cannot be continued natively: OpenAI refuses such an item."""
    details = {"reason": "max_output_tokens"}
    said = answered(reasoning(encrypted_content=SEALED), status="incomplete", incomplete_details=details)
    assert said.provider_state == b""
    assert answered(message(text("x")), reasoning(encrypted_content=SEALED)).provider_state == b""


def test_an_unfinished_item_is_not_sent() -> None:
    """An item that was announced and never came makes the whole unusable."""
    events = [
        event for event in events_of(response(*THINKING)) if event.get("output_index") != 4 or "added" in event["type"]
    ]
    events[-1]["response"]["output"] = []
    assert streamed(events).completion.choices[0].message.provider_state == b""


def test_results_find_their_calls() -> None:
    """A custom call's answer is of its own type; a call without an id returns with the id that was given out."""
    said = answered(reasoning(encrypted_content=SEALED), CUSTOM, function_call("f", "{}", "c1"))
    results = tuple(ToolMessage(call.id, content=(TextPart(call.name),)) for call in said.tool_calls)
    assert sent(a_call(messages=(said, *results)))["input"][3:] == [
        {"type": "custom_tool_call_output", "call_id": "x1", "output": "sql"},
        {"type": "function_call_output", "call_id": "c1", "output": "f"},
    ]
    nameless = (
        whole(response(reasoning(raw=("t",)), {**function_call("f", "{}", "c1"), "call_id": "", "id": ""}))
        .choices[0]
        .message
    )
    (call,) = nameless.tool_calls
    assert call.id
    assert replayed(nameless)["input"][2]["call_id"] == call.id


def test_options_reach_a_replayed_message() -> None:
    """What the caller adds to a message is added to its native item too."""
    said = replace(answered(*THINKING), options={"x": 1})
    items = replayed(said)["input"][1:-1]
    assert items == [*THINKING[:3], {**THINKING[3], "x": 1}, THINKING[4]]
