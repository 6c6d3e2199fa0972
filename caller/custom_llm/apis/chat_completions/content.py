"""Text and reasoning of a Chat delta, under whatever name and in whatever form they come. No I/O.

Source of the wire facts: OpenAI's API reference; deviations name the server.
"""

from typing import Final

from caller.custom_llm.apis.parsing import MAX_PARTS, objects_within
from caller.custom_llm.apis.shared import json_text
from caller.events import Event, ProviderFields, ReasoningDelta, RefusalDelta, TextDelta
from caller.json_types import JsonObject, JsonValue, list_of, object_of, text_of

# Names of reasoning, the first that has a text counts: gateways send one text under several.
REASONING_KEYS: Final = (
    "reasoning_content",  # DeepSeek, Qwen, Moonshot, SGLang, llama.cpp
    "reasoning",  # vLLM, Ollama, OpenRouter, Groq
    "reasoning_text",  # GitHub Copilot
    "thinking",  # Ollama's native name
    "thinking_content",
    "thinking_text",
    "reasoning_summary",
    "reasoning_summary_text",
    "cot_summary",  # GitHub Copilot, for OpenAI's models
    "thoughts",
    "thought",
    "thinking_blocks",  # LiteLLM: Anthropic's blocks
)
# Types of content parts: OpenAI, the Responses API; Mistral, Databricks, Anthropic, Bedrock.
_TEXT_PARTS: Final = frozenset({"text", "output_text", "input_text"})
_REASONING_PARTS: Final = frozenset(
    {"thinking", "reasoning", "summary", "summary_text", "reasoning_text", "reasoning_content", "reasoningContent"}
)
# Where the text stands in an object that holds it.
_TEXT_KEYS: Final = (
    *("text", "content", "thinking", "summary", "value"),
    *("reasoning", "reasoning_text", "reasoning_content", "reasoningText", "reasoningContent"),
)
# Objects in which LiteLLM, and clients' types that a gateway dumps, put what OpenAI has no field for.
_HOLDERS: Final = ("provider_specific_fields", "model_extra", "additional_kwargs")
_THOUGHT_TAGS: Final = ("<thought>", "</thought>")
_MAX_DEPTH: Final = 4


def text_within(value: JsonValue, depth: int = _MAX_DEPTH) -> str:
    """The text: itself, that of an object, or those of a list one behind the other; `""` where there is none."""
    if isinstance(value, str) or depth == 0:
        return text_of(value)
    if isinstance(value, list):
        return "".join([text_within(member, depth - 1) for member in value])
    if isinstance(value, dict):
        texts = (text_within(value[key], depth - 1) for key in _TEXT_KEYS if value.get(key))
        return next((text for text in texts if text), "")
    return ""


def reasoning_of(delta: JsonObject) -> tuple[str, str]:
    """The name and the text of a delta's reasoning, both `""` without one."""
    for name in REASONING_KEYS:
        value = delta.get(name)
        text = text_within(value) if value else ""
        if text:
            return name, text
    for holder in _HOLDERS:
        inner = delta.get(holder)
        if inner and isinstance(inner, dict) and _HOLDERS[0] not in inner:
            return reasoning_of(inner)
    return "", ""


def thought_of(delta: JsonObject) -> JsonObject | None:
    """The delta with its content as reasoning, where a flag says that it is that (Gemini's compatible route); else
    None. Beside a signature the flag is about the signature."""
    google = object_of(object_of(delta.get("extra_content")).get("google"))
    content = delta.get("content")
    flagged = True in (google.get("thought"), delta.get("thought")) and "thought_signature" not in google
    if not flagged or not isinstance(content, str):
        return None
    for tag in _THOUGHT_TAGS:
        content = content.replace(tag, "")
    return {**delta, "content": "", "thought": None, REASONING_KEYS[0]: content}


def content_parts(content: JsonValue, index: int, events: list[Event]) -> None:
    """Content that is no text: a list of parts (Mistral), one part, or an object that is the answer itself.

    Raises:
        ResponseTooLarge: there are too many parts.
    """
    others: list[JsonValue] = []
    if isinstance(content, dict) and "type" not in content and not text_within(content):
        content = json_text(content)  # the model was asked for JSON, and a gateway parsed it
    objects_within(content, MAX_PARTS, "parts of its content")
    for part in list_of(content) or [content]:
        if part is None or part == "":
            continue
        fields: JsonObject = part if isinstance(part, dict) else {"type": "text" if isinstance(part, str) else ""}
        kind = text_of(fields.get("type")) or next(iter(fields), "")
        text = text_of(part) or text_within(fields.get("refusal") if kind == "refusal" else fields)
        if kind in _TEXT_PARTS:
            events += [TextDelta(text, index)] if text else []
        elif kind in _REASONING_PARTS:
            events += [ReasoningDelta(text, index)] if text else []
        elif kind == "refusal" and text:
            events.append(RefusalDelta(text, index))
        else:
            others.append(part)
    if others:
        events.append(ProviderFields({"content_parts": others}, index))
