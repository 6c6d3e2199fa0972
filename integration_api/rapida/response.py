"""Domain values to responses of Rapida's contract. Pure; `delta` is on the token path."""

from collections.abc import Sequence
from dataclasses import dataclass

from caller.call import CallReport, Completion
from caller.errors import CallerError
from caller.events import Event, FinishReason, RefusalDelta, TextDelta, ToolCallDelta, Usage
from caller.fold import NO_USAGE
from caller.verification import Check, Verification
from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.rapida.errors import code_of, error_message

SUPERSEDED = "superseded"
_ROLE = "assistant"
_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
}


@dataclass(frozen=True, slots=True)
class Timings:
    """What was measured of one answer, and by what names. Times are `loop.time()` in seconds."""

    request_id: str
    started: float
    ended: float
    first_output: float | None = None
    usage: Usage = NO_USAGE
    upper_case: bool = False

    def metrics(self, status: str) -> list[msg.Metric]:
        """As the contract lists them; what is not known is left out."""
        found: list[tuple[str, str | int | None, str]] = [
            ("time_taken", _nanoseconds(self.ended - self.started), "Time of the whole answer in nanoseconds"),
            ("llm_request_id", self.request_id, "Id of the request"),
            ("status", status, "How the answer ended"),
            ("input_token", self.usage.input, "Tokens of the request"),
            ("output_token", self.usage.output, "Tokens of the answer"),
            ("total_token", _total(self.usage), "Tokens of both"),
        ]
        if self.first_output is not None:
            taken = _nanoseconds(self.first_output - self.started)
            found.append(("time_to_first_token", taken, "Time to the first token in nanoseconds"))
        return [
            msg.Metric(name=name.upper() if self.upper_case else name, value=str(value), description=description)
            for name, value, description in found
            if value is not None
        ]


def timings(request_id: str, report: CallReport, usage: Usage | None, now: float, *, upper_case: bool) -> Timings:
    """What the call's record has."""
    return Timings(request_id, report.started, now, report.first_output, usage or NO_USAGE, upper_case)


def delta(request_id: str, batch: Sequence[Event]) -> tuple[pb.StreamChatResponse | None, bool]:
    """The text of one network read as one frame, up to the first tool call, and whether there was one."""
    text: list[str] = []
    for event in batch:
        if isinstance(event, TextDelta | RefusalDelta):
            if event.choice == 0:
                text.append(event.text)
        elif isinstance(event, ToolCallDelta):
            return _delta(request_id, text), True
    return _delta(request_id, text), False


def _delta(request_id: str, text: list[str]) -> pb.StreamChatResponse | None:
    whole = "".join(text)
    if not whole:
        return None
    message = msg.Message(role=_ROLE, assistant=msg.AssistantMessage(contents=[whole]))
    return pb.StreamChatResponse(chat=pb.StreamChatOutput(requestId=request_id, data=message))


def final(request_id: str, completion: Completion, found: Timings) -> pb.StreamChatResponse:
    """The last frame of a good turn."""
    return pb.StreamChatResponse(
        chat=pb.StreamChatOutput(
            requestId=request_id,
            data=_message(completion),
            metrics=found.metrics("SUCCESS"),
            finishReason=_finish_reason(completion),
        )
    )


def superseded(request_id: str, completion: Completion, found: Timings) -> pb.StreamChatResponse:
    """The last frame of a turn that a newer one superseded. Its tool calls may be incomplete, so none are sent."""
    return pb.StreamChatResponse(
        chat=pb.StreamChatOutput(
            requestId=request_id,
            data=_message(completion, with_calls=False),
            metrics=found.metrics("SUPERSEDED"),
            finishReason=SUPERSEDED,
        )
    )


def failed_turn(request_id: str, error: CallerError, found: Timings) -> pb.StreamChatResponse:
    """The last frame of a turn that failed."""
    return pb.StreamChatResponse(
        chat=pb.StreamChatOutput(requestId=request_id, error=error_message(error), metrics=found.metrics("FAILED"))
    )


def configured(provider: str, error: CallerError | None = None) -> pb.StreamChatResponse:
    """The answer to a configuration."""
    answer = pb.StreamChatConfigured(providerName=provider, success=error is None)
    if error is not None:
        answer.error.CopyFrom(error_message(error))
    return pb.StreamChatResponse(configuration=answer)


def closed(reason: str) -> pb.StreamChatResponse:
    """The end of a stream."""
    return pb.StreamChatResponse(close=pb.StreamChatClose(reason=reason))


def chat_response(request_id: str, completion: Completion, found: Timings) -> pb.ChatResponse:
    """One whole answer."""
    return pb.ChatResponse(
        code=200,
        success=True,
        requestId=request_id,
        data=_message(completion),
        metrics=found.metrics("SUCCESS"),
        finishReason=_finish_reason(completion),
    )


def failed_chat(request_id: str, error: CallerError, found: Timings) -> pb.ChatResponse:
    """Why there is no answer."""
    return pb.ChatResponse(
        code=code_of(error),
        success=False,
        requestId=request_id,
        error=error_message(error),
        metrics=found.metrics("FAILED"),
    )


def verified(number: int, found: Verification) -> pb.VerifyCredentialResponse:
    """Whether a credential is usable, with what the checks saw."""
    summary = "; ".join(f"{check.id}: {check.status} ({check.observed})" for check in found.checks)
    if found.ok:
        return pb.VerifyCredentialResponse(code=200, success=True, requestId=number, response=summary)
    failed = "; ".join(_failure(check) for check in found.checks if check.status == "FAIL")
    return pb.VerifyCredentialResponse(code=401, requestId=number, response=summary, errorMessage=failed)


def not_verified(number: int, error: CallerError) -> pb.VerifyCredentialResponse:
    """Why a credential could not be checked."""
    return pb.VerifyCredentialResponse(code=code_of(error), requestId=number, errorMessage=error.message)


def no_embeddings(number: int, error: CallerError, found: Timings) -> pb.EmbeddingResponse:
    """Why there are no vectors."""
    return pb.EmbeddingResponse(
        code=code_of(error), requestId=number, error=error_message(error), metrics=found.metrics("FAILED")
    )


def no_reranking(number: int, error: CallerError, found: Timings) -> pb.RerankingResponse:
    """Why there is no order."""
    return pb.RerankingResponse(
        code=code_of(error), requestId=number, error=error_message(error), metrics=found.metrics("FAILED")
    )


def _message(completion: Completion, *, with_calls: bool = True) -> msg.Message:
    """The first choice: the contract has one message. A refusal is what the model said, too."""
    answer = msg.AssistantMessage()
    for choice in completion.choices[:1]:
        message = choice.message
        text = message.text + message.refusal
        if text:
            answer.contents.append(text)
        for call in message.tool_calls if with_calls else ():
            function = msg.FunctionCall(name=call.name, arguments=call.arguments)
            answer.toolCalls.append(msg.ToolCall(id=call.id, type="function", function=function))
    return msg.Message(role=_ROLE, assistant=answer)


def _finish_reason(completion: Completion) -> str:
    for choice in completion.choices[:1]:
        return _REASONS.get(choice.finish_reason) or choice.raw_finish_reason or "other"
    return "other"


def _failure(check: Check) -> str:
    return f"{check.id}: {check.observed}. {check.remedy}" if check.remedy else f"{check.id}: {check.observed}"


def _total(usage: Usage) -> int | None:
    if usage.total is None and usage.input is not None and usage.output is not None:
        return usage.input + usage.output
    return usage.total


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1_000_000_000))
