"""Token counts and log probabilities of Gemini. No I/O.

Source: Gemini API reference (`UsageMetadata`, `LogprobsResult`).
"""

from caller.custom_llm.apis.gemini.spelling import camel_keys
from caller.custom_llm.apis.logprobs import HUGE, MISSING
from caller.custom_llm.apis.usage import reported
from caller.events import TokenLogprob, TopLogprob, Usage
from caller.json_types import JsonObject, JsonValue, list_of, object_of, objects_of, text_of

_COUNTS = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
)
_COUNT_KEYS = frozenset({*_COUNTS, "responseTokenCount"})


class UsageCounts:
    """Gathers `usageMetadata`, which comes with every chunk and grows. What a later one leaves out stays: on Vertex
    the ones in the middle hold only `trafficType`.

    `usage` is what is known, `other` what else was said (`serviceTier`, counts per modality).
    """

    __slots__ = ("_counts", "other", "usage")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.usage: Usage | None = None
        self.other: JsonObject = {}

    def feed(self, wire: JsonObject) -> tuple[bool, bool]:
        """Add one; returns whether `usage` and whether `other` changed."""
        counts = dict(self._counts)
        if "prompt_token_count" in wire:
            wire = camel_keys(wire)
        for name in _COUNTS:
            count = reported(wire.get(name))
            if count is None and name == "candidatesTokenCount":
                count = reported(wire.get("responseTokenCount"))  # Gemini Live, Vertex AI's newer routes
            if count or (count is not None and name not in counts):  # a zero behind a count is no news
                counts[name] = count
        other = self.other | {key: value for key, value in wire.items() if key not in _COUNT_KEYS and value is not None}
        changed = counts != self._counts, other != self.other
        self._counts, self.other = counts, other
        if changed[0] and any(counts.values()):
            self.usage = _usage(counts)
        return changed


def _usage(counts: dict[str, int]) -> Usage:
    """Cached tokens are within the prompt's, what server-side tools made the model read is not; thoughts are within the
    candidates' only where the total says so (some routes)."""
    given = _sum(counts, "promptTokenCount", "toolUsePromptTokenCount")
    output = _sum(counts, "candidatesTokenCount", "thoughtsTokenCount")
    total, candidates = counts.get("totalTokenCount"), counts.get("candidatesTokenCount")
    if given is not None and candidates and total == given + candidates >= given + counts.get("thoughtsTokenCount", 0):
        output = candidates
    if total is None and given is not None and output is not None:
        total = given + output
    return Usage(
        input=given,
        output=output,
        total=total,
        cached_input=counts.get("cachedContentTokenCount"),
        reasoning=counts.get("thoughtsTokenCount"),
    )


def _sum(counts: dict[str, int], *names: str) -> int | None:
    known = [counts[name] for name in names if name in counts]
    return sum(known) if known else None


def logprobs_of(wire: JsonValue) -> tuple[TokenLogprob, ...]:
    """The log probabilities of a chunk's tokens."""
    result = object_of(wire)
    tops = list_of(result.get("topCandidates"))
    return tuple(
        TokenLogprob(
            token=text_of(chosen.get("token")),
            logprob=_logprob(chosen),
            top=tuple(
                TopLogprob(text_of(top.get("token")), _logprob(top))
                for top in objects_of(object_of(tops[at]).get("candidates") if at < len(tops) else None)
            ),
        )
        for at, chosen in enumerate(objects_of(result.get("chosenCandidates")))
    )


def _logprob(entry: JsonObject) -> float:
    value = entry.get("logProbability")
    if isinstance(value, int | float) and not isinstance(value, bool) and -HUGE < value < HUGE:
        return float(value)
    return MISSING
