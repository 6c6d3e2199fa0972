"""The order of the packages, held by every import: which way a module may look.

One table, top first. A module imports packages below its own, its own package, and nothing beside or above. A row of
several places are packages beside each other. The checker reads source text, so that it can be shown to fail on a
wrong import as well as to pass on ours.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_PROTOBUF = ("google.protobuf",)
_GRPC = ("grpc", "grpc_health", "grpc_reflection", "google")
# Modules of the standard library that do I/O or know an event loop.
_IO = frozenset(
    {"asyncio", "socket", "ssl", "selectors", "http.client", "urllib.request", "subprocess", "threading", "importlib"}
)


@dataclass(frozen=True)
class Row:
    """Packages of one height, the third-party packages that they may import, and the standard modules that they may
    not."""

    places: tuple[str, ...]
    packages: tuple[str, ...] = ()
    banned: frozenset[str] = frozenset({"importlib"})


def _edge(*names: str, packages: tuple[str, ...] = (), banned: frozenset[str] = frozenset({"importlib"})) -> Row:
    return Row(tuple(f"integration_api.{name}" for name in names), packages, banned)


def _provider(*names: str, packages: tuple[str, ...] = ("msgspec",), banned: frozenset[str] = _IO) -> Row:
    return Row(tuple(f"caller.custom_llm.{name}" for name in names), packages, banned)


# The folders of the API shapes: beside each other, so none imports another.
_SHAPES = sorted(f"apis.{adapter.parent.name}" for adapter in ROOT.glob("caller/custom_llm/apis/*/adapter.py"))
ORDER = (
    _edge("__main__", banned=frozenset()),
    _edge("cli", packages=("click",), banned=frozenset()),
    _edge(
        "commands",
        packages=("click", "prompt_toolkit", "uvloop", "cryptography", "structlog", *_GRPC),
        banned=frozenset(),
    ),
    _edge("workers", packages=("msgspec", "prometheus_client", "structlog"), banned=frozenset()),
    _edge("server", packages=(*_GRPC, "structlog")),
    _edge("admin", packages=("aiohttp",)),
    _edge("chat", "rapida", packages=("msgspec", "structlog", "jwt", "cryptography", *_GRPC)),
    _edge(
        "telemetry",
        packages=("msgspec", "prometheus_client", "structlog", "opentelemetry", "requests", "grpc"),
    ),
    _edge("calls", packages=("msgspec", "structlog")),
    _edge("rpc", packages=(*_GRPC, "msgspec", "structlog")),
    _edge("auth", packages=("grpc", "jwt", "cryptography", "structlog")),
    _edge("files", packages=("msgspec", "structlog")),
    _edge("codec", packages=("msgspec", *_PROTOBUF), banned=_IO),
    _edge("log", packages=("msgspec", "structlog")),
    _edge("settings"),
    Row(("integration_api.sandbox",), ("aiohttp",)),
    Row(("integration_api.client",), ("grpc", "google")),  # a package of its own, too: tests/test_packages.py
    Row(
        (
            "integration_api.v1",
            "integration_api.unified_messages_pb2",
            "integration_api.unified_provider_pb2",
            "integration_api.unified_provider_pb2_grpc",
        ),
        ("grpc", *_PROTOBUF),
    ),
    _provider("caller", banned=_IO - {"asyncio"}),
    _provider("check", "warming", banned=_IO - {"asyncio"}),
    _provider("attempt", banned=_IO - {"asyncio"}),
    _provider("answer"),
    _provider("http", packages=("aiohttp", "msgspec", "yarl", "multidict"), banned=frozenset({"importlib"})),
    _provider("apis.__init__"),
    _provider(*_SHAPES),
    _provider("apis.finish_words", "apis.tool_calls", "apis.openai_models", "apis.logprobs", "apis.usage", "apis.kept"),
    _provider("apis.arguments"),
    _provider("apis.shared"),
    _provider("apis.parsing"),
    _provider("demands"),
    _provider("demand_table"),
    _provider("errors"),
    _provider("body"),
    _provider("adapter", "request_body"),
    _provider("base_url"),
    Row(("caller",), ("msgspec",), _IO - {"asyncio"}),
)
# The other side of the wire and the client: they know nothing of ours but the generated code, and who may know them.
_ALONE = ("integration_api.client", "integration_api.sandbox")
_WHO_KNOWS_THEM = ("integration_api.commands", "integration_api.cli")
_GENERATED = next(row for row in ORDER if "integration_api.v1" in row.places)
# Below what may know protobuf: settings, log and files do not, nor does anything of `caller`.
_WITHOUT_PROTOBUF = ("integration_api.files", "integration_api.log", "integration_api.settings", "caller")


def within(name: str, place: str) -> bool:
    """Whether a dotted name is the place, or below it."""
    return name == place or name.startswith(f"{place}.")


def place_of(name: str) -> tuple[int, str] | None:
    """The height of a module or of a name in one, and the place that it belongs to; None for what is not listed."""
    found = [
        (len(place.removesuffix(".__init__")), -height, place)
        for height, row in enumerate(ORDER)
        for place in row.places
        if within(name, place.removesuffix(".__init__"))
    ]
    if not found:
        return None
    _, height, place = max(found)
    return -height, place


def imported(source: str, module: str, *, package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, wherever in it that stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + package] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def wrong_imports(source: str, module: str, *, package: bool = False) -> list[str]:
    """What a module imports and may not, one line of text for each."""
    return [
        f"{module}:{line} imports {name}: {why}"
        for line, name in imported(source, module, package=package)
        if (why := _violation(module, name))
    ]


def _violation(module: str, name: str) -> str:
    mine = place_of(module)
    if mine is None:
        return "this module is not in the order of the packages"
    row = ORDER[mine[0]]
    root = name.partition(".")[0]
    if root in ("caller", "integration_api"):
        return _wrong_way(module, mine, name)
    if root in sys.stdlib_module_names:
        return "this package does without" if any(within(name, banned) for banned in row.banned) else ""
    return "" if any(within(name, package) for package in row.packages) else "not among this package's dependencies"


def _wrong_way(module: str, mine: tuple[int, str], name: str) -> str:
    theirs = place_of(name)
    if theirs is None:
        return "" if name == "integration_api.__version__" else "not in the order of the packages"
    if theirs[1] == mine[1] or {theirs[1], mine[1]} <= set(_GENERATED.places):
        return ""
    if theirs[0] <= mine[0]:
        return f"{theirs[1]} is not below {mine[1]}"
    generated = theirs[1] in _GENERATED.places
    if any(within(module, place) for place in _ALONE):
        return "" if generated else "knows nothing of ours but the generated code"
    if theirs[1] in _ALONE:
        return "" if any(within(module, place) for place in _WHO_KNOWS_THEM) else "only commands know it"
    if generated and any(within(module, place) for place in _WITHOUT_PROTOBUF):
        return "does without protobuf"
    return ""


def modules() -> Iterator[tuple[Path, str, bool]]:
    for top in ("caller", "integration_api"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            package = parts[-1] == "__init__"
            yield path, ".".join(parts[:-1] if package else parts), package


def test_every_import_looks_down() -> None:
    """No module of ours imports a package beside or above its own, or what its package does without."""
    seen = [each for each in modules() if each[1] != "integration_api"]
    assert len(seen) > 50, "the modules were not found"
    wrong = [
        violation
        for path, module, package in seen
        for violation in wrong_imports(path.read_text("utf-8"), module, package=package)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_place_has_modules() -> None:
    """A place whose modules were renamed is noticed, instead of holding nothing."""
    held = {place[1] for _, module, _ in modules() if (place := place_of(module))}
    missing = {place for row in ORDER for place in row.places} - held
    assert not missing


@pytest.mark.parametrize(
    ("module", "source"),
    [
        # The eight that the checker of the first layout let through.
        ("caller.custom_llm.apis.gemini.decoder", "from caller.custom_llm.http.transport import Transport"),
        ("caller.custom_llm.body.sse", "from caller.custom_llm.attempt import Attempt"),
        ("caller.custom_llm.apis.gemini.decoder", "from caller.custom_llm.apis.anthropic.blocks import Blocks"),
        ("caller.custom_llm.http.transport", "from caller.custom_llm.caller import CustomLLMCaller"),
        ("integration_api.rpc.guard", "from integration_api.chat import service"),
        ("integration_api.chat.service", "import aiohttp"),
        ("integration_api.chat.service", "from integration_api.sandbox import Sandbox"),
        ("integration_api.settings", "import grpc"),
        ("caller.retry", "from caller.custom_llm.http.transport import Transport"),
        ("caller.fold", "import grpc"),
        ("caller.fold", "from google.protobuf import struct_pb2"),
        ("caller.fold", "from integration_api.v1 import messages_pb2"),
        ("caller.fold", "from caller.custom_llm.body.sse import SseDecoder"),
        ("caller.fold", "import aiohttp"),
        ("caller.fold", "import importlib"),
        ("caller.custom_llm.body.sse", "import asyncio"),
        ("caller.custom_llm.body.sniff", "from asyncio import Queue"),
        ("caller.custom_llm.apis.chat_completions.adapter", "def late():\n    import aiohttp"),
        ("caller.custom_llm.apis.chat_completions.adapter", "from ..... import grpc"),
        ("caller.custom_llm.apis.chat_completions.adapter", "from .....integration_api import settings"),
        ("caller.custom_llm.apis.chat_completions.adapter", "import urllib.request"),
        ("caller.custom_llm.apis.shared", "from caller.custom_llm.apis import ADAPTERS"),
        ("caller.custom_llm.attempt", "from aiohttp import ClientSession"),
        ("caller.custom_llm.http.transport", "import grpc"),
        ("caller.custom_llm.http.egress", "import requests"),
        ("integration_api.codec.structs", "import grpc.aio"),
        ("integration_api.codec.structs", "import aiohttp"),
        ("integration_api.codec.structs", "from integration_api.rpc.status import TABLE"),
        ("integration_api.files.reload", "from integration_api.v1 import messages_pb2"),
        ("integration_api.rapida.service", "from integration_api.chat.request import chat_call"),
        ("integration_api.calls.admission", "import grpc"),
        ("integration_api.sandbox.scenario", "from caller.events import TextDelta"),
        ("integration_api.sandbox.scenario", "if TYPE_CHECKING:\n    from integration_api.settings import Settings"),
        ("integration_api.server", "from integration_api.sandbox import Sandbox"),
        ("integration_api.chat.service", "from integration_api.commands import serve"),
        ("integration_api.brand_new", "import json"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    """The checker fails on each import that the order forbids."""
    assert wrong_imports(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("caller.fold", "import msgspec\nfrom caller.events import TextDelta\nimport json"),
        ("caller.custom_llm.apis.chat_completions.adapter", "from .. import shared\nfrom ...adapter import Frame"),
        ("caller.custom_llm.attempt", "import asyncio\nfrom caller.custom_llm.http.transport import Transport"),
        ("caller.custom_llm.caller", "from caller.custom_llm.apis import ADAPTERS"),
        ("caller.custom_llm.http.transport", "import aiohttp, asyncio, ssl\nfrom yarl import URL"),
        (
            "integration_api.codec.structs",
            "from google.protobuf import struct_pb2\nfrom caller.json_types import JsonValue",
        ),
        ("integration_api.server", "import grpc\nfrom caller.registry import Registry"),
        ("integration_api.commands.demo", "from integration_api.sandbox import Sandbox"),
    ],
)
def test_a_good_import_passes(module: str, source: str) -> None:
    """The checker lets pass what the order allows."""
    assert wrong_imports(source, module) == []
