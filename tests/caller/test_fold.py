"""Events folded to the whole answer, and the bounds of what is kept."""

import tracemalloc

import pytest

from caller.call import Choice
from caller.errors import ResponseTooLarge
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ProviderFields,
    ProviderState,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
    Usage,
    UsageReported,
    UsageSource,
)
from caller.fold import MAX_CHOICES, MAX_FIELDS, MAX_JOINED, MAX_TOOL_CALLS, Folder, merge_usage
from caller.json_types import JsonObject
from caller.messages import AssistantMessage, ToolCall
from caller.provider_state import seal, unseal


def folded(*events: Event, budget: int = 1000) -> Folder:
    folder = Folder(budget)
    for event in events:
        folder.feed(event)
    return folder


def fields(*events: JsonObject) -> JsonObject:
    return folded(*map(ProviderFields, events)).completion().provider_fields


def test_nothing_is_an_empty_answer() -> None:
    """Without events there are no choices, and usage that nobody reported."""
    answer = folded().completion()

    assert (answer.response_id, answer.model, answer.choices) == ("", "", ())
    assert answer.usage.source is UsageSource.UNAVAILABLE


def test_fragments_become_one_answer() -> None:
    """Text, reasoning, refusals and calls of each choice, in the order of the choices."""
    logprob = TokenLogprob("a", -0.5)
    answer = folded(
        Started("", "m"),
        TextDelta("x", 1),
        Started("r", "other"),
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        TextDelta("a", 0, (logprob,)),
        ToolCallDelta(1, "{", "c2", "g"),
        ToolCallDelta(0, "", "c1", "f"),
        ToolCallDelta(1, "}"),
        ToolCallDelta(0, "{}"),
        RefusalDelta("no", 1),
        TextDelta("b"),
        Finished(FinishReason.STOP, "stop", 1),
        Finished(FinishReason.STOP, "stop"),
        Finished(FinishReason.TOOL_CALLS, "tool_calls"),
        ProviderFields({"k": "v"}, 1),
        ProviderFields({"t": 1}),
    ).completion()

    calls = (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))
    assert (answer.response_id, answer.model, answer.provider_fields) == ("r", "m", {"t": 1})
    assert answer.choices == (
        Choice(0, AssistantMessage("ab", "", "hm", calls), FinishReason.TOOL_CALLS, "tool_calls", (logprob,)),
        Choice(1, AssistantMessage("x", "no"), FinishReason.STOP, "stop", provider_fields={"k": "v"}),
    )


def test_state_is_sealed_with_what_was_said() -> None:
    """The opaque value is good for exactly the message it came with."""
    answer = folded(
        TextDelta("a"), ToolCallDelta(0, "{}", "c", "f"), ProviderState("s", {"x": 1}), ProviderState("s", {"x": 2})
    ).completion()
    message = answer.choices[0].message

    assert message.provider_state == seal("s", {"x": 2}, "a", message.tool_calls)
    assert unseal("s", message) == {"x": 2}


def test_usage_is_merged_field_by_field() -> None:
    """A later partial report resets nothing."""
    first = Usage(1, 2, 3, 4, 5, 6)

    assert merge_usage(None, first) is first
    assert merge_usage(first, Usage()) == first
    assert merge_usage(Usage(), first) == first
    assert merge_usage(first, Usage(output=9, source=UsageSource.PARTIAL)) == Usage(
        1, 9, 3, 4, 5, 6, UsageSource.PARTIAL
    )
    assert folded(UsageReported(Usage(1)), UsageReported(Usage(output=0))).completion().usage == Usage(1, 0)


def test_fields_of_the_endpoint_are_kept() -> None:
    """Later values replace earlier ones; lists come in pieces, are repeated, or grow."""
    assert fields({"a": 1, "b": {"x": 1}}, {"a": 2, "b": {"y": 1}}) == {"a": 2, "b": {"y": 1}}
    assert fields({"a": [1]}, {"a": [2]}) == {"a": [1, 2]}
    assert fields({"a": [1]}, {"a": [1]}) == {"a": [1]}
    assert fields({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2, 3]}) == {"a": [1, 2, 3]}
    assert fields({"a": [1]}, {"a": "x"}) == {"a": "x"}


def test_the_events_own_lists_are_not_changed() -> None:
    """Events are frozen, and so is what they hold."""
    first: JsonObject = {"a": [1]}

    assert fields(first, {"a": [2]}) == {"a": [1, 2]}
    assert first == {"a": [1]}


LONG = "x" * 11
TOKENS = (TokenLogprob("", 0.0, b"", (TopLogprob("", 0.0),)),)


@pytest.mark.parametrize(
    "event",
    [
        TextDelta(LONG),
        ReasoningDelta(LONG),
        RefusalDelta(LONG),
        ToolCallDelta(0, LONG),
        TextDelta("", 0, TOKENS),
        ProviderFields({"a": LONG}),
        ProviderFields({"a": [LONG]}, 0),
    ],
)
def test_an_answer_is_bounded(event: Event) -> None:
    """Every kind of output consumes the same budget."""
    with pytest.raises(ResponseTooLarge):
        folded(event, budget=10)


def test_the_budget_is_shared() -> None:
    """Many small pieces count together."""
    pieces: list[Event] = [TextDelta("xxx"), ReasoningDelta("xxx"), ToolCallDelta(0, "xxx")]

    assert folded(*pieces, budget=9).completion().choices[0].message.text == "xxx"
    with pytest.raises(ResponseTooLarge):
        folded(*pieces, budget=8)


def test_fields_that_are_said_again_count_once() -> None:
    """A list that comes in pieces grows; one that is repeated, or replaced, does not."""
    again = [ProviderFields({"timings": {"ms": 10**9 + number}, "cited": ["a", "b"]}) for number in range(100)]
    pieces = [ProviderFields({"cited": ["xxxxxx"]}) for _ in range(10)]

    assert folded(*again, budget=40).completion().provider_fields["timings"] == {"ms": 10**9 + 99}
    assert folded(*pieces, budget=100).completion().provider_fields["cited"] == ["xxxxxx"]
    with pytest.raises(ResponseTooLarge):
        folded(
            ProviderFields({"cited": ["first"]}), *[ProviderFields({"cited": [str(n)]}) for n in range(100)], budget=100
        )


@pytest.mark.parametrize(
    "events",
    [
        [TextDelta("", number) for number in range(MAX_CHOICES + 1)],
        [ToolCallDelta(number) for number in range(MAX_TOOL_CALLS + 1)],
        [ProviderFields({f"k{number}": 1}) for number in range(MAX_FIELDS + 1)],
        [ProviderFields({"a": [number] * 100}) for number in range(MAX_JOINED // 100 + 1)],
    ],
    ids=["choices", "calls", "fields", "lists"],
)
def test_numbers_are_bounded(events: list[Event]) -> None:
    """Choices, calls, unknown fields, members of their lists: up to the bound all is well, one more is too large."""
    assert folded(*events[:-1], budget=10**6).completion().response_id == ""
    with pytest.raises(ResponseTooLarge):
        folded(*events, budget=10**6)


def test_thousands_of_fragments_cost_little_more_than_their_characters() -> None:
    """Each would be an object of 50 bytes and more; the answer is the same."""
    folder = Folder(1_000_000)
    tracemalloc.start()
    try:
        for number in range(20_000):
            folder.feed(TextDelta(f"{number % 10}ab"))
            folder.feed(ToolCallDelta(0, f"{number % 10}cd", "1", "f"))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (choice,) = folder.completion().choices
    assert choice.message.text == "".join(f"{number % 10}ab" for number in range(20_000))
    assert choice.message.tool_calls[0].arguments == "".join(f"{number % 10}cd" for number in range(20_000))
    assert held < 800_000
