"""What builders are made of: the context that they get, and scenarios built from words.

Rule: pure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from integration_api.sandbox.scenario import (
    Delivery,
    Finish,
    Pause,
    Reply,
    Request,
    Scenario,
    Step,
    Text,
    counted,
    split_words,
)


@dataclass(frozen=True, slots=True)
class Context:
    """All that a builder may depend on: the request, how many like it came before, and a number at random
    (0 ≤ `random` < 1)."""

    request: Request
    earlier: int
    random: float


Builder: TypeAlias = Callable[[Context], Reply]


def scenario_of(
    request: Request,
    steps: Iterable[Step],
    finish: Finish | None = Finish.STOP,
    delivery: Delivery | None = None,
    *,
    signed: bool = False,
) -> Scenario:
    """A scenario with its words counted."""
    every = tuple(steps)
    return Scenario(every, counted(every, request.words), finish, signed, delivery or Delivery())


def echoed(request: Request) -> list[Step]:
    """The last user text, word by word."""
    return [Text(word) for word in split_words(request.prompt)]


def at_least(request: Request, count: int) -> list[Step]:
    """The echo, with more words after it where it is shorter than `count`."""
    words = echoed(request)
    return [*words, *(Text(f" word{number}") for number in range(len(words) + 1, count + 1))]


def paced(steps: Sequence[Step], gap: float) -> Iterable[Step]:
    """The steps with a pause of `gap` seconds between them."""
    for number, step in enumerate(steps):
        if number and gap:
            yield Pause(gap)
        yield step


def plain(request: Request, delivery: Delivery | None = None) -> Scenario:
    """An echo, delivered in some way."""
    return scenario_of(request, echoed(request), delivery=delivery)
