"""Counts of tokens in the words of all who report them in a Chat or Responses answer. No I/O.

Input includes what was cached, output includes reasoning, whatever the endpoint's own counts leave out. What a count
leaves out is only known where the total says so; a total that nothing reported explains is left alone.
"""

from itertools import product
from typing import Final

from caller.events import Usage
from caller.json_types import JsonObject, JsonValue, count_of, object_of, without

_MAX_DIGITS: Final = 9
# Words in the order in which they count: OpenAI, Anthropic, then Bedrock, Gemini and Ollama behind gateways.
_INPUT: Final = (
    "prompt_tokens",
    "input_tokens",
    "inputTokens",
    "promptTokens",
    "promptTokenCount",
    "prompt_eval_count",
)
_OUTPUT: Final = (
    *("completion_tokens", "output_tokens", "outputTokens", "completionTokens"),
    *("candidatesTokenCount", "eval_count"),
)
_TOTAL: Final = ("total_tokens", "totalTokens", "totalTokenCount")
_CACHED: Final = (
    *("cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens"),  # Together, Moonshot; DeepSeek; Mistral
    *("cache_read_input_tokens", "cacheReadInputTokens", "cachedContentTokenCount", "cached_input_tokens"),
    "cache_read_tokens",
)
_CREATED: Final = (
    "cache_write_tokens",
    "cache_creation_input_tokens",
    "cacheWriteInputTokens",
    "cache_creation_tokens",
)
_REASONING: Final = ("reasoning_tokens", "thinking_tokens", "thoughtsTokenCount")  # SGLang: at the top
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "prompt_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details")
_WITHIN: Final = ("tokens", "billed_units")  # Cohere
_OUTSIDE: Final = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})

# What a report says in our own fields; the rest is passed on as it came.
_KNOWN: Final = frozenset(
    {
        *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"),
        *("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens", "cache_read_input_tokens"),
        *("reasoning_tokens", "cache_creation_input_tokens"),
    }
)
_KNOWN_DETAILS: Final = {
    **dict.fromkeys(_INPUT_DETAILS, frozenset({"cached_tokens", "cache_write_tokens"})),
    **dict.fromkeys(_OUTPUT_DETAILS, frozenset({"reasoning_tokens"})),
}


def reported(value: JsonValue) -> int | None:
    """A count, also as text (gateways that pass numbers through headers and templates), or None."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS else None
    return count_of(value)


def usage_of(wire: JsonObject) -> Usage | None:
    """The counts, or None where nothing is reported: zeros alone are no report of an answer."""
    given, output, total = _count(wire, _INPUT), _count(wire, _OUTPUT), _count(wire, _TOTAL)
    if not (given or output or total):
        within = next((object_of(wire[name]) for name in _WITHIN if wire.get(name)), {})
        return usage_of(within) if within else None
    into, out_of = _details(wire, _INPUT_DETAILS), _details(wire, _OUTPUT_DETAILS)
    cached, created = _count(into | wire, _CACHED), _count(into | wire, _CREATED)
    reasoning = _count(out_of | wire, _REASONING)
    if given is not None and output is not None:
        rest = (total or 0) - given - output
        outside = (cached or 0) + (created or 0)
        if rest > 0:
            more = _explained(rest, (cached or 0, created or 0, outside), reasoning or 0)
            given, output = given + more[0], output + more[1]
        elif (not total and _is_anthropic(wire)) or (cached or 0) > given:
            given += outside
        total = total or given + output
    return Usage(given, output, total, cached, created, reasoning)


def other_usage(wire: JsonObject) -> JsonObject:
    """What else the usage object says: cost, timings, audio tokens."""
    if wire.keys() <= _KNOWN:
        return {}
    other = without(wire, _KNOWN)
    for name, known in _KNOWN_DETAILS.items():
        details = other.pop(name, None)
        rest = without(details, known) if isinstance(details, dict) else {}
        if any(rest.values()):
            other[name] = rest
    return other


def _explained(rest: int, inputs: tuple[int, ...], reasoning: int) -> tuple[int, int]:
    """What of a total above both counts is input and what is output; nothing where no report adds up to it."""
    sums = product((0, *inputs), (reasoning, 0))  # xAI leaves out reasoning, Databricks and others the cache
    return next((both for both in sums if sum(both) == rest), (0, 0))


def _is_anthropic(wire: JsonObject) -> bool:
    """Anthropic's own words: its `input_tokens` leaves out what was cached."""
    return "prompt_tokens" not in wire and "input_tokens" in wire and not _OUTSIDE.isdisjoint(wire)


def _details(wire: JsonObject, names: tuple[str, ...]) -> JsonObject:
    return next((object_of(wire[name]) for name in names if wire.get(name)), {})


def _count(wire: JsonObject, names: tuple[str, ...]) -> int | None:
    """The first count that says something, else a zero: gateways written in Go send all names that they know."""
    counts = [count for name in names if name in wire and (count := reported(wire[name])) is not None]
    return next((count for count in counts if count), 0 if counts else None)
