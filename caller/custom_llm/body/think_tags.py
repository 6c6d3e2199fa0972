"""Inline thinking tags as reasoning: a filter from events to events, for calls that ask for it. Pure.

Servers that run without a reasoning parser leave `<think>…</think>` (DeepSeek R1, Qwen) or `[THINK]…[/THINK]`
(Mistral) in the text. The rules:

* A block counts at the beginning of the answer only, and directly behind another block: further on, the tag is what
  the model writes about. White space before a block and behind it is dropped.
* Tags may be cut across deltas. What may still become a tag is held back, a few characters at most.
* A block that is never closed is reasoning to the end.
* A closing tag without an opening one (the chat template had opened it) stays in the text with all before it: by then
  that text has left. Nothing is held back for it, and nothing is lost.
"""

from collections.abc import Iterable, Iterator
from enum import Enum

from caller.events import Event, Finished, ProviderState, ReasoningDelta, TextDelta, ToolCallDelta

_TAGS = {"<think>": "</think>", "[THINK]": "[/THINK]"}
_MAX_BLANKS = 256


class _Mode(Enum):
    START = 0  # nothing but white space so far
    THINKING = 1
    BEHIND = 2  # a block has ended, nothing but white space since
    TEXT = 3


class ThinkTags:
    """Filters the events of one answer, batch by batch."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def feed(self, events: Iterable[Event], *, last: bool = False) -> list[Event]:
        """The events with tagged text as reasoning. `last`: nothing comes behind them."""
        passed: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta):
                self._text(event, passed)
                continue
            if isinstance(event, Finished | ToolCallDelta | ProviderState) and event.choice in self._choices:
                passed += self._choices[event.choice].flushed()
            passed.append(event)
        if last:
            for choice in self._choices.values():
                passed += choice.flushed()
        return passed

    def _text(self, event: TextDelta, passed: list[Event]) -> None:
        choice = self._choices.get(event.choice)
        if choice is None:
            choice = self._choices[event.choice] = _Choice(event.choice)
        if choice.plain:
            passed.append(event)
            return
        if event.logprobs:  # reasoning has no field for them
            passed.append(TextDelta("", event.choice, event.logprobs))
        passed += choice.feed(event.text)


class _Choice:
    """Follows the text of one choice."""

    __slots__ = ("_closing", "_held", "_index", "_mode")

    def __init__(self, index: int) -> None:
        self._index = index
        self._mode = _Mode.START
        self._held = ""  # what may become a tag, with white space before it
        self._closing = ""

    @property
    def plain(self) -> bool:
        """True once all that comes is text."""
        return self._mode is _Mode.TEXT

    def feed(self, text: str) -> Iterator[Event]:
        text, self._held = self._held + text, ""
        while text:
            if self._mode is _Mode.TEXT:
                yield TextDelta(text, self._index)
                return
            if self._mode is _Mode.THINKING:
                thought, text = self._thought(text)
                if thought:
                    yield ReasoningDelta(thought, self._index)
            else:
                text = self._open(text)

    def flushed(self) -> list[Event]:
        """What is held back, as what it is by now."""
        held, self._held = self._held, ""
        if not held:
            return []
        thinking = self._mode is _Mode.THINKING
        return [ReasoningDelta(held, self._index) if thinking else TextDelta(held, self._index)]

    def _thought(self, text: str) -> tuple[str, str]:
        """Reasoning, and the text behind the block."""
        thought, closing, rest = text.partition(self._closing)
        if closing:
            self._mode = _Mode.BEHIND
            return thought, rest
        kept = _overlap(text, self._closing)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept], ""

    def _open(self, text: str) -> str:
        """The text behind an opening tag, or all of it when there is none; empty when that is not certain yet."""
        begun = text.lstrip()
        for opening, closing in _TAGS.items():
            if begun.startswith(opening):
                self._mode, self._closing = _Mode.THINKING, closing
                return begun.removeprefix(opening)
        wanted = begun if self._mode is _Mode.BEHIND else text
        if any(opening.startswith(begun) for opening in _TAGS) and len(text) <= _MAX_BLANKS:
            self._held = wanted
            return ""
        self._mode = _Mode.TEXT
        return wanted


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of the text may be the beginning of the tag."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)
