"""Reads `tests/recordings`: answers of real servers as bytes, beside what a reader has to make of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from caller import errors
from caller.call import Completion
from caller.custom_llm.adapter import Adapter, ResolvedCall
from caller.custom_llm.answer import AnswerReader
from caller.errors import CallerError
from caller.events import Event, Usage
from caller.fold import Folder

ROOT = Path(__file__).parent / "recordings"
MAX_BYTES = 4 * 1024 * 1024
# The words of expectations for what can go wrong in a 200 answer, and our classes for them.
REASONS: Mapping[str, type[CallerError]] = {
    "ENDPOINT_PROTOCOL_ERROR": errors.ProtocolError,
    "STREAM_INTERRUPTED": errors.StreamInterrupted,
    "ENDPOINT_ERROR": errors.EndpointError,
    "ENDPOINT_OVERLOADED": errors.EndpointOverloaded,
    "ENDPOINT_RATE_LIMITED": errors.EndpointRateLimited,
    "ENDPOINT_REJECTED": errors.EndpointRejected,
    "ENDPOINT_NOT_FOUND": errors.EndpointNotFound,
    "ENDPOINT_UNAUTHENTICATED": errors.EndpointUnauthenticated,
    "MODEL_NOT_FOUND": errors.ModelNotFound,
    "CONTEXT_LENGTH_EXCEEDED": errors.ContextLengthExceeded,
    "CONTENT_FILTERED": errors.ContentFiltered,
    "QUOTA_EXHAUSTED": errors.QuotaExhausted,
}
_USAGE = ("input", "output", "total", "cached_input", "cache_creation_input", "reasoning")


@dataclass(frozen=True)
class Recording:
    """One recorded answer. `body` is without its chunk sizes, as far as it came."""

    name: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    expect: dict[str, Any]


@dataclass(frozen=True)
class Received:
    """What came out: the answer so far, its events, and the error that ended it, if any."""

    completion: Completion
    events: list[Event]
    error: CallerError | None
    usage: Usage | None = None  # what was reported, ahead of the error and with it


def recordings(shape: str, op: str = "chat", *, status: int | None = 200) -> list[Recording]:
    """The recordings of a shape, with one HTTP status or with any (None)."""
    found = []
    for path in sorted(ROOT.glob("*/*.expect.json")):
        expect = json.loads(path.read_text())
        if (expect["shape"], expect["op"]) != (shape, op):
            continue
        name = f"{path.parent.name}/{path.name.removesuffix('.expect.json')}"
        recording = parsed(name, (ROOT / f"{name}.http").read_bytes(), expect)
        if status in (None, recording.status):
            found.append(recording)
    return found


def parsed(name: str, raw: bytes, expect: dict[str, Any]) -> Recording:
    """Status line, headers and body of a response as it stood on the wire."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _dechunked(body)
    elif "content-length" in headers:
        body = body[: int(headers["content-length"])]
    return Recording(name, int(first.split()[1]), headers, body, expect)


def _dechunked(wire: bytes) -> bytes:
    body = b""
    while wire:
        size, _, wire = wire.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        if not length:
            break
        body += wire[:length]
        wire = wire[length:].removeprefix(b"\r\n")
    return body


def receive(adapter: Adapter, call: ResolvedCall, body: bytes, *, cuts: tuple[int, ...] = ()) -> Received:
    """Read a 200 body as the caller does, its bytes cut at the given places."""
    reader, events, folder = AnswerReader(adapter, call, MAX_BYTES), list[Event](), Folder(MAX_BYTES)
    for start, end in zip((0, *cuts), (*cuts, len(body)), strict=True):
        if not reader.done and reader.failure is None:
            events += reader.feed(body[start:end])
    if reader.failure is None:
        events += reader.close()
    for event in events:
        folder.feed(event)
    return Received(folder.completion(), events, reader.failure, reader.usage)


def told(received: Received) -> dict[str, Any]:
    """What was heard, in the words of an expectation."""
    answer = received.completion
    if received.error is not None:
        return {"error": type(received.error)}
    return {
        "response_id": answer.response_id,
        "model": answer.model,
        "choices": [
            {
                "index": choice.index,
                "text": choice.message.text,
                "reasoning": choice.message.reasoning,
                "refusal": choice.message.refusal,
                "tool_calls": [(call.name, _json(call.arguments)) for call in choice.message.tool_calls],
                "finish": choice.finish_reason.name,
                "raw_finish": choice.raw_finish_reason,
            }
            for choice in answer.choices
        ],
        "usage": {name: count for name in _USAGE if (count := msgspec.structs.asdict(answer.usage)[name]) is not None},
    }


def expected(recording: Recording) -> dict[str, Any]:
    """The expectation in the same words. Arguments count as JSON values; ids are compared by `ids`."""
    expect = recording.expect
    if "error" in expect:
        return {"error": REASONS[expect["error"]["reason"]]}
    return {
        "response_id": expect["response_id"],
        "model": expect["model"],
        "choices": [
            choice | {"tool_calls": [(call["name"], _json(call["arguments"])) for call in choice["tool_calls"]]}
            for choice in expect["choices"]
        ],
        "usage": {name: count for name, count in expect["usage"].items() if name != "source"},
    }


def ids_agree(recording: Recording, received: Received) -> bool:
    """Whether each tool call has the id of the recording, or one of ours where that has none."""
    wanted = [call["id"] for choice in recording.expect.get("choices", ()) for call in choice["tool_calls"]]
    given = [call.id for choice in received.completion.choices for call in choice.message.tool_calls]
    return received.error is not None or (
        len(wanted) == len(given) and all(id_ and want in (None, id_) for want, id_ in zip(wanted, given, strict=True))
    )


def before_agrees(recording: Recording, received: Received) -> bool:
    """Whether output and usage ahead of an error are the recording's; zeros may count as no usage."""
    before = recording.expect.get("before")
    if before is None:
        return True
    text = "".join(choice.message.text for choice in received.completion.choices)
    usage = {name: count for name, count in before.get("usage", {}).items() if name != "source"}
    seen = {name: getattr(received.usage, name, None) for name in usage}
    return text == before["text"] and (seen == usage or not any(usage.values()))


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
