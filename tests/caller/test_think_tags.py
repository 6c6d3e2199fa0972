"""Reasoning in tags inside of a text, wherever it is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.custom_llm.body.think_tags import ThinkTags
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReported,
)
from caller.events import Usage as Counts
from caller.fold import Folder

END = Finished(FinishReason.STOP, "stop")


def filtered(*batches: list[Event]) -> list[Event]:
    tags = ThinkTags()
    events = [event for batch in batches for event in tags.feed(batch)]
    return events + tags.feed([], last=True)


def received(events: list[Event]) -> tuple[str, str]:
    folder = Folder(10_000)
    for event in events:
        folder.feed(event)
    (choice,) = folder.completion().choices
    return choice.message.reasoning, choice.message.text


def parted(*texts: str) -> tuple[str, str]:
    batches: list[list[Event]] = [[TextDelta(text)] for text in texts]
    return received(filtered(*batches, [END]))


ANSWERS = [
    ("Hello", "", "Hello"),
    ("  Hello\n", "", "  Hello\n"),
    ("<think>hm</think>Hello", "hm", "Hello"),
    ("\n<think>\nhm\n</think>\n\nHello", "\nhm\n", "Hello"),
    ("[THINK]hm[/THINK]Hello", "hm", "Hello"),
    ("<think>hm</think>\n<think>so</think>Hello", "hmso", "Hello"),
    ("<think></think>Hello", "", "Hello"),
    ("<think>hm", "hm", ""),
    ("<think>hm</thi", "hm</thi", ""),
    ("<think>a < b </ c [/THINK] </think>Hello", "a < b </ c [/THINK] ", "Hello"),
    ("<think>hm</think>Hello <think>no</think>", "hm", "Hello <think>no</think>"),
    ("Use <think> and </think>", "", "Use <think> and </think>"),
    ("so be it</think>Hello", "", "so be it</think>Hello"),
    ("<thin ice", "", "<thin ice"),
    ("<", "", "<"),
    (" <thin", "", " <thin"),
    ("<think>hm</think> ", "hm", ""),
    ("<think>hm</think> <th", "hm", "<th"),
    ("<think>🙂</think>🙂", "🙂", "🙂"),
]


@pytest.mark.parametrize(("answer", "reasoning", "text"), ANSWERS)
def test_tags_part_reasoning_from_text_however_they_are_cut(answer: str, reasoning: str, text: str) -> None:
    """A block at the beginning is reasoning; a tag further on, or one that was never opened, is text."""
    assert parted(answer) == (reasoning, text)
    assert parted(*answer) == (reasoning, text)
    for at in range(len(answer)):
        assert parted(answer[:at], answer[at:]) == (reasoning, text)


def test_only_what_may_become_a_tag_is_held_back() -> None:
    """Text leaves with its delta, and reasoning up to the beginning of a closing tag."""
    tags = ThinkTags()

    assert tags.feed([TextDelta("<thi")]) == []
    assert tags.feed([TextDelta("nk>a</")]) == [ReasoningDelta("a")]
    assert tags.feed([TextDelta("b")]) == [ReasoningDelta("</b")]
    assert tags.feed([TextDelta("</think>Hi")]) == [TextDelta("Hi")]
    assert tags.feed([TextDelta(" <")]) == [TextDelta(" <")]


def test_other_events_pass_and_push_out_what_is_held() -> None:
    """A call or an end behind held text comes behind it; usage does not wait."""
    usage, call = UsageReported(Counts(1)), ToolCallDelta(0, "{}", "c", "f")

    assert filtered([TextDelta("<th"), usage, call, END]) == [usage, TextDelta("<th"), call, END]
    assert filtered([usage, END]) == [usage, END]


def test_choices_are_parted_each_by_itself() -> None:
    """One choice may think while another speaks."""
    events = filtered([TextDelta("<think>", 0), TextDelta("Hi", 1), TextDelta("a", 0), TextDelta("</think>b", 0)])

    assert events == [TextDelta("Hi", 1), ReasoningDelta("a", 0), TextDelta("b", 0)]


def test_log_probabilities_are_kept() -> None:
    """Those of tokens that become reasoning have no other place than an empty text."""
    tokens = (TokenLogprob("<think>", -0.5),)

    assert filtered([TextDelta("<think>", 0, tokens)]) == [TextDelta("", 0, tokens)]
    assert filtered([TextDelta("Hi"), TextDelta("!", 0, tokens)]) == [TextDelta("Hi"), TextDelta("!", 0, tokens)]


def test_endless_white_space_is_let_go() -> None:
    """A model that only sends blanks is not held back for ever."""
    assert parted(*[" "] * 1000) == ("", " " * 1000)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "a", " ", "<", "th", "/"])).map("".join),
    st.lists(st.integers(0, 60)),
)
def test_no_cut_changes_what_is_heard(answer: str, cuts: list[int]) -> None:
    """Any text, any cuts."""
    bounds = sorted({0, len(answer), *(min(cut, len(answer)) for cut in cuts)})

    assert parted(*(answer[start:end] for start, end in pairwise(bounds))) == parted(answer)
