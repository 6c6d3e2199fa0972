"""What answers of the Anthropic Messages API mean, as bytes of a stream and in one piece."""

import pytest

from caller.coalesce import coalesced
from caller.custom_llm.apis.anthropic.adapter import ANTHROPIC_MESSAGES
from caller.errors import StreamInterrupted
from caller.events import FinishReason, Usage, UsageReported
from caller.messages import ToolCall
from tests.caller.adapters.anthropic_wire import (
    CALL,
    RICH,
    RICH_CONTENT,
    RICH_USAGE,
    STOP,
    answer,
    block,
    delta,
    end,
    message,
    received,
    replayed,
    sse,
    start,
    stop,
    text,
    whole,
)
from tests.recordings_reader import Recording, before_agrees, expected, ids_agree, receive, recordings, told


@pytest.mark.parametrize("recording", recordings("anthropic_messages"), ids=lambda recording: recording.name)
def test_every_recorded_answer_is_read_as_expected(recording: Recording) -> None:
    """What real servers answered comes out as it was judged by eye before there was code to read it."""
    result = receive(ANTHROPIC_MESSAGES, CALL, recording.body)

    assert expected(recording) == told(result)
    assert ids_agree(recording, result)
    assert before_agrees(recording, result)


def test_a_rich_answer_is_told_whole() -> None:
    """Thinking, text and two tool calls arrive each in its own field, with the counts."""
    completion = answer(*RICH)

    assert (completion.response_id, completion.model) == ("m1", "c")
    (choice,) = completion.choices
    assert choice.message.text == "It is\u202821 °C"
    assert choice.message.reasoning == "Rome… 𝄞"
    assert (ToolCall("t1", "f", '{"city":"Rome"}'), ToolCall("t2", "g", "{}")) == choice.message.tool_calls
    assert (choice.finish_reason, choice.raw_finish_reason) == (FinishReason.TOOL_CALLS, "tool_use")
    assert Usage(112, 17, 129, cached_input=100, cache_creation_input=3) == completion.usage
    assert replayed(completion) == RICH_CONTENT


def test_a_cut_anywhere_changes_nothing() -> None:
    """However the network cuts the bytes up, the same events come out."""
    wire = sse(*RICH)
    wanted = coalesced(receive(ANTHROPIC_MESSAGES, CALL, wire).events)

    for cut in range(1, len(wire)):
        assert wanted == coalesced(receive(ANTHROPIC_MESSAGES, CALL, wire, cuts=(cut,)).events), cut


def test_a_stream_that_ends_early_is_never_a_good_answer() -> None:
    """Up to the reason to stop every end is an interruption that carries the usage so far; behind it, with every block
    closed, the answer is there without message_stop."""
    whole_answer = received(*RICH).completion
    assert received(*RICH[:-1]).completion == whole_answer
    for length in range(len(RICH) - 1):
        result = received(*RICH[:length])

        assert isinstance(result.error, StreamInterrupted), length
        assert (length > 0) == (result.error.usage is not None)


def test_whole_and_streamed_are_one_answer() -> None:
    """An answer in one piece means what its stream means, state and extra fields included."""
    rich = whole(content=RICH_CONTENT, stop_reason="tool_use", usage=RICH_USAGE)
    citation = {"type": "char_location", "cited_text": "x"}
    cited = answer(
        start(container={"id": "k"}),
        block(0, type="server_tool_use", id="s1", name="web_search", input={}),
        delta(0, "input_json_delta", partial_json='{"query":"q"}'),
        stop(0),
        block(1, type="web_search_tool_result", tool_use_id="s1", content=[{"url": "u"}]),
        stop(1),
        block(2, type="text", text="", citations=[]),
        delta(2, "text_delta", text="found"),
        delta(2, "citations_delta", citation=citation),
        stop(2),
        end("stop_sequence", stop_sequence="END"),
        STOP,
    )

    assert answer(*RICH) == rich
    blocks = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "u"}]},
        {"type": "text", "text": "found", "citations": [citation]},
    ]
    assert cited == whole(content=blocks, container={"id": "k"}, stop_reason="stop_sequence", stop_sequence="END")
    (choice,) = cited.choices
    assert {"content_blocks": blocks, "stop_sequence": "END"} == choice.provider_fields
    assert cited.provider_fields == {"container": {"id": "k"}}
    assert blocks == replayed(cited)
    assert choice.message.tool_calls == ()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.STOP),  # there is no call
        ("refusal", FinishReason.CONTENT_FILTER),
        ("pause_turn", FinishReason.OTHER),
        ("compaction", FinishReason.OTHER),
        ("never_heard_of", FinishReason.OTHER),
    ],
)
def test_each_stop_reason_has_its_finish_reason(raw: str, reason: FinishReason) -> None:
    """Our word is one of five; the endpoint's own is kept beside it."""
    (choice,) = answer(start(), *text(0, "x"), end(raw), STOP).choices

    assert (reason, raw) == (choice.finish_reason, choice.raw_finish_reason)


def test_a_refusal_without_content_is_an_empty_filtered_answer() -> None:
    """A refusal can come with nothing said; why is among the extra fields."""
    details = {"type": "refusal", "category": "bio", "explanation": "no"}

    (choice,) = answer(start(), end("refusal", stop_details=details), STOP).choices

    assert (choice.message.text, choice.finish_reason) == ("", FinishReason.CONTENT_FILTER)
    assert {"stop_details": details} == choice.provider_fields


def test_no_stop_reason_is_unspecified_or_the_calls() -> None:
    """VLLM sends a null reason for what it has no word for; the answer is whole all the same."""
    call = block(0, type="tool_use", id="t1", name="f", input={})

    (said,) = answer(start(), *text(0, "x"), end(None), STOP).choices
    (called,) = answer(start(), call, stop(0), end(None), STOP).choices

    assert (said.finish_reason, said.raw_finish_reason) == (FinishReason.UNSPECIFIED, "")
    assert FinishReason.TOOL_CALLS is called.finish_reason


def test_a_natural_end_after_a_call_is_reported_as_tool_calls() -> None:
    """Some servers say end_turn although the model called a tool."""
    (choice,) = answer(start(), block(0, type="tool_use", id="t", name="f"), stop(0), end("end_turn"), STOP).choices

    assert (choice.finish_reason, choice.raw_finish_reason) == (FinishReason.TOOL_CALLS, "end_turn")


def test_thinking_without_a_signature_is_no_state() -> None:
    """llama.cpp signs nothing: there is nothing that must go back, and the API would refuse it."""
    thinking = (block(0, type="thinking", thinking=""), delta(0, "thinking_delta", thinking="hm"))
    signature = delta(0, "signature_delta", signature="")

    said = message(answer(start(), *thinking, *text(1, "x"), signature, stop(0), end(), STOP))

    assert (said.reasoning, said.provider_state) == ("hm", b"")


def test_unknown_blocks_and_fragments_are_kept() -> None:
    """What a later version of the API adds reaches the client as it is, and goes back to the model."""
    compaction = block(0, type="compaction", content=None)
    events = (compaction, delta(0, "compaction_delta", content="Summ"), delta(0, "compaction_delta", content="ary"))

    completion = answer(start(), *events, stop(0), *text(1, "x"), end(), STOP)

    (choice,) = completion.choices
    kept = {"type": "compaction", "content": "Summary"}
    assert {"content_blocks": [kept]} == choice.provider_fields
    assert [kept, {"type": "text", "text": "x"}] == replayed(completion)


def test_a_plain_call_is_not_shown_twice() -> None:
    """`caller` says of nearly every call that the model itself made it: that is no news."""
    direct = block(0, type="tool_use", id="t", name="f", input={}, caller={"type": "direct"})
    by_code = block(0, type="tool_use", id="t", name="f", input={}, caller={"type": "code_execution", "tool_id": "s"})

    (plain,) = answer(start(), direct, stop(0), end("tool_use"), STOP).choices
    (coded,) = answer(start(), by_code, stop(0), end("tool_use"), STOP).choices

    assert plain.provider_fields == {}
    assert {"content_blocks": [by_code["content_block"]]} == coded.provider_fields


def test_later_usage_overrides_field_by_field() -> None:
    """The last word counts for each field; what it leaves out stays, and other fields are kept as they are."""
    usage = {"input_tokens": 5, "cache_read_input_tokens": 130, "output_tokens": 0, "service_tier": "standard"}
    last = end() | {
        "usage": {"input_tokens": 6, "output_tokens": 21, "output_tokens_details": {"thinking_tokens": 8}},
        "context_management": {"applied_edits": []},
    }

    completion = answer(start(usage=usage), *text(0, "x"), last, STOP)

    assert Usage(136, 21, 157, cached_input=130, reasoning=8) == completion.usage
    assert completion.provider_fields == {
        "usage": {"service_tier": "standard"},
        "context_management": {"applied_edits": []},
    }


def test_usage_of_wrong_types_is_no_usage() -> None:
    """Counts that are no counts are left out."""
    odd = {"input_tokens": "nine", "output_tokens": True, "cache_read_input_tokens": -1}

    result = received(start(usage=odd), end() | {"usage": []}, STOP)

    assert [event for event in result.events if isinstance(event, UsageReported)] == []
