"""The caller of `custom-llm` without the edge: prepares a call and makes its attempts, as `Calls` does."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from caller.attempts import attempts
from caller.call import CallReport, Completion
from caller.custom_llm.caller import CustomLLMCaller, Limits
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.transport import Transport, TransportSettings
from caller.events import Event
from caller.fold import Folder
from caller.target import Ask, Target

# What one answer may hold, in these tests.
ANSWER_CHARS = 4 << 20


@asynccontextmanager
async def calling(max_event_bytes: int, max_body_bytes: int = 256 << 20) -> AsyncIterator[CustomLLMCaller]:
    """A caller with a transport of its own."""
    transport = Transport(TransportSettings(EgressPolicy.parse("open", []), max_body_bytes=max_body_bytes))
    try:
        yield CustomLLMCaller(transport, Limits(max_event_bytes))
    finally:
        await transport.close()


def new_report() -> CallReport:
    """The record of a call that begins now."""
    return CallReport(started=asyncio.get_running_loop().time())


def streamed(
    caller: CustomLLMCaller, target: Target, ask: Ask, report: CallReport
) -> AsyncGenerator[Sequence[Event], None]:
    """The answer as it comes."""
    return attempts(caller.prepare(target, ask, stream=True), report)


async def whole(
    caller: CustomLLMCaller, target: Target, ask: Ask, report: CallReport, max_chars: int = ANSWER_CHARS
) -> Completion:
    """The answer of a call that asks for a whole one."""
    folder = Folder(max_chars)
    async with aclosing(attempts(caller.prepare(target, ask, stream=False), report)) as batches:
        async for batch in batches:
            for event in batch:
                folder.feed(event)
    return folder.completion()
