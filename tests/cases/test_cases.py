"""Every case: what people reported of endpoints, played against the service, one test each.

All chosen cases are played at once before the first is judged, so that pauses in them cost no time.
"""

import asyncio
from collections.abc import Iterable, Mapping

import pytest

from integration_api.server import Server
from integration_api.settings import Settings
from tests.cases.player import Case, cases, play_all

CASES = list(cases())


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> Mapping[str, list[str]]:
    """What is wrong with each case that this run chose."""
    chosen = {case.id for item in request.session.items if isinstance(case := _case_of(item), Case)}
    return asyncio.run(_played(case for case in CASES if case.id in chosen))


async def _played(chosen: Iterable[Case]) -> Mapping[str, list[str]]:
    async with Server(Settings(port=0, shutdown_grace=2.0)) as server:
        return await play_all(chosen, f"127.0.0.1:{server.port}")


def _case_of(item: pytest.Item) -> object:
    return item.callspec.params.get("case") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_comes_out_right(case: Case, verdicts: Mapping[str, list[str]]) -> None:
    assert not verdicts[case.id], case.script["why"]


def test_the_cases_are_there() -> None:
    """Cases of every folder and of nearly every shape; each says why it is right."""
    assert {case.id.partition("/")[0] for case in CASES} == {"chat", "other", "own"}
    assert len({case.script["shape"] for case in CASES}) >= 4
    assert all(case.script["why"] and case.script["source"] for case in CASES)
