"""The LLM service for Pipecat.

    client = Client("127.0.0.1:9004")
    first = chat_request([], model="llama3.1", credential=endpoint("http://localhost:8000/v1"), timeouts=VOICE_TIMEOUTS)
    Pipeline([transport.input(), stt, aggregators.user(), IntegrationLLMService(client, first), tts, …])

Rule: translates between the framework and the contract. An interruption cancels the task in which the answer is read,
which cancels the call; the service then closes its connection to the endpoint.
"""

import asyncio
import json
from typing import Any

import grpc
from pipecat.adapters.llm.base_llm_adapter import LLMContextConversionError
from pipecat.adapters.llm.services.open_ai_adapter import OpenAILLMAdapter, openai_is_given
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    StartFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.tracing.service_decorators import traced_llm

from integration_api.client import (
    ChatRequest,
    ChatResponse,
    Client,
    RefusalDelta,
    ServiceError,
    TextDelta,
    ToolCallDelta,
)
from integration_api.v1 import messages_pb2 as msg

from .conversation import Turns, Warming

# The framework gives a service up for good whose error has one of its permanent categories (authentication,
# authorization, invalid request). What is wrong with one conversation alone is the application's.
_CATEGORIES = {
    "CALLER_UNAUTHENTICATED": ErrorCategory.AUTHENTICATION,
    "ENDPOINT_UNAUTHENTICATED": ErrorCategory.AUTHENTICATION,
    "CREDENTIAL_FORBIDDEN": ErrorCategory.AUTHORIZATION,
    "EGRESS_DENIED": ErrorCategory.AUTHORIZATION,
    "ENDPOINT_FORBIDDEN": ErrorCategory.AUTHORIZATION,
    "CREDENTIAL_INVALID": ErrorCategory.INVALID_REQUEST,
    "CREDENTIAL_NOT_FOUND": ErrorCategory.INVALID_REQUEST,
    "ENDPOINT_NOT_FOUND": ErrorCategory.INVALID_REQUEST,
    "MODEL_NOT_FOUND": ErrorCategory.INVALID_REQUEST,
    "NOT_SUPPORTED_BY_API": ErrorCategory.INVALID_REQUEST,
    "UNKNOWN_PROVIDER": ErrorCategory.INVALID_REQUEST,
    "CONTENT_FILTERED": ErrorCategory.APPLICATION,
    "CONTEXT_LENGTH_EXCEEDED": ErrorCategory.APPLICATION,
    "ENDPOINT_REJECTED": ErrorCategory.APPLICATION,
    "REQUEST_INVALID": ErrorCategory.APPLICATION,
    "QUOTA_EXHAUSTED": ErrorCategory.QUOTA,
    "ENDPOINT_RATE_LIMITED": ErrorCategory.RATE_LIMIT,
    "SERVICE_OVERLOADED": ErrorCategory.RATE_LIMIT,
    "CONNECT_TIMEOUT": ErrorCategory.CONNECTIVITY,
    "ENDPOINT_UNREACHABLE": ErrorCategory.CONNECTIVITY,
}
# The contract's names, and the framework's, of what may change while a pipeline runs.
_PARAMETERS = {
    "model.name": "model",
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "top_p": "top_p",
    "top_k": "top_k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
}
# Where the status is not the service's own, or another reason.
_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: ErrorCategory.CONNECTIVITY,
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorCategory.CONNECTIVITY,
}


class IntegrationLLMService(LLMService[OpenAILLMAdapter]):
    """Asks chat models through the service.

    Args:
        client: the service. Its attempts are the only ones: the framework makes none of its own.
        first: a request without a conversation: model, credential, timeouts, fallbacks.
        settings: what may change while the pipeline runs; where given it wins over `first`.
        options: of the base class, such as `function_call_timeout_secs`.
    """

    adapter_class = OpenAILLMAdapter
    supports_response_schema = True

    def __init__(
        self, client: Client, first: ChatRequest, *, settings: LLMSettings | None = None, **options: Any
    ) -> None:
        initial = LLMSettings(
            model=first.model.name,
            system_instruction=None,
            temperature=None,
            max_tokens=None,
            top_p=None,
            top_k=None,
            frequency_penalty=None,
            presence_penalty=None,
            seed=None,
            filter_incomplete_user_turns=False,
            user_turn_completion_config=None,
        )
        if settings is not None:
            initial.apply_update(settings)
        super().__init__(settings=initial, **options)
        self.turns = Turns(client, first)
        self._warming = Warming(self.turns)

    def can_generate_metrics(self) -> bool:
        return True

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        self._warming.start()  # nobody has said anything yet

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._warming.stop()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context; everything else passes."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        try:
            await self.push_frame(LLMFullResponseStartFrame())
            await self.start_processing_metrics()
            await self._process_context(frame.context)
        except asyncio.CancelledError:
            self._warming.start()  # the call takes its connection along; the next turn wants one
            raise
        except ServiceError as error:
            if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                await self._call_event_handler("on_completion_timeout")
            await self.push_error(error_msg=str(error), exception=error)
        except (LLMContextConversionError, ValueError) as error:
            await self.push_error(error_msg=str(error), exception=error, category=ErrorCategory.APPLICATION)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    @traced_llm
    async def _process_context(self, context: LLMContext) -> None:
        request = await self._request(context)
        await self.start_ttfb_metrics()
        answer: ChatResponse | None = None
        try:
            async with self.turns.client.stream_chat(request, timeout=self.turns.timeout) as events:
                async for event in events:
                    await self.stop_ttfb_metrics()
                    match event:
                        case TextDelta() | RefusalDelta():
                            await self._push_llm_text(event.text)
                        case ToolCallDelta():
                            await self.stop_ttfat_metrics()
                        case ChatResponse():
                            answer = event
                        case _:  # reasoning is not spoken
                            pass
        except ServiceError as error:
            if error.usage is not None:
                await self.start_llm_usage_metrics(_usage(error.usage))
            raise
        if answer is not None:
            self.turns.remember(answer)
            await self.start_llm_usage_metrics(_usage(answer.usage))
            await self.run_function_calls(
                [_function_call(call, context) for call in answer.choices[0].message.tool_calls]
            )

    async def _request(self, context: LLMContext, system_instruction: str | None = None) -> ChatRequest:
        given = await self.get_llm_adapter().get_llm_invocation_params(
            context,
            system_instruction=system_instruction or self._settings.system_instruction or None,
            convert_developer_to_user=False,
        )
        parameters: dict[str, Any] = {
            name: value for name, field in _PARAMETERS.items() if (value := getattr(self._settings, field)) is not None
        }
        tools = given["tools"] if openai_is_given(given["tools"]) else []
        if tools and openai_is_given(given["tool_choice"]):
            parameters["tool_choice"] = given["tool_choice"]
        return self.turns.request(given["messages"], tools, parameters)

    async def run_inference(
        self,
        context: LLMContext,
        max_tokens: int | None = None,
        system_instruction: str | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> str | None:
        """One answer beside the conversation, such as a summary of it.

        Raises:
            ServiceError: the call failed.
        """
        request = await self._request(context, system_instruction)
        if max_tokens is not None:
            request.model_parameters["max_tokens"] = max_tokens
        if (schema := self._check_response_schema(response_schema)) is not None:
            form: dict[str, Any] = {"name": "response", "schema": schema, "strict": True}
            # As JSON text, which keeps the order of the schema's keys.
            request.model_parameters["response_format"] = json.dumps({"type": "json_schema", "json_schema": form})
        answer = await self.turns.client.chat(request, timeout=self.turns.timeout)
        return answer.choices[0].message.text or None

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        if not isinstance(exception, ServiceError):
            return None
        by_code = _BY_CODE.get(exception.code, ErrorCategory.SERVER)
        return _CATEGORIES.get(exception.reason, by_code)


def _function_call(call: msg.ToolCall, context: LLMContext) -> FunctionCallFromLLM:
    """Raises ValueError: what the model wrote is not always JSON, and no tool is called with less than it was given."""
    arguments = json.loads(call.arguments or "{}")
    return FunctionCallFromLLM(function_name=call.name, tool_call_id=call.id, arguments=arguments, context=context)


def _usage(usage: msg.Usage) -> LLMTokenUsage:
    """The framework has no word for an input or output that is not known: it is 0 there."""

    def known(name: str) -> int | None:
        return getattr(usage, name) if usage.HasField(name) else None

    return LLMTokenUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        cache_read_input_tokens=known("cached_input_tokens"),
        cache_creation_input_tokens=known("cache_creation_input_tokens"),
        reasoning_tokens=known("reasoning_tokens"),
    )
