"""Answers of Gemini's generateContent: what is read of streams and of whole answers."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caller.custom_llm.adapter import Frame
from caller.custom_llm.apis.gemini.model import API
from caller.errors import (
    CallerError,
    EndpointError,
    EndpointOverloaded,
    EndpointRejected,
    ProtocolError,
    ResponseTooLarge,
    StreamInterrupted,
)
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ProviderFields,
    ReasoningDelta,
    Started,
    TextDelta,
    Usage,
    UsageReported,
)
from caller.fold import MAX_CHOICES, MAX_TOOL_CALLS, Folder
from tests.caller.adapters.gemini_wire import (
    ADAPTER,
    CALL,
    FULL,
    FULL_PARTS,
    STOP,
    calls,
    chunk,
    good,
    message,
    replayed,
    sse,
    stream,
    usage,
)
from tests.recordings_reader import Received, Recording, before_agrees, expected, ids_agree, receive, recordings, told


@pytest.mark.parametrize("recording", recordings(API.value), ids=lambda recording: recording.name)
def test_what_real_servers_sent_is_read_as_expected(recording: Recording) -> None:
    """Every recorded answer gives the text, calls, end and usage that were read from its bytes by hand."""
    received = receive(ADAPTER, CALL, recording.body)

    assert told(received) == expected(recording)
    assert ids_agree(recording, received)
    assert before_agrees(recording, received)


def test_a_stream_is_read_the_same_however_the_network_cuts_it() -> None:
    """Reasoning, text, calls, end and usage come out the same for a cut at every byte."""
    body = sse(*FULL)
    whole = good(receive(ADAPTER, CALL, body))
    choice = whole.completion.choices[0]

    assert (whole.completion.response_id, whole.completion.model) == ("r", "g-1")
    assert (choice.message.reasoning, choice.message.text) == ("Plänned\u2028", "It 🦊 is.")
    assert calls(whole) == [("f", {"b": 1, "a": [{}]}), ("g", {})]
    assert choice.message.tool_calls[0].id == "n1"
    assert len(choice.message.tool_calls[1].id) == 9
    assert (choice.finish_reason, choice.raw_finish_reason) == (FinishReason.TOOL_CALLS, "STOP")
    assert whole.completion.usage == Usage(input=9, output=25, total=34, cached_input=4, reasoning=20)
    for cut in range(len(body)):
        received = receive(ADAPTER, CALL, body, cuts=(cut,))
        assert told(good(received)) == told(whole)


def test_a_token_costs_one_small_event() -> None:
    """A chunk of text is one delta; what was said before is not said again."""
    decoder = ADAPTER.decoder(CALL)
    top = {**usage(promptTokenCount=1), "modelVersion": "m", "responseId": "r", "createTime": "t"}
    first = decoder.feed(Frame("", json.dumps(chunk({"text": "a"}, top=top)).encode()))
    second = decoder.feed(Frame("", json.dumps(chunk({"text": "b"}, top=top)).encode()))

    assert list(first) == [
        UsageReported(Usage(input=1)),
        Started("r", "m"),
        ProviderFields({"createTime": "t"}),
        TextDelta("a"),
    ]
    assert list(second) == [TextDelta("b")]
    assert not decoder.done


def test_the_whole_answer_is_the_fold_of_its_stream() -> None:
    """Asked in one piece, the endpoint's answer gives the same message, state, end and usage."""
    body = chunk(
        *FULL_PARTS, **STOP, top={"modelVersion": "g-1", "responseId": "r", **usage(**FULL[-1]["usageMetadata"])}
    )
    whole = good(receive(ADAPTER, CALL, json.dumps(body).encode()))
    streamed = good(stream(*FULL))

    assert told(whole) == told(streamed)
    assert replayed(message(whole)) == replayed(message(streamed)) == FULL_PARTS


def test_an_answer_in_a_list_is_read_piece_by_piece() -> None:
    """Without `alt=sse` Gemini streams a JSON array; a gateway may answer a plain request so too."""
    body = ("[" + "\r\n,\r\n".join(json.dumps(one, indent=1) for one in FULL) + "]").encode()
    streamed = told(good(stream(*FULL)))

    assert told(receive(ADAPTER, CALL, body)) == streamed
    folder = Folder(10_000)
    for event in ADAPTER.decoder(CALL).whole(body):
        folder.feed(event)
    assert told(Received(folder.completion(), [], None)) == streamed


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(end: str) -> None:
    """Google sends CRLF, proxies send what they like."""
    assert told(receive(ADAPTER, CALL, sse(*FULL, end=end))) == told(stream(*FULL))


REASONS = [
    ("STOP", FinishReason.STOP),
    ("MAX_TOKENS", FinishReason.LENGTH),
    *(
        (word, FinishReason.CONTENT_FILTER)
        for word in (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "MODEL_ARMOR",
        )
    ),
    *((word, FinishReason.OTHER) for word in ("OTHER", "NO_IMAGE", "IMAGE_OTHER", "SOMETHING_NEW")),
]


@pytest.mark.parametrize(("raw", "reason"), REASONS)
def test_each_finish_reason_has_its_meaning_with_or_without_content(raw: str, reason: FinishReason) -> None:
    """The endpoint's word is kept beside ours; an end without any content is a good, empty answer."""
    for received in (
        stream(chunk({"text": "a"}), chunk(finishReason=raw)),
        stream(chunk(content={}, finishReason=raw)),
    ):
        choice = good(received).completion.choices[0]
        assert (choice.finish_reason, choice.raw_finish_reason) == (reason, raw)
    assert told(stream(chunk(finishReason=raw))) == told(
        receive(ADAPTER, CALL, json.dumps(chunk(finishReason=raw)).encode())
    )


@pytest.mark.parametrize("raw", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"])
def test_an_answer_that_failed_is_an_error_with_the_endpoints_words(raw: str) -> None:
    """A broken call is not an empty success: the error tells what the endpoint said, and what was used."""
    failed = chunk(finishReason=raw, finishMessage="Malformed: print(", top=usage(promptTokenCount=3))

    for received in (stream(chunk({"text": "Well"}), failed), receive(ADAPTER, CALL, json.dumps(failed).encode())):
        assert type(received.error) is EndpointError
        assert raw in received.error.message
        assert "Malformed: print(" in received.error.message
        assert received.error.endpoint_code == raw
        assert received.error.usage == Usage(input=3)


def test_a_blocked_prompt_is_an_empty_answer_of_the_filter() -> None:
    """Gemini then sends no candidates at all: the end says so, and the feedback is kept."""
    feedback = {"blockReason": "SAFETY", "safetyRatings": [{"category": "C", "blocked": True}]}
    body = {"promptFeedback": feedback, **usage(promptTokenCount=4, totalTokenCount=4)}

    for received in (stream(body), receive(ADAPTER, CALL, json.dumps(body).encode())):
        answer = good(received).completion
        assert (answer.choices[0].finish_reason, answer.choices[0].raw_finish_reason) == (
            FinishReason.CONTENT_FILTER,
            "SAFETY",
        )
        assert answer.choices[0].message.text == ""
        assert answer.provider_fields == {"promptFeedback": feedback}
        assert answer.usage == Usage(input=4, total=4)


def test_usage_grows_by_its_parts_and_adds_up() -> None:
    """Thoughts count as output, what tools made the model read as input; a later object with less resets nothing."""
    received = stream(
        chunk({"text": "a"}, top=usage(promptTokenCount=10, toolUsePromptTokenCount=5)),
        chunk({"text": "b"}, top=usage(thoughtsTokenCount=7, cachedContentTokenCount=3.0)),
        chunk({"text": "c"}, top=usage(trafficType="ON_DEMAND", candidatesTokenCount=None)),
        chunk(finishReason="STOP", top=usage(candidatesTokenCount=2, promptTokensDetails=[{"modality": "TEXT"}])),
    )

    assert good(received).completion.usage == Usage(input=15, output=9, total=24, cached_input=3, reasoning=7)
    assert received.completion.provider_fields == {
        "usageMetadata": {"trafficType": "ON_DEMAND", "promptTokensDetails": [{"modality": "TEXT"}]}
    }
    assert good(stream(chunk({"text": "a"}, **STOP))).completion.usage.total is None


def test_an_error_inside_a_stream_is_raised_with_what_came_before() -> None:
    """As a frame, as a bare JSON block of many lines, or in a list, behind output or before it."""
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    text = chunk({"text": "Well"}, top=usage(promptTokenCount=2))
    block = json.dumps(error, indent=2)
    bodies = (
        sse(text, error),
        sse(text) + block.encode(),
        sse(text) + f"[{block}]\r\n".encode(),
        b"[" + json.dumps(text).encode() + b",\r\n" + block.encode() + b"]",
    )

    for body in bodies:
        received = receive(ADAPTER, CALL, body)
        assert type(received.error) is EndpointOverloaded
        assert received.error.usage == Usage(input=2)
        assert received.completion.choices[0].message.text == "Well"
    for body in (block.encode(), f"[{block}]".encode(), sse(error)):
        received = receive(ADAPTER, CALL, body)
        assert type(received.error) is EndpointOverloaded
        assert received.events == []


def test_an_error_in_a_good_status_is_raised_from_a_whole_answer() -> None:
    """A 200 that holds an error is that error."""
    with pytest.raises(EndpointRejected):
        ADAPTER.decoder(CALL).whole(b'{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b": ping\n\n",
        sse(chunk({"text": "half"})),
        sse({"usageMetadata": {"promptTokenCount": 1}}),
        sse(chunk({"text": "x"}, finishReason="FINISH_REASON_UNSPECIFIED")),
        sse(chunk({"text": "x"}), {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}),
        sse(chunk({"text": "x"})) + b"data: [DONE]\n\n",
        sse(chunk({"text": "all"}, **STOP), chunk({"text": "half"}, index=1)),
    ],
)
def test_a_stream_that_ends_without_a_finish_reason_was_cut(body: bytes) -> None:
    """Only a finishReason, or a blocked prompt, makes the end of the body a good end."""
    assert type(receive(ADAPTER, CALL, body).error) is StreamInterrupted


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "candidates"),
        (b'{"candidates":[]}', "candidates"),
        (b'{"candidates":{}}', "candidates"),
        (b"[]", "candidates"),
        (b"nothing", "JSON object"),
        (b'{"candidates":[{"content":{"parts":[]}},{}]}', "candidates[1].content"),
        (b'{"choices":[{"message":{"content":"hi"}}]}', "candidates"),
    ],
)
def test_an_answer_of_another_shape_names_what_is_missing(body: bytes, field: str) -> None:
    """What is no generateContent answer is a protocol error with the missing field in its text."""
    with pytest.raises(ProtocolError) as raised:
        ADAPTER.decoder(CALL).whole(body)

    assert field in raised.value.message


def test_a_frame_that_is_no_json_is_a_protocol_error() -> None:
    """Garbage in the middle of a stream is told, with the usage so far."""
    received = receive(ADAPTER, CALL, sse(chunk({"text": "a"}, top=usage(promptTokenCount=1))) + b"data: {oops\n\n")

    assert type(received.error) is ProtocolError
    assert received.error.usage == Usage(input=1)


def test_a_word_that_is_repeated_is_told_once() -> None:
    """Gemini 1 said STOP in every chunk."""
    received = stream(chunk({"text": "a"}, **STOP), chunk({"text": "b"}, **STOP))

    assert [event for event in received.events if isinstance(event, Finished)] == [Finished(FinishReason.STOP, "STOP")]
    assert message(received).text == "ab"


def test_an_answer_without_bounds_is_stopped() -> None:
    """Too many choices or calls, or too much that is kept, end in an error instead of in the machine's memory."""
    many = [{"functionCall": {"name": "f"}}] * (MAX_TOOL_CALLS + 1)
    wide = {"candidates": [{"index": index, "finishReason": "STOP"} for index in range(MAX_CHOICES + 1)]}
    picture = chunk({"inlineData": {"data": "A" * 1_000_000}})

    assert type(stream(chunk(*many)).error) is ResponseTooLarge
    assert type(stream(wide).error) is ResponseTooLarge
    assert type(stream(*[picture] * 40).error) is ResponseTooLarge


WORDS = ("", "STOP", "text", "f", "$.a", "error")
KEYS = (
    "candidates content parts text functionCall name args partialArgs jsonPath id stringValue finishReason"
    " usageMetadata promptFeedback blockReason error index logprobsResult chosenCandidates topCandidates"
    " thought thoughtSignature willContinue"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of the value with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_json_whatever_it_holds_breaks_the_reader(data: st.DataObject) -> None:
    """Any value in any place of a good stream ends in events or in an error of ours, streamed and whole."""
    chunks = json.loads(
        json.dumps((*FULL, chunk({"functionCall": {"name": "s", "partialArgs": [{"jsonPath": "$.a"}]}})))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(chunks)))
        container[key] = data.draw(JSON)
    body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)

    received = receive(ADAPTER, CALL, body)
    assert received.error is None or isinstance(received.error, CallerError)
    msgspec.json.encode(received.completion.choices)
    try:
        events: list[Event] = [*ADAPTER.decoder(CALL).whole(json.dumps(chunks).encode())]
    except CallerError:
        events = []
    assert all(not isinstance(event, ReasoningDelta) or event.text for event in events)
