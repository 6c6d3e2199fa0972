"""The adapters: one folder per API shape, no I/O, no `async`. This table is the only place that lists them."""

from collections.abc import Mapping
from types import MappingProxyType

from caller.credentials import ApiCompatibility
from caller.custom_llm.adapter import Adapter
from caller.custom_llm.apis.anthropic.adapter import ANTHROPIC_MESSAGES
from caller.custom_llm.apis.chat_completions.adapter import OPENAI_CHAT_COMPLETIONS, OPENAI_COMPATIBLE
from caller.custom_llm.apis.gemini.adapter import GEMINI_GENERATE_CONTENT
from caller.custom_llm.apis.responses.adapter import OPENAI_RESPONSES

ADAPTERS: Mapping[ApiCompatibility, Adapter] = MappingProxyType(
    {
        adapter.api: adapter
        for adapter in (
            OPENAI_CHAT_COMPLETIONS,
            OPENAI_COMPATIBLE,
            OPENAI_RESPONSES,
            ANTHROPIC_MESSAGES,
            GEMINI_GENERATE_CONTENT,
        )
    }
)
