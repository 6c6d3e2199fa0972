"""The words of the sandbox's scripts: what can be written, and what is refused with which text."""

import json
from typing import Any

import pytest

from integration_api.sandbox import SCRIPTS, help_text
from integration_api.sandbox.scenario import split_words
from integration_api.sandbox.schema import sample
from integration_api.sandbox.script import ScriptError, UnknownScriptError, duration, parse
from integration_api.sandbox.signature import is_signed, sign


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_defaults_and_an_example_that_parses(name: str) -> None:
    """A script can be asked for by its bare name, and the example in the help is right."""
    assert parse(name).name == name
    assert parse(SCRIPTS[name].example).name == name
    assert set(parse(name).values) == {option.name for option in SCRIPTS[name].options}
    assert SCRIPTS[name].example in help_text()


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("1.5s", 1.5), ("2", 2.0), ("0", 0.0), ("0.25", 0.25)])
def test_durations_are_written_as_people_write_them(text: str, seconds: float) -> None:
    """Milliseconds, seconds, or a plain number of seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1s", "1m", "ms", "1e3", "1s ", "99999999", "nan", "inf", "٣"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A duration that cannot be read is no zero."""
    with pytest.raises(ScriptError):
        duration(text)


@pytest.mark.parametrize(
    "model",
    [
        "tokens:",
        "tokens:n",
        "tokens:n=",
        "tokens:n=-1",
        "tokens:n=1.5",
        "tokens:n=1,n=2",
        "tokens:m=1",
        "tokens:=1",
        "tokens:n=1,",
        "tokens:n=999999999",
        "echo:n=1",
        "empty:gap=1",
        "http-error:status=200",
        "http-error:status=abc",
        "tokens:gap=fast",
        "flood:bytes=0",
    ],
)
def test_an_option_that_cannot_be_read_is_refused(model: str) -> None:
    """A typing error in a script is told, not played as something else."""
    with pytest.raises(ScriptError):
        parse(model)


@pytest.mark.parametrize("model", ["", "gpt-4", "Echo", " echo", "echo ", ":n=1"])
def test_a_name_that_is_no_script_is_unknown(model: str) -> None:
    """Names are exact."""
    with pytest.raises(UnknownScriptError):
        parse(model)


def test_a_value_may_hold_colons_equal_signs_and_escaped_commas() -> None:
    """A URL or a sentence fits into an option."""
    assert parse("redirect:to=http://127.0.0.1:1/v1?a=b").text("to") == "http://127.0.0.1:1/v1?a=b"
    assert parse("tokens:text=a%2Cb,n=2").values == {"text": "a,b", "n": 2, "gap": 0.0}


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n", "a\u2028b", "  x", "x  ", "\n\n", "日本 語"])
def test_words_joined_again_are_the_text(text: str) -> None:
    """An echo loses nothing, white space included."""
    assert "".join(split_words(text)) == text


def test_a_seal_notices_every_changed_character() -> None:
    """Opaque state that was altered, cut or made up is not the sandbox's."""
    made = sign("Grüße, 世界")
    assert is_signed(made)
    assert not is_signed("")
    assert not is_signed("bm90IG91cnM=")
    for at in range(len(made)):
        assert not is_signed(made[:at])
        other = "A" if made[at] != "A" else "B"
        assert not is_signed(made[:at] + other + made[at + 1 :]), at


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}, {"b": "text", "a": 0}),
        ({"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"}, [0, 0]),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": None}, None),
        ({"type": ["null", "boolean"]}, False),
        ({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "string"}]}, 3),
        ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 4}, 8),
        ({"type": "number", "maximum": -1}, -1),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, False),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"properties": {"a": {}, "b": {}}, "propertyOrdering": ["b", "a"]}, {"b": "text", "a": "text"}),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [1, 2]),
        ({"type": "array", "maxItems": 0, "items": {}}, []),
        (True, {}),
        ("no schema", None),
    ],
)
def test_a_sample_fits_its_schema(schema: Any, value: Any) -> None:
    """The smallest value that the schema allows, keys in its order."""
    assert json.dumps(sample(schema)) == json.dumps(value)


def test_a_recursive_schema_ends() -> None:
    """A tree whose nodes hold nodes has a sample, also when it may never end or grows with every level."""
    node: dict[str, Any] = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}
    assert len(json.dumps(sample({"$ref": "#/$defs/n", "$defs": {"n": node}}))) < 200
    endless: dict[str, Any] = {"$ref": "#/$defs/n", "$defs": {"n": node | {"required": ["n"]}}}
    assert json.dumps(sample(endless)).startswith('{"n": {"n": ')
    wide: dict[str, Any] = {"type": "array", "items": {"$ref": "#"}, "minItems": 1000}
    assert len(json.dumps(sample(wide))) < 1_000_000
    assert sample({"$ref": "#"}) == "text"
