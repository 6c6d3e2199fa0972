"""Situations of a conversation, the same for every shape; what each sends for them stands in `families`."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.contract.families.family import AREA, CITY, FORMAT, PNG, ROME, ZONE, Family, Json
from tests.contract.shapes import FAMILIES, envelope

UNICODE = (
    "Zażółć gęślą jaźń. Привет, мир! שלום عالم नमस्ते สวัสดี 你好 こんにちは 안녕 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 "
    '\U0001d518\U0001d52b\U0001d526 a\u2028b\u2029c\u0085d e\u0301 a\u200bb " \\ / \t\n \x7f \ufeff\U0010ffff end '
) * 40
TOOLS = [
    {"name": "weather", "description": "The weather now.", "parameters": CITY},
    {"name": "local_time", "parameters": ZONE},
]


@dataclass(frozen=True)
class Situation:
    """What is asked (top-level fields of a ChatRequest in JSON, parameters beside the model), and the body that each
    family of shapes sends for it."""

    messages: list[Json]
    wire: Callable[[Family], dict[str, Json]]
    tools: list[Json] = field(default_factory=list)
    parameters: dict[str, Json] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, Json]:
        """For `shapes.asking`."""
        return {"messages": self.messages, "tools": self.tools, "parameters": self.parameters}

    def body(self, shape: str, model: str, *, streamed: bool) -> dict[str, Json]:
        """The whole body that has to leave."""
        family = FAMILIES[shape]
        tools = {"tools": family.tools} if self.tools else {}
        return {**envelope(shape, model, streamed=streamed), **self.wire(family), **tools}


def user(text: str) -> dict[str, Json]:
    """A user's message of one text."""
    return {"user": {"content": [{"text": text}]}}


HELLO = Situation([user("Hello there")], lambda family: family.plain("Hello there"))
LONG = Situation([user(UNICODE)], lambda family: family.plain(UNICODE))
STRUCTURED = Situation(
    [user("Rome, please")],
    lambda family: {**family.plain("Rome, please"), **family.response_format},
    parameters={"response_format": json.dumps(FORMAT)},  # as text: a Struct would not keep the order of its keys
)
ASK_WEATHER = Situation([user("Weather in Rome?")], lambda family: family.plain("Weather in Rome?"), tools=TOOLS)
RULES = Situation(
    [{"system": {"text": "Be brief."}}, {"developer": {"text": "Say please."}}, user("Hello there")],
    lambda family: family.rules,
)
IMAGES = Situation(
    [
        {
            "user": {
                "content": [
                    {"text": "What is this?"},
                    {"image": {"data": PNG, "mediaType": "image/png"}},
                    {"image": {"url": "https://example.com/a.jpg"}},
                    {"image": {"url": f"data:image/png;base64,{PNG}"}},
                ]
            }
        }
    ],
    lambda family: family.images,
)


def _results() -> Situation:
    """Two parallel calls and their results, one of them a failure."""
    calls = [{"id": "c1", "name": "weather", "arguments": ROME}, {"id": "c2", "name": "local_time", "arguments": AREA}]
    messages: list[Json] = [
        user("Weather and time?"),
        {"assistant": {"text": "I look.", "toolCalls": calls}},
        {"tool": {"toolCallId": "c1", "name": "weather", "content": [{"text": "21 °C"}]}},
        {"tool": {"toolCallId": "c2", "content": [{"text": "no clock"}], "isError": True}},
    ]
    return Situation(messages, lambda family: family.results, tools=TOOLS)


RESULTS = _results()
# Everything that is asked somewhere in the suite, with the script that answers it.
ALL: dict[str, tuple[str, Situation]] = {
    "text": ("echo", HELLO),
    "rules": ("echo", RULES),
    "reasoning": ("reasoning", HELLO),
    "one tool call": ("tool-call", ASK_WEATHER),
    "parallel tool calls": ("parallel-tool-calls", ASK_WEATHER),
    "tool results": ("parallel-tool-calls", RESULTS),
    "structured output": ("structured", STRUCTURED),
    "images": ("echo", IMAGES),
    "long unicode asked": ("echo", LONG),
    "long unicode answered": ("unicode", HELLO),
    "usage": ("usage:input=100,cached=64,output=50,reasoning=32", HELLO),
    "length": ("length", HELLO),
    "content filter": ("content-filter", HELLO),
    "empty": ("empty", HELLO),
}
