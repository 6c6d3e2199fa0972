"""The layers of the house, held by every import: which way a module may look.

The checker reads source text, so that it can be shown to fail on a wrong import as well as to pass on ours.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Modules of the standard library that do I/O or know an event loop.
_IO = frozenset({"asyncio", "socket", "ssl", "selectors", "http.client", "urllib.request", "subprocess", "threading"})
_PB = ("google.protobuf",)
_GENERATED = (
    "integration_api.v1",
    "integration_api.unified_messages_pb2",
    "integration_api.unified_provider_pb2",
    "integration_api.unified_provider_pb2_grpc",
)


@dataclass(frozen=True)
class Layer:
    """What modules under `places` may import: `packages` from outside, `own` of ours, `banned` not, though standard."""

    name: str
    places: tuple[str, ...]
    packages: tuple[str, ...]
    own: tuple[str, ...]
    banned: frozenset[str] = frozenset()


# The first layer whose place is a prefix of the module's name holds.
LAYERS = (
    Layer(
        "transport",
        ("caller.custom_llm.transport", "caller.custom_llm.egress"),
        ("aiohttp", "yarl", "multidict"),
        ("caller",),
    ),
    Layer(
        "calling",
        tuple(f"caller.custom_llm.{name}" for name in ("caller", "exchange", "discovery", "watchdog")),
        ("msgspec",),
        ("caller",),
        _IO - {"asyncio"},
    ),
    Layer("pure", ("caller.custom_llm",), ("msgspec",), ("caller",), _IO),
    Layer(
        "domain",
        ("caller",),
        ("msgspec",),
        ("caller",),
        frozenset({"socket", "ssl", "http.client", "urllib.request", "subprocess"}),
    ),
    Layer("generated", _GENERATED, ("grpc", *_PB), ("integration_api",)),
    Layer(
        "codec", ("integration_api.codec",), ("msgspec", *_PB), ("caller", "integration_api.codec", *_GENERATED), _IO
    ),
    Layer("sandbox", ("integration_api.sandbox",), ("aiohttp",), ("integration_api.sandbox",)),
    Layer(
        "command line",
        ("integration_api.commands", "integration_api.cli", "integration_api.__main__"),
        ("click", "grpc", "grpc_health", "google", "uvloop", "cryptography"),
        ("caller", "integration_api"),
    ),
)
# The domain must not know the package that is one of its callers, nor the edge its command line or the other side.
PURE_DOMAIN = "caller.custom_llm"
ONLY_FOR_COMMANDS = ("integration_api.commands", "integration_api.cli", "integration_api.sandbox")


def within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the places, or below one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def layer_of(module: str) -> Layer | None:
    return next((layer for layer in LAYERS if within(module, layer.places)), None)


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
    layer = layer_of(module)
    return [
        f"{module}:{line} imports {name}: {why}"
        for line, name in imported(source, module, package=package)
        if (why := _fault(module, name, layer))
    ]


def _fault(module: str, name: str, layer: Layer | None) -> str:
    root = name.partition(".")[0]
    if layer is None:
        outside = not within(module, ONLY_FOR_COMMANDS)
        return (
            "the server knows neither its command line nor the sandbox"
            if outside and within(name, ONLY_FOR_COMMANDS)
            else ""
        )
    if root in ("caller", "integration_api"):
        if layer.name == "domain" and within(name, (PURE_DOMAIN,)):
            return "the domain does not know its callers"
        return "" if within(name, layer.own) else f"not of the layer {layer.name}"
    if root in sys.stdlib_module_names:
        dynamic = root == "importlib" and layer.name != "command line"
        return f"the layer {layer.name} does without" if dynamic or within(name, tuple(layer.banned)) else ""
    return "" if within(name, layer.packages) else f"no package of the layer {layer.name}"


def modules() -> Iterator[tuple[Path, str, bool]]:
    for top in ("caller", "integration_api"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            package = parts[-1] == "__init__"
            yield path, ".".join(parts[:-1] if package else parts), package


def test_every_import_looks_the_right_way() -> None:
    """No module of ours imports what its layer may not know."""
    seen = list(modules())
    assert len(seen) > 50, "the modules were not found"
    wrong = [
        fault
        for path, module, package in seen
        for fault in wrong_imports(path.read_text("utf-8"), module, package=package)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_layer_has_modules() -> None:
    """A layer whose modules were renamed is noticed, instead of holding nothing."""
    held = {layer.name for _, module, _ in modules() if (layer := layer_of(module))}
    assert held == {layer.name for layer in LAYERS}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("caller.fold", "import grpc"),
        ("caller.fold", "from google.protobuf import struct_pb2"),
        ("caller.fold", "from integration_api.v1 import messages_pb2"),
        ("caller.fold", "from caller.custom_llm.sse import SseDecoder"),
        ("caller.fold", "import aiohttp"),
        ("caller.fold", "import importlib"),
        ("caller.custom_llm.sse", "import asyncio"),
        ("caller.custom_llm.framing", "from asyncio import Queue"),
        ("caller.custom_llm.adapters.openai_compatible", "def late():\n    import aiohttp"),
        (
            "caller.custom_llm.adapters.openai_compatible",
            "from ... import grpc\nfrom ....integration_api import settings",
        ),
        ("caller.custom_llm.adapters.openai_compatible", "import urllib.request"),
        ("caller.custom_llm.exchange", "from aiohttp import ClientSession"),
        ("caller.custom_llm.transport", "import grpc"),
        ("caller.custom_llm.egress", "import requests"),
        ("integration_api.codec.structs", "import grpc.aio"),
        ("integration_api.codec.structs", "import aiohttp"),
        ("integration_api.codec.structs", "from integration_api.settings import Settings"),
        ("integration_api.sandbox.story", "from caller.events import TextDelta"),
        ("integration_api.sandbox.story", "import grpc"),
        ("integration_api.sandbox.story", "if TYPE_CHECKING:\n    from integration_api.settings import Settings"),
        ("integration_api.server", "from integration_api.sandbox import Sandbox"),
        ("integration_api.services.chat", "from integration_api.commands import serve"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    """The checker fails on each import that the layers forbid."""
    assert wrong_imports(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("caller.fold", "import msgspec\nfrom caller.events import TextDelta\nimport json"),
        ("caller.custom_llm.adapters.openai_compatible", "from . import common\nfrom ..sse import SseDecoder"),
        ("caller.custom_llm.exchange", "import asyncio"),
        ("caller.custom_llm.transport", "import aiohttp, asyncio, ssl\nfrom yarl import URL"),
        (
            "integration_api.codec.structs",
            "from google.protobuf import struct_pb2\nfrom caller.json_types import JsonValue",
        ),
        ("integration_api.server", "import grpc\nfrom caller.registry import Registry"),
        ("integration_api.commands.demo", "from integration_api.sandbox import Sandbox"),
    ],
)
def test_a_good_import_passes(module: str, source: str) -> None:
    """The checker lets pass what the layers allow."""
    assert wrong_imports(source, module) == []
