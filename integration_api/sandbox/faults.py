"""Scripts of what goes wrong on the way, and of unusual ways of delivery.

Rule: pure. How a reply travels is told in `delivery`.
"""

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

from integration_api.sandbox.story import (
    Alive,
    Ask,
    Cut,
    Delivery,
    Drop,
    Fault,
    Garbage,
    Open,
    Page,
    Pause,
    Redirect,
    Reply,
    Shape,
    Step,
    Text,
)
from integration_api.sandbox.telling import Plot, Scene, at_least, echoed, paced, plain, told


def _fault(status: int, message: str = "", code: str = "", retry: float = 0.0) -> Fault:
    return Fault(status, message or f"The sandbox was asked to fail with {status}.", code or None, retry=retry or None)


def _http_error(scene: Scene) -> Reply:
    script = scene.ask.script
    return _fault(script.count("status"), script.text("message"), script.text("code"), script.seconds("retry"))


def _flaky(scene: Scene) -> Reply:
    script = scene.ask.script
    if scene.earlier < script.count("fails"):
        return _fault(script.count("status"), retry=script.seconds("retry"))
    return plain(scene.ask)


def _after(ask: Ask) -> tuple[list[Step], list[Step]]:
    """The steps before and after the number of tokens that the script gives."""
    after = ask.script.count("after")
    steps = at_least(ask, after + 2)
    return steps[:after], steps[after:]


def _error_in_stream(scene: Scene) -> Reply:
    script = scene.ask.script
    fault = _fault(script.count("status"), code=script.text("code"))
    return told(scene.ask, [*_after(scene.ask)[0], fault], None) if scene.ask.stream else fault


def _cut(scene: Scene) -> Reply:
    return told(scene.ask, [*_after(scene.ask)[0], Cut()], None)


def _no_end(scene: Scene) -> Reply:
    return told(scene.ask, _after(scene.ask)[0], None)


def _drop(_: Scene) -> Reply:
    return Drop()


def _silence(scene: Scene) -> Reply:
    steps = [Pause(scene.ask.script.seconds("for")), *echoed(scene.ask)]
    return told(scene.ask, steps, delivery=Delivery(headers_first=True))


def _silent_headers(scene: Scene) -> Reply:
    return plain(scene.ask, Delivery(headers_after=scene.ask.script.seconds("for")))


def _slow_headers(scene: Scene) -> Reply:
    return plain(scene.ask, Delivery(headers_gap=scene.ask.script.seconds("gap")))


def _big_headers(scene: Scene) -> Reply:
    return plain(scene.ask, Delivery(header_bytes=scene.ask.script.count("bytes")))


def _opening(scene: Scene) -> Reply:
    steps = [Open(), Pause(scene.ask.script.seconds("for")), *echoed(scene.ask)]
    return told(scene.ask, steps, delivery=Delivery(headers_first=True))


def _dribble(scene: Scene) -> Reply:
    letters = [Text(letter) for word in at_least(scene.ask, 1) if isinstance(word, Text) for letter in word.text]
    return told(scene.ask, paced(letters, scene.ask.script.seconds("gap")))


def _stall(scene: Scene) -> Reply:
    before, rest = _after(scene.ask)
    return told(scene.ask, [*before, Pause(scene.ask.script.seconds("for")), *rest])


def _keepalive(scene: Scene) -> Reply:
    script = scene.ask.script
    gap = max(script.seconds("gap"), 0.001)
    signs = (step for _ in range(int(script.seconds("for") / gap)) for step in (Alive(), Pause(gap)))
    return told(scene.ask, [*islice(signs, 200_000), *echoed(scene.ask)], delivery=Delivery(headers_first=True))


def _key(scene: Scene) -> Reply:
    return plain(scene.ask)


def _flood(scene: Scene) -> Reply:
    return told(scene.ask, [Text("x" * scene.ask.script.count("bytes"))])


def _pieces(scene: Scene) -> Reply:
    return plain(scene.ask, Delivery(pieces=scene.ask.script.count("bytes")))


def _gzip(scene: Scene) -> Reply:
    return plain(scene.ask, Delivery(gzip=True))


def _html(_: Scene) -> Reply:
    return Page("<!DOCTYPE html>\n<html><head><title>Sandbox</title></head><body><h1>Not an API</h1></body></html>\n")


def _redirect(scene: Scene) -> Reply:
    return Redirect(scene.ask.script.text("to"))


def _json_to_stream(scene: Scene) -> Reply:
    return plain(scene.ask, Delivery(shape=Shape.WHOLE))


def _stream_always(scene: Scene) -> Reply:
    return plain(scene.ask, Delivery(shape=Shape.STREAM))


def _garbage(scene: Scene) -> Reply:
    before, rest = _after(scene.ask)
    return told(scene.ask, [*before, Garbage(), *rest])


PLOTS: Final[Mapping[str, Plot]] = MappingProxyType(
    {
        "http-error": _http_error,
        "flaky": _flaky,
        "error-in-stream": _error_in_stream,
        "cut": _cut,
        "no-end": _no_end,
        "drop": _drop,
        "silence": _silence,
        "silent-headers": _silent_headers,
        "slow-headers": _slow_headers,
        "big-headers": _big_headers,
        "opening": _opening,
        "dribble": _dribble,
        "stall": _stall,
        "keepalive": _keepalive,
        "key": _key,
        "flood": _flood,
        "pieces": _pieces,
        "gzip": _gzip,
        "html": _html,
        "redirect": _redirect,
        "json-to-stream": _json_to_stream,
        "stream-always": _stream_always,
        "garbage": _garbage,
    }
)
