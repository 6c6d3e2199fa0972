"""Options of commands that are settings of the service: one for each field of `Settings`, with its environment name.

Rule: the class in, click's options out; what values mean together is not known here.
"""

import math
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, TypeVar, get_args

import click

from integration_api.settings import Settings, env_name, flag

# gRPC and the operating system take no larger numbers; memory is counted by ourselves.
_MOST = 2**31 - 1
_MOST_MEMORY = 2**53
_MEMORY = frozenset({"memory_limit_bytes", "max_receiving_bytes", "max_unread_bytes"})
_Command = TypeVar("_Command", bound=Callable[..., object])


class _Finite(click.FloatRange):
    """A number of seconds: not negative, and neither `inf` nor `nan`, with which no timer works."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def _type_of(entry: "Field[Any]") -> click.ParamType[Any]:
    """How the text of a setting is read."""
    if entry.metadata["choices"]:
        return click.Choice(entry.metadata["choices"])
    kinds = get_args(entry.type) or (entry.type,)
    if bool in kinds:
        return click.BOOL
    if int in kinds:
        # A bound whose default is above zero cannot be turned off by zero: it would refuse everything.
        least = 1 if entry.name.startswith("max_") and entry.default else 0
        most = _MOST_MEMORY if entry.name in _MEMORY else 65535 if entry.name.endswith("port") else _MOST
        return click.IntRange(min=least, max=most)
    # A timeout of zero would end everything at once; where zero is the default, it stands for no limit.
    above_zero = entry.name.endswith("_timeout") and bool(entry.default)
    return _Finite(min=0, min_open=above_zero) if float in kinds else click.STRING


def _option(entry: "Field[Any]") -> Callable[[_Command], _Command]:
    name, kind = flag(entry.name), _type_of(entry)
    return click.option(
        f"{name}/--no-{name[2:]}" if kind is click.BOOL else name,
        entry.name,
        default=entry.default,
        type=kind,
        metavar={click.IntRange: "NUMBER", _Finite: "SECONDS"}.get(type(kind)),
        envvar=env_name(entry.name),
        show_envvar=True,
        show_default=not entry.metadata["secret"] and entry.default not in {"", None},
        help=entry.metadata["meaning"],
    )


def setting_options(*names: str) -> Callable[[_Command], _Command]:
    """Adds an option for each of these settings, in their own order; without names, for every setting."""

    def decorated(command: _Command) -> _Command:
        for entry in reversed(fields(Settings)):
            if not names or entry.name in names:
                command = _option(entry)(command)
        return command

    return decorated
