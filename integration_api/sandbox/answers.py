"""Scripts that answer well: from a request to a scenario.

Rule: pure. What a scenario looks like in an API stands in the module of that API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox import schema
from integration_api.sandbox.building import Builder, Context, at_least, echoed, paced, scenario_of
from integration_api.sandbox.scenario import (
    CallFragment,
    CallStart,
    Finish,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Step,
    Text,
    Usage,
    split_words,
)
from integration_api.sandbox.wire import dump

# ruff: noqa: RUF001 # letters that look like others are the point of this text
UNICODE: Final = (
    "Zażółć gęślą jaźń. Привет, мир! Καλημέρα κόσμε. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया। สวัสดีชาวโลก "
    "你好，世界。 こんにちは世界。 안녕하세요. "
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 "
    # Written by number: these would be invisible here, or look like other letters.
    "line\u2028separator par\u2029agraph next\u0085line e\u0301 a\u030a n\u0303 zero\u200bwidth "
    'quotes " and \\ backslash \ttab\nnew line \x7f. '
)


def _echo(context: Context) -> Reply:
    return scenario_of(context.request, paced(echoed(context.request), context.request.script.seconds("gap")))


def _tokens(context: Context) -> Reply:
    script = context.request.script
    text, count = script.text("text"), script.count("n")
    words = [text] * count if text else [f"word{number}" for number in range(1, count + 1)]
    pieces = [Text(word if number == 0 else f" {word}") for number, word in enumerate(words)]
    return scenario_of(context.request, paced(pieces, script.seconds("gap")))


_WEATHER: Final = ("weather", ('{"ci', 'ty":', '"Ro', 'me"}'))
_TIME: Final = ("local_time", ('{"zo', 'ne":', '"Europe/', 'Rome"}'))


def _calls(*calls: tuple[str, Sequence[str]]) -> list[Step]:
    starts: list[Step] = [CallStart(number, name) for number, (name, _) in enumerate(calls)]
    turns = zip(*(fragments for _, fragments in calls), strict=True)
    return [*starts, *(CallFragment(number, text) for turn in turns for number, text in enumerate(turn))]


def _with_results(
    request: Request, before: Sequence[Step], *calls: tuple[str, Sequence[str]], signed: bool = False
) -> Reply:
    gap = request.script.seconds("gap")
    if request.results:
        pieces = split_words("The tool says: " + "; ".join(request.results))
        return scenario_of(request, paced([Text(word) for word in pieces], gap), signed=signed)
    return scenario_of(request, paced([*before, *_calls(*calls)], gap), Finish.TOOL_CALLS, signed=signed)


def _tool_call(context: Context) -> Reply:
    return _with_results(context.request, (), _WEATHER)


def _parallel_tool_calls(context: Context) -> Reply:
    return _with_results(context.request, (), _WEATHER, _TIME)


def _assistant(context: Context) -> Reply:
    request = context.request
    if request.results:
        return _limited(request, split_words("The tool says: " + "; ".join(request.results)))
    if request.tools:
        tool = request.tools[0]
        arguments = dump(schema.sample(tool.schema if tool.schema is not None else {"type": "object"}))
        pieces = [arguments[at : at + 7] for at in range(0, len(arguments), 7)]
        return scenario_of(request, _calls((tool.name, pieces)), Finish.TOOL_CALLS)
    if request.schema is not None:
        return _structured(context)
    return _limited(request, split_words(request.prompt))


def _limited(request: Request, words: Sequence[str]) -> Reply:
    """The words, as many of them as the request allows: a word is a token here."""
    cut = words if request.limit is None else words[: request.limit]
    return scenario_of(request, [Text(word) for word in cut], Finish.LENGTH if len(cut) < len(words) else Finish.STOP)


def _reasoned(text: str) -> list[Step]:
    return [Reasoning(word) for word in split_words(text)]


def _reasoning(context: Context) -> Reply:
    steps = [*_reasoned("The user wants to hear the same words again."), *at_least(context.request, 3)]
    return scenario_of(context.request, paced(steps, context.request.script.seconds("gap")), signed=True)


def _reasoning_tool_call(context: Context) -> Reply:
    return _with_results(context.request, _reasoned("I must look at the weather first."), _WEATHER, signed=True)


def _refusal(context: Context) -> Reply:
    words = split_words("I'm sorry, I cannot help with that.")
    return scenario_of(context.request, [Refusal(word) for word in words], Finish.REFUSAL)


def _structured(context: Context) -> Reply:
    text = dump(schema.sample(context.request.schema if context.request.schema is not None else {"type": "object"}))
    return scenario_of(context.request, [Text(text[at : at + 7]) for at in range(0, len(text), 7)])


def _unicode(context: Context) -> Reply:
    text = UNICODE * 4
    steps = [Text(text[at : at + 5]) for at in range(0, len(text), 5)]
    return scenario_of(context.request, paced(steps, context.request.script.seconds("gap")))


def _length(context: Context) -> Reply:
    return scenario_of(context.request, at_least(context.request, 5), Finish.LENGTH)


def _content_filter(context: Context) -> Reply:
    return scenario_of(context.request, at_least(context.request, 3), Finish.CONTENT_FILTER)


def _empty(context: Context) -> Reply:
    return scenario_of(context.request, ())


def _usage(context: Context) -> Reply:
    script = context.request.script
    cached, reasoning = script.count("cached"), script.count("reasoning")
    usage = Usage(
        max(script.count("input"), cached), max(script.count("output"), reasoning), cached=cached, reasoning=reasoning
    )
    return replace(scenario_of(context.request, at_least(context.request, 3)), usage=usage)


BUILDERS: Final[Mapping[str, Builder]] = MappingProxyType(
    {
        "echo": _echo,
        "assistant": _assistant,
        "tokens": _tokens,
        "tool-call": _tool_call,
        "parallel-tool-calls": _parallel_tool_calls,
        "reasoning": _reasoning,
        "reasoning-tool-call": _reasoning_tool_call,
        "refusal": _refusal,
        "structured": _structured,
        "unicode": _unicode,
        "length": _length,
        "content-filter": _content_filter,
        "empty": _empty,
        "usage": _usage,
    }
)
