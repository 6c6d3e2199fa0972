"""Scripts of what goes wrong on the way, and of unusual ways of delivery.

Rule: pure. How a reply travels stands in `delivery`.
"""

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

from integration_api.sandbox.building import Builder, Context, at_least, echoed, paced, plain, scenario_of
from integration_api.sandbox.scenario import (
    Cut,
    Delivery,
    Drop,
    Finish,
    Garbage,
    HttpError,
    KeepAlive,
    Open,
    Page,
    Pause,
    Redirect,
    Reply,
    Request,
    Shape,
    Step,
    Text,
)


def _http_error_of(status: int, message: str = "", code: str = "", retry: float = 0.0) -> HttpError:
    return HttpError(
        status, message or f"The sandbox was asked to fail with {status}.", code or None, retry=retry or None
    )


def _http_error(context: Context) -> Reply:
    script = context.request.script
    return _http_error_of(script.count("status"), script.text("message"), script.text("code"), script.seconds("retry"))


def _flaky(context: Context) -> Reply:
    script = context.request.script
    if context.earlier < script.count("fails"):
        return _http_error_of(script.count("status"), retry=script.seconds("retry"))
    return plain(context.request)


def _after(request: Request) -> tuple[list[Step], list[Step]]:
    """The steps before and after the number of tokens that the script gives."""
    after = request.script.count("after")
    steps = at_least(request, after + 2)
    return steps[:after], steps[after:]


def _error_in_stream(context: Context) -> Reply:
    script = context.request.script
    http_error = _http_error_of(script.count("status"), code=script.text("code"))
    return (
        scenario_of(context.request, [*_after(context.request)[0], http_error], None)
        if context.request.stream
        else http_error
    )


def _cut(context: Context) -> Reply:
    return scenario_of(context.request, [*_after(context.request)[0], Cut()], None)


def _no_end(context: Context) -> Reply:
    return scenario_of(context.request, _after(context.request)[0], None)


def _drop(_: Context) -> Reply:
    return Drop()


def _silence(context: Context) -> Reply:
    steps = [Pause(context.request.script.seconds("for")), *echoed(context.request)]
    return scenario_of(context.request, steps, delivery=Delivery(headers_first=True))


def _silent_headers(context: Context) -> Reply:
    return plain(context.request, Delivery(headers_after=context.request.script.seconds("for")))


def _slow_headers(context: Context) -> Reply:
    return plain(context.request, Delivery(headers_gap=context.request.script.seconds("gap")))


def _big_headers(context: Context) -> Reply:
    return plain(context.request, Delivery(header_bytes=context.request.script.count("bytes")))


def _opening(context: Context) -> Reply:
    steps = [Open(), Pause(context.request.script.seconds("for")), *echoed(context.request)]
    return scenario_of(context.request, steps, delivery=Delivery(headers_first=True))


def _dribble(context: Context) -> Reply:
    letters = [Text(letter) for word in at_least(context.request, 1) if isinstance(word, Text) for letter in word.text]
    return scenario_of(context.request, paced(letters, context.request.script.seconds("gap")))


def _stall(context: Context) -> Reply:
    before, rest = _after(context.request)
    return scenario_of(context.request, [*before, Pause(context.request.script.seconds("for")), *rest])


def _uneven(context: Context) -> Reply:
    script = context.request.script
    words = [Text(f"{script.text('word')}{number} ") for number in range(1, script.count("n") + 1)]
    breaks = _falls_on(context.earlier, script.count("cut"))
    sent = words[: script.count("after")] if breaks else words
    late = _falls_on(context.earlier, script.count("percent"))
    steps: list[Step] = [Pause(script.seconds("for" if late else "first")), *paced(sent, script.seconds("gap"))]
    if breaks:
        steps.append(Cut())
    return scenario_of(context.request, steps, None if breaks else Finish.STOP, delivery=Delivery(headers_first=True))


def _falls_on(earlier: int, percent: int) -> bool:
    """Whether a share that is spread evenly over all answers falls on the one behind `earlier` others."""
    return (earlier + 1) * percent // 100 > earlier * percent // 100


def _keepalive(context: Context) -> Reply:
    script = context.request.script
    gap = max(script.seconds("gap"), 0.001)
    signs = (step for _ in range(int(script.seconds("for") / gap)) for step in (KeepAlive(), Pause(gap)))
    return scenario_of(
        context.request, [*islice(signs, 200_000), *echoed(context.request)], delivery=Delivery(headers_first=True)
    )


def _key(context: Context) -> Reply:
    return plain(context.request)


def _flood(context: Context) -> Reply:
    return scenario_of(context.request, [Text("x" * context.request.script.count("bytes"))])


def _pieces(context: Context) -> Reply:
    return plain(context.request, Delivery(pieces=context.request.script.count("bytes")))


def _gzip(context: Context) -> Reply:
    return plain(context.request, Delivery(gzip=True))


def _html(_: Context) -> Reply:
    return Page("<!DOCTYPE html>\n<html><head><title>Sandbox</title></head><body><h1>Not an API</h1></body></html>\n")


def _redirect(context: Context) -> Reply:
    return Redirect(context.request.script.text("to"))


def _json_to_stream(context: Context) -> Reply:
    return plain(context.request, Delivery(shape=Shape.WHOLE))


def _stream_always(context: Context) -> Reply:
    return plain(context.request, Delivery(shape=Shape.STREAM))


def _garbage(context: Context) -> Reply:
    before, rest = _after(context.request)
    return scenario_of(context.request, [*before, Garbage(), *rest])


BUILDERS: Final[Mapping[str, Builder]] = MappingProxyType(
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
        "uneven": _uneven,
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
