"""Answers of `openai_responses`: recordings, the official stream, whole answers, and servers that leave things out."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from caller.custom_llm.apis.responses.adapter import OPENAI_RESPONSES
from caller.errors import StreamInterrupted
from caller.events import Finished, FinishReason, TextDelta, ToolCallDelta, Usage
from tests.caller.adapters.responses_wire import (
    a_call,
    events_of,
    function_call,
    message,
    reasoning,
    response,
    sse,
    streamed,
    text,
    whole,
)
from tests.recordings_reader import Recording, expected, ids_agree, receive, recordings, told

USAGE = Usage(input=10, output=7, total=17, cached_input=4, reasoning=3)
TOKEN = {"token": "It", "logprob": -0.5, "bytes": [73, 116], "top_logprobs": [{"token": "He", "logprob": -1.5}]}
CUSTOM = {
    "id": "ctc_1",
    "type": "custom_tool_call",
    "status": "completed",
    "call_id": "x1",
    "name": "sql",
    "input": "select 1",
}
CITATION = {"type": "url_citation", "url": "https://h/", "start_index": 0, "end_index": 2}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
RICH = response(
    reasoning("First, a thought.", "Then another.", encrypted_content="gAAA", item_id="rs_1"),
    SEARCH,
    message(text("It is 21 °C\u2028in Rome 🌞.", annotations=[CITATION], logprobs=[TOKEN]), item_id="msg_1"),
    function_call("weather", '{"city": "Rome"}', "c1"),
    function_call("weather", '{"city": "Oslo"}', "c2"),
    CUSTOM,
    service_tier="default",
)


@pytest.mark.parametrize("recording", recordings("openai_responses"), ids=lambda recording: recording.name)
def test_recorded_answers_are_understood(recording: Recording) -> None:
    """What real servers sent comes out as people read it."""
    received = receive(OPENAI_RESPONSES, a_call(), recording.body)
    assert told(received) == expected(recording)
    assert ids_agree(recording, received)


def test_there_are_recordings() -> None:
    """The test above has something to read: streams, whole answers, and an error inside a 200."""
    found = recordings("openai_responses")
    assert len(found) > 30
    assert {recording.expect["stream"] for recording in found} == {True, False}
    assert any("error" in recording.expect for recording in found)


def test_the_official_stream_in_full() -> None:
    """Reasoning in paragraphs, text, three parallel calls, usage, and everything else among the provider's fields."""
    received = streamed(events_of(RICH))
    answer = received.completion
    (choice,) = answer.choices
    assert received.error is None
    assert (answer.response_id, answer.model, answer.usage) == ("resp_1", "m-1", USAGE)
    assert choice.message.reasoning == "First, a thought.\n\nThen another."
    assert choice.message.text == "It is 21 °C\u2028in Rome 🌞."
    assert [(call.id, call.name, call.arguments) for call in choice.message.tool_calls] == [
        ("c1", "weather", '{"city": "Rome"}'),
        ("c2", "weather", '{"city": "Oslo"}'),
        ("x1", "sql", "select 1"),
    ]
    assert (choice.finish_reason, choice.raw_finish_reason) == (FinishReason.TOOL_CALLS, "completed")
    assert [(token.token, token.logprob, token.bytes, token.top[0].token) for token in choice.logprobs] == [
        ("It", -0.5, b"It", "He")
    ]
    assert answer.provider_fields == {"created_at": 1, "service_tier": "default"}
    assert choice.provider_fields == {"annotations": [CITATION], "output_items": [SEARCH]}


def test_deltas_leave_as_they_come() -> None:
    """Each piece is one event, and only the first piece of a call bears its id and name."""
    answer = response(message(text("twelve chars")), function_call("f", '{"a": 1}', "c1"))
    events = streamed(events_of(answer)).events
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["twelv", "e cha", "rs"]
    assert [event for event in events if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(0, "", "c1", "f"),
        ToolCallDelta(0, '{"a":'),
        ToolCallDelta(0, " 1}"),
    ]


@pytest.mark.parametrize("eol", [b"\n", b"\r\n", b"\r"])
def test_a_cut_anywhere_changes_nothing(eol: bytes) -> None:
    """However the network cuts the bytes up, the same events come out; other line ends are cut where they are."""
    body = sse(events_of(response(reasoning("Hm."), message(text("é\u2028🌞")), function_call("f", "{}", "c1"))))
    body = body.replace(b"\n", eol)
    events = receive(OPENAI_RESPONSES, a_call(), body).events
    assert any(isinstance(event, Finished) for event in events)
    for cut in range(len(body) + 1):
        if eol == b"\n" or eol in body[max(cut - 2, 0) : cut + 2]:
            assert receive(OPENAI_RESPONSES, a_call(), body, cuts=(cut,)).events == events, cut


ANSWERS = {
    "rich": RICH,
    "text": response(message(text("hello"))),
    "two parts": response(message(text("one"), {"type": "refusal", "refusal": "no"}, text("two", logprobs=[TOKEN]))),
    "refusal": response(message({"type": "refusal", "refusal": "I will not."})),
    "unknown part": response(message(text("see"), {"type": "output_audio", "data": "QQ=="})),
    "raw reasoning": response(reasoning(raw=("It is", "so.")), message(text("yes"))),
    "two reasonings": response(
        reasoning("a"), function_call("f", "{}", "1"), reasoning("b", item_id="rs_2"), message(text("c"))
    ),
    "phases": response(
        message(text("hm "), phase="commentary"), message(text("yes"), item_id="msg_2", phase="final_answer")
    ),
    "empty call": response(function_call("f", "", "c1")),
    "length": response(message(text("hel")), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    "nothing": response(),
    "no usage": response(message(text("hi")), usage=None),
    "usage with costs": response(usage={"input_tokens": 1, "output_tokens": 2, "cost": 0.5, "is_byok": False}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_and_a_whole_answer_mean_the_same(name: str) -> None:
    """The unary answer is the fold of the stream of the same answer."""
    received = streamed(events_of(ANSWERS[name]))
    assert received.error is None
    assert received.completion == whole(ANSWERS[name])


def test_whole_answers_in_detail() -> None:
    """Each kind of output stands in its own field."""
    two = whole(ANSWERS["two parts"]).choices[0]
    assert (two.message.text, two.message.refusal, len(two.logprobs)) == ("onetwo", "no", 1)
    refusal = whole(ANSWERS["refusal"]).choices[0]
    assert (refusal.message.refusal, refusal.finish_reason) == ("I will not.", FinishReason.STOP)
    unknown = whole(ANSWERS["unknown part"]).choices[0]
    assert unknown.provider_fields == {"content_parts": [{"type": "output_audio", "data": "QQ=="}]}
    assert whole(ANSWERS["raw reasoning"]).choices[0].message.reasoning == "It is\n\nso."
    assert whole(ANSWERS["two reasonings"]).choices[0].message.reasoning == "a\n\nb"
    assert whole(ANSWERS["phases"]).choices[0].provider_fields == {"phase": "final_answer"}
    assert whole(ANSWERS["empty call"]).choices[0].message.tool_calls[0].arguments == "{}"
    assert whole(ANSWERS["usage with costs"]).provider_fields["usage"] == {"cost": 0.5, "is_byok": False}


@pytest.mark.parametrize(
    ("more", "reason", "raw"),
    [
        ({}, FinishReason.STOP, "completed"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            FinishReason.LENGTH,
            "incomplete",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            FinishReason.CONTENT_FILTER,
            "incomplete",
        ),
        ({"status": "incomplete", "incomplete_details": {"reason": "bored"}}, FinishReason.OTHER, "incomplete"),
    ],
)
def test_each_way_to_end(more: dict[str, Any], reason: FinishReason, raw: str) -> None:
    """The status is the raw word, its reason decides what it means, streamed and whole."""
    answer = response(message(text("x")), **more)
    for completion in (streamed(events_of(answer)).completion, whole(answer)):
        assert (completion.choices[0].finish_reason, completion.choices[0].raw_finish_reason) == (reason, raw)
        details = more.get("incomplete_details")
        assert completion.provider_fields.get("incomplete_details") == details


@pytest.mark.parametrize(
    "more",
    [
        {"status": "incomplete"},
        {"status": "incomplete", "incomplete_details": {"reason": "None"}},
        {"status": "incomplete", "incomplete_details": {"reason": "network_error"}},
        {"status": "cancelled"},
        {"status": "queued", "output": []},
        {"status": "in_progress"},
    ],
)
def test_an_unfinished_answer_is_never_a_good_one(more: dict[str, Any]) -> None:
    """A status that is no end, or an end without a reason, fails; what was said is there all the same."""
    answer = response(message(text("x"))) | more
    with pytest.raises(StreamInterrupted):
        whole(answer)
    bare = b"event: response.created\ndata: " + json.dumps(answer).encode() + b"\n\n"
    assert isinstance(receive(OPENAI_RESPONSES, a_call(), bare).error, StreamInterrupted)


def test_an_incomplete_answer_with_a_call_was_cut() -> None:
    """Cut arguments are not mistaken for a tool call to make."""
    answer = response(
        function_call("f", '{"a"', "1"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
    )
    assert whole(answer).choices[0].finish_reason is FinishReason.LENGTH


def test_the_end_is_read_from_the_status_not_from_the_events_name() -> None:
    """A `completed` whose response is incomplete (vLLM) is incomplete; one that is still running there has ended."""
    events = events_of(response(message(text("x"))))
    events[-1]["response"] = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert streamed(events).completion.choices[0].finish_reason is FinishReason.LENGTH
    events[-1]["response"] = response(status="in_progress")
    assert streamed(events).completion.choices[0].raw_finish_reason == "completed"
    del events[-1]["response"]
    assert streamed(events).completion.choices[0].finish_reason is FinishReason.STOP


def without(events: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [event for event in copy.deepcopy(events) if not any(event["type"].endswith(kind) for kind in kinds)]


def emptied(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events = copy.deepcopy(events)
    events[-1]["response"]["output"] = []
    return events


def rotated(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """GitHub Copilot: another id at every event."""
    events = copy.deepcopy(events)
    for number, event in enumerate(events):
        if "item_id" in event:
            event["item_id"] = f"id-{number}"
        if "item" in event:
            event["item"]["id"] = f"item-{number}"
    return events


def stripped(events: list[dict[str, Any]], *fields: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key not in fields} for event in copy.deepcopy(events)]


def renumbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every item is said to be the first."""
    return [{**event, "output_index": 0} if "output_index" in event else event for event in copy.deepcopy(events)]


def first_pieces(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Deltas get lost."""
    seen = set()
    kept = []
    for event in events:
        place = (event["type"], *(event.get(name) for name in ALL_INDICES))
        if not event["type"].endswith(".delta") or place not in seen:
            kept.append(event)
        seen.add(place)
    return kept


ALL_INDICES = ("output_index", "content_index", "summary_index")
PLAIN = response(
    reasoning(raw=("Hm.",)),
    message(text("It is so.", logprobs=[TOKEN])),
    function_call("f", '{"a": 1}', "c1"),
    function_call("g", '{"b": 2}', "c2"),
    CUSTOM,
)
WITH_SUMMARY = response(reasoning("A.", "B."), message({"type": "refusal", "refusal": "No, no."}))
DEVIATIONS: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "ids that change": rotated,
    "ids that change, nothing at the end": lambda events: emptied(rotated(events)),
    "no indices": lambda events: stripped(events, *ALL_INDICES),
    "no indices, nothing at the end": lambda events: emptied(stripped(events, *ALL_INDICES)),
    "no ids in events": lambda events: stripped(events, "item_id"),
    "neither indices nor ids": lambda events: stripped(events, "item_id", *ALL_INDICES),
    "one index for all": renumbered,
    "nothing at the end": emptied,
    "no deltas": lambda events: without(events, ".delta"),
    "no deltas, nothing at the end": lambda events: emptied(without(events, ".delta")),
    "no deltas and no whole texts": lambda events: without(
        events, ".delta", "_text.done", "arguments.done", "input.done"
    ),
    "only finished items": lambda events: emptied(
        without(events, ".delta", "text.done", "arguments.done", "added", "part.done")
    ),
    "only whole texts": lambda events: emptied(without(events, ".delta", "part.done", "item.done")),
    "only parts": lambda events: emptied(without(events, ".delta", "text.done", "refusal.done")),
    "only the end": lambda events: events[-1:],
    "no items announced": lambda events: without(events, "added"),
    "no items finished": lambda events: without(events, "item.done"),
    "first pieces only": first_pieces,
    "unknown events": lambda events: [
        extra for event in events for extra in ({"type": "response.novel", "x": 1}, event)
    ],
    "a done marker": lambda events: events,
}


@pytest.mark.parametrize("answer", [PLAIN, WITH_SUMMARY], ids=["plain", "summary"])
@pytest.mark.parametrize("name", DEVIATIONS)
def test_partial_servers_are_understood(name: str, answer: dict[str, Any]) -> None:
    """Whatever of the stream a server leaves out or renames, each thing is said once, and nothing is lost."""
    received = streamed(DEVIATIONS[name](events_of(answer)), tail=b"data: [DONE]\n\n")
    assert received.error is None
    expected_message = whole(answer).choices[0].message
    said = received.completion.choices[0].message
    assert (said.text, said.refusal, said.reasoning) == (
        expected_message.text,
        expected_message.refusal,
        expected_message.reasoning,
    )
    assert [(call.name, call.arguments) for call in said.tool_calls] == [
        (call.name, call.arguments) for call in expected_message.tool_calls
    ]
    assert received.completion.usage == USAGE
    assert len(received.completion.choices[0].logprobs) == len(whole(answer).choices[0].logprobs)
