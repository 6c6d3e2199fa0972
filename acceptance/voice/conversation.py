"""What a framework has to show of a conversation, whichever it is.

Rule: knows neither framework.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from integration_api.client import ChatRequest

PATIENCE = 30.0  # seconds for what has no promise of its own
# The one tool of every conversation, and what it gives.
WEATHER = "weather"
RESULT = "21 degrees and sunny"


class Wrong(Exception):
    """Something that is not as it should be."""


@dataclass
class Turn:
    """What came of one thing that the user said."""

    pieces: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    first: float | None = None  # seconds to the first token, as the framework measures it
    tokens: tuple[int, int, int] | None = None  # input, of these cached, output, in the framework's metrics
    tools: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self.pieces)


@dataclass(frozen=True)
class Failure:
    """An error as the framework has it; lasting: it will not try again, or gives the service up."""

    text: str
    lasting: bool


class Conversation(Protocol):
    """A running agent."""

    failures: list[Failure]

    async def ask(self, text: str) -> Turn:
        """Say something, and wait until the agent has answered or failed."""

    async def begin(self, text: str) -> None:
        """Say something, and wait until the agent speaks."""

    async def interrupt(self) -> float:
        """Speak while the agent does; the moment, in the event loop's time."""


@dataclass(frozen=True)
class Framework:
    """A framework: its package, and a conversation through its real plugin class, with the service at an address."""

    package: str
    conversation: Callable[[str, ChatRequest], AbstractAsyncContextManager[Conversation]]
