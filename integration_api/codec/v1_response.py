"""Domain values to responses of `integration_api.v1`. Pure; `frames` is on the token path."""

from collections.abc import Iterable, Sequence
from typing import assert_never

from google.protobuf import duration_pb2

from caller.call import CallReport, Choice, Completion, Model, Verification
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ProviderFields,
    ProviderState,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
    UsageSource,
)
from integration_api.codec.structs import fill_struct
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

_REASONS = {
    FinishReason.UNSPECIFIED: msg.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: msg.FINISH_REASON_STOP,
    FinishReason.LENGTH: msg.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: msg.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: msg.FINISH_REASON_CONTENT_FILTER,
    FinishReason.OTHER: msg.FINISH_REASON_OTHER,
}
_SOURCES = {
    UsageSource.REPORTED: msg.USAGE_SOURCE_REPORTED,
    UsageSource.PARTIAL: msg.USAGE_SOURCE_PARTIAL,
    UsageSource.UNAVAILABLE: msg.USAGE_SOURCE_UNAVAILABLE,
}
_STATUSES = {
    "PASS": pb.CHECK_STATUS_PASS,
    "WARN": pb.CHECK_STATUS_WARN,
    "FAIL": pb.CHECK_STATUS_FAIL,
    "SKIP": pb.CHECK_STATUS_SKIP,
}


def coalesced(batch: Sequence[Event]) -> Sequence[Event]:
    """Neighbouring deltas of one kind and place as one: what came in one network read leaves as one frame."""
    if len(batch) < 2:
        return batch
    events: list[Event] = []
    for event in batch:
        joined = _joined(events[-1], event) if events else None
        if joined is None:
            events.append(event)
        else:
            events[-1] = joined
    return events


def _joined(earlier: Event, later: Event) -> Event | None:
    match earlier, later:
        case TextDelta(), TextDelta() if earlier.choice == later.choice:
            return TextDelta(earlier.text + later.text, earlier.choice, earlier.logprobs + later.logprobs)
        case ReasoningDelta(), ReasoningDelta() if earlier.choice == later.choice:
            return ReasoningDelta(earlier.text + later.text, earlier.choice)
        case RefusalDelta(), RefusalDelta() if earlier.choice == later.choice:
            return RefusalDelta(earlier.text + later.text, earlier.choice)
        case ToolCallDelta(), ToolCallDelta() if (earlier.choice, earlier.index) == (later.choice, later.index):
            return ToolCallDelta(
                earlier.index, earlier.arguments + later.arguments, earlier.id, earlier.name, earlier.choice
            )
        case _:
            return None


def frame(event: Event) -> pb.StreamChatResponse | None:
    """The frame of a delta; None for events that are not told one by one."""
    match event:
        case TextDelta():
            delta = pb.TextDelta(text=event.text, choice_index=event.choice)
            if event.logprobs:
                delta.logprobs.extend(_logprobs(event.logprobs))
            return pb.StreamChatResponse(text_delta=delta)
        case ReasoningDelta():
            return pb.StreamChatResponse(reasoning_delta=pb.ReasoningDelta(text=event.text, choice_index=event.choice))
        case ToolCallDelta():
            return pb.StreamChatResponse(
                tool_call_delta=pb.ToolCallDelta(
                    index=event.index,
                    id=event.id,
                    name=event.name,
                    arguments_fragment=event.arguments,
                    choice_index=event.choice,
                )
            )
        case RefusalDelta():
            return pb.StreamChatResponse(refusal_delta=pb.RefusalDelta(text=event.text, choice_index=event.choice))
        case Started() | UsageReported() | ProviderFields() | ProviderState() | Finished():
            return None
        case _:
            assert_never(event)


def started(request_id: str, completion: Completion) -> pb.StreamChatResponse:
    """The first frame."""
    return pb.StreamChatResponse(
        started=pb.Started(request_id=request_id, response_id=completion.response_id, model=completion.model)
    )


def chat_response(request_id: str, completion: Completion, report: CallReport, now: float) -> pb.ChatResponse:
    """The whole answer. `now` is the call's end in `loop.time()`."""
    response = pb.ChatResponse(
        request_id=request_id,
        response_id=completion.response_id,
        model=completion.model,
        choices=[_choice(choice) for choice in completion.choices],
        usage=usage(completion.usage),
        timing=pb.Timing(total=seconds(now - report.started), attempts=report.attempts),
        endpoint_request_id=report.endpoint_request_id,
        rate_limits=report.rate_limits,
    )
    if report.first_output is not None:
        response.timing.time_to_first_output.CopyFrom(seconds(report.first_output - report.started))
    if completion.provider_fields:
        fill_struct(response.provider_fields, completion.provider_fields)
    return response


def usage(counts: Usage) -> msg.Usage:
    """Token counts; what is not reported stays unset."""
    return msg.Usage(
        input_tokens=counts.input,
        output_tokens=counts.output,
        total_tokens=counts.total,
        cached_input_tokens=counts.cached_input,
        cache_creation_input_tokens=counts.cache_creation_input,
        reasoning_tokens=counts.reasoning,
        source=_SOURCES[counts.source],
    )


def verification(found: Verification) -> pb.VerifyCredentialResponse:
    """What the checks of a credential found."""
    return pb.VerifyCredentialResponse(
        ok=found.ok,
        checks=[
            pb.Check(
                id=check.id,
                status=_STATUSES[check.status],
                observed=check.observed,
                remedy=check.remedy,
                took=seconds(check.took),
            )
            for check in found.checks
        ],
        compatibility=found.api,
        endpoint_url=found.url,
    )


def models(found: Iterable[Model]) -> pb.ListModelsResponse:
    """What an endpoint offers."""
    response = pb.ListModelsResponse()
    for model in found:
        wire = response.models.add(id=model.id, owned_by=model.owned_by)
        if model.provider_fields:
            fill_struct(wire.provider_fields, model.provider_fields)
    return response


def seconds(value: float) -> duration_pb2.Duration:
    """Seconds as a Duration, in whole microseconds."""
    micros = max(0, round(value * 1_000_000))
    return duration_pb2.Duration(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def _choice(choice: Choice) -> msg.Choice:
    message = choice.message
    wire = msg.Choice(
        index=choice.index,
        message=msg.AssistantMessage(
            text=message.text,
            refusal=message.refusal,
            reasoning=message.reasoning,
            tool_calls=[
                msg.ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in message.tool_calls
            ],
            provider_state=message.provider_state,
        ),
        finish_reason=_REASONS[choice.finish_reason],
        raw_finish_reason=choice.raw_finish_reason,
        logprobs=_logprobs(choice.logprobs),
    )
    if choice.provider_fields:
        fill_struct(wire.provider_fields, choice.provider_fields)
    return wire


def _logprobs(tokens: Iterable[TokenLogprob]) -> list[msg.TokenLogprob]:
    return [
        msg.TokenLogprob(
            token=token.token,
            logprob=token.logprob,
            token_bytes=token.bytes,
            top_logprobs=[msg.TopLogprob(token=top.token, logprob=top.logprob, token_bytes=top.bytes) for top in token.top],
        )
        for token in tokens
    ]
