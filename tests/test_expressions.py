"""Every compiled expression of ours is linear: a hundred kilobytes of what clients and endpoints choose cost little.

No timeout ends a search that has begun: it is one call into C, and nothing else runs meanwhile. So each expression is
fed texts that are made of its own pieces, as it is used in the source.
"""

import ast
import importlib
import re
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.test_imports import modules

SIZE = 100_000
# A linear search of so much takes a few milliseconds; one that takes the square of it, minutes.
SECONDS = 0.25
_PARTS = (SIZE // 50, SIZE // 20, SIZE // 10, SIZE // 5, SIZE // 2, SIZE)
_USES = ("search", "match", "fullmatch", "sub", "finditer", "findall", "split")
_FILLERS = ("a", "1", " ", "\n", "/", "-", ".", "<", "}", '"', "\\", ":", "=", "é", "a ", "1a", "}\n")


def patterns(module: ModuleType) -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes]]]:
    """The expressions of a module, those in its classes and tables included, by the name that holds them."""
    for name, value in vars(module).items():
        yield from ((name, each) for each in _within(value, module, 4))


def _within(value: object, module: ModuleType, depth: int) -> Iterator[re.Pattern[str] | re.Pattern[bytes]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, type) and value.__module__ == module.__name__:
        for member in vars(value).values():
            yield from _within(member, module, 1)
    elif depth and isinstance(value, tuple | list | frozenset | dict):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _within(member, module, depth - 1)


# Used where they have another name.
_ELSEWHERE = {"_WHOLE": {"fullmatch"}}


def uses(source: str, name: str) -> set[str]:
    """How a module uses the expression that a name holds; the dearest way where that cannot be seen."""
    found = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr in _USES
        and (node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")) == name
    }
    return found or _ELSEWHERE.get(name, {"sub"})


def _expressions() -> Iterator[tuple[str, tuple[re.Pattern[str] | re.Pattern[bytes], str]]]:
    """Every expression once for each of its uses, however many tables hold it."""
    seen: set[tuple[object, str]] = set()
    for path, name, _ in modules():
        if name.endswith(("_pb2", "_pb2_grpc", "__main__")):
            continue
        source = path.read_text("utf-8")
        for holder, pattern in patterns(importlib.import_module(name)):
            for how in sorted(uses(source, holder)):
                if (pattern, how) not in seen:
                    seen.add((pattern, how))
                    yield f"{name}.{holder}: {pattern.pattern!r:.60}", (pattern, how)


EXPRESSIONS = tuple(_expressions())


def texts(pattern: str) -> Iterator[str]:
    """Hostile texts for an expression: its words, and what stands between them, again and again, and an end that
    spoils the match."""
    literal = re.sub(r"\\[a-zA-Z]|\{[0-9,]+\}", " ", pattern)
    words = list(dict.fromkeys(re.findall(r"[A-Za-z0-9/:<>!=-]+", literal)))[:10]
    for piece in dict.fromkeys([*words, *(f"/{word}" for word in words if "/" in pattern), *_FILLERS]):
        yield piece * (SIZE // len(piece)) + "\0"
    for first in (*words[:5], "/v", "<"):
        for filler in ("a", "1", " ", "1a"):
            yield first + filler * (SIZE // len(filler)) + "\0"
        yield (first + "a1 " * 20) * (SIZE // (len(first) + 60)) + "\0"


def took(pattern: re.Pattern[Any], how: str, text: str) -> float:
    """CPU seconds of one use."""
    given: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
    begun = time.thread_time()
    if how == "sub":
        pattern.sub(b"" if isinstance(given, bytes) else "", given)
    elif how in ("finditer", "findall", "split"):
        list(getattr(pattern, how)(given))
    else:
        getattr(pattern, how)(given)
    return time.thread_time() - begun


def longest(pattern: re.Pattern[str] | re.Pattern[bytes], how: str) -> tuple[float, str]:
    """The longest use, and the beginning of its text. A part comes first: what takes too long there is not tried on,
    nor what could take the square of it in the whole and be quick. A cube takes too long in any part.
    """
    written = pattern.pattern.decode() if isinstance(pattern.pattern, bytes) else pattern.pattern
    worst = (0.0, "")
    for text in texts(written):
        for size in _PARTS:
            given = text[: size - 1] + text[-1]
            seconds = took(pattern, how, given)
            if seconds > SECONDS:
                seconds = min(seconds, took(pattern, how, given))  # a pause of the machine is no square
            worst = max(worst, (seconds, text[:60]))
            if worst[0] > SECONDS:
                return worst
            if seconds * (SIZE / size) ** 2 < SECONDS:
                break
    return worst


def test_expressions_are_found() -> None:
    """Those in tables, too."""
    found = " ".join(row[0] for row in EXPRESSIONS)
    for holder in ("sniff._OUTSIDE", "redaction._KEYS", "base_url._VERSION", "parameters._NUMBER", "MEANINGS"):
        assert holder in found


@pytest.mark.parametrize(("pattern", "how"), [row[1] for row in EXPRESSIONS], ids=[row[0] for row in EXPRESSIONS])
def test_an_expression_is_linear(pattern: re.Pattern[str] | re.Pattern[bytes], how: str) -> None:
    """A hundred kilobytes of its own words and what stands between them."""
    seconds, text = longest(pattern, how)

    assert seconds < SECONDS, f"{how} of {text!r}…"


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        (re.compile(r"/v\d+[a-z0-9]*(?=/|$)"), "search"),
        (re.compile(r"\s+$"), "search"),
    ],
)
def test_a_square_is_found(pattern: re.Pattern[str], how: str) -> None:
    """One that once stood here, and the plainest one."""
    assert longest(pattern, how)[0] > SECONDS


def test_no_expression_is_hidden() -> None:
    """Every expression is compiled where this file finds it: nothing calls `re.search(pattern, …)` itself."""
    hidden = [
        f"{name}:{node.lineno}"
        for path, name, _ in modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in _USES
    ]
    assert not hidden
