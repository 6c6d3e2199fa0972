"""The breaker: opens after a share of failures, finds out with one call, closes after one answer. Time is given."""

import pytest

from caller.breaker import MAX_ENTRIES, SILENT, Breaker, BreakerLimits
from caller.call import Destination

HOST = "host:443"


def at(key: bytes, endpoint: str = HOST) -> Destination:
    """Where a target leads to."""
    return Destination(endpoint, "m", lambda: key)


KEY = at(b"key")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def breaker(**limits: float) -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(BreakerLimits(**limits), clock), clock  # type: ignore[arg-type] # names of its fields


def fails(made: Breaker, times: int = 1, key: Destination = KEY) -> None:
    for _ in range(times):
        made.asked(key)
        made.failed(key)


def answers(made: Breaker, times: int = 1) -> None:
    for _ in range(times):
        made.asked(KEY)
        made.answered(KEY)


def test_it_opens_after_five_of_the_last_ten() -> None:
    """Not after four, and not after five among more."""
    made, _ = breaker()
    fails(made, 4)
    assert made.passes(KEY)
    fails(made)
    assert not made.passes(KEY)
    assert made.open_by_endpoint() == {HOST: 1}

    spread, _ = breaker()
    for _ in range(20):
        fails(spread)
        answers(spread, 2)
        assert spread.passes(KEY)


def test_failures_are_forgotten_after_the_window() -> None:
    """Five failures within 30 seconds count, and five within 40 do not."""
    made, clock = breaker()
    for _ in range(10):
        fails(made)
        clock.now += 8.0
        assert made.passes(KEY)


def test_one_call_finds_out_after_ten_seconds() -> None:
    """Nobody before, one then, nobody else meanwhile; a failure opens it for ten more, an answer closes it."""
    made, clock = breaker()
    fails(made, 5)
    clock.now += 9.9
    assert not made.passes(KEY)
    clock.now += 0.1
    assert made.passes(KEY)
    made.asked(KEY)
    assert not made.passes(KEY)
    made.failed(KEY)
    clock.now += 9.9
    assert not made.passes(KEY)
    clock.now += 0.1
    assert made.passes(KEY)
    answers(made)
    assert made.passes(KEY)
    assert not made.open_by_endpoint()
    fails(made, 4)  # what was before counts no more
    assert made.passes(KEY)


def test_one_that_found_nothing_out_leaves_it_to_the_next() -> None:
    """A probe that was cancelled."""
    made, clock = breaker()
    fails(made, 5)
    clock.now += 10.0
    made.asked(KEY)
    made.given_up(KEY)
    assert made.passes(KEY)


def test_one_that_lost_its_race_found_nothing_out() -> None:
    """The next one does after ten seconds more: an outage costs no race of every call."""
    made, clock = breaker()
    fails(made, 5)
    clock.now += 10.0
    assert made.asked(KEY)
    made.lost(KEY)
    clock.now += 9.9
    assert not made.passes(KEY)
    clock.now += 0.1
    assert made.passes(KEY)


def test_lost_races_alone_open_nothing() -> None:
    """Nor does a call that waits long alone, nor both where there was an output after the races."""
    made, clock = breaker()
    for _ in range(100):
        made.lost(KEY)
        clock.now += 1.0
    assert made.passes(KEY)
    answers(made)
    assert not made.waited_in_vain(KEY)
    for _ in range(SILENT - 1):
        made.lost(KEY)
    assert not made.waited_in_vain(KEY)
    assert made.passes(KEY)
    made.lost(KEY)
    assert made.waited_in_vain(KEY)
    assert not made.passes(KEY)
    off, _ = breaker(failures=0)
    for _ in range(SILENT):
        off.lost(KEY)
    assert not off.waited_in_vain(KEY)


def test_answers_and_failures_of_calls_from_before_change_nothing_while_it_is_open() -> None:
    """They neither close it nor keep it open for longer."""
    made, clock = breaker()
    fails(made, 5)
    clock.now += 5.0
    made.answered(KEY)
    made.failed(KEY)
    assert not made.passes(KEY)
    clock.now += 5.0
    assert made.passes(KEY)


def test_what_is_not_known_passes() -> None:
    """Other keys have breakers of their own; and none has one where it is turned off."""
    made, _ = breaker()
    fails(made, 5)
    assert made.passes(at(b"other"))
    off, _ = breaker(failures=0)
    fails(off, 100)
    assert off.passes(KEY)


@pytest.mark.parametrize("failures", [1, 3])
def test_the_share_can_be_set(failures: int) -> None:
    """So many of the last twice as many."""
    made, _ = breaker(failures=failures)
    fails(made, failures - 1)
    assert made.passes(KEY)
    fails(made)
    assert not made.passes(KEY)


def test_targets_that_clients_name_fill_no_memory() -> None:
    """The one that failed longest ago goes; good targets have no entry at all."""
    made, _ = breaker()
    answers(made, 100)
    assert not made._entries
    for number in range(MAX_ENTRIES + 10):
        fails(made, key=at(str(number).encode()))
    assert len(made._entries) == MAX_ENTRIES
    assert b"0" not in made._entries


def test_many_endpoints_are_counted_together() -> None:
    """The metric's labels are bounded."""
    made, _ = breaker(failures=1)
    for number in range(60):
        made.failed(at(str(number).encode(), f"host{number}:443"))
    shown = made.open_by_endpoint()
    assert len(shown) == 51
    assert sum(shown.values()) == 60
