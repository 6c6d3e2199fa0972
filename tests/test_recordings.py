"""Every recorded chat answer, replayed byte for byte over loopback HTTP through the real transport and caller."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.caller import CustomLLMCaller
from caller.errors import CallerError, EndpointUnreachable, ProtocolError, StreamCut, StreamInterrupted
from caller.events import OUTPUT, Event
from caller.fold import Folder
from caller.messages import TextPart, UserMessage
from caller.parameters import Parameters
from caller.target import Ask, Target, Timeouts
from integration_api.rpc.status import reason_of
from tests.calling import calling, new_report, streamed, whole
from tests.recordings_reader import MAX_BYTES, ROOT, Received, Recording, expected, ids_agree, receive, recordings, told

RECORDINGS = [recording for api in ADAPTERS for recording in recordings(api.value, status=None)]
EVERY = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
SMALL = 1500
INTERRUPTED = (StreamInterrupted, StreamCut, ProtocolError)


def raw(recording: Recording) -> bytes:
    return (ROOT / f"{recording.name}.http").read_bytes()


def asked(recording: Recording) -> dict[str, Any]:
    """The parameters that the recorded request had and that its answer cannot be read without."""
    wanted = len(recording.expect.get("choices", ()))
    return {"n": wanted} if wanted > 1 else {}


@asynccontextmanager
async def playing(answer: bytes) -> AsyncIterator[str]:
    """An endpoint that reads one request, sends the bytes as they are, and closes."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
            await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def replay(recording: Recording, answer: bytes, caller: CustomLLMCaller) -> Received:
    """What a caller hears when the endpoint sends these bytes."""
    async with playing(answer) as url:
        target = Target(
            "custom-llm",
            credential={"apiCompatibility": recording.expect["shape"], "baseUrl": url},
            parameters={"model.name": "m", **asked(recording)},
            timeouts=Timeouts(5, 5, 5, 5),
        )
        ask, report = Ask((UserMessage((TextPart("hi"),)),)), new_report()
        folder, events, error = Folder(MAX_BYTES), list[Event](), None
        try:
            if recording.expect["stream"]:
                async with aclosing(streamed(caller, target, ask, report)) as batches:
                    async for batch in batches:
                        events += batch
            else:
                return Received(await whole(caller, target, ask, report), [], None)
        except CallerError as raised:
            error = raised
            assert error.after_output == any(isinstance(event, OUTPUT) for event in events)
        for event in events:
            folder.feed(event)
        return Received(folder.completion(), events, error, report.usage)


@pytest.fixture
async def caller() -> AsyncIterator[CustomLLMCaller]:
    async with calling(MAX_BYTES) as made:
        yield made


def test_nothing_recorded_is_left_out() -> None:
    """Each shape that can be called has recordings, and each recording of a chat is replayed."""
    chats = [path for path in Path(ROOT).glob("*/*.expect.json") if '"op": "chat"' in path.read_text()]
    shapes = {recording.expect["shape"] for recording in RECORDINGS}

    assert shapes == {api.value for api in ADAPTERS} - {"openai_chat_completions"}  # recorded as openai_compatible
    assert len(RECORDINGS) == len(chats)


LISTS = sorted(path for path in Path(ROOT).glob("*/*.expect.json") if '"op": "models"' in path.read_text())


def recorded_list(path: Path) -> tuple[dict[str, Any], bytes]:
    """What is expected of a recorded model list, and its bytes."""
    return json.loads(path.read_text()), path.with_name(path.name.replace(".expect.json", ".http")).read_bytes()


@pytest.mark.parametrize("path", LISTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_model_list_is_read_as_expected(path: Path, caller: CustomLLMCaller) -> None:
    """Every id in its order, an empty list included; or the error of an endpoint that has none."""
    expect, answer = recorded_list(path)
    async with playing(answer) as url:
        target = Target(
            "custom-llm",
            credential={"apiCompatibility": expect["shape"], "baseUrl": url},
            timeouts=Timeouts(5, 5, 5, 5),
        )
        listing = caller.inspect(target)
        if "error" not in expect:
            assert [model.id for model in await listing.list_models(new_report())] == expect["models"]
            return
        with pytest.raises(CallerError) as failure:
            await listing.list_models(new_report())

    code, reason = reason_of(failure.value)
    assert (reason, code.name) == (expect["error"]["reason"], expect["error"]["status"])
    assert failure.value.http_status == expect["error"]["http_status"]
    assert expect["error"]["message_contains"] in failure.value.message


def test_every_recording_is_a_chat_or_a_list() -> None:
    """Nothing lies among the recordings that no test replays."""
    assert len(RECORDINGS) + len(LISTS) == len(list(Path(ROOT).glob("*/*.http")))
    assert LISTS


@EVERY
async def test_a_recording_is_heard_as_expected(recording: Recording, caller: CustomLLMCaller) -> None:
    """Text, reasoning, calls, finish, usage, names; or the error, its code and words, and what came ahead of it."""
    received = await replay(recording, raw(recording), caller)

    assert ids_agree(recording, received)
    if received.error is not None:
        agree_on_the_error(recording, received.error)
        agree_on_what_came_before(recording, received)
        return
    assert unspecified(told(received)) == unspecified(expected(recording))
    if recording.expect.get("logprobs"):
        assert all(choice.logprobs for choice in received.completion.choices)


def unspecified(answer: dict[str, Any]) -> dict[str, Any]:
    """Where an endpoint gives no finish reason, the recordings allow OTHER as well as UNSPECIFIED."""
    for choice in answer["choices"]:
        choice["finish"] = choice["finish"] if choice["raw_finish"] else "UNSPECIFIED"
    return answer


def agree_on_the_error(recording: Recording, error: CallerError) -> None:
    expect = recording.expect["error"]
    status, reason = reason_of(error)
    cut = type(error) is StreamCut  # behind output: the same reason, another status
    assert (reason, "ABORTED" if cut else expect["status"]) == (expect["reason"], status.name)
    assert expect.get("message_contains", "")[:200] in error.message
    codes = {expect.get("endpoint_code") or "", expect.get("endpoint_type") or ""}
    assert error.endpoint_code in codes | {""}
    assert error.http_status in (expect["http_status"], None)


def agree_on_what_came_before(recording: Recording, received: Received) -> None:
    before = recording.expect.get("before", {})
    assert "".join(choice.message.text for choice in received.completion.choices) == before.get("text", "")
    counts = {name: count for name, count in before.get("usage", {}).items() if name != "source"}
    assert received.error is not None
    for name, count in counts.items():
        assert getattr(received.usage, name, 0) in (count, None if count == 0 else count)


@EVERY
async def test_a_recording_that_is_cut_is_no_success_with_a_part(recording: Recording, caller: CustomLLMCaller) -> None:
    """Cut anywhere over HTTP: the whole answer, or an interrupted or unreadable one behind a beginning of it."""
    answer = raw(recording)
    whole = await replay(recording, answer, caller)
    head = answer.index(b"\r\n\r\n") + 4
    rng = random.Random(recording.name)  # noqa: S311 -- the same cuts in every run
    for end in (*rng.sample(range(head, len(answer)), min(3, len(answer) - head)), rng.randrange(1, head)):
        judge(recording, whole, await replay(recording, answer[:end], caller))


@pytest.mark.parametrize(
    "recording",
    [recording for recording in RECORDINGS if len(recording.body) <= SMALL and recording.status == 200],
    ids=lambda recording: recording.name,
)
def test_a_small_recording_may_end_at_any_byte(recording: Recording) -> None:
    """The same at every single byte, for a transfer that ends without saying whether it is complete."""
    adapter = ADAPTERS[ApiCompatibility(recording.expect["shape"])]
    call = ResolvedCall(Credential(adapter.api, "http://127.0.0.1:1", {}), Parameters("m", asked(recording)), ())
    whole = receive(adapter, call, recording.body)
    for end in range(len(recording.body)):
        judge(recording, whole, receive(adapter, call, recording.body[:end]))


def judge(recording: Recording, whole: Received, received: Received) -> None:
    if received.error is None:
        assert said(received) == said(whole)
        return
    # Half of an error's body still has its status.
    refused = type(whole.error) if recording.status == 200 else CallerError
    assert isinstance(received.error, (*INTERRUPTED, EndpointUnreachable, refused))
    assert all(said(whole).get(where, "").startswith(text) for where, text in said(received).items())


def said(received: Received) -> dict[str, str]:
    """What was said, by its place."""
    texts = {}
    for choice in received.completion.choices:
        for kind in ("text", "reasoning", "refusal"):
            texts[f"{choice.index}.{kind}"] = getattr(choice.message, kind)
        for number, call in enumerate(choice.message.tool_calls):
            texts[f"{choice.index}.call {number}"] = f"{call.name} {call.arguments}"
    return texts
