"""Random and mutated streams through framing, decoder and fold of every API shape: only CallerErrors come out, memory
is bounded. `make fuzz`; a seeded share runs with the tests.

Streams start from what servers are known to send (recordings and wire cases), and are broken as bytes, as lines and as
JSON. Each one is made from its shape and number alone: a finding is printed with both, and can be had again.
"""

import argparse
import json
import random
import re
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Adapter, ResolvedCall
from caller.custom_llm.answer import AnswerReader
from caller.custom_llm.apis import ADAPTERS
from caller.errors import CallerError
from caller.fold import Folder
from caller.parameters import Parameters
from tests.recordings_reader import parsed

TESTS = Path(__file__).parent.parent / "tests"
MAX_SEED = 4096
# The bounds that fuzzed streams are read with, and what may be held while one is.
EVENT_BYTES = 1 << 14
ANSWER_CHARS = 1 << 14
FLOOD_BYTES = 1 << 19
FLOOD_EVERY = 1000
MAX_HELD = 24 * FLOOD_BYTES

NASTY: list[Any] = [
    *[None, True, False, 0, -1, 1, 7, 255, 2**31, 2**32, 2**63, 2**70, 10**400, -(10**40), 0.5, -0.0, 1e308, 5e-324],
    *["", " ", "x", "null", "None", "0", "-1", "\x00", "\u2028", "\ud83d", "🙂" * 9, "x" * 300, "{}", "[]", "error"],
    *["stop", "length", "tool_calls", "abort", "text", "tool_use", "thinking", "message_stop", "<think>", "</think>"],
    *[[], {}, [None], [[]], [{}], {"": None}, {"error": {}}, {"type": "error"}, {"message": "m", "code": 500}],
]
KEYS = [
    "error",
    "choices",
    "delta",
    "message",
    "content",
    "type",
    "index",
    "id",
    "usage",
    "tool_calls",
    "text",
    "candidates",
]
LINES = [
    b"\n",
    b"\r",
    b"\r\n",
    b"data: ",
    b"data: [DONE]\n\n",
    b"data: null\n\n",
    b"event: error\n",
    b": c\n",
    b"error: x\n",
]
SCRAPS = [*LINES, b"{", b"}", b"[", b"]", b'"', b"\\", b"\\ud83d", b"\xff", b"\xef\xbb\xbf", b"<", b"}\n{", b"e9", b"-"]


@dataclass(frozen=True)
class Finding:
    """A stream that ended as none may."""

    api: ApiCompatibility
    number: int
    what: str


def seeds(api: ApiCompatibility) -> list[bytes]:
    """Bodies of 200 answers of a shape. The two spellings of Chat Completions share theirs."""
    shapes = {api.value}
    if api is ApiCompatibility.OPENAI_CHAT_COMPLETIONS:
        shapes = {ApiCompatibility.OPENAI_COMPATIBLE.value}
    found = []
    for path in sorted(TESTS.glob("recordings/*/*.expect.json")) + sorted(TESTS.glob("wire/*/*.expect.json")):
        expect = json.loads(path.read_text())
        if expect["shape"] not in shapes or expect["op"] != "chat":
            continue
        stem = path.with_name(path.name.removesuffix(".expect.json"))
        for wire in (stem.with_name(stem.name + end) for end in (".http", ".sse", ".json")):
            if wire.exists():
                raw = wire.read_bytes()
                found.append(parsed(stem.name, raw, expect).body if wire.suffix == ".http" else raw)
    return [shortened for seed in found if (shortened := _shortened(seed))]


def _shortened(body: bytes) -> bytes:
    """A long stream without its middle; nothing of a long document, which makes no sense without it."""
    if len(body) <= MAX_SEED:
        return body
    events = re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", body)
    return b"".join(events[:6] + events[-4:])[: 2 * MAX_SEED] if len(events) > 10 else b""


class Maker:
    """Makes the streams of one shape."""

    def __init__(self, api: ApiCompatibility) -> None:
        self._seeds = seeds(api)
        self._name = api.value

    def stream(self, number: int) -> tuple[bytes, random.Random]:
        """Stream `number`, and the random numbers that go on with it."""
        rng = random.Random(f"{self._name} {number}")  # noqa: S311 -- the same stream in every run
        body = rng.choice(self._seeds)
        for change in rng.choices(list(BREAKS), list(BREAKS.values()), k=rng.choice([1, 1, 2, 4])):
            body = change(body, rng)
        if rng.random() < 0.1:
            body += rng.choice(self._seeds)
        return body[: 4 * MAX_SEED], rng

    def flood(self, number: int) -> bytes:
        """A broken stream over and over."""
        body, rng = self.stream(number)
        unit = (body or b"x") + rng.choice([b"", b"\n", b"\n\n"])
        return unit * (FLOOD_BYTES // len(unit) + 1)


def _as_json(body: bytes, rng: random.Random) -> bytes:
    """One JSON text of the body with something in it replaced, dropped, added or repeated."""
    lines = body.split(b"\n")
    at = rng.randrange(len(lines))
    for where in (*range(at, len(lines)), *range(at)):
        head, brace, rest = lines[where].partition(b"{")
        try:
            value = json.loads(brace + rest)
        except (ValueError, RecursionError):
            continue
        for _ in range(rng.randint(1, 3)):
            value = _twisted(value, rng)
        lines[where] = head + json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        break
    return b"\n".join(lines)


def _twisted(value: Any, rng: random.Random) -> Any:
    """The value with one of its members, however deep, made another."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        return _twisted_object(dict(value), rng)
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], *rng.choice([[], [_twisted(value[at], rng)], [value[at]] * 2]), *value[at + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.3:
        return value[: rng.randrange(len(value))]
    return rng.choice([*NASTY, [value], {"text": value}, _deep(rng)])


def _twisted_object(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    key = rng.choice(list(value))
    change = rng.random()
    if change < 0.7:
        value[key] = _twisted(value[key], rng)
    elif change < 0.85:
        del value[key]
    else:
        value[rng.choice([*KEYS, "x"])] = rng.choice([value[key], rng.choice(NASTY)])
    return value


def _deep(rng: random.Random) -> Any:
    value: Any = 1
    for _ in range(rng.choice([50, 180, 400])):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _bytes(body: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced or put in."""
    raw = bytearray(body)
    for _ in range(rng.randint(1, 8)):
        at = rng.randint(0, len(raw))
        raw[at : at + rng.randint(0, 3)] = rng.choice(SCRAPS) if rng.random() < 0.7 else rng.randbytes(2)
    return bytes(raw)


def _slice(body: bytes, rng: random.Random) -> bytes:
    """A piece dropped, repeated, or moved."""
    start, end = sorted((rng.randint(0, len(body)), rng.randint(0, len(body))))
    piece, rest = body[start:end], body[:start] + body[end:]
    at = rng.randint(0, len(rest))
    return rng.choice([rest, body[:end] + body[start:], rest[:at] + piece + rest[at:], piece, body[:end]])


def _lines(body: bytes, rng: random.Random) -> bytes:
    """Lines shuffled, dropped, repeated, ended in another way."""
    lines = body.split(b"\n")
    at = rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        del lines[at]
    elif change == 1:
        lines.insert(at, rng.choice(lines))
    elif change == 2:
        lines.insert(at, rng.choice(LINES))
    return rng.choice([b"\n", b"\n", b"\r\n", b"\r"]).join(lines)


def _noise(body: bytes, rng: random.Random) -> bytes:
    """Scraps of the format without any sense."""
    del body
    return b"".join(rng.choices(SCRAPS, k=rng.randint(1, 60)))


# How often each: what stays readable reaches deeper.
BREAKS: dict[Callable[[bytes, random.Random], bytes], int] = {_as_json: 70, _lines: 12, _slice: 8, _bytes: 8, _noise: 2}


def read(adapter: Adapter, body: bytes, rng: random.Random) -> str:
    """Read a stream as the caller does, in random pieces; answers with how it ended.

    Raises:
        Exception: a finding.
    """
    parameters = Parameters("m", {"n": rng.choice([1, 2])} if rng.random() < 0.2 else {})
    call = ResolvedCall(Credential(adapter.api, "http://127.0.0.1:1", {}), parameters, ())
    call = replace(call, parse_think_tags=rng.random() < 0.3)
    reader, folder = AnswerReader(adapter, call, EVENT_BYTES, stream=rng.random() < 0.9), Folder(ANSWER_CHARS)
    longest = rng.choice([1, 16, 200, 5000])
    try:
        at = 0
        while at < len(body) and not reader.done and reader.failure is None:
            size = rng.randint(1, longest)
            for event in reader.feed(body[at : at + size]):
                folder.feed(event)
            at += size
        for event in () if reader.failure is not None else reader.close():
            folder.feed(event)
        if reader.failure is not None:
            raise reader.failure
        folder.completion()
    except CallerError as error:
        return type(error).__name__
    return "answered"


def fuzz(api: ApiCompatibility, first: int, count: int) -> tuple[Counter[str], list[Finding]]:
    """Read `count` streams of a shape; how they ended, and the findings among them."""
    adapter, maker = ADAPTERS[api], Maker(api)
    endings: Counter[str] = Counter()
    findings: list[Finding] = []
    for number in range(first, first + count):
        body, rng = maker.stream(number)
        try:
            endings[read(adapter, body, rng)] += 1
            if number % FLOOD_EVERY == 0:
                _flooded(adapter, maker.flood(number), rng)
        except Exception as error:  # noqa: BLE001 -- any exception is what is looked for
            findings.append(Finding(api, number, f"{type(error).__name__}: {error}"))
    return endings, findings


def _flooded(adapter: Adapter, body: bytes, rng: random.Random) -> None:
    """Read a long stream and look at what is held meanwhile."""
    tracemalloc.start()
    try:
        read(adapter, body, rng)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if held > MAX_HELD:
        raise MemoryError(f"held {held} bytes for a stream of {len(body)}")


def main() -> int:
    """Fuzz every shape; exit code 1 with findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("streams", nargs="?", type=int, default=100_000, help="per shape")
    parser.add_argument("--first", type=int, default=0, help="number of the first stream")
    parser.add_argument("--api", choices=[api.value for api in ADAPTERS], help="one shape only")
    arguments = parser.parse_args()
    failed = False
    for api in ADAPTERS:
        if arguments.api not in (None, api.value):
            continue
        started = time.monotonic()
        endings, findings = fuzz(api, arguments.first, arguments.streams)
        took = time.monotonic() - started
        summary = ", ".join(f"{name} {count}" for name, count in endings.most_common())
        print(
            f"{api.value}: {arguments.streams} streams in {took:.0f} s: {summary}; {len(findings)} findings", flush=True
        )
        for finding in findings[:20]:
            print(f"  stream {finding.number}: {finding.what[:300]}")
        failed = failed or bool(findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
