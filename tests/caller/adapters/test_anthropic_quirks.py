"""Where servers depart from the Anthropic Messages API, and what breaks: nothing is lost, nothing crashes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caller.custom_llm.adapter import Frame
from caller.custom_llm.apis.anthropic.adapter import ANTHROPIC_MESSAGES
from caller.custom_llm.apis.anthropic.blocks import MAX_BLOCKS
from caller.custom_llm.apis.kept import MAX_KEPT
from caller.errors import (
    CallerError,
    EndpointError,
    EndpointOverloaded,
    EndpointRateLimited,
    ProtocolError,
    ResponseTooLarge,
    StreamInterrupted,
)
from caller.events import Started, ToolCallDelta, Usage
from caller.messages import ToolCall
from caller.provider_state import unseal
from tests.caller.adapters.anthropic_wire import (
    CALL,
    RICH,
    STOP,
    Wire,
    answer,
    block,
    delta,
    end,
    folded,
    message,
    received,
    sse,
    start,
    stop,
    text,
    whole,
)
from tests.recordings_reader import receive


def test_a_doubled_start_of_the_same_answer_is_ignored() -> None:
    """Gateways repeat message_start; nothing is counted or said twice."""
    once = answer(start(), *text(0, "x"), end(), STOP)

    assert once == answer(start(), start(), *text(0, "x"), start(), end(), STOP)
    assert sum(isinstance(event, Started) for event in received(start(), start(), end(), STOP).events) == 1


def test_a_start_of_another_answer_is_an_error() -> None:
    """A gateway that tried again in the middle spliced two answers: they are not one."""
    result = received(start(), *text(0, "x"), start(id="m2"), *text(0, "y"), end(), STOP)

    assert isinstance(result.error, ProtocolError)
    assert message(result.completion).text == "x"


def test_content_in_message_start_is_part_of_the_answer() -> None:
    """Blocks can be there from the start; later ones follow them."""
    first = {"type": "tool_use", "id": "t0", "name": "f", "input": {"a": 1}}

    said = message(answer(start(content=[first]), *text(1, "x"), end("tool_use"), STOP))

    assert ("x", (ToolCall("t0", "f", '{"a":1}'),)) == (said.text, said.tool_calls)


def test_a_call_may_begin_without_input_or_with_all_of_it() -> None:
    """llama.cpp leaves `input` out; other servers put all of it into the start, and perhaps the fragments too."""
    said = message(
        answer(
            start(),
            block(0, type="tool_use", id="t0", name="f"),
            delta(0, "input_json_delta", partial_json='{"a":1}'),
            block(1, type="tool_use", id="t1", name="g", input={"b": [2]}),
            block(2, type="tool_use", id="t2", name="h", input={"c": 3}),
            delta(2, "input_json_delta", partial_json='{"c":'),
            delta(2, "input_json_delta", partial_json="3}"),
            stop(0),
            stop(1),
            stop(2),
            end("tool_use"),
            STOP,
        )
    )

    assert [call.arguments for call in said.tool_calls] == ['{"a":1}', '{"b":[2]}', '{"c":3}']


def test_interleaved_blocks_keep_their_fragments() -> None:
    """Fragments go by the index of their block; ids and names stand on the first one only."""
    result = received(
        start(),
        block(0, type="tool_use", id="t0", name="f", input={}),
        block(1, type="tool_use", id="t1", name="g", input={}),
        delta(1, "input_json_delta", partial_json='{"b"'),
        delta(0, "input_json_delta", partial_json='{"a"'),
        delta(1, "input_json_delta", partial_json=":2}"),
        delta(0, "input_json_delta", partial_json=":1}"),
        end("tool_use"),
        STOP,
    )

    deltas = [event for event in result.events if isinstance(event, ToolCallDelta)]
    assert [(event.index, event.id, event.name) for event in deltas if event.id] == [(0, "t0", "f"), (1, "t1", "g")]
    assert [call.arguments for call in message(result.completion).tool_calls] == ['{"a":1}', '{"b":2}']


def test_missing_ids_and_indexes_are_made_up() -> None:
    """A call without an id gets one of ours; a fragment without an index belongs to the block that began last."""
    events: tuple[Wire, ...] = (
        start(),
        {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "id": None, "name": "g"}},
        {"type": "content_block_stop"},
        end("tool_use"),
        STOP,
    )

    calls = message(answer(*events)).tool_calls

    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a":1}'), ("g", "{}")]
    assert len({call.id for call in calls if call.id}) == 2


def test_an_index_used_again_is_a_new_block() -> None:
    """A server that counts nothing loses nothing."""
    first = block(0, type="tool_use", id="t0", name="f", input={"a": 1})
    second = block(0, type="tool_use", id="t1", name="g", input={})
    more = delta(0, "input_json_delta", partial_json='{"b":2}')

    calls = message(answer(start(), *text(0, "x"), first, stop(0), second, more, stop(0), end(), STOP)).tool_calls

    assert (ToolCall("t0", "f", '{"a":1}'), ToolCall("t1", "g", '{"b":2}')) == calls


def test_fragments_without_a_start_are_not_lost() -> None:
    """The kind of a fragment says what its block is."""
    events = (
        delta(0, "thinking_delta", thinking="hm"),
        delta(1, "text_delta", text="a"),
        delta(1, "text_delta", text="b"),
        block(2),
        delta(2, "input_json_delta", partial_json="{}"),
    )

    said = message(answer(start(), *events, end(), STOP))

    assert (said.reasoning, said.text, len(said.tool_calls)) == ("hm", "ab", 1)


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (
            'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
            EndpointOverloaded,
        ),
        ('data: {"type":"error","error":{"type":"rate_limit_error","message":"slow"}}', EndpointRateLimited),
        ('event: error\ndata: {"code":500,"message":"engine","type":"server_error"}', EndpointError),
        ('error: {"code":500,"message":"engine","type":"server_error"}', EndpointError),
        ('data: {"error":{"message":"engine dead","type":"InternalServerError","code":500}}', EndpointError),
        ('event: content_block_delta\ndata: {"type":"content_block_delta","error":{"message":"bad"}}', EndpointError),
    ],
)
def test_an_error_inside_the_stream_is_raised_with_the_usage(wire: str, kind: type[CallerError]) -> None:
    """Wrapped as documented or bare as from llama.cpp, an error is an error, before and after output."""
    for before in ((start(),), (start(), *text(0, "x"))):
        result = receive(ANTHROPIC_MESSAGES, CALL, sse(*before) + wire.encode() + b"\n\n" + sse(end(), STOP))

        assert kind is type(result.error)
        assert Usage(9, 1, 10) == result.error.usage


def test_a_null_error_is_no_error() -> None:
    """Servers written in Go and gateways send empty error fields along."""
    piece = delta(0, "text_delta", text="x") | {"error": None}

    assert message(answer(start() | {"error": {}}, piece, end() | {"error": ""}, STOP)).text == "x"


def test_unknown_events_pings_and_done_are_ignored() -> None:
    """What is not known means nothing, and a gateway's [DONE] is no trouble."""
    odd: tuple[Wire, ...] = (
        {"type": "ping"},
        {"type": "surprise", "index": 0},
        {"type": "content_block_delta", "delta": "no"},
    )

    wire = sse(start(), *odd, *text(0, "x"), end(), STOP) + b"data: [DONE]\n\n"

    assert answer(start(), *text(0, "x"), end(), STOP) == receive(ANTHROPIC_MESSAGES, CALL, wire).completion


def test_done_stands_for_message_stop_only_behind_a_stop_reason() -> None:
    """A gateway that ends with [DONE] said that nothing more comes; without a reason it said nothing."""
    said, done = sse(start(), *text(0, "x")), b"data: [DONE]\n\n"

    assert receive(ANTHROPIC_MESSAGES, CALL, said + sse(end()) + done).error is None
    assert isinstance(receive(ANTHROPIC_MESSAGES, CALL, said + done).error, StreamInterrupted)


def test_the_event_name_stands_for_a_missing_type() -> None:
    """The official client fills it in from there too."""
    wire = sse(start(), *text(0, "x"), end(), STOP)
    for kind in ("message_start", "content_block_delta", "message_delta", "message_stop"):
        wire = wire.replace(f'{{"type": "{kind}", '.encode(), b"{").replace(f'"type": "{kind}"'.encode(), b"")

    assert message(receive(ANTHROPIC_MESSAGES, CALL, wire).completion).text == "x"
    assert receive(ANTHROPIC_MESSAGES, CALL, wire).error is None


def test_another_apis_stream_is_not_an_answer() -> None:
    """Chat Completions chunks at this shape end in an error that says what to choose."""
    wire = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'

    error = receive(ANTHROPIC_MESSAGES, CALL, wire).error

    assert isinstance(error, StreamInterrupted)
    assert "apiCompatibility" in error.message


@pytest.mark.parametrize("body", ["{}", '{"content":{"a":1}}', '{"choices":[]}', '{"content":7}', "[]", '"x"', "nope"])
def test_a_body_of_another_shape_is_a_protocol_error(body: str) -> None:
    """Missing content is named; it is never taken for an empty answer."""
    with pytest.raises(ProtocolError) as caught:
        ANTHROPIC_MESSAGES.decoder(CALL).whole(body.encode())

    assert "content" in caught.value.message or "not a JSON object" in caught.value.message


def test_null_empty_and_plain_content_are_good_answers() -> None:
    """An answer may say nothing, and content may be a bare string."""
    assert message(whole(content=None)).text == ""
    assert message(whole(content=[])).text == ""
    assert message(whole(content="x")).text == "x"


def test_an_error_as_a_whole_answer_is_raised() -> None:
    """A 200 answer that is an error is one."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    body = {"type": "error", "error": error, "usage": {"input_tokens": 3, "output_tokens": 0}}

    with pytest.raises(EndpointOverloaded) as caught:
        ANTHROPIC_MESSAGES.decoder(CALL).whole(json.dumps(body).encode())

    assert Usage(3, 0, 3) == caught.value.usage


def test_the_number_of_blocks_is_bounded() -> None:
    """An endpoint that opens blocks for ever is stopped."""
    decoder = ANTHROPIC_MESSAGES.decoder(CALL)
    frame = Frame("", json.dumps(block(0, type="text", text="")).encode())

    for _ in range(MAX_BLOCKS):
        decoder.feed(frame)

    with pytest.raises(ResponseTooLarge):
        decoder.feed(frame)


def test_opaque_content_is_bounded() -> None:
    """What is neither text nor arguments cannot fill the memory either."""
    decoder = ANTHROPIC_MESSAGES.decoder(CALL)
    decoder.feed(Frame("", json.dumps(block(0, type="odd")).encode()))
    frame = Frame("", json.dumps(delta(0, "odd_delta", data="x" * 1_000_000)).encode())

    for _ in range(MAX_KEPT // 1_000_050):
        decoder.feed(frame)

    with pytest.raises(ResponseTooLarge):
        decoder.feed(frame)


def test_deep_nesting_is_a_protocol_error() -> None:
    """JSON nested as deeply as our parser reads it does not break what is made of it."""
    for depth in (50, 400, 900, 990, 5000):
        nested = '{"a":' * depth + "1" + "}" * depth
        call = f'{{"type":"tool_use","id":"t","name":"f","input":{nested}}}'
        frames = f'data: {{"type":"content_block_start","index":0,"content_block":{call}}}\n\n'.encode()
        result = receive(ANTHROPIC_MESSAGES, CALL, frames + sse(stop(0), end(), STOP))

        assert result.error is None or isinstance(result.error, ProtocolError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.sampled_from(["", "text", "tool_use", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "text"]), inner),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn) -> list[Wire]:
    """The frames of a rich answer with values replaced, frames dropped and doubled."""
    frames: list[Wire] = json.loads(json.dumps(RICH))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(frames) - 1))
        where = frames[at]
        while where:
            key = draw(st.sampled_from(sorted(where)))
            if isinstance(where[key], dict) and draw(st.booleans()):
                where = where[key]
                continue
            where[key] = draw(JSON)
            break
        frames[at : at + 1] = [frames[at]] * draw(st.integers(0, 2))
        if not frames:
            return frames
    return frames


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_whatever_the_frames_hold_only_our_errors_come_out(frames: list[Wire]) -> None:
    """Wrong types everywhere end in an answer or in an error of ours, and state can always be read back."""
    wire = b"".join(f"data: {json.dumps(frame)}\n\n".encode() for frame in frames)

    result = receive(ANTHROPIC_MESSAGES, CALL, wire)

    assert result.error is None or isinstance(result.error, CallerError)
    for choice in result.completion.choices:
        if choice.message.provider_state:
            assert unseal("anthropic_messages", choice.message) is not None


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "content", "usage", "stop_reason", "model", "role", "odd"]), JSON))
def test_whatever_a_whole_answer_holds_only_our_errors_come_out(fields: Wire) -> None:
    """A whole answer of any make is an answer or an error of ours."""
    try:
        completion = folded(ANTHROPIC_MESSAGES.decoder(CALL).whole(json.dumps(fields).encode()))
    except CallerError:
        return

    assert len(completion.choices) == 1
