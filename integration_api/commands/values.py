"""How the command line reads values: secrets that need not be typed, JSON from text or files, names with values.

Rule: text in, values out. What is wrong is click's usage error, and no secret is repeated in one.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from caller.json_types import JsonValue

# `Bearer env:NAME`: a scheme may stand before what is read from elsewhere.
_ELSEWHERE = re.compile(r"(?P<scheme>[A-Za-z]+ )?(?:env:(?P<variable>[A-Za-z_][A-Za-z0-9_]*)|@(?P<file>.+))")
_PAIR = re.compile(r"(?P<name>[^=:\s]+)\s*[=:]\s*(?P<value>.*)", re.DOTALL)


class Secret(click.ParamType[str]):
    """Text as it is, `env:NAME` or `@FILE`, so that a key need not stand in the shell's history or in `ps`."""

    name = "secret"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = _ELSEWHERE.fullmatch(value)
        if found is None:
            return value
        scheme = found["scheme"] or ""
        if found["variable"]:
            if found["variable"] not in os.environ:
                self.fail(f"the environment has no {found['variable']}", param, ctx)
            return scheme + os.environ[found["variable"]]
        return scheme + _read(self, found["file"], param, ctx).strip()


class KeyType(Secret):
    """A secret; `-` asks for it unseen at a terminal, and else reads a line."""

    name = "key"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "-":
            return super().convert(value, param, ctx)
        if sys.stdin.isatty():
            return str(click.prompt("Key", hide_input=True, err=True)).strip()
        return sys.stdin.readline().strip()


class HeaderType(click.ParamType[tuple[str, str]]):
    """NAME=VALUE or 'NAME: VALUE'; the value is read like a secret."""

    name = "name=value"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        found = _PAIR.fullmatch(value)
        if found is None:
            self.fail("expected NAME=VALUE", param, ctx)  # without the text: it can be a key alone
        return found["name"], SECRET.convert(found["value"], param, ctx)


class ParameterType(click.ParamType[tuple[str, JsonValue]]):
    """KEY=VALUE; a value that is JSON is read as JSON, all else is text."""

    name = "key=value"

    def convert(
        self, value: str | tuple[str, JsonValue], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, JsonValue]:
        if isinstance(value, tuple):
            return value
        key, found, text = value.partition("=")
        if not key or not found:
            self.fail(f"expected KEY=VALUE, got {value!r}", param, ctx)
        try:
            return key, json.loads(text)
        except ValueError:
            return key, text


class ObjectType(click.ParamType[dict[str, JsonValue]]):
    """A JSON object, or @FILE with one."""

    name = "json"

    def convert(
        self, value: str | dict[str, JsonValue], param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, JsonValue]:
        if isinstance(value, dict):
            return value
        text = _read(self, value[1:], param, ctx) if value.startswith("@") else value
        try:
            read = json.loads(text)
        except ValueError as error:
            self.fail(f"not JSON: {error}", param, ctx)
        if not isinstance(read, dict):
            self.fail("not a JSON object", param, ctx)
        return read


def _read(kind: click.ParamType[Any], path: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        kind.fail(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}", param, ctx)


SECRET = Secret()
KEY = KeyType()
KEY_VARIABLE = "LLM_KEY"  # what the commands that call an endpoint read its key from
HEADER = HeaderType()
PARAMETER = ParameterType()
OBJECT = ObjectType()
