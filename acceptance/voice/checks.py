"""What an agent must do through the service: one function a row of the table. Each says what was seen, or raises Wrong.

Rule: knows the sandbox and a conversation, and no framework.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from acceptance.voice.conversation import PATIENCE, RESULT, WEATHER, Failure, Framework, Wrong
from integration_api.client import VOICE_TIMEOUTS, ChatRequest, chat_request, endpoint, target
from integration_api.sandbox import Sandbox
from integration_api.v1 import messages_pb2 as msg

# A barge-in must have reached the endpoint within this.
_HANGUP = 1.0
_ROUNDS = 10


@dataclass(frozen=True)
class World:
    """The service's address, and an endpoint of the check's own behind it."""

    address: str
    sandbox: Sandbox

    def credential(self, api: str = "openai_compatible") -> msg.Credential:
        """The endpoint's, by the API that it shall speak."""
        root = "/v1beta" if api == "gemini_generate_content" else "/v1"
        return endpoint(f"{self.sandbox.url}{root}", api=api)

    def first(self, model: str, **timeouts: float) -> ChatRequest:
        """Everything but a conversation, in the voice profile."""
        return chat_request([], model=model, credential=self.credential(), timeouts={**VOICE_TIMEOUTS, **timeouts})


Check = Callable[[Framework, World], Awaitable[str]]


def _expect(good: object, seen: object) -> None:
    if not good:
        raise Wrong(str(seen))


async def streams(framework: Framework, world: World) -> str:
    """Text arrives in pieces, and the framework cuts it into the sentences that a TTS wants."""
    said = "This is the first sentence. And here we have the second one."
    async with framework.conversation(world.address, world.first("echo:gap=20ms")) as agent:
        turns = [await agent.ask(said) for _ in range(_ROUNDS)]
    turn = min(turns, key=lambda each: each.first or PATIENCE)
    _expect(turn.text.strip() == said, turn)
    _expect(len(turn.pieces) > 1, turn)
    _expect(len(turn.sentences) == 2, turn.sentences)
    _expect(all(each.first and each.first < VOICE_TIMEOUTS["first_output"] for each in turns), turns)
    return f"{len(turn.pieces)} pieces, 2 sentences, first token after {1000 * (turn.first or 0):.1f} ms at best"


async def usage(framework: Framework, world: World) -> str:
    """The counts that the endpoint reports are those of the framework's metrics."""
    first = world.first("usage:input=100,cached=64,output=50,reasoning=32")
    async with framework.conversation(world.address, first) as agent:
        turn = await agent.ask("Hello?")
    _expect(turn.tokens == (100, 64, 50), turn.tokens)
    return "100 in, 64 of them cached, 50 out"


async def tools(framework: Framework, world: World) -> str:
    """The model's call is made by the framework, and its result comes back with the signed reasoning that the endpoint
    wants to see again."""
    first = chat_request(
        [],
        model="reasoning-tool-call",
        credential=world.credential("gemini_generate_content"),
        timeouts=VOICE_TIMEOUTS,
    )
    async with framework.conversation(world.address, first) as agent:
        turn = await agent.ask("What is the weather in Rome?")
        _expect(not agent.failures, agent.failures)
    _expect(turn.tools == [WEATHER], turn.tools)
    _expect(RESULT in turn.text, turn.text)
    return f"{WEATHER} called once, its result in the answer"


async def barge_in(framework: Framework, world: World) -> str:
    """An interruption closes the endpoint's connection, and the next turn finds another one ready."""
    times: list[float] = []
    first = world.first("tokens:n=1400,gap=20ms")
    async with framework.conversation(world.address, first) as agent:
        for _ in range(_ROUNDS):
            await agent.begin("Tell me a long story.")
            moment = await agent.interrupt()
            closed = await world.sandbox.wait_for_hangup(10)
            times.append(closed - moment)
            _expect(closed - moment < _HANGUP, f"closed after {closed - moment:.2f} s")
            # What is open now is ready for the next turn, if anything is.
            await _until(lambda: world.sandbox.connections <= 1, "a connection is left")
        _expect(not agent.failures, agent.failures)
    _expect(world.sandbox.open_requests == 0, "a request still runs")
    return f"closed after {1000 * statistics.median(times):.1f} ms, worst {1000 * max(times):.1f} ms of {_ROUNDS}"


async def prewarmed(framework: Framework, world: World) -> str:
    """A connection is there before anybody has said anything."""
    sandbox = world.sandbox
    async with framework.conversation(world.address, world.first("echo")) as agent:
        await _until(lambda: sandbox.connections == 1, "no connection was opened")
        _expect(not sandbox.requests, "a request was made")
        await agent.ask("Hello?")
        _expect(sandbox.connections == 1, f"{sandbox.connections} connections")
    return "before the first turn, which uses it"


async def refused(framework: Framework, world: World) -> str:
    """A wrong key will not become right: the framework does not try again."""
    failures = await _failures(framework, world.address, world.first("http-error:status=401"))
    _expect(failures and all(failure.lasting for failure in failures), failures)
    return _kind(failures)


async def overloaded(framework: Framework, world: World) -> str:
    """The service, which may not try again itself here, invites another attempt, and one is made: by the framework, or
    for it by our client."""
    first = world.first("http-error:status=503,retry=0.05")
    first.options.max_attempts = 1
    failures = await _failures(framework, world.address, first)
    _expect(failures and not any(failure.lasting for failure in failures), failures)
    asked = len(world.sandbox.requests)
    _expect(asked > 1, "was asked once")
    return f"{_kind(failures)}, {asked} requests"


async def unreached(framework: Framework, world: World) -> str:
    """The service itself is not there."""
    failures = await _failures(framework, "127.0.0.1:1", world.first("echo"))
    _expect(failures and not any(failure.lasting for failure in failures), failures)
    return _kind(failures)


async def silent(framework: Framework, world: World) -> str:
    """A model that says nothing is given up after the profile's time."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    failures = await _failures(framework, world.address, world.first("silence", first_output=0.5))
    _expect(failures and "FIRST_OUTPUT_TIMEOUT" in failures[0].text, failures)
    return f"{_kind(failures)} after {loop.time() - started:.1f} s"


async def raced(framework: Framework, world: World) -> str:
    """The spare is asked beside a silent target, and its first output wins."""
    first = chat_request(
        [],
        model="silence",
        credential=world.credential(),
        timeouts=VOICE_TIMEOUTS,
        fallbacks=[target(world.credential(), model="echo", label="spare")],
        hedge_after=0.2,
    )
    async with framework.conversation(world.address, first) as agent:
        turn = await agent.ask("Are you there?")
    _expect(turn.text.strip() == "Are you there?", turn.text)
    _expect(turn.first is not None and 0.2 <= turn.first < VOICE_TIMEOUTS["first_output"], turn.first)
    await world.sandbox.wait_for_hangup(10)  # of the one that lost
    return f"the spare's first token after {turn.first or 0:.2f} s"


async def _failures(framework: Framework, address: str, first: ChatRequest) -> list[Failure]:
    async with framework.conversation(address, first) as agent:
        await agent.ask("Hello?")
        return list(agent.failures)


def _kind(failures: list[Failure]) -> str:
    return failures[-1].text.partition(":")[0]


async def _until(holds: Callable[[], bool], otherwise: str) -> None:
    try:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 -- a count of connections tells nobody
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise Wrong(otherwise) from None


CHECKS: dict[str, Check] = {
    "text, sentences": streams,
    "usage": usage,
    "tool call": tools,
    "barge-in": barge_in,
    "prewarmed": prewarmed,
    "wrong key": refused,
    "overloaded": overloaded,
    "no service": unreached,
    "silent model": silent,
    "race": raced,
}
