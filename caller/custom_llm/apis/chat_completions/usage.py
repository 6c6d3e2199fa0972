"""Usage of Chat Completions, in the forms that servers send. No I/O."""

from caller.events import Usage
from caller.json_types import JsonObject, JsonValue, count_of, object_of, without

_KNOWN_USAGE = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_cache_hit_tokens",
        "num_cached_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "cache_creation_input_tokens",
    }
)


_KNOWN_DETAILS = {
    "prompt_tokens_details": frozenset({"cached_tokens", "cache_write_tokens"}),
    "completion_tokens_details": frozenset({"reasoning_tokens"}),
}


def usage_of(wire: JsonObject) -> Usage | None:
    """The counts, or None where nothing is reported.

    Input includes what was cached: so do all servers' `prompt_tokens`. Output includes reasoning: where the total says
    that it is more than input and output, the rest is reasoning (xAI leaves it out of `completion_tokens`, Gemini's
    compatible route counts it in the total only).
    """
    given = count_of(wire.get("prompt_tokens"))
    output = count_of(wire.get("completion_tokens"))
    total = count_of(wire.get("total_tokens"))
    if given is None and output is None and total is None:
        return None
    if given is not None and output is not None:
        if total is None:
            total = given + output
        elif total > given + output:
            output = total - given
    into = object_of(wire.get("prompt_tokens_details"))
    out_of = object_of(wire.get("completion_tokens_details"))
    return Usage(
        input=given,
        output=output,
        total=total,
        cached_input=_first(
            into.get("cached_tokens"),
            wire.get("prompt_cache_hit_tokens"),  # DeepSeek
            wire.get("num_cached_tokens"),  # Mistral
            wire.get("cached_tokens"),  # Together, Moonshot
        ),
        cache_creation_input=_first(into.get("cache_write_tokens"), wire.get("cache_creation_input_tokens")),
        reasoning=_first(out_of.get("reasoning_tokens"), wire.get("reasoning_tokens")),  # SGLang: at the top
    )


def other_usage(wire: JsonObject) -> JsonObject:
    """What else the usage object says: cost, timings, audio tokens."""
    other = without(wire, _KNOWN_USAGE)
    for name, known in _KNOWN_DETAILS.items():
        details = other.pop(name, None)
        rest = without(details, known) if isinstance(details, dict) else {}
        if any(rest.values()):
            other[name] = rest
    return other


def _first(*values: JsonValue) -> int | None:
    counts = (count_of(value) for value in values)
    return next((count for count in counts if count is not None), None)
