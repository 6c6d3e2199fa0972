"""What decoders keep beside the text of an answer is bounded, in every API shape, and so are the members of a list."""

import json
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Frame, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.apis.chat_completions.state import KeptState
from caller.custom_llm.apis.kept import MAX_KEPT
from caller.errors import EndpointError, ResponseTooLarge
from caller.events import ProviderState, TextDelta
from caller.fold import MAX_CHOICES
from caller.parameters import Parameters
from tests.patience import within

LARGE = "x" * (4 << 20)


def _chat(delta: dict[str, Any]) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "t", **delta}}]}


# An event that brings a large thing to keep, by shape and kind: every one is another one.
KEPT: dict[str, tuple[str, Any]] = {
    "details": ("openai_compatible", lambda _: _chat({"reasoning_details": [{"type": "x.encrypted", "data": LARGE}]})),
    "blocks": ("openai_compatible", lambda _: _chat({"thinking_blocks": [{"type": "redacted", "data": LARGE}]})),
    "of a call": (
        "openai_compatible",
        lambda n: _chat(
            {"tool_calls": [{"index": n, "id": f"c{n}", "function": {"name": "f"}, "thought_signature": LARGE}]}
        ),
    ),
    "items": (
        "openai_responses",
        lambda n: {
            "type": "response.output_item.done",
            "output_index": n,
            "item": {"type": "reasoning", "id": f"r{n}", "encrypted_content": LARGE},
        },
    ),
    "annotations": (
        "openai_responses",
        lambda _: {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": {"url": LARGE}},
    ),
    "signed": (
        "anthropic_messages",
        lambda n: {"type": "content_block_start", "index": n, "content_block": {"type": "other", "data": LARGE}},
    ),
    "parts": (
        "gemini_generate_content",
        lambda _: {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": LARGE}}]}}]},
    ),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept_of_an_answer_is_bounded(kind: str) -> None:
    """However often output comes between: nothing else counts it before the end."""
    api, event = KEPT[kind]
    call = ResolvedCall(Credential(ApiCompatibility(api), "http://e/v1", {}), Parameters("m"), ())
    decoder = ADAPTERS[ApiCompatibility(api)].decoder(call)
    fit = MAX_KEPT // len(LARGE) - 1

    def feed(numbers: range) -> None:
        for number in numbers:
            decoder.feed(Frame("", json.dumps(event(number)).encode()))
            if decoder.done:  # the error comes behind the output of its event
                decoder.close()

    feed(range(fit))
    with pytest.raises(ResponseTooLarge):
        feed(range(fit, fit + 3))


def test_a_thinking_block_in_pieces_is_joined_once() -> None:
    """As it came, with the signature that ends it; the pieces are not copied for each further one."""
    state = KeptState()
    for piece in ("I ", "think", ""):
        state.delta({"thinking_blocks": [{"type": "thinking", "thinking": piece}]})
    state.delta({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]})

    assert state.content() == {
        "message": {"thinking_blocks": [{"type": "thinking", "thinking": "I think", "signature": "s"}]}
    }


def _listed(member: str) -> str:
    return f"[{','.join([member] * 20_000)}]"


# Events of a few hundred kilobytes; larger ones would take seconds to read, while nothing else runs.
LISTS: dict[str, tuple[str, str]] = {
    "choices": ("openai_compatible", f'{{"choices":{_listed("{}")}}}'),
    "calls": ("openai_compatible", f'{{"choices":[{{"delta":{{"tool_calls":{_listed("{}")}}}}}]}}'),
    "parts": ("openai_compatible", f'{{"choices":[{{"delta":{{"content":{_listed("{}")}}}}}]}}'),
    "objects in lines": ("openai_compatible", "{}\n" * 20_000),
    "lists in lines": ("openai_compatible", f"[{','.join(['{}'] * 3_000)}]\n" * 8),
    "pings in lines": ("openai_compatible", "ping\n" * 20_000),
    "fields in lines": ("anthropic_messages", "data:\n" * 20_000),
    "frames": ("openai_responses", _listed('{"type":"x"}')),
    "pings": ("anthropic_messages", _listed('{"type":"ping"}')),
    "items": ("openai_responses", f'{{"type":"response.completed","response":{{"output":{_listed("{}")}}}}}'),
    "candidates": ("gemini_generate_content", f'{{"candidates":{_listed("{}")}}}'),
    "of a candidate": ("gemini_generate_content", f'{{"candidates":[{{"content":{{"parts":{_listed("{}")}}}}}]}}'),
}


@pytest.mark.parametrize("kind", LISTS)
def test_the_members_of_a_list_are_bounded(kind: str) -> None:
    """Before any is read."""
    api, event = LISTS[kind]
    call = ResolvedCall(Credential(ApiCompatibility(api), "http://e/v1", {}), Parameters("m"), ())

    with pytest.raises(ResponseTooLarge):
        ADAPTERS[ApiCompatibility(api)].decoder(call).feed(Frame("", event.encode()))


def test_output_in_the_event_of_an_error_is_bounded() -> None:
    """What was said leaves, as the one answer that was asked for; then the error."""
    call = ResolvedCall(Credential(ApiCompatibility.OPENAI_COMPATIBLE, "http://e/v1", {}), Parameters("m"), ())
    decoder = ADAPTERS[ApiCompatibility.OPENAI_COMPATIBLE].decoder(call)
    choices = [{"index": number, "delta": {"content": "x"}} for number in range(20_000)]

    events = decoder.feed(Frame("", json.dumps({"error": {"message": "gone"}, "choices": choices}).encode()))

    assert {(event.text, event.choice) for event in events if isinstance(event, TextDelta)} == {("x", 0)}
    assert len(events) == MAX_CHOICES
    with pytest.raises(EndpointError):
        decoder.close()


def _calls_within(work: Callable[[], object]) -> int:
    """How many functions of Python begin, or go on, while it works."""
    count = 0

    def seen(_: FrameType, what: str, __: object) -> None:
        nonlocal count
        count += what == "call"

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_the_blocks_of_an_answer_are_not_looked_through_at_every_event() -> None:
    """Whether one is open is known without asking each of them."""
    call = ResolvedCall(Credential(ApiCompatibility.ANTHROPIC_MESSAGES, "http://e/v1", {}), Parameters("m"), ())
    decoder = ADAPTERS[ApiCompatibility.ANTHROPIC_MESSAGES].decoder(call)
    decoder.feed(Frame("", b'{"type":"message_start","message":{"id":"a"}}'))
    end = Frame("", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}')
    decoder.feed(end)
    once = _calls_within(lambda: decoder.feed(end))
    for number in range(500):
        decoder.feed(Frame("", b'{"type":"content_block_start","index":%d,"content_block":{"type":"text"}}' % number))
        assert not decoder.complete
        decoder.feed(Frame("", b'{"type":"content_block_stop","index":%d}' % number))

    assert decoder.complete
    assert _calls_within(lambda: decoder.feed(end)) <= once


def test_a_text_that_is_said_to_be_done_again_and_again_is_joined_once() -> None:
    """What came before is not copied for each of the events, which are short."""
    call = ResolvedCall(Credential(ApiCompatibility.OPENAI_RESPONSES, "http://e/v1", {}), Parameters("m"), ())
    decoder = ADAPTERS[ApiCompatibility.OPENAI_RESPONSES].decoder(call)
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "x" * 100}
    done = Frame("", b'{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"y"}')
    for _ in range(30_000):
        decoder.feed(Frame("", json.dumps(delta).encode()))

    begun = time.process_time()
    for _ in range(5_000):
        assert not decoder.feed(done)

    assert time.process_time() - begun < within(0.5)


def test_fragments_of_an_unknown_type_are_joined_once() -> None:
    """However many there are: the text before them is not copied for each."""
    call = ResolvedCall(Credential(ApiCompatibility.ANTHROPIC_MESSAGES, "http://e/v1", {}), Parameters("m"), ())
    decoder = ADAPTERS[ApiCompatibility.ANTHROPIC_MESSAGES].decoder(call)
    block = {"type": "compaction", "content": "x" * (8 << 20), "list": []}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "compaction_delta", "content": "y", "list": [1]},
    }
    decoder.feed(Frame("", json.dumps(start).encode()))

    begun = time.process_time()
    for _ in range(5_000):
        decoder.feed(Frame("", json.dumps(delta).encode()))
    assert time.process_time() - begun < within(0.5)

    decoder.feed(Frame("", b'{"type":"message_stop"}'))
    state = next(event for event in decoder.close() if isinstance(event, ProviderState))
    expected = {"type": "compaction", "content": "x" * (8 << 20) + "y" * 5_000, "list": [1] * 5_000}
    assert state.content == {"content": [expected]}
