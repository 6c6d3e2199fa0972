"""Judges of answers: pure functions that take what came and raise `Wrong` with what is not as it was promised.

Rule: no call is made here, and no server is known by name; what a target expects is taken from it.
"""

import json
from collections.abc import Sequence

from acceptance.live.asking import Streamed
from acceptance.live.targets import Target, Trait
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg


class Wrong(Exception):
    """Something is not as it should be."""


def must(holds: bool, otherwise: str) -> None:
    """Raise `Wrong` unless it holds."""
    if not holds:
        raise Wrong(otherwise)


def completed(received: Streamed) -> pb.ChatResponse:
    """The last frame of a stream whose frames are in their order."""
    kinds = received.kinds
    must(kinds[:1] == ["started"], f"it began with {kinds[:1]}")
    must(kinds[-1:] == ["completed"] and kinds.count("completed") == 1, f"the frames are {kinds}")
    must(received.frames[-1].completed.timing.attempts == 1, "it took more than one attempt")
    return received.frames[-1].completed


def as_known(target: Target, trait: Trait, seen: str, *, deviates: bool) -> None:
    """A deviation is there exactly where the target has it as its trait."""
    known = trait in target.traits
    must(deviates is known, f"{'no longer ' if known else ''}{trait.value}: {seen}")


def text_answer(answer: pb.ChatResponse, target: Target, check: str, *, streamed: bool = False) -> None:
    """One text, with the words that the target says in this check, ended by the model, counted."""
    must(len(answer.choices) == 1, f"{len(answer.choices)} choices")
    must(bool(answer.choices[0].message.text.strip()), f"no text: {in_one_line(answer)}")
    must(target.says.get(check, "") in answer.choices[0].message.text, f"another text: {in_one_line(answer)}")
    must(finish(answer) == "STOP", f"it ended otherwise: {in_one_line(answer)}")
    as_known(target, Trait.NAMELESS, f"the model is {answer.model!r}", deviates=not answer.model)
    counted(answer, target, streamed=streamed)


def tool_answer(answer: pb.ChatResponse, target: Target, *, streamed: bool = False) -> None:
    """One call of `get_weather` for Paris, whose arguments are JSON, counted."""
    must(len(answer.choices) == 1, f"{len(answer.choices)} choices")
    calls = answer.choices[0].message.tool_calls
    must(len(calls) == 1, f"{len(calls)} tool calls: {in_one_line(answer)}")
    must(calls[0].name == "get_weather" and bool(calls[0].id), f"the call is {calls[0]}")
    try:
        arguments = json.loads(calls[0].arguments)
    except ValueError:
        raise Wrong(f"the arguments are no JSON: {calls[0].arguments!r}") from None
    city = arguments.get("city") if isinstance(arguments, dict) else None
    must(isinstance(city, str) and "Paris" in city, f"the arguments are {calls[0].arguments}")
    must(finish(answer) == "TOOL_CALLS", f"it ended otherwise: {in_one_line(answer)}")
    counted(answer, target, streamed=streamed)


def counted(answer: pb.ChatResponse, target: Target, *, streamed: bool) -> None:
    """The endpoint said how many tokens were used; zeros alone say nothing, and are told as none."""
    usage = answer.usage
    told = usage.source == msg.USAGE_SOURCE_REPORTED
    source = f"usage {msg.UsageSource.Name(usage.source)}"
    if streamed:
        as_known(target, Trait.STREAMS_UNCOUNTED, source, deviates=not told)
    else:
        must(told, source)
    counts = (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    if told:
        must(min(counts) > 0 and counts[0] + counts[1] <= counts[2], f"tokens in, out, total: {counts}")


def same(streamed: pb.ChatResponse, whole: pb.ChatResponse, target: Target) -> str:
    """Words on whether the streamed answer is the whole one: it must be where answers are steady."""
    different = [
        f"{name}: {ours!r} streamed, {theirs!r} whole"
        for name, ours, theirs in zip(
            ("text", "tool calls", "end", "usage"), essence(streamed), essence(whole), strict=True
        )
        if ours != theirs and not (name == "usage" and Trait.STREAMS_UNCOUNTED in target.traits)
    ]
    if target.steady:
        must(not different, "; ".join(different))
    return " as by Chat" if not different else " (Chat said it otherwise)"


def essence(answer: pb.ChatResponse) -> Sequence[object]:
    """What does not change from call to call: no ids, no times, no tokens from a cache."""
    message = answer.choices[0].message
    calls = [(call.name, json.loads(call.arguments)) for call in message.tool_calls]
    usage = answer.usage
    return message.text, calls, finish(answer), (usage.input_tokens, usage.output_tokens, usage.total_tokens)


def finish(answer: pb.ChatResponse) -> str:
    """How the first choice ended."""
    return str(msg.FinishReason.Name(answer.choices[0].finish_reason)).removeprefix("FINISH_REASON_")


def word(status: str) -> str:
    """The word of a check's status."""
    return status.removeprefix("CHECK_STATUS_")


def in_one_line(answer: pb.ChatResponse) -> str:
    """An answer in one line."""
    message = answer.choices[0].message
    calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    said = [repr(text) for text in (message.reasoning, message.text) if text]
    return f"{' '.join(said + calls) or 'nothing'} · {facts(answer)}"


def facts(answer: pb.ChatResponse) -> str:
    """End and usage in one line."""
    usage = answer.usage
    raw = answer.choices[0].raw_finish_reason
    return f"{finish(answer)} ({raw}) · {usage.input_tokens} in, {usage.output_tokens} out"
