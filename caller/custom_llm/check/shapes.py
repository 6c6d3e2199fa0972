"""What each API shape promises of an answer, looked for in the answer as it came. Pure: JSON in, findings out.

Decoders are lenient: they make the best of what comes. These readers say what a strict client would miss.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, assert_never

from caller.credentials import ApiCompatibility
from caller.custom_llm.check.finding import Finding, failed, passed, warned
from caller.json_types import JsonObject, JsonValue, list_of, object_of, objects_of, text_of

_LAYER: Final = "or put a compatibility layer such as LiteLLM in front of the endpoint"


@dataclass(frozen=True, slots=True)
class Shape:
    """One API shape. `structure` reads a whole answer; `sign` ends a stream, as it stands in its bytes; `malformed` is
    the body of a request that no server of this shape can take; `hint`, searched in the host and path of a base URL in
    lower case, tells that it is likely to be meant."""

    structure: Callable[[JsonObject], Finding]
    sign: str
    malformed: Callable[[str], JsonObject]
    hint: re.Pattern[str]


def _missing(what: str, needed: str) -> Finding:
    return failed(f"the answer has no `{what}`", f"make every answer hold {needed}, {_LAYER}")


def _summary(text: str, odd: list[str], remedy: str) -> Finding:
    return warned(" and ".join(odd), remedy) if odd else passed(text)


_CHAT_NEEDS: Final = "the required fields `choices`, `choices[0].message.content`, its `role` and `model`"


def _chat(answer: JsonObject) -> Finding:
    choices = list_of(answer.get("choices"))
    message = object_of(choices[0]).get("message") if choices else None
    if not choices:
        return _missing("choices", _CHAT_NEEDS)
    if not isinstance(message, dict):
        return _missing("choices[0].message", _CHAT_NEEDS)
    calls = list_of(message.get("tool_calls"))
    if "content" not in message and not calls:
        return _missing("choices[0].message.content", _CHAT_NEEDS)
    odd = []
    if message.get("content") is None and not calls:
        odd.append("`choices[0].message.content` is null without tool calls")
    if message.get("role") != "assistant":
        odd.append('`choices[0].message.role` is not "assistant"')
    if not text_of(answer.get("model")):
        odd.append("`model` is missing")
    return _summary("choices[0].message.content, role and model are there", odd, f"make answers hold {_CHAT_NEEDS}")


_RESPONSES_NEEDS: Final = "`output` with a message item whose `content` has `output_text`, its `role` and `model`"


def _responses(answer: JsonObject) -> Finding:
    if not isinstance(answer.get("output"), list):
        return _missing("output", _RESPONSES_NEEDS)
    items = objects_of(answer["output"])
    messages = [item for item in items if item.get("type") == "message"]
    texts = [part for item in messages for part in objects_of(item.get("content")) if part.get("type") == "output_text"]
    calls = [item for item in items if item.get("type") == "function_call"]
    if not texts and not calls and answer.get("status") != "incomplete":
        return _missing("output[].content[].text", _RESPONSES_NEEDS)
    odd = []
    if any(item.get("role") != "assistant" for item in messages):
        odd.append('the message\'s `role` is not "assistant"')
    if not text_of(answer.get("model")):
        odd.append("`model` is missing")
    return _summary("output with output_text, role and model are there", odd, f"make answers hold {_RESPONSES_NEEDS}")


_MESSAGES_NEEDS: Final = "`content` with a text block, `role`, `model` and `stop_reason`"


def _messages(answer: JsonObject) -> Finding:
    if not isinstance(answer.get("content"), list):
        return _missing("content", _MESSAGES_NEEDS)
    odd = []
    if answer.get("role") != "assistant":
        odd.append('`role` is not "assistant"')
    odd += [f"`{name}` is missing" for name in ("model", "stop_reason") if not text_of(answer.get(name))]
    if not objects_of(answer["content"]):
        odd.append("`content` is empty")
    return _summary("content, role, model and stop_reason are there", odd, f"make answers hold {_MESSAGES_NEEDS}")


_GEMINI_NEEDS: Final = "`candidates[0].content.parts` with a text, and `modelVersion`"


def _gemini(answer: JsonObject) -> Finding:
    candidates = objects_of(answer.get("candidates"))
    if not candidates:
        return _missing("candidates", _GEMINI_NEEDS)
    parts = objects_of(object_of(candidates[0].get("content")).get("parts"))
    if not parts and candidates[0].get("finishReason") != "MAX_TOKENS":
        return _missing("candidates[0].content.parts", _GEMINI_NEEDS)
    odd = [] if text_of(answer.get("modelVersion")) else ["`modelVersion` is missing"]
    return _summary("candidates[0].content.parts and modelVersion are there", odd, f"make answers hold {_GEMINI_NEEDS}")


def _with_messages(model: str) -> JsonObject:
    messages: JsonValue = "no list"
    return {"model": model, "max_tokens": 1, "messages": messages}


def _shape(api: ApiCompatibility) -> Shape:
    match api:
        case ApiCompatibility.OPENAI_CHAT_COMPLETIONS | ApiCompatibility.OPENAI_COMPATIBLE:
            return Shape(_chat, "[DONE]", _with_messages, re.compile("/chat/completions$|/openai"))
        case ApiCompatibility.OPENAI_RESPONSES:
            hint = re.compile("/responses$")
            return Shape(_responses, "response.completed", lambda model: {"model": model, "input": 7}, hint)
        case ApiCompatibility.ANTHROPIC_MESSAGES:
            hint = re.compile(r"/messages$|/anthropic$|^[^/]*anthropic\.com(?:/|$)")
            return Shape(_messages, "message_stop", _with_messages, hint)
        case ApiCompatibility.GEMINI_GENERATE_CONTENT:
            hint = re.compile(r"/v1beta|/.*generatecontent|^[^/]*generativelanguage\.googleapis\.com(?:/|$)")
            return Shape(_gemini, "finishReason", lambda _: {"contents": "no list"}, hint)
        case _:
            assert_never(api)


SHAPES: Final[Mapping[ApiCompatibility, Shape]] = MappingProxyType({api: _shape(api) for api in ApiCompatibility})
