"""What came against what a case expects: a list of what is wrong, empty for a case that is right. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cases.endpoint import Sent, pointed
from tests.patience import within

_TEXTS = ("text", "reasoning", "refusal")
_ASKS = frozenset({"pointer", "header", "path"})


@dataclass
class Outcome:
    """What one RPC gave, as JSON: `response` of a good end, else `error`; the `frames` of a stream."""

    method: str
    took: float = 0.0
    frames: list[dict[str, Any]] = field(default_factory=list)
    response: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    def joined(self, event: str) -> str:
        """The text of the first choice's frames of one kind."""
        frames = (frame[event] for frame in self.frames if event in frame)
        return "".join(frame.get("text", "") for frame in frames if not frame.get("choiceIndex"))

    @property
    def calls(self) -> list[dict[str, str]]:
        """The first choice's tool calls, folded from the frames."""
        calls: dict[int, dict[str, str]] = {}
        for delta in (frame["toolCallDelta"] for frame in self.frames if "toolCallDelta" in frame):
            if not delta.get("choiceIndex"):
                call = calls.setdefault(delta.get("index", 0), {"id": "", "name": "", "arguments": ""})
                call["id"] = call["id"] or delta.get("id", "")
                call["name"] = call["name"] or delta.get("name", "")
                call["arguments"] += delta.get("argumentsFragment", "")
        return [call for _, call in sorted(calls.items())]


def wrong_with(outcome: Outcome, expected: Mapping[str, Any]) -> Iterator[str]:
    """Everything in which one RPC's outcome differs from what is expected of it."""
    if outcome.took > within(expected.get("within_s", outcome.took)):
        yield f"took {outcome.took:.1f} s instead of {expected['within_s']}"
    wanted, error = expected.get("error"), outcome.error
    if wanted and error is None:
        yield f"expected the error {wanted}, came {_short(outcome.response)}"
    elif wanted and error is not None:
        yield from _wrong_error(outcome, error, wanted if isinstance(wanted, dict) else {}, expected)
    elif error is not None:
        yield f"expected an answer, came {error['code']} {error['reason']}: {error['message'][:260]}"
        return
    yield from _wrong_words(error["message"] if error else "", expected)
    if error is None and not wanted:
        yield from _wrong_answer(outcome, expected)


def wrong_requests(checks: Sequence[Any], sent: Sequence[Sent]) -> Iterator[str]:
    """What the endpoint got against a case's `sent`: one entry a request, each a check or a list of them."""
    at = 0
    for entry in checks:
        together = entry if isinstance(entry, list) else [entry]
        for check in together:
            if len(sent) != check.get("count", len(sent)):
                yield f"expected {check['count']} requests, came {len(sent)}"
            if _ASKS & check.keys():
                yield from _wrong_request(check, sent, check.get("request", at))
        at += any(_ASKS & check.keys() for check in together) or not any("count" in check for check in together)


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:300]


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def _differs(what: str, wanted: Any, came: Any) -> Iterator[str]:
    if wanted != came:
        yield f"expected {what} {_short(wanted)}, came {_short(came)}"


def _wrong_error(
    outcome: Outcome, error: Mapping[str, Any], wanted: Mapping[str, Any], expected: Mapping[str, Any]
) -> Iterator[str]:
    for name in ("code", "reason", "fault"):
        if name in wanted and error[name] not in wanted[name].split("|"):
            yield f"expected {name} {wanted[name]}, came {error['code']} {error['reason']}: {error['message'][:200]}"
    if "retry" in wanted:
        yield from _differs("an invitation to retry", wanted["retry"], error["retry"])
    for name, count in wanted.get("usage", {}).items():
        yield from _differs(f"partial {name}", count, error["usage"].get(_camel(name)))
    if "text" in expected and outcome.method == "StreamChat":
        yield from _differs("text ahead of the error", expected["text"], outcome.joined("textDelta"))


def _wrong_words(message: str, expected: Mapping[str, Any]) -> Iterator[str]:
    for key in ("contains", "lacks"):
        pieces = expected.get(key, [])
        for piece in [pieces] if isinstance(pieces, str) else pieces:
            if (piece.lower() in message.lower()) != (key == "contains"):
                yield f"expected a message that {key} {piece!r}, came {message!r}"


def _wrong_answer(outcome: Outcome, expected: Mapping[str, Any]) -> Iterator[str]:
    response = outcome.response
    choice = (response.get("choices") or [{}])[0]
    message = choice.get("message", {})
    for name in _TEXTS:
        yield from _differs(name, expected.get(name, message.get(name, "")), message.get(name, ""))
    if "choices" in expected:
        yield from _differs("choices", expected["choices"], len(response.get("choices", [])))
    finish = choice.get("finishReason", "FINISH_REASON_UNSPECIFIED").removeprefix("FINISH_REASON_")
    if finish not in expected.get("finish", finish).split("|"):
        yield f"expected the finish {expected['finish']}, came {finish} (raw {choice.get('rawFinishReason')!r})"
    if "tool_calls" in expected:
        yield from _wrong_calls(expected["tool_calls"], message.get("toolCalls", []))
    for name, count in expected.get("usage", {}).items():
        came = response.get("usage", {}).get(_camel(name))
        yield from _differs(
            f"usage {name}", count, came.removeprefix("USAGE_SOURCE_") if isinstance(came, str) else came
        )
    if outcome.method == "StreamChat":
        yield from _torn_frames(outcome, message)
    yield from _wrong_credential(response, expected)


def _torn_frames(outcome: Outcome, message: Mapping[str, Any]) -> Iterator[str]:
    """The frames of a stream join to what its end says."""
    yield from _differs("text in frames", message.get("text", ""), outcome.joined("textDelta"))
    yield from _differs("reasoning in frames", message.get("reasoning", ""), outcome.joined("reasoningDelta"))
    calls = [{key: call.get(key, "") for key in ("id", "name", "arguments")} for call in message.get("toolCalls", [])]
    yield from _differs("tool calls in frames", calls, outcome.calls)


def _wrong_credential(response: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """Of VerifyCredential and ListModels."""
    if "models" in expected:
        yield from _differs("models", expected["models"], [model.get("id", "") for model in response.get("models", [])])
    if "ok" in expected:
        yield from _differs("ok", expected["ok"], response.get("ok", False))
    came = {check["id"]: check["status"].removeprefix("CHECK_STATUS_") for check in response.get("checks", [])}
    for name, status in expected.get("checks", {}).items():
        yield from _differs(f"check {name}", status, came.get(name))


def _wrong_calls(wanted: Sequence[Mapping[str, Any]], came: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(wanted) != len(came):
        yield f"expected {len(wanted)} tool calls, came {_short(came)}"
        return
    ids = [call.get("id", "") for call in came]
    for number, (want, call) in enumerate(zip(wanted, came, strict=True)):
        if "name" in want:
            yield from _differs(f"name of call {number}", want["name"], call.get("name"))
        wish = want.get("id", ids[number])  # "*": any, "!": one of its own
        if (
            (not ids[number] or (wish == "!" and ids.count(ids[number]) > 1))
            if wish in ("*", "!")
            else wish != ids[number]
        ):
            yield f"expected call {number} under the id {wish}, came {ids}"
        if "arguments" in want:
            text = call.get("arguments", "")
            yield from _differs(f"arguments of call {number}", want["arguments"], _arguments(text, want["arguments"]))


def _arguments(text: str, wanted: Any) -> Any:
    try:
        return text if isinstance(wanted, str) else json.loads(text)
    except ValueError:
        return text


def _wrong_request(check: Mapping[str, Any], sent: Sequence[Sent], number: int) -> Iterator[str]:
    if not -len(sent) <= number < len(sent):
        yield f"expected a request {number}, came {len(sent)}"
        return
    request = sent[number]
    name = check.get("pointer") or check.get("header") or "path"
    value: Any
    there, value = True, request.path
    if "pointer" in check:
        there, value = pointed(request.body, name)
    elif "header" in check:
        there, value = name.lower() in request.headers, request.headers.get(name.lower(), "")
    piece = check.get("contains", check.get("path"))
    bad = "equals" in check and (not there or value != check["equals"])
    if "absent" in check or "present" in check:
        bad = bool(check.get("absent")) == there
    if bad or (piece is not None and piece not in (value if isinstance(value, str) else json.dumps(value))):
        wanted = "nothing" if check.get("absent") else _short(check.get("equals", piece))
        yield f"request {number}: expected {name} {wanted}, came {_short(value) if there else 'nothing'}"
