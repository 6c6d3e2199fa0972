"""Every wire case of every shape, found by its files: read whole, cut at every byte, and ended at every byte."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Adapter, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.errors.endpoint_errors import endpoint_error
from caller.errors import CallerError, ProtocolError, StreamInterrupted
from caller.events import UsageSource
from caller.parameters import Parameters
from tests.recordings_reader import REASONS, Received, Recording, expected, ids_agree, parsed, receive, told

WIRE = Path(__file__).parent
URL = "http://127.0.0.1:8000/v1/chat/completions"


@dataclass(frozen=True)
class Case:
    """One case: the answer, and what is expected of it."""

    name: str
    answer: Recording

    @property
    def expect(self) -> Mapping[str, Any]:
        return self.answer.expect

    @property
    def adapter(self) -> Adapter:
        return ADAPTERS[ApiCompatibility(self.expect["shape"])]

    @property
    def call(self) -> ResolvedCall:
        credential = Credential(self.adapter.api, "http://127.0.0.1:8000/v1", {})
        return ResolvedCall(credential, Parameters("m", self.expect.get("parameters", {})), ())


def cases() -> Iterator[Case]:
    for path in sorted(WIRE.glob("*/*.expect.json")):
        expect = json.loads(path.read_text())
        stem = path.with_name(path.name.removesuffix(".expect.json"))
        (wire,) = (
            stem.with_name(stem.name + end)
            for end in (".sse", ".json", ".http")
            if stem.with_name(stem.name + end).exists()
        )
        raw = wire.read_bytes()
        name = f"{path.parent.name}/{stem.name}"
        yield Case(name, parsed(name, raw, expect) if wire.suffix == ".http" else Recording(name, 200, {}, raw, expect))


CASES = list(cases())
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def listen(case: Case, body: bytes | None = None, cuts: tuple[int, ...] = ()) -> Received:
    answer = case.answer
    if not 200 <= answer.status < 300:
        error = endpoint_error(answer.status, CIMultiDict(answer.headers), answer.body, url=URL)
        nothing = receive(case.adapter, case.call, b'data: {"choices":[{"finish_reason":"stop"}]}\n\n')
        return Received(nothing.completion, [], error)
    return receive(case.adapter, case.call, answer.body if body is None else body, cuts=cuts)


def test_no_case_is_half() -> None:
    """Every wire file has its expectation and every expectation its wire file; no shape's folder is empty."""
    files = [path for path in WIRE.glob("*/*") if path.suffix in (".sse", ".json", ".http")]
    stems = {path.with_suffix("") for path in files if not path.name.endswith(".expect.json")}

    assert {f"{stem.parent.name}/{stem.name}" for stem in stems} == {case.name for case in CASES}
    assert len(files) == 2 * len(CASES) > 400


@EVERY
def test_a_case_comes_out_as_expected(case: Case) -> None:
    """Text, reasoning, refusals, calls, finish, usage, or the error and what came ahead of it."""
    received = listen(case)

    assert told(received) == expected(case.answer)
    assert ids_agree(case.answer, received)
    if received.error is None:
        agree_on_the_rest(case, received)
    else:
        agree_on_the_error(case.expect["error"], received.error)
        agree_on_what_came_before(case, received)


def agree_on_the_rest(case: Case, received: Received) -> None:
    expect, answer = case.expect, received.completion
    first = answer.choices[0]
    reported = expect["usage"]["source"] == "REPORTED"
    assert answer.usage.source is (UsageSource.REPORTED if reported else UsageSource.UNAVAILABLE)
    for key, value in expect.get("provider_fields", {}).items():
        assert answer.provider_fields.get(key) == value
    assert first.provider_fields == expect.get("choice_fields", first.provider_fields)
    pairs = [[token.token, token.logprob] for token in first.logprobs]
    assert pairs == expect.get("logprobs", [])
    state = first.message.provider_state
    assert (json.loads(state)["content"] if state else {}) == expect.get("state", {})


def agree_on_the_error(expect: Mapping[str, Any], error: CallerError) -> None:
    assert type(error) is REASONS[expect["reason"]]
    assert expect.get("message_contains", "") in error.message
    assert error.endpoint_code == expect.get("endpoint_code", error.endpoint_code)
    if "http_status" in expect:
        assert error.http_status == expect["http_status"]


def agree_on_what_came_before(case: Case, received: Received) -> None:
    before, usage = case.expect.get("before", {}), received.completion.usage
    text = "".join(choice.message.text for choice in received.completion.choices)
    assert text == before.get("text", "")
    assert received.error is not None
    seen = received.error.usage or usage
    for name, count in (before.get("usage") or case.expect.get("usage_seen") or {}).items():
        assert getattr(seen, name) == count


@EVERY
def test_a_case_reads_the_same_however_it_is_cut(case: Case) -> None:
    """At every byte into two, and byte by byte."""
    whole, size = told(listen(case)), len(case.answer.body)

    assert told(listen(case, cuts=tuple(range(1, size)))) == whole
    for at in range(1, size):
        assert told(listen(case, cuts=(at,))) == whole


ENDINGS = [case for case in CASES if 200 <= case.answer.status < 300]


@pytest.mark.parametrize("case", ENDINGS, ids=lambda case: case.name)
def test_a_case_that_ends_early_is_no_success_with_a_part(case: Case) -> None:
    """Ended at any byte an answer is whole, or an interrupted stream, or no answer, after a beginning of its output."""
    whole = listen(case)
    allowed = (
        (StreamInterrupted, ProtocolError)
        if whole.error is None
        else (type(whole.error), StreamInterrupted, ProtocolError)
    )
    for end in range(len(case.answer.body)):
        received = listen(case, case.answer.body[:end])
        if received.error is None:
            assert output(received) == output(whole) or (whole.error is not None and finished(received))
        else:
            assert isinstance(received.error, allowed)
            assert all(output(whole)[where].startswith(said) for where, said in output(received).items())


def output(received: Received) -> dict[str, str]:
    """What was said, by its place."""
    said = {}
    for choice in received.completion.choices:
        for kind in ("text", "reasoning", "refusal"):
            said[f"{choice.index}.{kind}"] = getattr(choice.message, kind)
        for number, call in enumerate(choice.message.tool_calls):
            said[f"{choice.index}.call {number}"] = f"{call.name} {call.arguments}"
    return said


def finished(received: Received) -> bool:
    """An error behind a finish reason that was cut off leaves a good answer."""
    return all(choice.raw_finish_reason for choice in received.completion.choices)
