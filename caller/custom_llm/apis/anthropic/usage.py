"""Usage of Anthropic answers: counts come at the start, again at the end, and the later word counts. No I/O."""

from caller.custom_llm.apis.usage import reported
from caller.custom_llm.apis.usage import usage_of as chat_usage_of
from caller.events import Event, ProviderFields, Usage, UsageReported
from caller.json_types import JsonObject, JsonValue, count_of, object_of, without

_CHAT = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
_KNOWN = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
        "output_tokens_details",
        *_CHAT,
    }
)


class UsageTracker:
    """What is known of the usage of one answer. `usage` is None until a count was seen."""

    __slots__ = ("_other", "_wire", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._wire: JsonObject = {}
        self._other: JsonObject = {}

    def feed(self, wire: JsonValue, events: list[Event]) -> None:
        """Take a usage object, whole or partial: what is missing in it, or 0, does not reset what is known (llama.cpp's
        last one has only output, gateways repeat the input as 0)."""
        if not isinstance(wire, dict):
            return
        known = {key: value for key, value in wire.items() if key in _KNOWN and value is not None}
        if "completion_tokens" in known and self._wire.get("input_tokens") and "prompt_tokens" not in known:
            known.setdefault("output_tokens", known.pop("completion_tokens"))  # a gateway that translated one half
        self._wire |= {key: value for key, value in known.items() if value or not self._wire.get(key)}
        usage = usage_of(self._wire)
        if usage != self.usage:
            self.usage = usage
            if usage is not None:
                events.append(UsageReported(usage))
        other = without(wire, _KNOWN)
        if other and other != self._other:
            self._other = other
            events.append(ProviderFields({"usage": other}))


def usage_of(wire: JsonObject) -> Usage | None:
    """The counts, or None where nothing is reported. Unlike elsewhere `input_tokens` leaves out what was cached."""
    by_lifetime = object_of(wire.get("cache_creation")).values()
    created = reported(wire.get("cache_creation_input_tokens"))
    created = created or _sum(*map(reported, by_lifetime)) or created
    cached = reported(wire.get("cache_read_input_tokens"))
    given = _sum(reported(wire.get("input_tokens")), created, cached)
    output = reported(wire.get("output_tokens"))
    if not given and not output:
        return chat_usage_of(wire)  # nothing of Anthropic's: perhaps a gateway left Chat's words
    return Usage(
        input=given,
        output=output,
        total=None if given is None or output is None else _sum(given, output),
        cached_input=cached,
        cache_creation_input=created,
        reasoning=count_of(object_of(wire.get("output_tokens_details")).get("thinking_tokens")),
    )


def _sum(*counts: int | None) -> int | None:
    """The sum of what is there; None for nothing, and for more than a count can be."""
    there = [count for count in counts if count is not None]
    return count_of(sum(there)) if there else None
