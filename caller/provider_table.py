"""The providers that are known by name. Data only: a row is at most ten lines, with the page that it was made from.

What a row's `demands` say stands in `custom_llm/demand_table.py`. Where nothing is noted, an endpoint's rejections
teach it at run time. Those on one's own machine stand at the port that they listen on by default.
"""

from caller.api_facts import FACTS
from caller.credentials import ApiCompatibility, CredentialDefaults
from caller.providers import Provider, Providers, by_id

_CHAT = ApiCompatibility.OPENAI_CHAT_COMPLETIONS
_COMPATIBLE = ApiCompatibility.OPENAI_COMPATIBLE
_ANTHROPIC = ApiCompatibility.ANTHROPIC_MESSAGES
_GEMINI = ApiCompatibility.GEMINI_GENERATE_CONTENT


def _row(
    provider_id: str, api: ApiCompatibility, base_url: str, documentation_url: str, key_header: str = "", **demands: str
) -> Provider:
    """`key_header`: where the key goes as it is; empty: where the API's own provider has it."""
    header = (key_header, "") if key_header else FACTS[api].key_header
    return Provider(provider_id, CredentialDefaults(api, base_url, *header), documentation_url, demands)


PROVIDERS: Providers = by_id(
    (
        _row(
            "openai",
            _CHAT,
            "https://api.openai.com/v1",
            "https://platform.openai.com/docs/api-reference/chat",
            max_tokens="max_completion_tokens",  # deprecated; o-series and later models refuse it
        ),
        _row(
            "anthropic",
            _ANTHROPIC,
            "https://api.anthropic.com/v1",
            "https://docs.anthropic.com/en/api/messages",
        ),
        _row(
            "gemini",
            _GEMINI,
            "https://generativelanguage.googleapis.com/v1beta",
            "https://ai.google.dev/api/generate-content",
        ),
        _row(
            "azure-openai",  # every customer has a host of its own: the credential's baseUrl is required
            _CHAT,
            "",
            "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
            "api-key",
        ),
        _row(
            "mistral",
            _COMPATIBLE,
            "https://api.mistral.ai/v1",
            "https://docs.mistral.ai/api/",
            stream_options="",  # 422 for fields that it does not know; usage comes without
            max_tokens="max_tokens",
            tool_call_ids="short",  # nine letters and digits
        ),
        _row(
            "openrouter",
            _COMPATIBLE,
            "https://openrouter.ai/api/v1",
            "https://openrouter.ai/docs/api-reference/overview",
        ),
        _row("xai", _COMPATIBLE, "https://api.x.ai/v1", "https://docs.x.ai/docs/api-reference"),
        _row("groq", _COMPATIBLE, "https://api.groq.com/openai/v1", "https://console.groq.com/docs/openai"),
        _row("deepseek", _COMPATIBLE, "https://api.deepseek.com/v1", "https://api-docs.deepseek.com/"),
        _row(
            "together",
            _COMPATIBLE,
            "https://api.together.ai/v1",
            "https://docs.together.ai/docs/inference/openai-compatibility",
        ),
        _row(
            "fireworks",
            _COMPATIBLE,
            "https://api.fireworks.ai/inference/v1",
            "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
        ),
        _row(
            "perplexity",
            _COMPATIBLE,
            "https://api.perplexity.ai/chat/completions",  # no version in its path, so the whole URL
            "https://docs.perplexity.ai/api-reference/chat-completions-post",
            same_role="merged",  # turns have to alternate
        ),
        _row(
            "cerebras", _COMPATIBLE, "https://api.cerebras.ai/v1", "https://inference-docs.cerebras.ai/resources/openai"
        ),
        _row("moonshot", _COMPATIBLE, "https://api.moonshot.ai/v1", "https://platform.moonshot.ai/docs/api/chat"),
        _row("nvidia", _COMPATIBLE, "https://integrate.api.nvidia.com/v1", "https://docs.api.nvidia.com/nim/reference"),
        _row(
            "ollama",
            _COMPATIBLE,
            "http://127.0.0.1:11434/v1",
            "https://docs.ollama.com/api/openai-compatibility",
            max_tokens="max_tokens",  # the other name is ignored in silence
        ),
        _row(
            "vllm",
            _COMPATIBLE,
            "http://127.0.0.1:8000/v1",
            "https://docs.vllm.ai/en/latest/serving/openai_compatible_server/",
        ),
        _row("lmstudio", _COMPATIBLE, "http://127.0.0.1:1234/v1", "https://lmstudio.ai/docs/app/api/endpoints/openai"),
        _row(
            "tgi",
            _COMPATIBLE,
            "http://127.0.0.1:8080/v1",
            "https://huggingface.co/docs/text-generation-inference/reference/api_reference",
        ),
        _row(
            "llamacpp",
            _COMPATIBLE,
            "http://127.0.0.1:8080/v1",
            "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        ),
        _row("litellm", _COMPATIBLE, "http://127.0.0.1:4000/v1", "https://docs.litellm.ai/docs/proxy/user_keys"),
        _row("localai", _COMPATIBLE, "http://127.0.0.1:8080/v1", "https://localai.io/features/text-generation/"),
    )
)
