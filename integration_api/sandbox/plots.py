"""Script by script, what happens: from a request to a reply.

Rule: pure. The scripts that answer stand in `answers`, those that go wrong in `faults`.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from integration_api.sandbox import answers, faults
from integration_api.sandbox.script import SCRIPTS, parse
from integration_api.sandbox.story import Reply
from integration_api.sandbox.telling import Plot, Scene, plain


def tell(scene: Scene) -> Reply:
    """What happens to a request."""
    return PLOTS[scene.ask.script.name](scene)


_WRONGS: Final = (
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


def _chaos(scene: Scene) -> Reply:
    share = scene.ask.script.count("percent") / 100
    if scene.luck >= share:
        return plain(scene.ask)
    wrong = _WRONGS[min(int(scene.luck / share * len(_WRONGS)), len(_WRONGS) - 1)]
    return tell(replace(scene, ask=replace(scene.ask, script=parse(wrong))))


PLOTS: Final[Mapping[str, Plot]] = MappingProxyType({**answers.PLOTS, **faults.PLOTS, "chaos": _chaos})

if PLOTS.keys() != SCRIPTS.keys():  # a script without a plot would be a promise nobody keeps
    raise RuntimeError(f"scripts and plots differ: {sorted(PLOTS.keys() ^ SCRIPTS.keys())}")
