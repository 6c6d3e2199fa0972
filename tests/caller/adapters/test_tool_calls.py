"""Tool calls as endpoints tear them: whatever index, id and name say, each call comes once, whole, under its own id."""

import pytest

from caller.custom_llm.apis.arguments import Arguments
from caller.custom_llm.apis.tool_calls import ToolCallTracker
from caller.errors import ResponseTooLarge
from caller.events import ToolCallDelta
from caller.fold import MAX_TOOL_CALLS

OSLO, ROME = '{"city":"Oslo"}', '{"city":"Rome"}'
Fragment = tuple[int | None, str, str, str]
Told = list[tuple[str, str, str]]


def told(*deltas: list[Fragment]) -> Told:
    """Id, name and arguments of each call; every list of fragments is one delta."""
    tracker = ToolCallTracker(0)
    events: list[ToolCallDelta] = []
    for fragments in deltas:
        tracker.delta += 1
        for fragment in fragments:
            events += tracker.feed(*fragment)
    events += tracker.close()
    calls: dict[int, list[str]] = {}
    for event in events:
        call = calls.setdefault(event.index, [event.id, event.name, ""])
        assert event.index in calls or event.id
        call[2] += event.arguments
    return [(call_id, name, arguments) for call_id, name, arguments in calls.values()]


TWO: Told = [("a", "f", OSLO), ("b", "g", ROME)]
ONE: Told = [("a", "f", OSLO)]


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        pytest.param([[(0, "a", "f", "")], [(0, "x", "", OSLO[:5])], [(0, "y", "", OSLO[5:])]], ONE, id="new ids"),
        pytest.param([[(0, "a", "f", OSLO[:5])], [(0, "x", "f", OSLO[5:])]], ONE, id="new id and name in each piece"),
        pytest.param([[(None, "a", "f", OSLO[:5])], [(None, "x", "", OSLO[5:])]], ONE, id="new id without an index"),
        pytest.param([[(0, "a", "f", OSLO[:5])], [(1, "a", "", OSLO[5:])]], ONE, id="index counts pieces, with id"),
        pytest.param([[(0, "a", "f", OSLO[:5])], [(1, "", "", OSLO[5:])]], ONE, id="index counts pieces"),
        pytest.param([[(0, "a", "f", OSLO[:5])], [(0, "null", "f", OSLO[5:])]], ONE, id="null as a word"),
        pytest.param([[(0, "", "f", "")], [(0, "a", "", "")], [(0, "", "", OSLO)]], ONE, id="id behind the name"),
        pytest.param([[(0, "a", "f", OSLO)], [(0, "a", "f", OSLO)]], ONE, id="twice in full"),
        pytest.param([[(0, "a", "f", OSLO)], [(0, "", "", '{ "city": "Oslo" }')]], ONE, id="twice, written otherwise"),
        pytest.param([[(0, "a", "f", OSLO)], [(0, "a", "f", OSLO[:5])], [(0, "a", "f", OSLO[5:])]], ONE, id="a copy"),
        pytest.param([[(0, "a", "f", "{}")], [(0, "", "", OSLO)]], ONE, id="placeholder"),
        pytest.param([[(0, "a", "f", OSLO[:5])], [(0, "a", "f", OSLO[:9])], [(0, "a", "f", OSLO)]], ONE, id="sums"),
        pytest.param([[(0, "a", "f", OSLO)], [(0, "b", "g", ROME)]], TWO, id="index 0 for all"),
        pytest.param(
            [[(0, "a", "f", OSLO), (0, "b", "g", ROME)], [(0, "a", "f", OSLO), (0, "b", "g", ROME)]],
            TWO,
            id="both twice",
        ),
        pytest.param(
            [[(0, "a", "f", ""), (1, "b", "g", "")], [(1, "", "", ROME)], [(0, "", "", OSLO)]], TWO, id="interleaved"
        ),
        pytest.param(
            [[(0, "a", "f", "")], [(0, "b", "f", "")]], [("a", "f", "{}"), ("b", "f", "{}")], id="no arguments"
        ),
    ],
)
def test_a_call_comes_once_however_it_is_torn(deltas: list[list[Fragment]], calls: Told) -> None:
    assert told(*deltas) == calls


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([[(0, "", "f", OSLO)], [(0, "", "g", ROME)]], id="no ids, index 0, other names"),
        pytest.param([[(0, "", "f", OSLO)], [(0, "", "f", ROME)]], id="no ids, index 0, one name"),
        pytest.param([[(None, "", "f", OSLO), (None, "", "f", ROME)]], id="one list without ids"),
        pytest.param([[(None, "", "f", OSLO), (None, "", "f", OSLO)]], id="one list, all equal"),
        pytest.param([[(0, "k", "f", OSLO)], [(0, "k", "f", ROME)]], id="one id, index 0"),
        pytest.param([[(0, "k", "f", OSLO)], [(0, "", "", ROME)]], id="a whole object behind another"),
        pytest.param(
            [[(0, "k", "f", "")], [(1, "k", "g", "")], [(0, "k", "", OSLO)], [(1, "k", "", ROME)]], id="one id"
        ),
        pytest.param([[(0, "k", "f", OSLO), (1, "k", "g", ROME)]], id="one id in one list"),
    ],
)
def test_two_calls_stay_two_with_ids_of_their_own(deltas: list[list[Fragment]]) -> None:
    (first, _, some), (second, _, others) = told(*deltas)
    assert first != second
    assert all((first, second))
    assert (some, others) in ((OSLO, ROME), (OSLO, OSLO))


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["null"], "{}"),
        (['{"a":1}{"a":1}{"a":1}'], '{"a":1}'),
        (['{"a":', '{"b":1}', "}"], '{"a":{"b":1}}'),
        (['{"a":', '{"a":1}', "}"], '{"a":{"a":1}}'),
        (['{"a":', '{"a":'], '{"a":{"a":'),
        (['{"a":', '{"a":1}'], '{"a":1}'),
        (['{"a":', '{"a":', '{"a":1}}'], '{"a":{"a":{"a":1}}'),
        (['{"a":1}', '"}'], '{"a":1}"}'),
        (['{"a":1}', '{"b":1}'], '{"a":1}{"b":1}'),
        (['{"a":1}', "{", '"b":1}'], '{"a":1}{"b":1}'),
        (["{}", "\n"], "{}"),
        (["{", "{", "{"], "{"),
        (["no JSON ", "{", "{"], "no JSON {{"),
    ],
)
def test_arguments_are_what_the_model_wrote(pieces: list[str], whole: str) -> None:
    """Only what would be no JSON, and repeats what was said, is a repetition."""
    arguments = Arguments()
    said = [arguments.feed(piece) for piece in pieces]
    assert "".join([*said, arguments.close()]) == whole


def test_a_hostile_answer_is_not_quadratic() -> None:
    """After so many doubts pieces are taken as they come; calls are bounded."""
    arguments = Arguments()
    for _ in range(20_000):
        arguments.feed('{"a":')
        arguments.feed("}")
    assert len(arguments.pieces) > 1000
    with pytest.raises(ResponseTooLarge):
        told([(None, f"k{number}", "f", "") for number in range(MAX_TOOL_CALLS + 1)])
