"""The LLM plugin for LiveKit Agents.

    client = Client("127.0.0.1:9004", max_attempts=1)  # retries are the framework's: `APIConnectOptions.max_retry`
    first = chat_request([], model="llama3.1", credential=endpoint("http://localhost:8000/v1"), timeouts=VOICE_TIMEOUTS)
    session = AgentSession(llm=IntegrationLLM(client, first), stt=…, tts=…, vad=…)

Rule: translates between the framework and the contract. A turn that is interrupted is a task that is cancelled, which
cancels the call; the service then closes its connection to the endpoint.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError, llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr

from integration_api.client import (
    ChatRequest,
    ChatResponse,
    Client,
    Event,
    RefusalDelta,
    ServiceError,
    Started,
    TextDelta,
)
from integration_api.v1 import messages_pb2 as msg

from .conversation import Turns, Warming

# The framework knows errors by HTTP's numbers; 4xx but 408 and 429 it never tries again.
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNAVAILABLE: 503,
}


class IntegrationLLM(llm.LLM):
    """Asks chat models through the service.

    Args:
        client: the service. Without attempts of its own (`max_attempts=1`), or those of both multiply.
        first: a request without a conversation: model, credential, timeouts, fallbacks.
    """

    def __init__(self, client: Client, first: ChatRequest) -> None:
        super().__init__()
        self.turns = Turns(client, first)
        self.warming = Warming(self.turns)

    @property
    def model(self) -> str:
        return self.turns.first.model.name

    @property
    def provider(self) -> str:
        return self.turns.first.provider_id

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> "IntegrationStream":
        """An answer as it comes. `extra_kwargs` are parameters of the model, by the contract's names."""
        parameters = dict(extra_kwargs or {})
        if tools and parallel_tool_calls is not NOT_GIVEN:
            parameters["parallel_tool_calls"] = parallel_tool_calls
        if tools and tool_choice is not NOT_GIVEN:
            parameters["tool_choice"] = tool_choice
        return IntegrationStream(self, parameters, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)

    async def _prewarm_impl(self) -> None:
        # The framework calls it when a session is made, before anybody has said anything.
        await self.turns.warm()

    async def aclose(self) -> None:
        await super().aclose()
        await self.warming.stop()


class IntegrationStream(llm.LLMStream):
    """One answer; the framework runs it, cancels it, and tries it again where its error is retryable."""

    def __init__(
        self,
        plugin: IntegrationLLM,
        parameters: dict[str, Any],
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
    ) -> None:
        super().__init__(plugin, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        self._plugin = plugin
        self._parameters = parameters
        self._id = ""

    async def _run(self) -> None:
        turns = self._plugin.turns
        messages, _ = self._chat_ctx.to_provider_format("openai")
        # Not every API shape has strict schemas.
        tools = llm.ToolContext(self._tools).parse_function_tools("openai", strict=False)
        output = False
        try:
            request = turns.request(messages, tools, self._parameters)
            async with turns.client.stream_chat(request, timeout=turns.timeout) as events:
                async for event in events:
                    for chunk in self._chunks(event):
                        output = output or chunk.has_response()
                        self._event_ch.send_nowait(chunk)
        except ServiceError as error:
            raise api_error(error, output=output) from error
        except ValueError as error:
            raise APIError(str(error), retryable=False) from error
        except asyncio.CancelledError:
            self._plugin.warming.start()  # the call takes its connection along; the next turn wants one
            raise

    def _chunks(self, event: Event) -> Iterator[llm.ChatChunk]:
        match event:
            case Started():
                self._id = event.response_id or event.request_id
            case TextDelta() | RefusalDelta():
                yield llm.ChatChunk(id=self._id, delta=llm.ChoiceDelta(role="assistant", content=event.text))
            case ChatResponse():
                self._plugin.turns.remember(event)
                calls = [
                    llm.FunctionToolCall(name=call.name, arguments=call.arguments or "{}", call_id=call.id)
                    for call in event.choices[0].message.tool_calls
                ]
                if calls:
                    yield llm.ChatChunk(id=self._id, delta=llm.ChoiceDelta(role="assistant", tool_calls=calls))
                yield llm.ChatChunk(id=self._id, usage=_usage(event.usage))
            case _:  # reasoning is not spoken; tool calls are passed on when they are whole
                pass


def _usage(usage: msg.Usage) -> llm.CompletionUsage:
    """The framework has no word for a count that is not known: it is 0 there."""
    return llm.CompletionUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        prompt_cached_tokens=usage.cached_input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_creation_tokens=usage.cache_creation_input_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def api_error(error: ServiceError, *, output: bool) -> APIError:
    """The framework's error. It is retryable where the service invites a retry, and where the service itself was not
    reached; never behind output, or words would be said twice."""
    unreached = error.code is grpc.StatusCode.UNAVAILABLE and not error.reason
    retryable = not output and (unreached or error.retry_delay is not None)
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return APITimeoutError(str(error), retryable=retryable)
    if unreached or error.reason in {"ENDPOINT_UNREACHABLE", "CONNECT_TIMEOUT"}:
        return APIConnectionError(str(error), retryable=retryable)
    return APIStatusError(
        error.message,
        status_code=_HTTP.get(error.code, 500),
        request_id=error.request_id or None,
        body={"reason": error.reason, "fault": error.fault, "remedy": error.remedy},
        retryable=retryable,
    )
