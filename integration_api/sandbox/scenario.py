"""What an answer says, before an API format renders it: steps, their end, and other ways a request can turn out.

Rule: frozen values and pure functions; knows no API and no network.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from integration_api.sandbox.script import Script
from integration_api.sandbox.wire import Json


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that the request offers, with the JSON Schema of its arguments."""

    name: str
    schema: Json = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request, whichever API it came through.

    `prompt` is the last user text; `words` counts the words of every text in the conversation; `results` are the tool
    results that the conversation ends with; `turns` counts all tool results in it; `tools` are those on offer; `limit`
    is the most tokens that the answer may have; `logprobs` is the number of alternatives asked for, None: no log
    probabilities; `echoed` holds request fields that the answer repeats.
    """

    model: str
    script: Script
    answer_id: str
    created: int
    stream: bool = False
    prompt: str = ""
    words: int = 0
    results: tuple[str, ...] = ()
    turns: int = 0
    schema: Json = None
    tools: tuple[Offered, ...] = ()
    limit: int | None = None
    choices: int = 1
    logprobs: int | None = None
    stream_usage: bool = False
    signed_wanted: bool = False
    json_array: bool = False
    echoed: tuple[tuple[str, Json], ...] = ()

    def call_id(self, number: int) -> str:
        """The id of a tool call: the same for the same question, asked as a stream or not, in any API."""
        seed = f"{self.model}\n{self.turns}\n{self.prompt}\n{number}"
        return "call_" + hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Open:
    """The events that open an answer, without any output."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class CallFragment:
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A sign of life that is no output."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """Data that is not JSON."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection closes here."""


@dataclass(frozen=True, slots=True)
class HttpError:
    """An error in the API's own form; inside a stream it is a step, instead of an answer a reply.

    `retry` is the Retry-After in seconds.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry: float | None = None


Step: TypeAlias = (
    Open | Text | Refusal | Reasoning | CallStart | CallFragment | Pause | KeepAlive | Garbage | Cut | HttpError
)
# What a format's `stream` gives to the network: bytes to write, time to wait, or the end of the connection.
Wire: TypeAlias = bytes | Pause | Cut


class Finish(Enum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"


class Shape(Enum):
    """Whether the answer is a stream: as the request asks, or never, or always."""

    AS_ASKED = "as asked"
    WHOLE = "whole"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts: `input` includes `cached`, `output` includes `reasoning`."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the bytes travel. Times are seconds; `pieces` is the size of each write, 0: as they come."""

    shape: Shape = Shape.AS_ASKED
    headers_after: float = 0.0
    headers_gap: float = 0.0
    headers_first: bool = False
    header_bytes: int = 0
    pieces: int = 0
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """An answer. Without a `finish` it stops without its terminal sign; `signed`: opaque state goes with it."""

    steps: Sequence[Step]
    usage: Usage
    finish: Finish | None = Finish.STOP
    signed: bool = False
    delivery: Delivery = field(default_factory=Delivery)


@dataclass(frozen=True, slots=True)
class Page:
    """A web page where an answer was expected."""

    html: str


@dataclass(frozen=True, slots=True)
class Redirect:
    to: str


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection closes without an answer."""


Reply: TypeAlias = Scenario | HttpError | Page | Redirect | Drop


@dataclass(frozen=True, slots=True)
class Call:
    number: int
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """The whole of a scenario: what an answer without streaming holds."""

    tokens: tuple[str, ...]
    refusal: str
    reasoning: str
    calls: tuple[Call, ...]

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def fold(steps: Iterable[Step]) -> Message:
    """The message that the steps build."""
    tokens: list[str] = []
    refusal: list[str] = []
    reasoning: list[str] = []
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    for step in steps:
        match step:
            case Text(text):
                tokens.append(text)
            case Refusal(text):
                refusal.append(text)
            case Reasoning(text):
                reasoning.append(text)
            case CallStart(number, name):
                names[number], arguments[number] = name, []
            case CallFragment(number, text):
                arguments[number].append(text)
            case Open() | Pause() | KeepAlive() | Garbage() | Cut() | HttpError():
                pass
    calls = tuple(Call(number, name, "".join(arguments[number])) for number, name in names.items())
    return Message(tuple(tokens), "".join(refusal), "".join(reasoning), calls)


def counted(steps: Iterable[Step], words: int) -> Usage:
    """Usage with a token for each word, so that it is the same streamed or not."""
    message = fold(steps)
    reasoning = count_words(message.reasoning)
    calls = sum(1 + count_words(call.arguments) for call in message.calls)
    output = count_words(message.text) + count_words(message.refusal) + reasoning + calls
    return Usage(input=words, output=output, reasoning=reasoning)


def count_words(text: str) -> int:
    """The words of a text: what the sandbox counts as tokens."""
    return len(text.split())


_WORD = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")


def split_words(text: str) -> list[str]:
    """The text cut before the space of each word; joined again it is the text."""
    return _WORD.findall(text)
