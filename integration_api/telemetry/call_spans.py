"""What spans say of a call and of its attempts, in the names of `genai`, written as `otlp_spans` writes them. What is
the same in many spans is written once. No secret and nothing of what was said. Pure.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec
from opentelemetry.trace import SpanContext

from caller.call import CallReport, Outcome
from caller.errors import clipped
from caller.events import FinishReason, Usage
from integration_api.telemetry import genai, otlp_spans
from integration_api.telemetry.log_lines import labels_of
from integration_api.telemetry.otlp_spans import float_attribute, int_attribute, key, text_attribute

_NAME: Final = "integration_api"
_FIRST_OUTPUT: Final = b"first_output"
# How much of an endpoint's id and name for its answer, and of a request's id, is kept.
_LONGEST: Final = 128
_INPUT_TOKENS: Final = key(genai.INPUT_TOKENS)
_OUTPUT_TOKENS: Final = key(genai.OUTPUT_TOKENS)
_CACHE_READ_TOKENS: Final = key(genai.CACHE_READ_TOKENS)
_CACHE_CREATION_TOKENS: Final = key(genai.CACHE_CREATION_TOKENS)
_REASONING_TOKENS: Final = key(genai.REASONING_TOKENS)
_TIME_TO_FIRST_CHUNK: Final = key(genai.TIME_TO_FIRST_CHUNK)
_RESPONSE_ID: Final = key(genai.RESPONSE_ID)
_HTTP_STATUS: Final = key(genai.HTTP_STATUS)
_ERROR_TYPE: Final = key(genai.ERROR_TYPE)
_REQUEST_ID: Final = key(f"{_NAME}.request_id")
_OVERHEAD: Final = key(f"{_NAME}.overhead")
# So many kinds of what is the same in many spans are kept.
_KINDS: Final = 512
# Provider, API shape, endpoint, model, and whether the answer is streamed.
Asked: TypeAlias = tuple[str, str, str, str, bool]
# The endpoint's id and model of the answer, and why each choice of it ended.
Answer: TypeAlias = tuple[str, str, tuple[FinishReason, ...]]


class Attempt(msgspec.Struct, eq=False, gc=False):
    """An attempt that is sampled. Times are `time.time_ns()`; `redactor` takes secrets out of an endpoint's words."""

    span_id: int
    begun: int
    number: int
    asked: Asked
    redactor: Callable[[str], str]
    ended: int = 0
    error: str = ""
    http_status: int = 0
    usage: Usage | None = None
    first_output: int | None = None
    answer: Answer | None = None


class CallFacts(msgspec.Struct, eq=False):
    """What is known of a call's trace. Times as above; `flags` and `state` are those of W3C; `parent` is the client's
    span; `attempts` are those that ended."""

    trace: int
    span_id: int
    parent: SpanContext | None
    flags: int
    state: str
    begun: int
    ended: int = 0
    first_output: int | None = None
    attempts: list[Attempt] = msgspec.field(default_factory=list)


class SpanWriter:
    """Spans as they are sent; what is the same in many is written once."""

    def __init__(self, longest: int | None) -> None:
        """`longest`: the most characters of a text."""
        self._longest = longest
        self._asked = lru_cache(_KINDS)(self._of_asked)
        self._answer = lru_cache(_KINDS)(self._of_answer)
        self._call = lru_cache(_KINDS)(self._of_call)

    def write(self, report: CallReport, facts: CallFacts, spans: list[bytes]) -> None:
        """Add those of a call that ended."""
        trace, own = facts.trace.to_bytes(16, "big"), facts.span_id.to_bytes(8, "big")
        flags, state = facts.flags, facts.state
        for attempt in facts.attempts:
            ids = (trace, attempt.span_id.to_bytes(8, "big"), own)
            times = (attempt.begun, attempt.ended)
            spans.append(otlp_spans.span(ids, times, flags, state, self._client_span(attempt)))
        parts = self._server_span(report, facts.first_output)
        parent, times = facts.parent, (facts.begun, facts.ended)
        if parent is None:
            spans.append(otlp_spans.span((trace, own, b""), times, flags, state, parts))
        else:
            ids = (trace, own, parent.span_id.to_bytes(8, "big"))
            spans.append(otlp_spans.span(ids, times, flags, state, parts, remote=True))

    def _client_span(self, attempt: Attempt) -> list[bytes]:
        parts = [self._asked(attempt.asked, attempt.number)]
        if attempt.usage is not None:
            _add_tokens(attempt.usage, parts)
        if attempt.first_output is not None:
            parts.append(float_attribute(_TIME_TO_FIRST_CHUNK, (attempt.first_output - attempt.begun) / 1e9))
            parts.append(otlp_spans.event(_FIRST_OUTPUT, attempt.first_output))
        if attempt.answer is not None:
            self._answered(attempt.answer, attempt.redactor, parts)
        if attempt.http_status:
            parts.append(int_attribute(_HTTP_STATUS, attempt.http_status))
        if attempt.error:
            parts.append(text_attribute(_ERROR_TYPE, attempt.error))
            parts.append(otlp_spans.FAILED)
        return parts

    def _server_span(self, report: CallReport, first_output: int | None) -> list[bytes]:
        failed = report.reason or report.outcome is not Outcome.COMPLETED
        error = (report.reason or report.status) if failed else ""
        parts = [
            self._call(report.service, report.method, report.status, error, report.attempts),
            text_attribute(_REQUEST_ID, report.request_id[: self._longest or _LONGEST]),
        ]
        if report.labels:
            labels = {f"{_NAME}.label.{name}": value[: self._longest] for name, value in labels_of(report).items()}
            parts.append(otlp_spans.attributes(labels))
        if report.overhead is not None:
            parts.append(float_attribute(_OVERHEAD, round(report.overhead, 6)))
        if first_output is not None:
            parts.append(otlp_spans.event(_FIRST_OUTPUT, first_output))
        return parts

    def _answered(self, answer: Answer, redactor: Callable[[str], str], parts: list[bytes]) -> None:
        response_id, model, reasons = answer
        both = f"{response_id}\n{model}"
        if redactor(both) != both:
            response_id, model = redactor(response_id), redactor(model)
        longest = self._longest or _LONGEST
        if response_id:
            parts.append(text_attribute(_RESPONSE_ID, _short(response_id)[:longest]))
        parts.append(self._answer(_short(model)[:longest], reasons))

    def _of_asked(self, asked: Asked, number: int) -> bytes:
        provider, api, endpoint, model, streamed = asked
        known: dict[str, otlp_spans.Value] = dict(genai.request_attributes(provider, api, endpoint, model))
        known[f"{_NAME}.attempt"] = number
        if streamed:
            known[genai.REQUEST_STREAM] = True
        return otlp_spans.name(f"{genai.CHAT} {model}".rstrip()) + otlp_spans.CLIENT + self._attributes(known)

    def _of_answer(self, model: str, reasons: tuple[FinishReason, ...]) -> bytes:
        known: dict[str, otlp_spans.Value] = {genai.RESPONSE_MODEL: model} if model else {}
        if reasons:
            known[genai.FINISH_REASONS] = [reason.name.lower() for reason in reasons]
        return self._attributes(known)

    def _of_call(self, service: str, method: str, status: str, error: str, attempts: int) -> bytes:
        name = f"{service}/{method}"
        known: dict[str, otlp_spans.Value] = {
            genai.RPC_SYSTEM: "grpc",
            genai.RPC_METHOD: name,
            genai.RPC_STATUS: status,
            f"{_NAME}.attempts": attempts,
        }
        if error:
            known[genai.ERROR_TYPE] = error
        failed = otlp_spans.FAILED if status in genai.SERVER_ERRORS else b""
        return otlp_spans.name(name) + otlp_spans.SERVER + self._attributes(known) + failed

    def _attributes(self, known: dict[str, otlp_spans.Value]) -> bytes:
        longest = self._longest
        if longest is not None:
            known = {name: value[:longest] if isinstance(value, str) else value for name, value in known.items()}
        return otlp_spans.attributes(known)


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST else clipped(word, _LONGEST)


def _add_tokens(usage: Usage, parts: list[bytes]) -> None:
    """The tokens that were reported."""
    if usage.input is not None:
        parts.append(int_attribute(_INPUT_TOKENS, usage.input))
    if usage.output is not None:
        parts.append(int_attribute(_OUTPUT_TOKENS, usage.output))
    if usage.cached_input is not None:
        parts.append(int_attribute(_CACHE_READ_TOKENS, usage.cached_input))
    if usage.cache_creation_input is not None:
        parts.append(int_attribute(_CACHE_CREATION_TOKENS, usage.cache_creation_input))
    if usage.reasoning is not None:
        parts.append(int_attribute(_REASONING_TOKENS, usage.reasoning))
