"""Neighbouring deltas as one: what came in one network read leaves as few events. Pure; on the token path."""

from collections.abc import Sequence

from caller.events import OUTPUT, Event, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta


def coalesced(batch: Sequence[Event]) -> Sequence[Event]:
    """Neighbouring deltas of one kind, choice and call as one: what came in one network read leaves as one frame."""
    if len(batch) < 2:
        return batch
    events: list[Event] = []
    run: list[Event] = []
    for event in batch:
        if run and not _continues(run[0], event):
            events.append(_whole(run))
            run = []
        run.append(event)
    events.append(_whole(run))
    return events


def _continues(first: Event, event: Event) -> bool:
    if type(first) is not type(event) or not isinstance(first, OUTPUT) or not isinstance(event, OUTPUT):
        return False
    if isinstance(first, ToolCallDelta) and isinstance(event, ToolCallDelta) and first.index != event.index:
        return False
    return first.choice == event.choice


def _whole(run: list[Event]) -> Event:
    """One event for a run of deltas that continue each other."""
    first = run[0]
    if len(run) == 1:
        return first
    match first:
        case TextDelta():
            logprobs = tuple(token for event in run if isinstance(event, TextDelta) for token in event.logprobs)
            return TextDelta(_texts(run), first.choice, logprobs)
        case ReasoningDelta():
            return ReasoningDelta(_texts(run), first.choice)
        case RefusalDelta():
            return RefusalDelta(_texts(run), first.choice)
        case ToolCallDelta():
            arguments = "".join(event.arguments for event in run if isinstance(event, ToolCallDelta))
            return ToolCallDelta(first.index, arguments, first.id, first.name, first.choice)
        case _:
            raise TypeError(f"a run of {type(first).__name__}")


def _texts(run: list[Event]) -> str:
    return "".join(event.text for event in run if isinstance(event, TextDelta | ReasoningDelta | RefusalDelta))
