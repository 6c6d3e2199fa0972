"""The fold: many events, one answer. The unary answer of every API shape is the fold of its stream.

It knows no wire format. It keeps fragments in lists and joins them once: joining per token is quadratic.
"""

from typing import assert_never

import msgspec

from caller.call import Choice, Completion
from caller.errors import ForeignText, ResponseTooLarge
from caller.events import (
    Event,
    Finished,
    FinishReason,
    ProviderFields,
    ProviderState,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
    UsageSource,
)
from caller.heavy import LARGE
from caller.json_types import JsonObject, JsonValue
from caller.messages import AssistantMessage, ToolCall
from caller.provider_state import seal

MAX_CHOICES = 128
MAX_TOOL_CALLS = 1024
# Of what the endpoint sent and we have no field for: names, and members of one list that came in pieces.
MAX_FIELDS = 1024
MAX_JOINED = 10_000
_LOGPROB = 16  # what a token's log probability consumes of the answer's budget, at least
# Fields of these types are small, and their names are bounded.
_SMALL = frozenset({bool, int, float, type(None)})
# Fragments are joined whenever there are so many: each costs 50 bytes beside its characters.
_FRAGMENTS = 4096
NO_USAGE = Usage(source=UsageSource.UNAVAILABLE)


class _OpenCall(msgspec.Struct):
    id: str = ""
    name: str = ""
    arguments: list[str] = msgspec.field(default_factory=list)


class _OpenChoice(msgspec.Struct):
    text: list[str] = msgspec.field(default_factory=list)
    reasoning: list[str] = msgspec.field(default_factory=list)
    refusal: list[str] = msgspec.field(default_factory=list)
    calls: dict[int, _OpenCall] = msgspec.field(default_factory=dict)
    logprobs: list[TokenLogprob] = msgspec.field(default_factory=list)
    reason: FinishReason = FinishReason.UNSPECIFIED
    raw_reason: str = ""
    fields: JsonObject = msgspec.field(default_factory=dict)
    sizes: dict[str, int] = msgspec.field(default_factory=dict)  # of fields that are not small
    state: ProviderState | None = None


class Folder:
    """Gathers one answer. Feed it every event, then ask for the `completion`.

    `max_chars` bounds the characters of text, reasoning, refusals, arguments, names and the endpoint's own fields
    together.
    `left` are those that may still come, and below `left_of_large` of them the answer is large.
    """

    __slots__ = ("_choices", "_fields", "_model", "_response_id", "_sizes", "left", "left_of_large", "usage")

    def __init__(self, max_chars: int) -> None:
        self._response_id = ""
        self._model = ""
        self._choices: dict[int, _OpenChoice] = {}
        self._fields: JsonObject = {}
        self._sizes: dict[str, int] = {}  # of fields that are not small
        self.left = max_chars
        self.left_of_large = max_chars - LARGE
        self.usage: Usage | None = None

    def feed(self, *events: Event) -> None:  # noqa: C901 -- in every call and for every token: without further calls
        """Add events, in their order.

        Raises:
            ResponseTooLarge: past the bounds.
        """
        choices = self._choices
        for event in events:
            match event:
                case TextDelta():
                    # Once per token: without calls of its own.
                    choice = choices[event.choice] if event.choice in choices else self._choice(event.choice)
                    self.left -= len(event.text)
                    choice.text += (event.text,)
                    if len(choice.text) > _FRAGMENTS:
                        choice.text[:] = ("".join(choice.text),)
                    if event.logprobs:
                        choice.logprobs.extend(event.logprobs)
                        self._consume(sum(_LOGPROB * (1 + len(token.top)) for token in event.logprobs))
                case ReasoningDelta():
                    self._append(self._choice(event.choice).reasoning, event.text)
                case ToolCallDelta():
                    self._tool_call(event)
                # What the whole answer of every endpoint has.
                case Started():
                    self.left -= len(event.response_id) + len(event.model)
                    self._response_id = self._response_id or event.response_id
                    self._model = self._model or event.model
                case UsageReported():
                    self.usage = merge_usage(self.usage, event.usage) if self.usage is not None else event.usage
                case Finished():
                    choice = choices[event.choice] if event.choice in choices else self._choice(event.choice)
                    self.left -= len(event.raw)
                    choice.reason, choice.raw_reason = event.reason, event.raw
                case _:
                    self._other(event)
            if self.left < 0:
                self._consume(0)

    def _other(self, event: RefusalDelta | ProviderFields | ProviderState) -> None:
        match event:
            case RefusalDelta():
                self._append(self._choice(event.choice).refusal, event.text)
            case ProviderFields():
                fields, sizes = self._fields, self._sizes
                if event.choice is not None:
                    choice = self._choice(event.choice)
                    fields, sizes = choice.fields, choice.sizes
                self.left -= _merge_fields(fields, sizes, event.fields)
                if self.left < 0:
                    self._consume(0)
                if len(fields) > MAX_FIELDS:
                    raise ResponseTooLarge(f"the answer has more than {MAX_FIELDS} fields that are not of its API")
            case ProviderState():
                self._choice(event.choice).state = event
            case _:
                assert_never(event)

    def completion(self) -> Completion:
        """The answer so far."""
        return Completion(
            response_id=self._response_id,
            model=self._model,
            choices=tuple([_closed(index, self._choices[index]) for index in sorted(self._choices)]),
            usage=self.usage or NO_USAGE,
            provider_fields=self._fields,
        )

    def _choice(self, index: int) -> _OpenChoice:
        if index in self._choices:
            return self._choices[index]
        if len(self._choices) >= MAX_CHOICES:
            raise ResponseTooLarge(f"the answer has more than {MAX_CHOICES} choices")
        choice = self._choices[index] = _OpenChoice()
        return choice

    def _tool_call(self, event: ToolCallDelta) -> None:
        calls = self._choice(event.choice).calls
        call = calls.get(event.index)
        if call is None:
            if len(calls) >= MAX_TOOL_CALLS:
                raise ResponseTooLarge(f"the answer has more than {MAX_TOOL_CALLS} tool calls")
            call = calls[event.index] = _OpenCall()
            self._consume(len(event.id) + len(event.name))  # they stand on the first fragment only
        call.id = call.id or event.id
        call.name = call.name or event.name
        self._append(call.arguments, event.arguments)

    def _append(self, into: list[str], text: str) -> None:
        self._consume(len(text))
        into.append(text)
        if len(into) > _FRAGMENTS:
            into[:] = ("".join(into),)

    def _consume(self, chars: int) -> None:
        self.left -= chars
        if self.left < 0:
            raise ResponseTooLarge("the answer is larger than the server's max_answer_bytes")


def merge_usage(earlier: Usage | None, later: Usage) -> Usage:
    """Each count that is reported replaces the earlier one; one that is missing, or 0, does not reset it: what was used
    stays used."""
    if earlier is None:
        return later
    given, output = _latest(earlier.input, later.input), _latest(earlier.output, later.output)
    total = _latest(earlier.total, later.total)
    if total is None and given and output:
        total = given + output  # the parts came one after the other
    return Usage(
        input=given,
        output=output,
        total=total,
        cached_input=_latest(earlier.cached_input, later.cached_input),
        cache_creation_input=_latest(earlier.cache_creation_input, later.cache_creation_input),
        reasoning=_latest(earlier.reasoning, later.reasoning),
        source=later.source,
    )


def _latest(earlier: int | None, later: int | None) -> int | None:
    return later or (later if earlier is None else earlier)


def _merge_fields(into: JsonObject, sizes: dict[str, int], fields: JsonObject) -> int:
    """Later values replace earlier ones; lists of one key are joined, since they come in pieces. A list that begins
    with all that is known has grown (Perplexity repeats its citations in every chunk). Returns by how many characters
    they have grown; `sizes` holds those of each that is not small.

    Raises:
        ResponseTooLarge: a joined list is longer than our bound.
    """
    grown = 0
    for key, value in fields.items():
        size = 0 if type(value) in _SMALL else _size(value)
        known: JsonValue = None
        if key in into:
            known = into[key]
        into[key] = value
        if type(known) is list and type(value) is list and value[: len(known)] != known:
            if len(known) + len(value) > MAX_JOINED:
                raise ResponseTooLarge(
                    ("the answer's `", ForeignText(key, 100), f"` has more than {MAX_JOINED} members")
                )
            into[key] = known + value
            size += sizes[key]
        if size or key in sizes:
            grown += size - sizes.get(key, 0)
            sizes[key] = size
    return grown


def _size(value: JsonValue) -> int:
    """Of a text its characters, of a list or an object those of its JSON."""
    return len(value) if isinstance(value, str) else len(msgspec.json.encode(value))


def _closed(index: int, choice: _OpenChoice) -> Choice:
    text = "".join(choice.text)
    in_order = [choice.calls[number] for number in sorted(choice.calls)] if choice.calls else []
    calls = tuple([ToolCall(call.id, call.name, "".join(call.arguments)) for call in in_order]) if in_order else ()
    state = choice.state
    return Choice(
        index=index,
        message=AssistantMessage(
            text=text,
            refusal="".join(choice.refusal) if choice.refusal else "",
            reasoning="".join(choice.reasoning) if choice.reasoning else "",
            tool_calls=calls,
            provider_state=b"" if state is None else seal(state.shape, state.content, text, calls),
        ),
        finish_reason=choice.reason,
        raw_finish_reason=choice.raw_reason,
        logprobs=tuple(choice.logprobs),
        provider_fields=choice.fields,
    )
