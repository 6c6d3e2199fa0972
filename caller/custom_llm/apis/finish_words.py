"""Finish reasons: one table of the words for why a model stopped, whoever's they are, for every API shape. No I/O.

Gateways leave the words of the API behind them in place, so a word does not say which API it is. It is read without
case, marks and the name of its enum: `FinishReason.MAX_TOKENS`, `max-tokens` and `maxTokens` are one word. A word that
nobody has listed is read by its parts (`upstream_timeout`, `length_limit`); one without such a part ends an answer as
OTHER. What it was stands beside it.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from caller.custom_llm.errors.endpoint_errors import finish_reason_error
from caller.errors import CallerError, EndpointError, EndpointOverloaded, StreamInterrupted
from caller.events import FinishReason
from caller.json_types import JsonValue, text_of

_MAX_WORD = 80
# Each row: whose words they are (the vendor's API reference or enum), and the words.
_ENDS: Final[Mapping[FinishReason, tuple[tuple[str, str], ...]]] = {
    FinishReason.STOP: (
        ("OpenAI, Anthropic, Bedrock", "stop end_turn stop_sequence"),
        ("Cohere, Titan, Baidu, AI21", "complete completed finish finished normal endoftext"),
        ("TGI, Together, watsonx, llama.cpp", "eos eos_token stop_token word end_of_text end_of_turn eot eot_id"),
        ("LM Studio, CLOVA, Aleph Alpha", "eos_found stop_string_found stop_before end_token stop_sequence_reached"),
        ("Yandex, xAI", "alternative_status_final reason_stop"),
        ("gateways", "stop_string stop_str stop_word end done success"),
    ),
    FinishReason.LENGTH: (
        ("OpenAI, Anthropic, Bedrock, Zhipu", "length max_tokens max_output_tokens model_context_window_exceeded"),
        ("Mistral, Cohere, watsonx", "model_length error_limit token_limit max_tokens_reached"),
        ("LM Studio, Aleph Alpha", "max_predicted_tokens_reached context_length_reached maximum_tokens"),
        ("llama.cpp, xAI, Yandex, Reka", "limit max_len max_context alternative_status_truncated_final context"),
        (
            "gateways",
            "max_length max_new_tokens max_completion_tokens context_length context_length_exceeded truncated",
        ),
    ),
    FinishReason.TOOL_CALLS: (
        ("OpenAI, Anthropic, Bedrock, Cohere", "tool_calls function_call tool_use tool_call"),
        ("Yandex, gateways", "alternative_status_tool_calls function_calls tool_uses tools"),
    ),
    FinishReason.CONTENT_FILTER: (
        ("OpenAI, Azure, Anthropic, Bedrock", "content_filter refusal guardrail_intervened content_filtered"),
        ("Gemini", "safety recitation language blocklist prohibited_content spii model_armor jailbreak"),
        ("Gemini", "image_safety image_prohibited_content image_recitation"),
        ("Zhipu, Hunyuan, GigaChat, Cohere", "sensitive blacklist error_toxic"),
        ("Azure, Yandex", "responsible_ai_policy_violation alternative_status_content_filter"),
        ("gateways", "guardrail guardrails moderation moderated content_moderated content_moderation content_policy"),
        ("gateways", "content_policy_violation content_blocked blocked filter filtered safety_filter refused"),
    ),
}
# The answer is not whole, and the model gave no reason of its own: taken for an end these would be half successes.
_FAILURES: Final[Mapping[type[CallerError], tuple[tuple[str, str], ...]]] = {
    StreamInterrupted: (
        ("vLLM, SGLang, lmdeploy", "abort aborted"),
        ("Zhipu", "network_error"),
        ("watsonx, Cohere, TensorRT-LLM, xAI", "cancelled canceled user_cancel time_limit timeout"),
        ("LM Studio", "user_stopped model_unloaded"),
        ("gateways", "interrupted connection_error disconnected incomplete stopped_by_user"),
    ),
    EndpointError: (
        ("Mistral, OpenRouter, vLLM, Cohere, LM Studio", "error failed parse_error"),
        ("Gemini", "malformed_function_call unexpected_tool_call too_many_tool_calls missing_thought_signature"),
        ("Gemini, Bedrock", "malformed_response malformed_model_output malformed_tool_use"),
        ("gateways", "failure exception server_error internal_error internal_server_error model_error upstream_error"),
    ),
    EndpointOverloaded: (("DeepSeek, gateways", "insufficient_system_resource overloaded"),),
}
# Nothing is finished: what Python's None, JSON's null and a protobuf's zero look like once they are text.
_NO_END: Final = "none null nil undefined unspecified not_finished in_progress running alternative_status_partial"
# Parts of words that nobody has listed, in their order: a failure comes before all else.
_PARTS: Final[tuple[tuple[FinishReason | type[CallerError], str], ...]] = (
    (EndpointOverloaded, "overload ratelimit capacity"),
    (StreamInterrupted, "abort cancel timeout timedout interrupt disconnect connection network terminated unfinished"),
    (EndpointError, "error fail exception crash malformed"),
    (FinishReason.CONTENT_FILTER, "filter safety moderat guardrail sensitiv polic unsafe harm prohibit block censor"),
    (FinishReason.CONTENT_FILTER, "inappropriat violat toxic risk refus"),
    (FinishReason.LENGTH, "length maxtoken limit truncat contextwindow contextfull"),
    (FinishReason.TOOL_CALLS, "toolcall tooluse calltool functioncall"),
    (FinishReason.STOP, "stop endof eos complet finish natural"),
)
_PLAIN_ENDS: Final = (FinishReason.STOP, FinishReason.UNSPECIFIED)
_ENUM_NAMES: Final = ("finishreason", "stopreason", "reason")


def _key(raw: str) -> str:
    """The word without case, marks and the name of its enum."""
    letters = "".join(filter(str.isalnum, raw[:_MAX_WORD].rpartition(".")[2])).lower()
    for name in _ENUM_NAMES:
        if letters != name:
            letters = letters.removeprefix(name)
    return letters


def _keys(rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for _, words in rows:
        yield from map(_key, words.split())


_REASONS: Final = MappingProxyType({key: reason for reason, rows in _ENDS.items() for key in _keys(rows)})
_ERRORS: Final = MappingProxyType({key: kind for kind, rows in _FAILURES.items() for key in _keys(rows)})
_NOTHING: Final = frozenset({"", *map(_key, _NO_END.split())})
# Ends of another sort, whatever their words look like: Anthropic, Gemini.
_OTHERS: Final = frozenset(map(_key, ("pause_turn", "compaction", "no_image", "image_other", "other")))


def finish_word(value: JsonValue) -> str:
    """The endpoint's word for its end: a text, or the text in an object (`{"type": "length"}`); `""` where it says
    nothing of an end. Another value that is there is an end without a word of its own."""
    if isinstance(value, dict) and value:
        value = next((value[key] for key in ("type", "reason", "name", "value") if value.get(key)), True)
    word = text_of(value) or (type(value).__name__ if value else "")
    return "" if word not in _REASONS and _key(word) in _NOTHING else word


def telling_word(word: str, native: JsonValue) -> str:
    """The word to go by where a gateway adds the one of the endpoint behind it (OpenRouter's `native_finish_reason`).

    It is the gateway's own unless the other is listed as a failure: a `stop` made of `network_error` hides that the
    answer failed.
    """
    said = finish_word(native)
    return said if _key(said) in _ERRORS else word


def beside_calls(reason: FinishReason, *, called: bool) -> FinishReason:
    """A reason as it is meant where tools were called, or none was.

    Servers say `stop` beside calls (vLLM with a named tool, Gemini, its compatible route), and `tool_calls` without
    one: whoever goes by the reason must find calls where it says so, and only there.
    """
    if called:
        return FinishReason.TOOL_CALLS if reason in _PLAIN_ENDS else reason
    return FinishReason.STOP if reason is FinishReason.TOOL_CALLS else reason


def finish_reason(word: str, said: str = "") -> FinishReason:
    """The reason that a word means.

    `said` is what the endpoint adds to its word, if anything.

    Raises:
        CallerError: the word means that the answer failed.
    """
    key = word if word in _REASONS else _key(word)
    meant = _REASONS.get(key) or _ERRORS.get(key)
    if meant is None and key not in _OTHERS:
        meant = next((meaning for meaning, parts in _PARTS if any(part in key for part in parts.split())), None)
    if isinstance(meant, type):
        raise finish_reason_error(meant, word, said)
    return meant or FinishReason.OTHER
