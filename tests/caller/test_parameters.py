"""Parameters: names, spellings, ranges, and whose value wins."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caller.errors import CallerError, RequestInvalid
from caller.json_types import JsonObject, JsonValue
from caller.parameters import REFUSED, Parameters, merge_parameters, object_from_text, overridden


def merged(**given: Any) -> Parameters:
    return merge_parameters({"model.name": "m", **given})


def faults(raw: JsonObject) -> dict[str, str]:
    with pytest.raises(RequestInvalid) as raised:
        merge_parameters(raw)
    return {violation.field: violation.description for violation in raised.value.violations}


VALUES: list[Any] = [
    ("temperature", 0.4, 0.4),
    ("temperature", 1.0, 1),
    ("temperature", "0.4", 0.4),
    ("temperature", " 1 ", 1),
    ("top_p", "1e-1", 0.1),
    ("frequency_penalty", "-.5", -0.5),
    ("presence_penalty", "+2.", 2),
    ("max_tokens", 100.0, 100),
    ("max_completion_tokens", "100", 100),
    ("max_output_tokens", "1e2", 100),
    ("seed", "9223372036854775807", 9223372036854775807),
    ("seed", 7.0, 7),
    ("n", "2", 2),
    ("top_k", 20.0, 20),
    ("top_logprobs", "5", 5),
    ("logprobs", "true", True),
    ("logprobs", False, False),
    ("store", "False", False),
    ("parallel_tool_calls", True, True),
    ("stop", ["a", "b"], ["a", "b"]),
    ("stop", "a,b", ["a,b"]),
    ("stop", '["a","b"]', ["a", "b"]),
    ("tool_choice", "auto", "auto"),
    ("tool_choice", {"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}),
    ("tool_choice", '{"type":"function"}', {"type": "function"}),
    ("response_format", '{"type":"json_object"}', {"type": "json_object"}),
    ("response_format", {"type": "text"}, {"type": "text"}),
    ("reasoning_effort", "low", "low"),
    ("verbosity", "high", "high"),
    ("service_tier", "auto", "auto"),
    ("user", "42", "42"),
    ("user", 42.0, "42"),
    ("metadata", {"a": "1"}, {"a": "1"}),
    ("metadata", '{"a":"1"}', {"a": "1"}),
    ("logit_bias", {"50256": -100.0}, {"50256": -100}),
    ("logit_bias", '{"50256":-100}', {"50256": -100}),
    ("my_own", "42", "42"),
    ("my_own", 3.0, 3),
    ("my_own", {"a": [1.0, 2.5, {"b": 3.0}]}, {"a": [1, 2.5, {"b": 3}]}),
    ("my_own", None, None),
    ("my_own", '{"a":1}', '{"a":1}'),
]


@pytest.mark.parametrize(("name", "given", "read"), VALUES)
@pytest.mark.parametrize("place", ["{}", "model.{}", "model.parameters", "model.parameters as text"])
def test_a_value_is_read_as_its_type_wherever_it_stands(
    name: str, given: JsonValue, read: JsonValue, place: str
) -> None:
    """Bare, under `model.`, inside `model.parameters` and inside its JSON text: one meaning."""
    inner: JsonObject = {name: given}
    spelled: dict[str, JsonObject] = {
        "model.parameters": {"model.parameters": inner},
        "model.parameters as text": {"model.parameters": json.dumps(inner)},
    }
    raw = spelled.get(place, {place.format(name): given})

    found = merge_parameters({"model.name": "m", **raw})

    assert found.values == {name: read}
    assert type(found.values[name]) is type(read)
    assert found.model == "m"
    assert found.verbatim == (frozenset({name}) if "parameters" in place else frozenset())


def wrong(name: str, words: str, *values: object) -> list[tuple[str, object, str]]:
    return [(name, value, words) for value in values]


WRONG: list[tuple[str, object, str]] = [
    *wrong("temperature", "a number", "warm", "", "nan", "inf", "1_000", "٣", True, [], {}, "1e9999"),
    *wrong("max_tokens", "a whole number", 1.5, "1.5", "ten", True, [1], "0x10"),
    *wrong("logprobs", "true or false", "yes", 1, "", []),
    *wrong("stop", "a list of strings", 7, [1], '["a",1]', "[", {"a": "b"}, [None]),
    *wrong("response_format", "an object", "json", [], 7, "[1]", "{"),
    # What endpoints refuse as an empty value.
    *wrong("stop", "at least one string", [], "[]"),
    *wrong("response_format", "must not be empty", {}, "{}"),
    *wrong("metadata", "an object of strings", "x", {"a": 1}, [], '{"a":1}', {"a": None}),
    *wrong("user", "a string", True, [], {}),
    *wrong("tool_choice", "an object", 7, [], "{", True),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_an_unreadable_value_is_named_with_its_place(name: str, value: JsonValue, expected: str) -> None:
    """The violation says where it was given and what belongs there."""
    for raw, path in (
        ({name: value}, f'model_parameters["{name}"]'),
        ({f"model.{name}": value}, f'model_parameters["model.{name}"]'),
        ({"model.parameters": {name: value}}, f'model_parameters["model.parameters"]["{name}"]'),
    ):
        assert expected in faults({"model.name": "m", **raw})[path]


def test_the_later_of_the_three_places_wins() -> None:
    """Bare, then `model.*`, then `model.parameters`."""
    assert merged(**{"temperature": 1, "model.temperature": 2}).values == {"temperature": 2}
    assert merged(**{"model.temperature": 2, "temperature": 1}).values == {"temperature": 2}
    everywhere = merged(**{"model.parameters": {"temperature": 3}, "model.temperature": 2, "temperature": 1})
    assert everywhere.values == {"temperature": 3}
    assert everywhere.path("temperature") == 'model_parameters["model.parameters"]["temperature"]'


def test_a_replaced_value_is_not_read() -> None:
    """Only the value that wins has to be readable."""
    assert merged(**{"temperature": "warm", "model.temperature": 2}).values == {"temperature": 2}


def test_null_means_not_given() -> None:
    """A null replaces nothing; of a name that we do not know it goes out as it is."""
    assert merged(**{"temperature": 1, "model.temperature": None, "model.parameters": {"seed": None}}).values == {
        "temperature": 1
    }
    assert merged(**{"model.parameters": {"guided_json": None}}).values == {"guided_json": None}


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("place", ["{}", "model.{}", "model.parameters"])
def test_fields_of_the_request_are_no_parameters(name: str, place: str) -> None:
    """`messages`, `stream`, `tools` and their like are refused wherever they stand."""
    raw: JsonObject = {place.format(name): {name: []} if place == "model.parameters" else []}

    (description,) = faults({"model.name": "m", **raw}).values()

    assert "cannot be a parameter" in description


@pytest.mark.parametrize("value", [None, "", "  ", 7, [], {}])
def test_a_model_is_required(value: JsonValue) -> None:
    """`model.name` is a non-empty string."""
    assert list(faults({"model.name": value})) == ['model_parameters["model.name"]']
    assert list(faults({"model.id": "m"})) == ['model_parameters["model.name"]']
    assert "a selector's value" in faults({"model.id": "m"})['model_parameters["model.name"]']


def test_the_id_of_the_dashboard_is_never_sent() -> None:
    """`model.id` is metadata; the name is trimmed."""
    found = merge_parameters({"model.id": "x", "model.name": " m "})

    assert (found.model, found.values) == ("m", {})


@pytest.mark.parametrize("value", ["x", "[]", 7, [], True, "{"])
def test_model_parameters_must_be_an_object(value: JsonValue) -> None:
    """Or JSON text of one."""
    assert list(faults({"model.name": "m", "model.parameters": value})) == ['model_parameters["model.parameters"]']


def test_text_nested_too_deep_is_refused() -> None:
    """Neither we nor the endpoint run out of stack."""
    for depth in (120, 800, 5000):
        text = '{"a":' * depth + "1" + "}" * depth
        assert list(faults({"model.name": "m", "model.parameters": text})) == ['model_parameters["model.parameters"]']
        assert object_from_text(text) is None


def test_all_faults_are_told_at_once() -> None:
    """Nobody repairs a request one fault at a time."""
    assert len(faults({"temperature": "warm", "model.seed": 1.5, "stream": True})) == 4


def test_keys_of_json_text_keep_their_order() -> None:
    """A schema's properties are read by models in the order they stand."""
    assert list(object_from_text('{"z":1,"a":{"y":1,"b":2}}') or ()) == ["z", "a"]
    assert object_from_text("[]") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.text(max_size=6) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["temperature", "model.seed", "model.parameters", "stop", "metadata", "model.", "", "model.name"]
)


@given(st.dictionaries(NAMES | st.text(max_size=4), JSON, max_size=5))
def test_any_object_is_read_or_refused(raw: JsonObject) -> None:
    """Nothing but our own error comes out."""
    said: object = None
    try:
        said = merge_parameters(raw)
    except CallerError as error:
        said = error.violations

    assert said


def test_a_targets_own_parameters_win_wherever_they_stand() -> None:
    """Over the bare name, `model.*` and `model.parameters`; what they do not name stays, and null names nothing."""
    raw: JsonObject = {
        "model.name": "a",
        "temperature": 0.1,
        "model.top_p": 0.2,
        "model.parameters": {"seed": 1, "top_k": 5},
    }
    own: JsonObject = {
        "model.name": "b",
        "model.temperature": 0.9,
        "seed": 2,
        "max_tokens": None,
        "model.parameters": '{"top_p": 0.8}',
    }
    merged = merge_parameters(overridden(raw, own))

    assert merged.model == "b"
    assert merged.values == {"temperature": 0.9, "seed": 2, "top_p": 0.8, "top_k": 5}
    assert overridden(raw, {}) is raw
    assert merge_parameters(overridden({"model.name": "a", "name": "x"}, {"name": "y"})).model == "a"
    with pytest.raises(RequestInvalid):
        merge_parameters(overridden(raw, {"model.parameters": "no JSON"}))


@pytest.mark.parametrize("key", ["temperature", "model.temperature", "model.parameters"])
def test_a_null_of_a_targets_own_is_not_given(key: str) -> None:
    """As everywhere: the value of the request stays, wherever both of them stand."""
    own: JsonObject = {key: {"temperature": None} if key == "model.parameters" else None}
    given: JsonObject = {key: {"temperature": 0.5} if key == "model.parameters" else 0.5}

    for raw in (given, {"temperature": 0.5}, {"model.temperature": 0.5}):
        assert merge_parameters(overridden({"model.name": "m", **raw}, own)).values == {"temperature": 0.5}
