"""A LiveKit agent session with our plugin: no room, text in and text out, as LiveKit's own tests of agents have it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from livekit.agents import Agent, AgentSession, APIConnectOptions, APIError, function_tool, llm, tokenize
from livekit.agents.metrics import LLMMetrics
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.agents.voice.io import TextOutput
from voice_plugins.livekit import IntegrationLLM

from acceptance.voice.conversation import PATIENCE, RESULT, Conversation, Failure, Framework, Turn
from integration_api.client import ChatRequest, Client

logging.getLogger("livekit").setLevel(logging.CRITICAL)  # what matters is in the table


class _Agent(Agent):
    """Has the one tool."""

    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")
        self.called: list[str] = []

    @function_tool
    async def weather(self, city: str = "") -> str:
        """Tells the weather.

        Args:
            city: where.
        """
        del city
        self.called.append("weather")
        return RESULT


class _Session(TextOutput):
    """The conversation, which is also where the agent's words go."""

    def __init__(self, session: AgentSession[None], agent: _Agent) -> None:
        super().__init__(label="acceptance", next_in_chain=None)
        self.failures: list[Failure] = []
        self._session = session
        self._agent = agent
        self._turn = Turn()
        self._speaks = asyncio.Event()
        self._metrics: list[LLMMetrics] = []

    async def capture_text(self, text: str) -> None:
        self._turn.pieces.append(str(text))
        self._speaks.set()

    def flush(self) -> None:
        """Nothing is held back."""

    def metrics_collected(self, metrics: LLMMetrics) -> None:
        """The framework's numbers for an answer."""
        self._metrics.append(metrics)

    def failed(self, error: llm.LLMError) -> None:
        """What the framework says of an error."""
        retryable = isinstance(error.error, APIError) and error.error.retryable
        self.failures.append(Failure(f"{type(error.error).__name__}: {error.error}", lasting=not retryable))

    async def ask(self, text: str) -> Turn:
        self._fresh()
        async with asyncio.timeout(PATIENCE):
            await self._session.generate_reply(user_input=text)
        turn = self._turn
        if self._metrics:
            last = self._metrics[-1]
            turn.first = last.ttft
            turn.tokens = (last.prompt_tokens, last.prompt_cached_tokens, last.completion_tokens)
        turn.tools = list(self._agent.called)
        stream = tokenize.blingfire.SentenceTokenizer().stream()
        for piece in turn.pieces:
            stream.push_text(piece)
        stream.end_input()
        turn.sentences = [sentence.token async for sentence in stream]
        return turn

    async def begin(self, text: str) -> None:
        self._fresh()
        self._session.generate_reply(user_input=text)
        async with asyncio.timeout(PATIENCE):
            await self._speaks.wait()

    async def interrupt(self) -> float:
        now = asyncio.get_running_loop().time()
        await self._session.interrupt()
        return now

    def _fresh(self) -> None:
        self._turn = Turn()
        self._speaks.clear()
        self._metrics.clear()
        self._agent.called.clear()


@asynccontextmanager
async def conversation(address: str, first: ChatRequest) -> AsyncIterator[Conversation]:
    """A session that runs."""
    # Two attempts, and both of them the framework's.
    options = SessionConnectOptions(llm_conn_options=APIConnectOptions(max_retry=1))
    async with Client(address, max_attempts=1) as client, IntegrationLLM(client, first) as plugin:
        agent = _Agent()
        session: AgentSession[None] = AgentSession(
            llm=plugin, vad=None, turn_handling={"turn_detection": None}, conn_options=options
        )
        running = _Session(session, agent)
        plugin.on("metrics_collected", running.metrics_collected)
        plugin.on("error", running.failed)
        session.output.transcription = running
        await session.start(agent)
        try:
            yield running
        finally:
            await session.aclose()


LIVEKIT = Framework("livekit-agents", conversation)
