"""Single oddities of `openai_responses` endpoints, their errors, and answers that are nothing at all."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caller.custom_llm.adapter import Frame
from caller.custom_llm.apis.responses.adapter import OPENAI_RESPONSES
from caller.custom_llm.apis.responses.items import MAX_ITEMS
from caller.errors import (
    CallerError,
    ContentFiltered,
    ContextLengthExceeded,
    EndpointError,
    EndpointOverloaded,
    ProtocolError,
    QuotaExhausted,
    ResponseTooLarge,
    StreamInterrupted,
)
from caller.events import FinishReason, Started, ToolCallDelta, Usage
from tests.caller.adapters.responses_wire import (
    a_call,
    events_of,
    folded,
    function_call,
    message,
    reasoning,
    response,
    sse,
    streamed,
    text,
    whole,
)
from tests.recordings_reader import receive

USAGE = Usage(input=10, output=7, total=17, cached_input=4, reasoning=3)


def kept(events: list[dict[str, Any]], *endings: str) -> list[dict[str, Any]]:
    """The events without those whose type has one of the endings."""
    return [event for event in copy.deepcopy(events) if not event["type"].endswith(endings)]


def test_arguments_in_the_announcement_only() -> None:
    """LocalAI sends some calls whole in `added` and never again."""
    added = {"type": "response.output_item.added", "output_index": 0, "item": function_call("f", '{"a": 1}', "c1")}
    received = streamed([added, {"type": "response.completed", "response": response(output=[])}])
    (call,) = received.completion.choices[0].message.tool_calls
    assert (call.id, call.name, call.arguments) == ("c1", "f", '{"a": 1}')
    assert received.completion.choices[0].finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("streams", [True, False])
def test_calls_without_an_id_get_one(streams: bool) -> None:
    """No `call_id`: the item's id serves, and where there is none either, one is made up."""
    answer = response(
        {**function_call("f", "{}", "c1"), "call_id": None},
        {**function_call("g", "{}", "c2"), "call_id": "", "id": None},
        function_call("h", "{}", "c3"),
        function_call("h", "{}", "c3", id="fc_again"),
    )
    completion = streamed(events_of(answer)).completion if streams else whole(answer)
    ids = [call.id for call in completion.choices[0].message.tool_calls]
    assert (ids[0], ids[2]) == ("fc_c1", "c3")
    assert all(ids)
    assert len(set(ids)) == 4


def test_a_call_whose_name_comes_last_is_held_back() -> None:
    """The first fragment of a call always bears its name."""
    events = kept(events_of(response(function_call("f", '{"a": 1}', "c1"))), "added")
    found = [event for event in streamed(events).events if isinstance(event, ToolCallDelta)]
    assert found == [ToolCallDelta(0, '{"a": 1}', "c1", "f")]


def test_a_call_that_is_never_named_is_not_lost() -> None:
    """Arguments without a call around them stand in a call without a name."""
    events = [event for event in events_of(response(function_call("f", '{"a": 1}', "c1"))) if "item" not in event]
    events[-1]["response"]["output"] = []
    (call,) = streamed(events).completion.choices[0].message.tool_calls
    assert (call.name, call.arguments) == ("", '{"a": 1}')


def test_arguments_as_an_object() -> None:
    """An object where JSON text belongs is written out."""
    answer = response({**function_call("f", "", "c1"), "arguments": {"a": [1]}})
    assert whole(answer).choices[0].message.tool_calls[0].arguments == '{"a":[1]}'


def test_final_items_may_differ_from_what_was_streamed() -> None:
    """Ids renamed at the end (vLLM), texts stripped or written anew: what was said stays and is not said again."""
    events = events_of(response(reasoning("Hm. "), message(text(" Hello!\n")), function_call("f", '{"a": 1}', "c1")))
    events[-1]["response"] = response(
        reasoning("Hm.", item_id="x1"),
        message(text("Hello!"), item_id="x2"),
        function_call("f", '{"a":1}', "other", id="x3"),
    )
    said = streamed(events).completion.choices[0].message
    assert (said.reasoning, said.text) == ("Hm. ", " Hello!\n")
    assert [(call.id, call.arguments) for call in said.tool_calls] == [("c1", '{"a": 1}')]


def test_a_call_that_only_the_end_knows_is_found_among_the_others() -> None:
    """Of three calls the middle one was never streamed: it comes at the end, the others only once."""
    calls = [function_call("f", f'{{"n": {number}}}', f"c{number}") for number in range(3)]
    events = [event for event in events_of(response(*calls)) if event.get("output_index") != 1]
    said = streamed(events).completion.choices[0].message
    assert sorted(call.id for call in said.tool_calls) == ["c0", "c1", "c2"]
    assert [json.loads(call.arguments)["n"] for call in said.tool_calls] == [0, 2, 1]


def test_items_announced_without_their_index_are_found_by_id() -> None:
    """Where only the announcement lacks the index, later events still reach the call that was announced."""
    events = events_of(response(*(function_call("f", f'{{"n": {number}}}', f"c{number}") for number in range(2))))
    announced = [{**event, "output_index": None} for event in events if event["type"].endswith("added")]
    others = [event for event in events if not event["type"].endswith(("added", "item.done"))]
    others[-1]["response"]["output"] = []
    calls = streamed([*announced, *others]).completion.choices[0].message.tool_calls
    assert [(call.id, call.arguments) for call in calls] == [("c0", '{"n": 0}'), ("c1", '{"n": 1}')]


def test_positions_of_events_and_items_may_disagree() -> None:
    """A text streamed as part 1 that is part 0 of the finished item is said once."""
    events = events_of(response(message(text("hello there"))))
    for event in events:
        if "content_index" in event:
            event["content_index"] = 1
    assert streamed(events).completion.choices[0].message.text == "hello there"
    for event in events:
        if event["type"].endswith(".done"):
            event.pop("content_index", None)
    assert streamed(events).completion.choices[0].message.text == "hello there"


def test_one_thought_under_two_names() -> None:
    """A gateway that repeats raw reasoning as its summary says it once."""
    item = reasoning("I see.", raw=("I see.",))
    assert whole(response(item, message(text("x")))).choices[0].message.reasoning == "I see."
    events = kept(events_of(response(item, message(text("x")))), "summary_text.delta", "summary_text.done")
    assert streamed(events).completion.choices[0].message.reasoning == "I see."


def test_texts_where_lists_belong() -> None:
    """Content and summaries as bare strings are read."""
    answer = response({**reasoning(), "summary": "Hm."}, {**message(), "content": "hi"})
    said = whole(answer).choices[0].message
    assert (said.reasoning, said.text) == ("Hm.", "hi")


def test_the_model_may_be_named_at_the_end_only() -> None:
    """llama.cpp names the answer first and the model last; LiteLLM's model beside each event is not the answer's."""
    events = [{**event, "model": "alias"} for event in events_of(response(message(text("x"))))]
    for event in events[:2]:
        event["response"] = {"id": "resp_1", "object": "response", "status": "in_progress"}
    received = streamed(events)
    assert [event for event in received.events if isinstance(event, Started)] == [
        Started("resp_1", ""),
        Started("resp_1", "m-1"),
    ]
    assert received.completion.model == "m-1"


def test_extras_beside_the_final_response_are_kept() -> None:
    """llama.cpp's timings stand outside of the response object."""
    events = events_of(response(message(text("x"))))
    events[-1] |= {"timings": {"prompt_n": 5}}
    assert streamed(events).completion.provider_fields == {"created_at": 1, "timings": {"prompt_n": 5}}


def test_annotations_come_once() -> None:
    """Citations told by events, and again by the finished item, are told once."""
    citations = [{"type": "url_citation", "url": f"https://h/{number}"} for number in range(2)]
    added = [
        {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation": citation}
        for citation in citations
    ]
    events = events_of(response(message(text("x", annotations=citations))))
    events[5:5] = added
    assert streamed(events).completion.choices[0].provider_fields == {"annotations": citations}
    bare = kept(events, "part.done", "item.done")
    bare[-1]["response"]["output"] = []
    assert streamed(bare).completion.choices[0].provider_fields == {"annotations": citations}


def test_reasoning_counted_on_top_becomes_output() -> None:
    """Output includes reasoning even where the endpoint's own output count does not."""
    usage = {
        "input_tokens": 10,
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 6},
        "total_tokens": 20,
    }
    assert whole(response(usage=usage)).usage == Usage(input=10, output=10, total=20, reasoning=6)
    written = {
        "input_tokens": 9.0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 5},
        "output_tokens": 1,
    }
    assert whole(response(usage=written)).usage == Usage(
        input=9, output=1, total=10, cached_input=0, cache_creation_input=5
    )


def test_a_gateway_that_pretends_to_stream() -> None:
    """The whole response as the only event is an answer."""
    answer = response(message(text("all at once")))
    assert receive(OPENAI_RESPONSES, a_call(), sse([answer])).completion == whole(answer)


def test_event_names_serve_where_types_are_missing() -> None:
    """The SSE name stands in for a missing `type`, on whichever side of the data it is."""
    events = events_of(response(message(text("hello"))))
    frames = []
    for event in events:
        kind = event.pop("type")
        frames.append(f"data: {json.dumps(event)}\nevent: {kind}\n\n")
    assert receive(OPENAI_RESPONSES, a_call(), "".join(frames).encode()).completion.choices[0].message.text == "hello"


def test_nothing_is_read_after_the_end() -> None:
    """What follows the terminal event changes nothing."""
    events = events_of(response(message(text("x"))))
    received = streamed([*events, events[-1]], tail=b'data: {"error": {"message": "late"}}\n\n')
    assert received.error is None
    assert received.completion.choices[0].message.text == "x"


def test_nothing_is_read_after_the_end_in_one_frame() -> None:
    """Several JSON texts in one event: those behind the end change nothing either."""
    end = events_of(response(message(text("x"))))[-1]
    late = {"type": "response.output_text.delta", "output_index": 9, "content_index": 0, "delta": "late"}
    decoder = OPENAI_RESPONSES.decoder(a_call())
    events = decoder.feed(Frame("", f"{json.dumps(end)}\n{json.dumps(late)}".encode()))
    assert decoder.done
    assert folded(events).choices[0].message.text == "x"


def test_an_error_inside_a_delta_is_an_error() -> None:
    """A truthy `error` counts whatever the event is called."""
    events = events_of(response(message(text("hello"))))
    at = next(number for number, event in enumerate(events) if event["type"].endswith(".delta"))
    received = streamed([*events[:at], {**events[at], "error": {"code": 503, "message": "gone"}}])
    assert type(received.error) is EndpointOverloaded
    assert received.completion.choices == ()


NESTED = {"type": "error", "sequence_number": 2, "error": {"code": "insufficient_quota", "message": "Pay first."}}
FLAT = {"type": "error", "code": "insufficient_quota", "message": "Pay first.", "param": None, "sequence_number": 2}
BARE = {"error": {"code": "insufficient_quota", "message": "Pay first.", "type": "insufficient_quota"}}
FAILED = {
    "type": "response.failed",
    "response": response(status="failed", error={"code": "insufficient_quota", "message": "Pay first."}),
}


@pytest.mark.parametrize("error", [NESTED, FLAT, BARE, FAILED], ids=["nested", "flat", "bare", "failed"])
@pytest.mark.parametrize("before", [0, 2, 6])
def test_errors_in_the_stream(error: dict[str, Any], before: int) -> None:
    """Each form of an error is that error, before the first output and after it, and what was said before stays."""
    events = events_of(response(message(text("hello there"))))
    received = streamed([*events[:before], error])
    assert type(received.error) is QuotaExhausted
    assert "Pay first." in received.error.message
    said = [choice.message.text for choice in received.completion.choices]
    assert said == (["hello there"[: 5 * (before - 4)]] if before > 4 else [])


def test_an_error_keeps_the_usage() -> None:
    """What was used before the failure is known, from the failed response or from an earlier event."""
    assert streamed([FAILED]).error.usage == USAGE  # type: ignore[union-attr]  # the test above shows that it is one
    running = {"type": "response.in_progress", "response": response(status="in_progress")}
    for error in ({**NESTED, "usage": None}, {"type": "response.failed", "response": {"status": "failed"}}):
        received = streamed([running, error])
        assert received.error is not None
        assert received.error.usage == USAGE
    cut = streamed([running])
    assert isinstance(cut.error, StreamInterrupted)
    assert cut.error.usage == USAGE
    beside = streamed([{**BARE, "usage": {"input_tokens": 3}}])
    assert beside.error is not None
    assert beside.error.usage == Usage(input=3)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error", "message": "x"}, EndpointError),
        ({"code": "context_length_exceeded", "message": "x"}, ContextLengthExceeded),
        ({"code": "content_filter", "message": "x"}, ContentFiltered),
        ({"code": 503, "message": "x"}, EndpointOverloaded),
        ("text only", EndpointError),
        (None, EndpointError),
    ],
)
def test_failed_answers(error: object, kind: type[CallerError]) -> None:
    """A failed response is the error that it names, streamed and whole."""
    answer = response(status="failed", error=error)
    received = streamed([{"type": "response.failed", "response": answer}])
    assert type(received.error) is kind
    with pytest.raises(kind) as raised:
        whole(answer)
    assert type(raised.value) is kind


def test_an_error_event_by_its_name_alone() -> None:
    """A frame named `error` is one, whatever its data (llama.cpp's older `error:` lines)."""
    received = receive(OPENAI_RESPONSES, a_call(), b'error: {"code":503,"message":"Loading model"}\n\n')
    assert type(received.error) is EndpointOverloaded


def test_an_empty_error_is_none() -> None:
    """`"error": null` and `{}` beside a delta change nothing."""
    events = [
        {**event, "error": None if number % 2 else {}}
        for number, event in enumerate(events_of(response(message(text("hi")))))
    ]
    assert streamed(events).completion.choices[0].message.text == "hi"


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n", b"event: response.completed\n"])
def test_a_stream_without_its_end_was_cut(tail: bytes) -> None:
    """`[DONE]` is no end here: LiteLLM sends it after a broken answer."""
    events = events_of(response(message(text("hello"))))[:-1]
    received = streamed(events, tail=tail)
    assert type(received.error) is StreamInterrupted
    assert received.completion.choices[0].message.text == "hello"


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices": []}', b'{"output": null}', b'{"output": "x"}', b"[]", b"hello", b"", b"null", b"[1]"]
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    """A body of another shape is a protocol error, and where a field is missing its name is said."""
    with pytest.raises(ProtocolError) as refused:
        OPENAI_RESPONSES.decoder(a_call()).whole(body)
    assert ("`output`" in refused.value.message) == body.startswith(b"{")


def test_an_event_that_is_no_json_is_refused() -> None:
    """Broken JSON is never skipped."""
    assert type(streamed([], tail=b"data: {broken\n\n").error) is ProtocolError


def test_a_list_of_one_is_unwrapped() -> None:
    """A whole answer inside a list is read."""
    body = json.dumps([response(message(text("x")))]).encode()
    assert folded(OPENAI_RESPONSES.decoder(a_call()).whole(body)).choices[0].message.text == "x"


def test_items_are_bounded() -> None:
    """An endpoint cannot make us remember items without end."""
    decoder = OPENAI_RESPONSES.decoder(a_call())
    added = {"type": "response.output_item.added", "item": {"type": "web_search_call"}}
    for number in range(MAX_ITEMS):
        decoder.feed(Frame("", json.dumps({**added, "output_index": number}).encode()))
    with pytest.raises(ResponseTooLarge):
        decoder.feed(Frame("", json.dumps({**added, "output_index": MAX_ITEMS}).encode()))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "id", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
FULL = events_of(
    response(
        reasoning("A.", raw=("B.",), encrypted_content="e"),
        message(text("hello", logprobs=[{"token": "h", "logprob": -1}]), {"type": "refusal", "refusal": "no"}),
        function_call("f", '{"a": 1}', "c1"),
        {"id": "ws", "type": "web_search_call"},
    )
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_json_breaks_the_decoder(data: st.DataObject) -> None:
    """Wrong types anywhere, events lost, doubled or moved: an answer or a `CallerError`, never anything else."""
    events = data.draw(st.lists(st.sampled_from(FULL), max_size=12).map(copy.deepcopy)) + copy.deepcopy(FULL[-1:])
    for _ in range(data.draw(st.integers(0, 6))):
        target: Any = data.draw(st.sampled_from(events))
        while isinstance(target, dict | list) and target:
            keys = list(target) if isinstance(target, dict) else list(range(len(target)))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(target[key], dict | list) or data.draw(st.booleans()):
                target[key] = data.draw(JUNK)
                break
            target = target[key]
    decoder = OPENAI_RESPONSES.decoder(a_call())
    received: list[Any] = []
    try:
        for event in events:
            received += decoder.feed(Frame("", json.dumps(event).encode()))
        received += decoder.close()
        OPENAI_RESPONSES.decoder(a_call()).whole(json.dumps(events[-1].get("response")).encode())
    except CallerError:
        pass  # one of ours is a good end, and nothing else is
    folded(received)
