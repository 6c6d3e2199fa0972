"""Log probabilities of tokens as OpenAI's APIs and the servers that speak them report them. No I/O."""

import math

from caller.events import TokenLogprob, TopLogprob
from caller.json_types import JsonObject, JsonValue, objects_of, text_of

# What vLLM sends for a token that is not among the likely ones.
MISSING = -9999.0
HUGE = 1e9  # no log probability, whatever it is


def logprobs_of(wire: JsonValue) -> tuple[TokenLogprob, ...]:
    """The log probabilities of a chunk's tokens. llama.cpp can say `prob`/`top_probs`, mlx-lm leaves out `token`."""
    if not isinstance(wire, dict):
        return ()
    entries = objects_of(wire.get("content")) or objects_of(wire.get("refusal"))
    return tuple(
        [
            TokenLogprob(
                token=text_of(entry.get("token")),
                logprob=_logprob(entry),
                bytes=_bytes(entry.get("bytes")),
                top=tuple([_top(top) for top in objects_of(entry.get("top_logprobs") or entry.get("top_probs"))]),
            )
            for entry in entries
        ]
    )


def _top(entry: JsonObject) -> TopLogprob:
    """One alternative: they are twenty times as many as tokens, so the usual form is read without further calls."""
    token, logprob, given = entry.get("token"), entry.get("logprob"), entry.get("bytes")
    if type(token) is str and type(logprob) is float and type(given) is list and -HUGE < logprob < HUGE:
        try:
            return TopLogprob(token, logprob, bytes(given))  # type: ignore[arg-type] # other members raise
        except (TypeError, ValueError):
            pass  # no bytes: the way below says what such a list is
    return TopLogprob(text_of(token), _logprob(entry), _bytes(given))


def _logprob(entry: JsonObject) -> float:
    value = entry.get("logprob")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if -HUGE < value < HUGE else MISSING
    probability = entry.get("prob")
    if isinstance(probability, int | float) and 0 < probability <= 1:
        return math.log(probability)
    return MISSING


def _bytes(value: JsonValue) -> bytes:
    if not isinstance(value, list):
        return b""
    numbers = [number for number in value if isinstance(number, int) and 0 <= number <= 255]
    return bytes(numbers) if len(numbers) == len(value) else b""
