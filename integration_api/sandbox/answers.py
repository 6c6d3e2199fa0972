"""Scripts that answer well: from a request to a story.

Rule: pure. What a story looks like in an API is told in the module of that API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox import schema
from integration_api.sandbox.story import (
    Ask,
    CallFragment,
    CallStart,
    Finish,
    Reasoning,
    Refusal,
    Reply,
    Step,
    Text,
    Usage,
    split_words,
)
from integration_api.sandbox.telling import Plot, Scene, at_least, echoed, paced, told
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


def _echo(scene: Scene) -> Reply:
    return told(scene.ask, paced(echoed(scene.ask), scene.ask.script.seconds("gap")))


def _tokens(scene: Scene) -> Reply:
    script = scene.ask.script
    text, count = script.text("text"), script.count("n")
    words = [text] * count if text else [f"word{number}" for number in range(1, count + 1)]
    said = [Text(word if number == 0 else f" {word}") for number, word in enumerate(words)]
    return told(scene.ask, paced(said, script.seconds("gap")))


_WEATHER: Final = ("weather", ('{"ci', 'ty":', '"Ro', 'me"}'))
_TIME: Final = ("local_time", ('{"zo', 'ne":', '"Europe/', 'Rome"}'))


def _calls(*calls: tuple[str, Sequence[str]]) -> list[Step]:
    starts: list[Step] = [CallStart(number, name) for number, (name, _) in enumerate(calls)]
    turns = zip(*(fragments for _, fragments in calls), strict=True)
    return [*starts, *(CallFragment(number, text) for turn in turns for number, text in enumerate(turn))]


def _with_results(ask: Ask, before: Sequence[Step], *calls: tuple[str, Sequence[str]], sealed: bool = False) -> Reply:
    gap = ask.script.seconds("gap")
    if ask.results:
        said = split_words("The tool says: " + "; ".join(ask.results))
        return told(ask, paced([Text(word) for word in said], gap), sealed=sealed)
    return told(ask, paced([*before, *_calls(*calls)], gap), Finish.TOOL_CALLS, sealed=sealed)


def _tool_call(scene: Scene) -> Reply:
    return _with_results(scene.ask, (), _WEATHER)


def _parallel_tool_calls(scene: Scene) -> Reply:
    return _with_results(scene.ask, (), _WEATHER, _TIME)


def _reasoned(text: str) -> list[Step]:
    return [Reasoning(word) for word in split_words(text)]


def _reasoning(scene: Scene) -> Reply:
    steps = [*_reasoned("The user wants to hear the same words again."), *at_least(scene.ask, 3)]
    return told(scene.ask, paced(steps, scene.ask.script.seconds("gap")), sealed=True)


def _reasoning_tool_call(scene: Scene) -> Reply:
    return _with_results(scene.ask, _reasoned("I must look at the weather first."), _WEATHER, sealed=True)


def _refusal(scene: Scene) -> Reply:
    words = split_words("I'm sorry, I cannot help with that.")
    return told(scene.ask, [Refusal(word) for word in words], Finish.REFUSAL)


def _structured(scene: Scene) -> Reply:
    text = dump(schema.sample(scene.ask.schema if scene.ask.schema is not None else {"type": "object"}))
    return told(scene.ask, [Text(text[at : at + 7]) for at in range(0, len(text), 7)])


def _unicode(scene: Scene) -> Reply:
    text = UNICODE * 4
    steps = [Text(text[at : at + 5]) for at in range(0, len(text), 5)]
    return told(scene.ask, paced(steps, scene.ask.script.seconds("gap")))


def _length(scene: Scene) -> Reply:
    return told(scene.ask, at_least(scene.ask, 5), Finish.LENGTH)


def _content_filter(scene: Scene) -> Reply:
    return told(scene.ask, at_least(scene.ask, 3), Finish.CONTENT_FILTER)


def _empty(scene: Scene) -> Reply:
    return told(scene.ask, ())


def _usage(scene: Scene) -> Reply:
    script = scene.ask.script
    cached, reasoning = script.count("cached"), script.count("reasoning")
    usage = Usage(
        max(script.count("input"), cached), max(script.count("output"), reasoning), cached=cached, reasoning=reasoning
    )
    return replace(told(scene.ask, at_least(scene.ask, 3)), usage=usage)


PLOTS: Final[Mapping[str, Plot]] = MappingProxyType(
    {
        "echo": _echo,
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
