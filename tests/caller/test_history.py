"""What earlier calls tell of targets: budgets of hedges, and how long first outputs took."""

import pytest

from caller.history import BURST, LEAST_SAMPLES, MAX_ENTRIES, FirstOutputs, HedgeBudget

KEY = ("client", "host:443", True)


def hedged(budget: HedgeBudget) -> bool:
    """Make a further request, where the budget allows one."""
    allowed = budget.allows(KEY)
    if allowed:
        budget.spend(KEY)
    return allowed


def spent(budget: HedgeBudget, calls: int) -> int:
    """How many of so many calls, each of which would hedge, may."""
    allowed = 0
    for _ in range(calls):
        budget.earn(KEY)
        allowed += hedged(budget)
    return allowed


@pytest.mark.parametrize("ratio", [0.1, 0.25, 1.0])
def test_a_budget_allows_its_part_of_the_calls_and_a_burst(ratio: float) -> None:
    """Over a thousand calls: the ratio of them, and what it began with."""
    assert abs(spent(HedgeBudget(ratio), 1000) - min(1000, BURST + 1000 * ratio)) <= 2


def test_no_ratio_is_no_hedge() -> None:
    """0 turns races off, the burst with them."""
    assert not spent(HedgeBudget(0.0), 1000)


def test_calls_that_do_not_hedge_fill_the_bucket_to_its_burst_only() -> None:
    """A long time without a hedge does not allow an outage to double the load."""
    budget = HedgeBudget(0.1)
    for _ in range(10_000):
        budget.earn(KEY)
    assert sum(hedged(budget) for _ in range(100)) == BURST


def test_each_client_endpoint_and_method_has_a_budget_of_its_own() -> None:
    """One that is spent takes nothing from another."""
    budget = HedgeBudget(0.1)
    assert spent(budget, 12) < 12
    for other in (("other", *KEY[1:]), (KEY[0], "other:443", True), (*KEY[:2], False)):
        assert budget.allows(other)


def test_a_percentile_needs_samples_and_follows_the_newest() -> None:
    """Nothing below 20 of them; then the nearest rank of the last hundred."""
    outputs = FirstOutputs()
    for number in range(1, LEAST_SAMPLES):
        outputs.add(KEY, number / 100)
    assert outputs.percentile(KEY, 50) is None
    outputs.add(KEY, LEAST_SAMPLES / 100)
    assert [outputs.percentile(KEY, percent) for percent in (50, 75, 95, 99)] == [0.1, 0.15, 0.19, 0.2]
    for _ in range(100):
        outputs.add(KEY, 0.5)
    assert outputs.percentile(KEY, 50) == 0.5
    assert outputs.percentile(("other", *KEY[1:]), 50) is None


def test_what_clients_name_fills_no_memory() -> None:
    """The entries used longest ago go first."""
    outputs, budget = FirstOutputs(), HedgeBudget(0.1)
    for number in range(MAX_ENTRIES + 100):
        key = ("client", f"host{number}:443", True)
        outputs.add(key, 0.1)
        budget.earn(key)
        budget.spend(key)
    assert len(outputs._seconds) == len(budget._tokens) == MAX_ENTRIES
    assert ("client", "host0:443", True) not in budget._tokens
