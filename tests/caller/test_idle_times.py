"""How long a connection may be idle: the operator's bound, and what endpoints teach."""

import pytest

from caller.custom_llm.http.idle_times import IdleTimes, announced_seconds


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def times(longest: float = 90.0) -> tuple[IdleTimes, Clock]:
    clock = Clock()
    return IdleTimes(longest, clock), clock


def test_nothing_is_known_at_first() -> None:
    """The operator's bound."""
    idle, _ = times()

    assert idle.of("a") == 90.0


@pytest.mark.parametrize(
    ("announced", "kept"), [(5, 4.0), (60, 59.0), (1, 0.5), (0, 0.0), (120, 90.0), (999999999, 90.0)]
)
def test_what_the_endpoint_announces_holds(announced: float, kept: float) -> None:
    """Less a second for the request's way, and never more than the operator's bound; for this endpoint only."""
    idle, clock = times()
    idle.announced("a", announced)
    clock.now += 100_000

    assert idle.of("a") == kept
    assert idle.of("b") == 90.0


def test_the_newest_announcement_holds() -> None:
    """A new configuration of the endpoint is followed."""
    idle, _ = times()
    idle.announced("a", 5)
    idle.announced("a", 31)

    assert idle.of("a") == 30.0


def test_a_loss_teaches_at_once() -> None:
    """The connection may have been dead for a while."""
    idle, _ = times()
    idle.lost("a", 60.0)
    assert idle.of("a") == 45.0

    idle.lost("a", 40.0)
    assert idle.of("a") == 30.0
    idle.lost("a", 80.0)  # one that was taken before
    assert idle.of("a") == 30.0


def test_an_announcement_does_not_undo_a_loss() -> None:
    """What stands between may be more forgetful than the endpoint."""
    idle, _ = times()
    idle.lost("a", 20.0)
    idle.announced("a", 75)

    assert idle.of("a") == 15.0


def test_what_was_learned_is_bounded_and_forgotten() -> None:
    """Never below four seconds, and not for ever: the endpoint may have changed."""
    idle, clock = times()
    idle.lost("a", 1.5)
    assert idle.of("a") == 4.0
    clock.now += 599
    assert idle.of("a") == 4.0
    clock.now += 1

    assert idle.of("a") == 90.0
    idle.lost("a", 40.0)
    assert idle.of("a") == 30.0


@pytest.mark.parametrize("age", [0.0, 0.9])
def test_what_ends_at_once_did_not_end_of_idleness(age: float) -> None:
    """Some endpoints announce keep-alive and close behind every answer."""
    idle, clock = times()
    for _ in range(3):
        idle.lost("a", age)
        idle.ended("a", age)
        clock.now += 10

    assert idle.of("a") == 90.0


def test_two_ends_of_one_age_teach() -> None:
    """The endpoint has a time of its own: we are done with a connection before it is."""
    idle, clock = times()
    idle.ended("a", 60.2)
    assert idle.of("a") == 90.0
    clock.now += 70
    idle.ended("a", 60.1)

    assert idle.of("a") == 59.1


@pytest.mark.parametrize("later", [0.0, 0.5])
def test_a_restart_teaches_nothing(later: float) -> None:
    """All idle connections end at once, some of them of one age."""
    idle, clock = times()
    for age in (3.0, 3.0, 41.0, 41.5, 80.0):
        idle.ended("a", age)
        clock.now += later / 5

    assert idle.of("a") == 90.0


def test_ends_of_different_ages_teach_nothing() -> None:
    """Restarts, one after the other."""
    idle, clock = times()
    for age in (10.0, 50.0, 20.0):
        idle.ended("a", age)
        clock.now += 100

    assert idle.of("a") == 90.0


def test_what_is_learned_is_not_above_the_operators_bound() -> None:
    """A bound below four seconds holds, too."""
    idle, _ = times(2.0)
    idle.lost("a", 60.0)

    assert idle.of("a") == 2.0


def test_memory_is_bounded() -> None:
    """Names come from clients: the thousand that taught something last are remembered."""
    idle, _ = times()
    for number in range(1001):
        idle.announced(number, 5)
        idle.announced(1, 5)

    assert idle.of(0) == 90.0
    assert idle.of(1) == idle.of(1000) == 4.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("timeout=5", 5.0),
        ("timeout=5, max=100", 5.0),
        ("max=100,TIMEOUT = 15", 15.0),
        ('timeout="72"', 72.0),
        ("timeout=0", 0.0),
        ("", None),
        ("max=100", None),
        ("timeout=-1", None),
        ("timeout=soon", None),
        ("mytimeout=5", None),
    ],
)
def test_the_header_is_read(header: str, seconds: float | None) -> None:
    """In the ways in which it is written; what is not a time is none."""
    assert announced_seconds(header) == seconds
