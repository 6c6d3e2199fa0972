"""The grammar of model names: a model's name is the script that the sandbox runs.

    name
    name:key=value,key=value

Durations are `20ms`, `1.5s` or a plain number of seconds; a value is percent-decoded, so a comma in it is written
`%2C`.

Rule: names and options only. What a script does stands in `builders`; the help and the model lists are made from
the table here.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

MOST_TOKENS: Final = 100_000
MOST_BYTES: Final = 256 * 1024 * 1024
LONGEST: Final = 24 * 3600.0


class Kind(Enum):
    """How the text of an option is read."""

    TEXT = "text"
    COUNT = "count"
    BYTES = "bytes"
    STATUS = "status"
    DURATION = "duration"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    kind: Kind
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table of scripts."""

    name: str
    does: str
    example: str
    options: tuple[Option, ...] = ()


class UnknownScriptError(LookupError):
    """No script has this name."""


class ScriptError(ValueError):
    """The script exists, but an option of it cannot be read."""


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed model name: every option of its entry has a value."""

    name: str
    values: Mapping[str, str | int | float]

    def text(self, option: str) -> str:
        return str(self.values[option])

    def count(self, option: str) -> int:
        return int(self.values[option])

    def seconds(self, option: str) -> float:
        return float(self.values[option])


_GAP = Option("gap", Kind.DURATION, "0", "time between two tokens")
_AFTER = Option("after", Kind.COUNT, "3", "tokens before it happens")
_FOR = Option("for", Kind.DURATION, "30s", "how long")
_STATUS = Option("status", Kind.STATUS, "500", "HTTP status")
_CODE = Option("code", Kind.TEXT, "", "the error's code in the body")
_RETRY = Option("retry", Kind.DURATION, "0", "Retry-After, in seconds; 0: no header")

_ROWS: Final = (
    Entry(
        "assistant",
        "a good model: calls the first tool on offer, answers with its result, fills in a schema, keeps to a limit, and"
        " says back all else",
        "assistant",
    ),
    Entry("echo", "says the last user text back, word by word", "echo:gap=20ms", (_GAP,)),
    Entry(
        "tokens",
        "N tokens with a gap between them",
        "tokens:n=200,gap=20ms",
        (
            Option("n", Kind.COUNT, "20", "number of tokens"),
            _GAP,
            Option("text", Kind.TEXT, "", "the token; empty: numbered words"),
        ),
    ),
    Entry("tool-call", "calls `weather` for Rome; answers with the result once it is there", "tool-call", (_GAP,)),
    Entry(
        "parallel-tool-calls", "calls `weather` and `local_time`, fragments interleaved", "parallel-tool-calls", (_GAP,)
    ),
    Entry("reasoning", "reasoning, then text", "reasoning", (_GAP,)),
    Entry(
        "reasoning-tool-call",
        "reasoning, then a call; wants its signed state back with the result",
        "reasoning-tool-call",
        (_GAP,),
    ),
    Entry("refusal", "refuses to answer, in the API's own way", "refusal"),
    Entry("structured", "JSON that fits the schema of the request", "structured"),
    Entry("unicode", "long text in many scripts, emoji, U+2028, combining marks", "unicode", (_GAP,)),
    Entry("length", "ends because the length is reached", "length"),
    Entry("content-filter", "is stopped by a content filter after some words", "content-filter"),
    Entry("empty", "a good answer without any text", "empty"),
    Entry(
        "usage",
        "reports the given token counts (input includes cached, output includes reasoning)",
        "usage:input=100,cached=64,output=50,reasoning=32",
        (
            Option("input", Kind.COUNT, "100", "input tokens"),
            Option("cached", Kind.COUNT, "64", "of them from the cache"),
            Option("output", Kind.COUNT, "50", "output tokens"),
            Option("reasoning", Kind.COUNT, "32", "of them for reasoning"),
        ),
    ),
    Entry(
        "http-error",
        "answers with an HTTP error",
        "http-error:status=429,retry=2",
        (_STATUS, _RETRY, _CODE, Option("message", Kind.TEXT, "", "the error's text")),
    ),
    Entry(
        "flaky",
        "the first requests of a key fail, later ones are echoed",
        "flaky:fails=2,status=503",
        (
            Option("fails", Kind.COUNT, "2", "requests that fail"),
            Option("status", Kind.STATUS, "503", "HTTP status"),
            _RETRY,
            Option("id", Kind.TEXT, "", "any word: a count of its own"),
        ),
    ),
    Entry(
        "error-in-stream",
        "an error after some tokens of a stream (without streaming: at once)",
        "error-in-stream:after=3,status=529",
        (_AFTER, _STATUS, _CODE),
    ),
    Entry("cut", "the connection closes in the middle of the answer", "cut:after=3", (_AFTER,)),
    Entry("no-end", "the answer stops cleanly, but without its terminal sign", "no-end:after=3", (_AFTER,)),
    Entry("drop", "the connection closes without a byte of an answer", "drop"),
    Entry("silence", "headers at once, nothing before the first token", "silence:for=30s", (_FOR,)),
    Entry("silent-headers", "not even headers, then an echo", "silent-headers:for=30s", (_FOR,)),
    Entry(
        "slow-headers",
        "the response head comes byte by byte, then an echo",
        "slow-headers:gap=50ms",
        (Option("gap", Kind.DURATION, "50ms", "time between two bytes"),),
    ),
    Entry(
        "big-headers",
        "a header of the given size, then an echo",
        "big-headers:bytes=20000",
        (Option("bytes", Kind.BYTES, "20000", "size of the header's value"),),
    ),
    Entry("opening", "the opening events at once, output only later", "opening:for=30s", (_FOR,)),
    Entry(
        "dribble",
        "an echo, one character each",
        "dribble:gap=1s",
        (Option("gap", Kind.DURATION, "1s", "time between two characters"),),
    ),
    Entry("stall", "some tokens, then silence, then the rest", "stall:after=3,for=60s", (_AFTER, _FOR)),
    Entry(
        "uneven",
        "numbered words; of every so many answers one has its first token late, or breaks off in the middle",
        "uneven:first=80ms,percent=5,for=5s",
        (
            Option("n", Kind.COUNT, "20", "number of words"),
            Option("word", Kind.TEXT, "word", "what the words begin with"),
            Option("first", Kind.DURATION, "0", "time to the first token of the others"),
            _GAP,
            Option("percent", Kind.COUNT, "5", "share of answers whose first token is late, evenly spread"),
            Option("for", Kind.DURATION, "5s", "how late"),
            Option("cut", Kind.COUNT, "0", "share of answers that break off, evenly spread"),
            _AFTER,
        ),
    ),
    Entry(
        "keepalive",
        "comments or pings only, then an echo",
        "keepalive:for=30s,gap=1s",
        (_FOR, Option("gap", Kind.DURATION, "1s", "time between two of them")),
    ),
    Entry(
        "key",
        "needs the key, then echoes",
        "key:value=sandbox",
        (Option("value", Kind.TEXT, "sandbox", "the key that is asked for"),),
    ),
    Entry(
        "flood",
        "one very large event",
        "flood:bytes=2000000",
        (Option("bytes", Kind.BYTES, "2000000", "letters in it"),),
    ),
    Entry(
        "pieces",
        "an echo, written to the network a few bytes at a time",
        "pieces:bytes=1",
        (Option("bytes", Kind.BYTES, "1", "bytes in each write"),),
    ),
    Entry("gzip", "an echo, compressed although nobody asked for it", "gzip"),
    Entry("html", "status 200 and an HTML page", "html"),
    Entry(
        "redirect",
        "a redirect (307)",
        "redirect:to=http://192.0.2.1/v1",
        (Option("to", Kind.URL, "http://192.0.2.1/", "where to"),),
    ),
    Entry("json-to-stream", "a whole JSON answer, even to a request for a stream", "json-to-stream"),
    Entry("stream-always", "a stream, even to a request for a whole answer", "stream-always"),
    Entry("garbage", "some tokens, then data that is not JSON", "garbage:after=3", (_AFTER,)),
    Entry(
        "chaos",
        "an echo, but the given share of answers goes wrong at random",
        "chaos:percent=30",
        (Option("percent", Kind.COUNT, "30", "share of answers that go wrong"),),
    ),
)

SCRIPTS: Final[Mapping[str, Entry]] = MappingProxyType({row.name: row for row in _ROWS})

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|)")


def parse(model: str) -> Script:
    """The script that a model's name asks for.

    Raises UnknownScriptError when there is none, ScriptError when an option cannot be read.
    """
    name, colon, rest = model.partition(":")
    entry = SCRIPTS.get(name)
    if entry is None:
        raise UnknownScriptError(name)
    given = _given(rest) if colon else {}
    known = {option.name for option in entry.options}
    for key in given:
        if key not in known:
            takes = ", ".join(sorted(known)) or "no options"
            raise ScriptError(f"script {name!r} has no option {key!r}; it takes {takes}")
    return Script(
        name, MappingProxyType({option.name: _value(option, given.get(option.name)) for option in entry.options})
    )


def _given(rest: str) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for pair in rest.split(","):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ScriptError(f"{pair!r} is not key=value")
        if key in given:
            raise ScriptError(f"option {key!r} is given twice")
        given[key] = unquote(value)
    return given


def _value(option: Option, given: str | None) -> str | int | float:
    text = option.default if given is None else given
    match option.kind:
        case Kind.TEXT:
            return text
        case Kind.URL:
            if not (text.isascii() and text.isprintable() and " " not in text):
                raise ScriptError(f"{option.name}={text!r} is not a URL")
            return text
        case Kind.DURATION:
            return duration(text)
        case Kind.STATUS:
            return _whole(option.name, text, 400, 599)
        case Kind.COUNT:
            return _whole(option.name, text, 0, MOST_TOKENS)
        case Kind.BYTES:
            return _whole(option.name, text, 1, MOST_BYTES)


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and low <= int(text) <= high):
        raise ScriptError(f"{name}={text} is not a whole number from {low} to {high}")
    return int(text)


def duration(text: str) -> float:
    """Seconds in `20ms`, `1.5s` or `2`. Raises ScriptError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ScriptError(f"{text!r} is not a duration such as 20ms, 1.5s or 2")
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
    if not math.isfinite(seconds) or seconds > LONGEST:
        raise ScriptError(f"{text!r} is longer than a day")
    return seconds


def help_text() -> str:
    """The scripts, each with what it does, an example and its options: for the CLI and `GET /`."""
    lines = ["The model's name is the script:", ""]
    for entry in SCRIPTS.values():
        lines += [f"  {entry.name}", f"      {entry.does}", f"      example: {entry.example}"]
        lines += [
            f"      {option.name}: {option.meaning} (default: {option.default or 'empty'})" for option in entry.options
        ]
    lines += [
        "",
        "Durations are 20ms, 1.5s or a plain number of seconds. A comma in a value is written %2C; in Gemini's",
        "path, where the URL takes one escape away, %252C.",
    ]
    return "\n".join(lines)
