"""Domain values to responses of `integration_api.v1`. Pure; `frame` is on the token path."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, assert_never

from caller.call import CallReport, Choice, Completion
from caller.custom_llm.base_url import without_query
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
    UsageReported,
)
from caller.providers import Provider
from caller.remedies import remedy_of
from caller.verification import Model, Verification
from integration_api.calls.prewarm import Warmth
from integration_api.codec.common import seconds, usage
from integration_api.codec.structs import fill_struct
from integration_api.rpc.status import attempts_made, reason_of
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

_REASONS = {
    FinishReason.UNSPECIFIED: msg.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: msg.FINISH_REASON_STOP,
    FinishReason.LENGTH: msg.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: msg.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: msg.FINISH_REASON_CONTENT_FILTER,
    FinishReason.OTHER: msg.FINISH_REASON_OTHER,
}
_STATUSES = {
    "PASS": pb.CHECK_STATUS_PASS,
    "WARN": pb.CHECK_STATUS_WARN,
    "FAIL": pb.CHECK_STATUS_FAIL,
    "SKIP": pb.CHECK_STATUS_SKIP,
}


def frame(event: Event) -> pb.StreamChatResponse | None:
    """The frame of a delta; None for events that have no frame of their own."""
    made = pb.StreamChatResponse()  # filled in place: half the cost of nested constructors
    match event:
        case TextDelta():
            made.text_delta.text = event.text
            if event.choice:
                made.text_delta.choice_index = event.choice
            if event.logprobs:
                add_logprobs(made.text_delta.logprobs, event.logprobs)
        case ReasoningDelta():
            made.reasoning_delta.text = event.text
            made.reasoning_delta.choice_index = event.choice
        case ToolCallDelta():
            delta = made.tool_call_delta
            delta.index, delta.id, delta.name = event.index, event.id, event.name
            delta.arguments_fragment, delta.choice_index = event.arguments, event.choice
        case RefusalDelta():
            made.refusal_delta.text = event.text
            made.refusal_delta.choice_index = event.choice
        case Started() | UsageReported() | ProviderFields() | ProviderState() | Finished():
            return None
        case _:
            assert_never(event)
    return made


def started(report: CallReport, completion: Completion) -> pb.StreamChatResponse:
    """The first frame."""
    return pb.StreamChatResponse(
        started=pb.Started(
            request_id=report.request_id,
            response_id=completion.response_id,
            model=completion.model,
            target=report.target,
        )
    )


def chat_response(completion: Completion, report: CallReport, now: float, *, logprobs: bool = True) -> pb.ChatResponse:
    """The whole answer. `now` is the call's end in `loop.time()`. Without `logprobs` they are added later."""
    response = pb.ChatResponse(
        request_id=report.request_id,
        response_id=completion.response_id,
        model=completion.model,
        choices=[_choice(choice, logprobs=logprobs) for choice in completion.choices],
        usage=usage(completion.usage),
        timing=pb.Timing(total=seconds(now - report.started), attempts=report.attempts),
        endpoint_request_id=report.endpoint_request_id,
        rate_limits=report.rate_limits or None,
    )
    if report.first_output is not None:
        response.timing.time_to_first_output.CopyFrom(seconds(report.first_output - report.started))
    if report.made:
        response.timing.attempts_made.extend(attempts_made(report))
    if completion.provider_fields:
        fill_struct(response.provider_fields, completion.provider_fields)
    return response


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


def providers(rows: Iterable[Provider]) -> pb.ListProvidersResponse:
    """The providers that are known by name, in the order of their ids."""
    return pb.ListProvidersResponse(
        providers=[
            pb.Provider(
                id=row.id,
                base_url=without_query(row.defaults.base_url),
                compatibility=row.defaults.api.value,
                documentation_url=row.documentation_url,
            )
            for row in sorted(rows, key=lambda row: row.id)
        ]
    )


def prewarmed(found: Iterable[Warmth]) -> pb.PrewarmResponse:
    """How the targets of a Prewarm stand."""
    response = pb.PrewarmResponse()
    for number, warmth in enumerate(found):
        wire = response.results.add(target=number, ok=warmth.error is None)
        wire.message = f"{warmth.ready} ready, {warmth.opened} opened now"
        if warmth.error is not None:
            wire.reason = reason_of(warmth.error)[1]
            wire.message += f": {warmth.error.message} ({remedy_of(warmth.error)})"
        if warmth.times is not None:
            wire.resolve.CopyFrom(seconds(warmth.times.resolve))
            wire.connect.CopyFrom(seconds(warmth.times.connect))
            wire.tls.CopyFrom(seconds(warmth.times.tls))
    return response


def _choice(choice: Choice, *, logprobs: bool) -> msg.Choice:
    message = choice.message
    wire = msg.Choice(finish_reason=_REASONS[choice.finish_reason], raw_finish_reason=choice.raw_finish_reason)
    if choice.index:
        wire.index = choice.index
    told = wire.message
    told.text = message.text
    if message.refusal:
        told.refusal = message.refusal
    if message.reasoning:
        told.reasoning = message.reasoning
    for call in message.tool_calls:
        told.tool_calls.add(id=call.id, name=call.name, arguments=call.arguments)
    if message.provider_state:
        told.provider_state = message.provider_state
    if logprobs and choice.logprobs:
        add_logprobs(wire.logprobs, choice.logprobs)
    if choice.provider_fields:
        fill_struct(wire.provider_fields, choice.provider_fields)
    return wire


def add_logprobs(into: "RepeatedCompositeFieldContainer[msg.TokenLogprob]", tokens: Iterable[TokenLogprob]) -> None:
    """Log probabilities of tokens, filled in place: half the cost of constructors."""
    for token in tokens:
        add = into.add(token=token.token, logprob=token.logprob, utf8=token.bytes).top_logprobs.add
        for top in token.top:
            add(token=top.token, logprob=top.logprob, utf8=top.bytes)
