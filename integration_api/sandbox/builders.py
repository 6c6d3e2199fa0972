"""Script by script, what happens: from a request to a reply.

Rule: pure. The scripts that answer stand in `answers`, those that go wrong in `failures`.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox import answers, failures
from integration_api.sandbox.building import Builder, Context, plain
from integration_api.sandbox.scenario import Reply
from integration_api.sandbox.script import SCRIPTS, parse


def build(context: Context) -> Reply:
    """What happens to a request."""
    return BUILDERS[context.request.script.name](context)


_FAILURES: Final = (
    "http-error:status=500",
    "http-error:status=503",
    "http-error:status=429,retry=50ms",
    "http-error:status=400",
    "error-in-stream:after=2,status=529",
    "cut:after=0",
    "cut:after=2",
    "no-end:after=2",
    "drop",
    "garbage:after=1",
    "html",
    "redirect",
    "silence:for=200ms",
    "silent-headers:for=200ms",
    "stall:after=1,for=200ms",
    "opening:for=200ms",
    "keepalive:for=200ms,gap=50ms",
    "json-to-stream",
    "pieces:bytes=1",
)


def _chaos(context: Context) -> Reply:
    share = context.request.script.count("percent") / 100
    if context.random >= share:
        return plain(context.request)
    failure = _FAILURES[min(int(context.random / share * len(_FAILURES)), len(_FAILURES) - 1)]
    return build(replace(context, request=replace(context.request, script=parse(failure))))


BUILDERS: Final[Mapping[str, Builder]] = MappingProxyType({**answers.BUILDERS, **failures.BUILDERS, "chaos": _chaos})

if BUILDERS.keys() != SCRIPTS.keys():  # a script without a builder would be listed and never answered
    raise RuntimeError(f"scripts and builders differ: {sorted(BUILDERS.keys() ^ SCRIPTS.keys())}")
