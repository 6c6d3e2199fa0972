"""The request and answer types of the official SDKs, for each family of shapes.

Importing them takes seconds: this module is imported by one fixture only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anthropic.types
import openai.types.chat
import openai.types.responses
from anthropic.types import message_create_params
from google.genai import types as gemini
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ConfigDict

from tests.contract.strict import model_problems, problems

Json = Any


class GeminiBody(BaseModel):
    """The body of generateContent out of the SDK's own types: it has none for the whole, which it builds by hand.

    Aliases only, unknown fields refused, as in the SDK's models.
    """

    model_config = ConfigDict(extra="forbid")

    contents: list[gemini.Content]
    systemInstruction: gemini.Content | None = None  # noqa: N815 -- the wire's name
    tools: list[gemini.Tool] | None = None
    toolConfig: gemini.ToolConfig | None = None  # noqa: N815 -- the wire's name
    generationConfig: gemini.GenerationConfig | None = None  # noqa: N815 -- the wire's name


@dataclass(frozen=True)
class Types:
    """How one family's JSON is judged: a request's body, a whole answer, one event of a stream, and an error's body.

    Each gives what is wrong. `unknown`: keys that are allowed although the types do not list them.
    """

    request: Callable[[Json], list[str]]
    answer: Callable[[Json], list[str]]
    event: Callable[[Json], list[str]]
    error: Callable[[Json], list[str]]
    unknown: frozenset[str]


# What our requests and the sandbox's answers may hold beyond the types, and why.
ALLOWED_IN_REQUESTS: dict[str, frozenset[str]] = {
    # vLLM's, llama.cpp's and others', not OpenAI's.
    "chat": frozenset({"top_k"}),
    "responses": frozenset(),
    # The newest models refuse them, and the newest types leave them out; older models and other servers take them.
    "anthropic": frozenset({"temperature", "top_p", "top_k"}),
    "gemini": frozenset(),
}
ALLOWED_IN_ANSWERS: dict[str, frozenset[str]] = {
    # DeepSeek's and vLLM's field for reasoning, for which OpenAI has none.
    "chat": frozenset({"reasoning_content"}),
    # OpenAI's API repeats `store`, and names the function of finished arguments; the SDK's types list neither.
    "responses": frozenset({"store", "name"}),
    "anthropic": frozenset(),
    "gemini": frozenset(),
}


def _typed_dict(family: str, *kinds: Any) -> Callable[[Json], list[str]]:
    """A body that fits the type for a whole answer, or the one for a stream."""

    def judge(body: Json) -> list[str]:
        known = {key: value for key, value in body.items() if key not in ALLOWED_IN_REQUESTS[family]}
        return problems(known, kinds[bool(known.get("stream"))])

    return judge


def _model(kind: Any, allowed: frozenset[str] = frozenset()) -> Callable[[Json], list[str]]:
    return lambda value: model_problems(value, kind, allowed)


def _inside(kind: Any) -> Callable[[Json], list[str]]:
    """OpenAI's types describe what stands inside `error`."""
    return lambda value: model_problems(value["error"], kind) if value.keys() == {"error"} else ["no error alone"]


def _status(value: Json) -> list[str]:
    """Google's SDK has no type for an error: it reads these fields (google.rpc.Status)."""
    error = value.get("error", {})
    kinds = {"code": int, "message": str, "status": str}
    return [name for name, kind in kinds.items() if not isinstance(error.get(name), kind)]


def _anthropic_event(value: Json) -> list[str]:
    """`ping` is no event to the SDK's types: it is skipped before."""
    if value == {"type": "ping"}:
        return []
    if value.get("type") == "error":
        return model_problems(value, anthropic.types.ErrorResponse)
    return model_problems(value, anthropic.types.RawMessageStreamEvent)


TYPES: dict[str, Types] = {
    "chat": Types(
        _typed_dict(
            "chat",
            completion_create_params.CompletionCreateParamsNonStreaming,
            completion_create_params.CompletionCreateParamsStreaming,
        ),
        _model(openai.types.chat.ChatCompletion, ALLOWED_IN_ANSWERS["chat"]),
        _model(openai.types.chat.ChatCompletionChunk, ALLOWED_IN_ANSWERS["chat"]),
        _inside(ErrorObject),
        ALLOWED_IN_REQUESTS["chat"] | ALLOWED_IN_ANSWERS["chat"],
    ),
    "responses": Types(
        _typed_dict(
            "responses",
            response_create_params.ResponseCreateParamsNonStreaming,
            response_create_params.ResponseCreateParamsStreaming,
        ),
        _model(openai.types.responses.Response, ALLOWED_IN_ANSWERS["responses"]),
        _model(openai.types.responses.ResponseStreamEvent, ALLOWED_IN_ANSWERS["responses"]),
        _inside(ErrorObject),
        ALLOWED_IN_REQUESTS["responses"] | ALLOWED_IN_ANSWERS["responses"],
    ),
    "anthropic": Types(
        _typed_dict(
            "anthropic",
            message_create_params.MessageCreateParamsNonStreaming,
            message_create_params.MessageCreateParamsStreaming,
        ),
        _model(anthropic.types.Message),
        _anthropic_event,
        _model(anthropic.types.ErrorResponse),
        ALLOWED_IN_REQUESTS["anthropic"] | ALLOWED_IN_ANSWERS["anthropic"],
    ),
    "gemini": Types(
        _model(GeminiBody),
        _model(gemini.GenerateContentResponse),
        _model(gemini.GenerateContentResponse),
        _status,
        ALLOWED_IN_REQUESTS["gemini"] | ALLOWED_IN_ANSWERS["gemini"],
    ),
}
