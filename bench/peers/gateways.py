"""The gateways that are measured: how each is started in front of one endpoint, and what is asked of it.

Rule: it writes commands, files and requests, and measures nothing. Every gateway is one process with one worker,
without metrics, and logs no line for each call where it can be told not to. They come from package registries, into an
environment of their own each (`make peers`).
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.work import request

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "peers"
HERE = Path(__file__).parent
# What the endpoint is told as the model; LiteLLM wants to know its models beforehand.
MODELS = ("unary", "burst-400", "paced-100-50", "paced-1000-50")
_LITELLM_KEY = "sk-bench"


@dataclass(frozen=True)
class Started:
    """How to start a gateway: its command and what it adds to the environment."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gateway:
    """One gateway: `start` for its port, the endpoint's and a folder of its own; `headers` for the endpoint's port."""

    name: str
    language: str
    kind: str
    version: Callable[[], str]
    start: Callable[[int, int, Path], Started] | None
    headers: Callable[[int], Sequence[str]] = lambda _: ()

    @property
    def installed(self) -> bool:
        """Whether it is on this machine."""
        return bool(self.version())

    def body(self, endpoint: int, model: str, *, stream: bool) -> bytes:
        """What is asked, as bytes."""
        if self.kind == "grpc":
            return request(endpoint, model)
        asked = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        return json.dumps({**asked, "stream": True} if stream else asked).encode()


def _package(environment: str, name: str) -> Callable[[], str]:
    """The version of a Python package in an environment of its own; empty where there is none."""

    def version() -> str:
        python = CACHE / environment / "bin" / "python"
        if not python.exists():
            return ""
        code = f"import importlib.metadata as m; print(m.version({name!r}))"
        told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 -- ours
        return told.stdout.strip()

    return version


def _ours_version() -> str:
    from integration_api import __version__  # noqa: PLC0415 -- the service's own, for its row only

    return __version__


def _ours(port: int, _: int, __: Path) -> Started:
    serve = ("-m", "integration_api", "serve", "--port", str(port), "--log-level", "warning")
    return Started((sys.executable, *serve), {"PYTHONPATH": str(ROOT)})


def _litellm(port: int, endpoint: int, folder: Path) -> Started:
    models = [
        {
            "model_name": model,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": f"http://127.0.0.1:{endpoint}/v1",
                "api_key": "none",
            },
        }
        for model in MODELS
    ]
    settings = {
        "model_list": models,
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "general_settings": {"master_key": _LITELLM_KEY},
    }
    config = folder / "litellm.yaml"
    config.write_text(json.dumps(settings), "utf-8")  # JSON is YAML
    quiet = folder / "logging.json"
    quiet.write_text(json.dumps({"version": 1, "loggers": {"uvicorn.access": {"level": "WARNING"}}}), "utf-8")
    command = (str(CACHE / "litellm/bin/litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    environment = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "DISABLE_ADMIN_UI": "True",
        "NO_DOCS": "True",
    }
    options = ("--num_workers", "1", "--telemetry", "False", "--log_config", str(quiet))
    return Started((*command, *options), environment)


def _portkey_version() -> str:
    package = CACHE / "portkey/node_modules/@portkey-ai/gateway/package.json"
    return str(json.loads(package.read_text("utf-8"))["version"]) if package.exists() else ""


def _portkey(port: int, _: int, __: Path) -> Started:
    server = CACHE / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    preload = ("--require", str(HERE / "loopback.cjs"))
    environment = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    return Started(("node", *preload, str(server), f"--port={port}", "--headless"), environment)


def _portkey_headers(endpoint: int) -> Sequence[str]:
    where = f"x-portkey-custom-host: http://127.0.0.1:{endpoint}/v1"
    return ("x-portkey-provider: openai", where, "Authorization: Bearer none")


# They spell a level differently.
_QUIET = {"vllm-router": ("--log-level", "warning"), "smg": ("--log-level", "warn")}


def _router(environment: str, *command: str) -> Callable[[int, int, Path], Started]:
    """The Rust routers descend from one, and take the same options."""

    def start(port: int, endpoint: int, _: Path) -> Started:
        program = str(CACHE / environment / "bin" / command[0])
        where = ("--worker-urls", f"http://127.0.0.1:{endpoint}", "--host", "127.0.0.1", "--port", str(port))
        # Their own metrics have the next port.
        metrics = ("--prometheus-host", "127.0.0.1", "--prometheus-port", str(port + 1))
        return Started((program, *command[1:], *where, *metrics, "--policy", "round_robin", *_QUIET[environment]))

    return start


GATEWAYS = (
    Gateway("direct", "", "http", lambda: "-", None),
    Gateway("integration-api", "Python, gRPC", "grpc", _ours_version, _ours),
    Gateway(
        "LiteLLM",
        "Python",
        "http",
        _package("litellm", "litellm"),
        _litellm,
        lambda _: (f"Authorization: Bearer {_LITELLM_KEY}",),
    ),
    Gateway("Portkey", "TypeScript, Node", "http", _portkey_version, _portkey, _portkey_headers),
    Gateway(
        "vllm-router", "Rust", "http", _package("vllm-router", "vllm-router"), _router("vllm-router", "vllm-router")
    ),
    Gateway("smg", "Rust", "http", _package("smg", "smg"), _router("smg", "smg", "launch", "--backend", "openai")),
)
