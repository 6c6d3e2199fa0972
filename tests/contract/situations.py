"""Situations of a conversation, each with the body that every shape must send for it, written by hand.

The bodies stand here without what every request of a shape has (`shapes.envelope`).
"""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.contract.shapes import CHAT, FAMILY, envelope

Json = Any

PNG = "iVBORw0KGgo="
UNICODE = (
    "Zażółć gęślą jaźń. Привет, мир! שלום عالم नमस्ते สวัสดี 你好 こんにちは 안녕 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 "
    '\U0001d518\U0001d52b\U0001d526 a\u2028b\u2029c\u0085d e\u0301 a\u200bb " \\ / \t\n \x7f \ufeff\U0010ffff end '
) * 40
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "celsius": {"type": "integer"}},
    "required": ["city", "celsius"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "report", "schema": SCHEMA, "strict": True}}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ZONE = {"type": "object", "properties": {"zone": {"type": "string"}}}
TOOLS = [
    {"name": "weather", "description": "The weather now.", "parameters": CITY},
    {"name": "local_time", "parameters": ZONE},
]
TOOLS_ON_THE_WIRE: dict[str, Json] = {
    "chat": [
        {"type": "function", "function": {"name": "weather", "description": "The weather now.", "parameters": CITY}},
        {"type": "function", "function": {"name": "local_time", "parameters": ZONE}},
    ],
    "responses": [
        {
            "type": "function",
            "name": "weather",
            "description": "The weather now.",
            "parameters": CITY,
            "strict": False,
        },
        {"type": "function", "name": "local_time", "parameters": ZONE, "strict": False},
    ],
    "anthropic": [
        {"name": "weather", "description": "The weather now.", "input_schema": CITY},
        {"name": "local_time", "input_schema": ZONE},
    ],
    "gemini": [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "The weather now.", "parametersJsonSchema": CITY},
                {"name": "local_time", "parametersJsonSchema": ZONE},
            ]
        }
    ],
}
FORMAT_ON_THE_WIRE: dict[str, Json] = {
    "chat": {"response_format": FORMAT},
    "responses": {
        "text": {"format": {"type": "json_schema", "name": "report", "schema": SCHEMA, "strict": True}},
    },
    "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "gemini": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
}


@dataclass(frozen=True)
class Situation:
    """What is asked (top-level fields of a ChatRequest in JSON, parameters beside the model) and what each family of
    shapes sends for it."""

    messages: list[Json]
    wire: dict[str, dict[str, Json]]
    tools: list[Json] = field(default_factory=list)
    parameters: dict[str, Json] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, Json]:
        """For `shapes.asking`."""
        return {"messages": self.messages, "tools": self.tools, "parameters": self.parameters}

    def body(self, shape: str, model: str, *, streamed: bool) -> dict[str, Json]:
        """The whole body that has to leave."""
        said = self.wire.get(shape) or self.wire[FAMILY[shape]]
        return {**envelope(shape, model, streamed=streamed), **said}


def user(text: str) -> dict[str, Json]:
    """A user's message of one text."""
    return {"user": {"content": [{"text": text}]}}


def plain(text: str) -> dict[str, dict[str, Json]]:
    """One text of a user in each family."""
    return {
        "chat": {"messages": [{"role": "user", "content": text}]},
        "responses": {"input": [{"role": "user", "content": text}]},
        "anthropic": {"messages": [{"role": "user", "content": text}]},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    }


def with_fields(wire: dict[str, dict[str, Json]], more: dict[str, dict[str, Json]]) -> dict[str, dict[str, Json]]:
    """Bodies with further fields in each family."""
    return {family: {**body, **more[family]} for family, body in wire.items()}


HELLO = Situation([user("Hello there")], plain("Hello there"))
LONG = Situation([user(UNICODE)], plain(UNICODE))
STRUCTURED = Situation(
    [user("Rome, please")],
    with_fields(plain("Rome, please"), FORMAT_ON_THE_WIRE),
    parameters={"response_format": json.dumps(FORMAT)},  # as text: a Struct would not keep the order of its keys
)
ASK_WEATHER = Situation(
    [user("Weather in Rome?")],
    with_fields(plain("Weather in Rome?"), {family: {"tools": tools} for family, tools in TOOLS_ON_THE_WIRE.items()}),
    tools=TOOLS,
)
RULES = Situation(
    [{"system": {"text": "Be brief."}}, {"developer": {"text": "Say please."}}, user("Hello there")],
    {
        CHAT: {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Say please."},
                {"role": "user", "content": "Hello there"},
            ]
        },
        "chat": {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "system", "content": "Say please."},
                {"role": "user", "content": "Hello there"},
            ]
        },
        "responses": {
            "input": [
                {"role": "system", "content": "Be brief."},
                {"role": "developer", "content": "Say please."},
                {"role": "user", "content": "Hello there"},
            ]
        },
        "anthropic": {
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Say please."}],
            "messages": [{"role": "user", "content": "Hello there"}],
        },
        "gemini": {
            "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Say please."}]},
            "contents": [{"role": "user", "parts": [{"text": "Hello there"}]}],
        },
    },
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
    {
        "chat": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    ],
                }
            ]
        },
        "responses": {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is this?"},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                        {"type": "input_image", "image_url": "https://example.com/a.jpg", "detail": "auto"},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
                    ],
                }
            ]
        },
        "anthropic": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    ],
                }
            ]
        },
        "gemini": {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "What is this?"},
                        {"inlineData": {"mimeType": "image/png", "data": PNG}},
                        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.jpg"}},
                        {"inlineData": {"mimeType": "image/png", "data": PNG}},
                    ],
                }
            ]
        },
    },
)


def _results() -> Situation:
    """Two parallel calls and their results, one of them a failure."""
    rome, zone = '{"city":"Rome"}', '{"zone":"Europe/Rome"}'
    calls = [{"id": "c1", "name": "weather", "arguments": rome}, {"id": "c2", "name": "local_time", "arguments": zone}]
    parsed: list[Json] = [{"city": "Rome"}, {"zone": "Europe/Rome"}]
    messages: list[Json] = [
        user("Weather and time?"),
        {"assistant": {"text": "I look.", "toolCalls": calls}},
        {"tool": {"toolCallId": "c1", "name": "weather", "content": [{"text": "21 °C"}]}},
        {"tool": {"toolCallId": "c2", "content": [{"text": "no clock"}], "isError": True}},
    ]
    wire: dict[str, dict[str, Json]] = {
        "chat": {
            "messages": [
                {"role": "user", "content": "Weather and time?"},
                {
                    "role": "assistant",
                    "content": "I look.",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": rome}},
                        {"id": "c2", "type": "function", "function": {"name": "local_time", "arguments": zone}},
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "21 °C"},
                {"role": "tool", "tool_call_id": "c2", "content": "Error: no clock"},
            ]
        },
        "responses": {
            "input": [
                {"role": "user", "content": "Weather and time?"},
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
                },
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": rome},
                {"type": "function_call", "call_id": "c2", "name": "local_time", "arguments": zone},
                {"type": "function_call_output", "call_id": "c1", "output": "21 °C"},
                {"type": "function_call_output", "call_id": "c2", "output": "Error: no clock"},
            ]
        },
        "anthropic": {
            "messages": [
                {"role": "user", "content": "Weather and time?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "c1", "name": "weather", "input": parsed[0]},
                        {"type": "tool_use", "id": "c2", "name": "local_time", "input": parsed[1]},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": "21 °C"},
                        {"type": "tool_result", "tool_use_id": "c2", "content": "no clock", "is_error": True},
                    ],
                },
            ]
        },
        "gemini": {
            "contents": [
                {"role": "user", "parts": [{"text": "Weather and time?"}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "I look."},
                        {"functionCall": {"name": "weather", "args": parsed[0]}},
                        {"functionCall": {"name": "local_time", "args": parsed[1]}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"name": "weather", "response": {"output": "21 °C"}}},
                        {"functionResponse": {"name": "local_time", "response": {"error": "no clock"}}},
                    ],
                },
            ]
        },
    }
    tools = {family: {"tools": tools} for family, tools in TOOLS_ON_THE_WIRE.items()}
    return Situation(messages, with_fields(wire, tools), tools=TOOLS)


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
