"""A Pipecat pipeline: context aggregators, our service, sentences; no transport, and the user's turns as an STT service
with turn detection of its own proposes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    FunctionCallsStartedFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    MetricsFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TextFrame,
    TranscriptionFrame,
)
from pipecat.metrics.metrics import LLMUsageMetricsData, TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.aggregators.sentence import SentenceAggregator
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.workers.runner import WorkerRunner
from voice_plugins.pipecat import IntegrationLLMService

from acceptance.voice.conversation import PATIENCE, RESULT, Conversation, Failure, Framework, Turn
from integration_api.client import ChatRequest, Client

logger.remove()  # what matters is in the table


async def weather(params: FunctionCallParams, city: str = "") -> None:
    """Tells the weather.

    Args:
        params: the call.
        city: where.
    """
    del city
    await params.result_callback(RESULT)


class _Listener(FrameProcessor):
    """Stands behind our service, and writes down what comes; behind another processor it notes sentences."""

    def __init__(self, turn: "_Pipeline", *, sentences: bool = False) -> None:
        super().__init__()
        self._noted = turn
        self._sentences = sentences

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if self._sentences:
            if isinstance(frame, TextFrame):
                self._noted.turn.sentences.append(frame.text)
        else:
            self._noted.note(frame)
        await self.push_frame(frame, direction)


class _Pipeline:
    """The conversation; its worker is set when it is made."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.turn = Turn()
        self.worker: PipelineWorker | None = None
        self.started = asyncio.Event()
        self._speaks = asyncio.Event()
        self._ended = asyncio.Event()

    def note(self, frame: Frame) -> None:
        """What leaves our service."""
        match frame:
            case LLMTextFrame():
                self.turn.pieces.append(frame.text)
                self._speaks.set()
            case FunctionCallsStartedFrame():
                self.turn.tools += [call.function_name for call in frame.function_calls]
            case MetricsFrame():
                for each in frame.data:
                    if isinstance(each, TTFBMetricsData) and each.value:
                        self.turn.first = each.value
                    if isinstance(each, LLMUsageMetricsData):
                        used = each.value
                        self.turn.tokens = (
                            used.prompt_tokens,
                            used.cache_read_input_tokens or 0,
                            used.completion_tokens,
                        )
            case LLMFullResponseEndFrame():
                # An answer that only calls tools is followed by another one.
                if self.turn.pieces or self.failures:
                    self._ended.set()
            case _:
                pass

    def failed(self, frame: ErrorFrame) -> None:
        """What went upstream."""
        assert frame.category is not None
        self.failures.append(Failure(f"{frame.category.name}: {frame.error}", lasting=frame.category.is_permanent))

    async def ask(self, text: str) -> Turn:
        await self._say(text)
        async with asyncio.timeout(PATIENCE):
            await self._ended.wait()
        return self.turn

    async def begin(self, text: str) -> None:
        await self._say(text)
        async with asyncio.timeout(PATIENCE):
            await self._speaks.wait()

    async def interrupt(self) -> float:
        assert self.worker is not None
        now = asyncio.get_running_loop().time()
        await self.worker.queue_frame(ProposedUserStartedSpeakingFrame())
        return now

    async def _say(self, text: str) -> None:
        assert self.worker is not None
        self.turn = Turn()
        self._speaks.clear()
        self._ended.clear()
        await self.worker.queue_frames(
            [
                ProposedUserStartedSpeakingFrame(),
                TranscriptionFrame(text, "user", "2026-01-01T00:00:00Z"),
                ProposedUserStoppedSpeakingFrame(),
            ]
        )


@asynccontextmanager
async def conversation(address: str, first: ChatRequest) -> AsyncIterator[Conversation]:
    """A pipeline that runs."""
    noted = _Pipeline()
    async with Client(address) as client:
        service = IntegrationLLMService(client, first)
        strategies = LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies())
        pair = LLMContextAggregatorPair(LLMContext(tools=[weather]), user_params=strategies)
        pipeline = Pipeline(
            [
                pair.user(),
                service,
                _Listener(noted),
                SentenceAggregator(),
                _Listener(noted, sentences=True),
                pair.assistant(),
            ]
        )
        params = PipelineParams(enable_metrics=True, enable_usage_metrics=True, send_initial_empty_metrics=False)
        worker = PipelineWorker(pipeline, params=params, enable_rtvi=False, cancel_on_idle_timeout=False)
        noted.worker = worker

        @worker.event_handler("on_pipeline_started")
        async def _(*_: object) -> None:
            noted.started.set()

        @worker.event_handler("on_pipeline_error")
        async def _(_: object, frame: ErrorFrame) -> None:
            noted.failed(frame)

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        try:
            async with asyncio.timeout(PATIENCE):
                await noted.started.wait()
            yield noted
        finally:
            await worker.cancel()
            await running


PIPECAT = Framework("pipecat-ai", conversation)
