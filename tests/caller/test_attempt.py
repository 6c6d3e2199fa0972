"""One exchange over loopback HTTP: what the endpoint's bytes become when they go through the real transport."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from caller.call import CallReport, Completion
from caller.errors import (
    CallerError,
    EndpointError,
    EndpointNotFound,
    EndpointUnauthenticated,
    Fault,
    ProtocolError,
    ResponseTooLarge,
    StreamCut,
    StreamInterrupted,
    TotalTimeout,
)
from caller.events import Event, FinishReason, ReasoningDelta, TextDelta, UsageSource
from caller.fold import Folder
from caller.messages import TextPart, UserMessage
from caller.target import Ask, Target, Timeouts
from tests.calling import calling, new_report, streamed, whole
from tests.edge.loopback import STREAM_END, STREAM_HEAD, ScriptedServer, answer, token

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
LIMIT = 1 << 16


def sse(*frames: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(frame).encode() for frame in frames)


@asynccontextmanager
async def endpoint(*writes: bytes) -> AsyncIterator[ScriptedServer]:
    """An endpoint that answers each request with these bytes, one write at a time, and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await handmade.request(reader)
        for data in writes:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.02)  # most writes become a read of their own; no test depends on it
        writer.close()
        await writer.wait_closed()

    async with ScriptedServer(talk) as handmade:
        yield handmade


def target(url: str, **changes: Any) -> Target:
    given: dict[str, Any] = {
        "credential": {"apiCompatibility": "openai_compatible", "baseUrl": url},
        "parameters": {"model.name": "m"},
        "timeouts": Timeouts(5, 5, 5, 5),
    }
    return Target("custom-llm", **(given | changes))


def asked(changes: dict[str, Any]) -> Ask:
    """What is asked, with what a test changes of it."""
    taken: dict[str, Any] = {
        name: changes.pop(name) for name in ("messages", "tools", "parse_think_tags") if name in changes
    }
    return Ask(**{"messages": (UserMessage((TextPart("hi"),)),), **taken})


async def stream(*writes: bytes, **changes: Any) -> tuple[list[Sequence[Event]], CallerError | None, CallReport]:
    """The batches that came, and the error that ended them."""
    report, ask = new_report(), asked(changes)
    batches: list[Sequence[Event]] = []
    async with endpoint(*writes) as server, calling(LIMIT, 4 * LIMIT) as caller:
        try:
            async with aclosing(streamed(caller, target(server.url + "/v1", **changes), ask, report)) as found:
                async for batch in found:
                    batches.append(batch)  # noqa: PERF401 -- what came before an error is kept
        except CallerError as error:
            return batches, error, report
    return batches, None, report


async def chat(*writes: bytes, path: str = "/v1", **changes: Any) -> Completion:
    report, ask = new_report(), asked(changes)
    async with endpoint(*writes) as server, calling(LIMIT, 4 * LIMIT) as caller:
        return await whole(caller, target(server.url + path, **changes), ask, report, LIMIT)


def folded(batches: list[Sequence[Event]]) -> Completion:
    folder = Folder(LIMIT)
    for batch in batches:
        for event in batch:
            folder.feed(event)
    return folder.completion()


async def test_nothing_leaves_before_the_first_output() -> None:
    """Role, usage and unknown fields wait for it."""
    role = sse({"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}], "extra": 1})
    batches, error, report = await stream(STREAM_HEAD + role, token("a"), token("b"), STREAM_END)

    assert error is None
    assert any(isinstance(event, TextDelta) for event in batches[0])
    assert folded(batches).choices[0].message.text == "ab"
    assert folded(batches).provider_fields == {"extra": 1}
    assert report.first_output is not None


async def test_an_error_in_the_read_of_output_comes_behind_it() -> None:
    """What the model said leaves, then the error, which says that output was seen."""
    batches, error, _ = await stream(STREAM_HEAD + token("a") + sse({"error": {"message": "boom", "code": 500}}))

    assert folded(batches).choices[0].message.text == "a"
    assert type(error) is EndpointError
    assert error.after_output


async def test_output_inside_of_an_error_comes_ahead_of_it() -> None:
    """A chunk may be both (OpenRouter); the connection is not waited for."""
    both = {"error": {"message": "boom", "code": 500}, "choices": [{"delta": {"content": "b"}}], "usage": USAGE}
    batches, error, report = await stream(STREAM_HEAD + token("a"), sse(both), token("never"), token("never"))

    assert folded(batches).choices[0].message.text == "ab"
    assert type(error) is EndpointError
    assert report.usage is not None
    assert (report.usage.input, report.usage.output, report.usage.source) == (9, 2, UsageSource.PARTIAL)


async def test_usage_behind_an_error_is_kept() -> None:
    """SGLang sends it in the same breath."""
    frames = sse({"error": {"message": "boom", "code": 500}}, {"choices": [], "usage": USAGE})
    _, error, report = await stream(STREAM_HEAD + token("a"), frames + b"data: [DONE]\n\n")

    assert error is not None
    assert report.usage is not None
    assert report.usage.total == 11


async def test_a_failure_behind_the_finish_keeps_its_usage() -> None:
    """A finish reason that means failure comes with what was used."""
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}], "usage": USAGE}
    batches, error, report = await stream(STREAM_HEAD + token("a"), sse(last))

    assert folded(batches).choices[0].message.text == "a"
    assert type(error) is StreamCut
    assert report.usage is not None


@pytest.mark.parametrize(("output", "kind"), [(b"", StreamInterrupted), (token("a"), StreamCut)])
async def test_a_stream_without_its_end_is_no_success(output: bytes, kind: type[CallerError]) -> None:
    """Before output the client may try again, behind it the call is aborted."""
    batches, error, _ = await stream(STREAM_HEAD + b": hi\n\n" + output)

    assert type(error) is kind
    assert bool(batches) is bool(output)


async def test_a_wrong_path_behind_a_200_is_told_with_its_url() -> None:
    """LM Studio answers 200 to a path that it does not know: the error names the URL."""
    body = json.dumps({"error": "Unexpected endpoint or method. (POST /x/chat/completions)"})
    with pytest.raises(EndpointNotFound) as raised:
        await chat(answer(body), path="/x?key=secret")

    assert "/x/chat/completions" in raised.value.message
    assert "Called: http://127.0.0.1:" in raised.value.message
    assert "secret" not in raised.value.message


def encoded(encoding: str, data: bytes) -> bytes:
    return STREAM_HEAD.replace(b"\r\n\r\n", f"\r\nContent-Encoding: {encoding}\r\n\r\n".encode()) + data


async def test_compressed_events_are_read() -> None:
    """Some proxies compress what was not asked to be."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first = compressor.compress(token("a")) + compressor.flush(zlib.Z_SYNC_FLUSH)
    rest = compressor.compress(token("b") + STREAM_END) + compressor.flush()
    batches, error, _ = await stream(encoded("gzip", first), rest)

    assert error is None
    assert folded(batches).choices[0].message.text == "ab"


async def test_corrupt_compression_is_a_cut() -> None:
    """Behind output the stream was cut."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first = compressor.compress(token("a")) + compressor.flush(zlib.Z_SYNC_FLUSH)
    batches, error, _ = await stream(encoded("gzip", first), b"\xff" * 50)

    assert folded(batches).choices[0].message.text == "a"
    assert type(error) is StreamCut


async def test_a_bomb_is_too_large() -> None:
    """A small body that inflates beyond all bounds is refused in time."""
    _, error, _ = await stream(encoded("gzip", gzip.compress(b": " + b"x" * (64 << 20))))

    assert type(error) is ResponseTooLarge


async def test_an_unreadable_encoding_does_not_hide_the_status() -> None:
    """A 401 that is compressed as nobody asked is a 401; a 200 is a protocol error."""
    with pytest.raises(EndpointUnauthenticated):
        await chat(answer("xx", "401 Unauthorized", more="Content-Encoding: br\r\n"))
    with pytest.raises(ProtocolError, match="compressed"):
        await chat(answer("xx", more="Content-Encoding: br\r\n"))


TAGGED = ["<thi", "nk>hm", "</think", ">Hi"]


@pytest.mark.parametrize("parse", [True, False])
async def test_think_tags_are_parsed_when_asked_for(parse: bool) -> None:
    """In streams, across chunks, and in whole answers: only by the call's own wish."""
    whole = json.dumps({"choices": [{"message": {"content": "".join(TAGGED)}, "finish_reason": "stop"}]})
    batches, error, _ = await stream(
        STREAM_HEAD + token(TAGGED[0]), *map(token, TAGGED[1:]), STREAM_END, parse_think_tags=parse
    )
    completion = await chat(answer(whole), parse_think_tags=parse)

    assert error is None
    for found in (folded(batches), completion):
        (choice,) = found.choices
        expected = ("hm", "Hi") if parse else ("", "".join(TAGGED))
        assert (choice.message.reasoning, choice.message.text) == expected
        assert choice.finish_reason is FinishReason.STOP


async def test_held_text_is_not_lost_when_the_stream_breaks() -> None:
    """What might have become a tag leaves ahead of the error."""
    batches, error, _ = await stream(STREAM_HEAD + token("<think>a"), token("b</thi"), parse_think_tags=True)

    assert type(error) is StreamCut
    assert "".join(event.text for batch in batches for event in batch if isinstance(event, ReasoningDelta)) == "ab</thi"


@pytest.mark.parametrize("is_deadline", [False, True])
async def test_a_total_time_that_passed_says_whose_it_was(is_deadline: bool) -> None:
    """The client's deadline is the client's to change, the total timeout is the endpoint's fault; in round numbers."""
    timeouts = Timeouts(5, 5, 5, 0.1001234, total_is_deadline=is_deadline)
    _, error, _ = await stream(STREAM_HEAD, *[token("a")] * 100, timeouts=timeouts)

    assert isinstance(error, TotalTimeout)
    assert error.fault is (Fault.CLIENT if is_deadline else Fault.ENDPOINT)
    assert error.message.endswith(
        "the client's deadline passed: it left the call 0.1 s"
        if is_deadline
        else "the call took longer than its total timeout of 0.1 s"
    )
