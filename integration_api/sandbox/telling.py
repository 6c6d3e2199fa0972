"""What plots are made of: the scene that they see, and stories told from words.

Rule: pure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from integration_api.sandbox.story import Ask, Delivery, Finish, Pause, Reply, Step, Story, Text, counted, split_words


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a plot may depend on: the request, how many like it came before, and luck (0 ≤ luck < 1)."""

    ask: Ask
    earlier: int
    luck: float


Plot: TypeAlias = Callable[[Scene], Reply]


def told(
    ask: Ask,
    steps: Iterable[Step],
    finish: Finish | None = Finish.STOP,
    delivery: Delivery | None = None,
    *,
    sealed: bool = False,
) -> Story:
    """A story with its words counted."""
    every = tuple(steps)
    return Story(every, counted(every, ask.words), finish, sealed, delivery or Delivery())


def echoed(ask: Ask) -> list[Step]:
    """The last user text, word by word."""
    return [Text(word) for word in split_words(ask.prompt)]


def at_least(ask: Ask, count: int) -> list[Step]:
    """The echo, with more words after it where it is shorter than `count`."""
    words = echoed(ask)
    return [*words, *(Text(f" word{number}") for number in range(len(words) + 1, count + 1))]


def paced(steps: Sequence[Step], gap: float) -> Iterable[Step]:
    """The steps with a pause of `gap` seconds between them."""
    for number, step in enumerate(steps):
        if number and gap:
            yield Pause(gap)
        yield step


def plain(ask: Ask, delivery: Delivery | None = None) -> Story:
    """An echo, delivered in some way."""
    return told(ask, echoed(ask), delivery=delivery)
