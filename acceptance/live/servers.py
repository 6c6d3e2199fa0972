"""The processes of a run: llama.cpp's server, LiteLLM's proxy before it, and our own service, each on a free port.

Rule: it knows how each is configured, started and known to be ready; what is asked of them stands elsewhere.
"""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from acceptance.live.children import Child, running
from acceptance.live.install import Cache
from bench.processes import free_port

MODEL = "gemma-3-270m"
LLAMA_KEY = "sk-llama"
LITELLM_KEY = "sk-litellm"
MOCK_TEXT = "This is the proxy itself speaking."
_TEMPLATE = Path(__file__).parent / "templates" / "one-line-turns.jinja"
# The token of a newline in Gemma's vocabulary: where an answer ends, by the template.
_NEWLINE = "tokenizer.ggml.eot_token_id=int:107"
_CONTEXT = 8192
_SLOTS = 2
# LiteLLM reports home, fetches prices and a dashboard unless it is told not to; here is nothing but loopback.
_LITELLM_ENV = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "DISABLE_SCHEMA_UPDATE": "true",
    "DISABLE_ADMIN_UI": "True",
    "NO_DOCS": "True",
}


@asynccontextmanager
async def llama(cache: Cache) -> AsyncIterator[str]:
    """llama.cpp's server with the model; gives its URL, without a path."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        *(cache.llama_server, "--model", cache.model, "--alias", MODEL, "--offline"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--ctx-size", str(_CONTEXT), "--parallel", str(_SLOTS), "--threads", "2"),
        *("--jinja", "--chat-template-file", _TEMPLATE, "--override-kv", _NEWLINE),
        *("--temp", "0", "--seed", "7", "--api-key", LLAMA_KEY),
    ]
    ready = _answers(f"{url}/health")
    async with running("llama.cpp's server", command, cache.log("llama-server"), ready=ready, within=120):
        yield url


@asynccontextmanager
async def litellm(cache: Cache, behind: str) -> AsyncIterator[str]:
    """LiteLLM's proxy before llama.cpp's server at `behind`; gives its URL, without a path."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = cache.root / "run" / "litellm.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(_litellm_config(behind), indent=1))  # JSON is YAML
    command: list[str | Path] = [
        cache.litellm,
        "--config",
        config,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    ready = _answers(f"{url}/health/liveliness")
    log = cache.log("litellm")
    env = _LITELLM_ENV
    async with running("LiteLLM", command, log, ready=ready, within=180, env=env, cwd=config.parent):
        yield url


def _litellm_config(behind: str) -> dict[str, object]:
    def model(name: str, **parameters: str) -> dict[str, object]:
        return {"model_name": name, "litellm_params": {"api_key": LLAMA_KEY, **parameters}}

    return {
        "model_list": [
            model("gemma", model=f"openai/{MODEL}", api_base=f"{behind}/v1"),
            model("gemma-messages", model=f"anthropic/{MODEL}", api_base=behind),
            model("mock", model="openai/mock", mock_response=MOCK_TEXT),
        ],
        "litellm_settings": {"telemetry": False, "num_retries": 0, "drop_params": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": LITELLM_KEY},
    }


@asynccontextmanager
async def service(cache: Cache) -> AsyncIterator[tuple[Child, grpc.aio.Channel]]:
    """Our service as `integration-api serve` runs it, and a channel to it."""
    port = free_port()
    command: list[str | Path] = [
        *(sys.executable, "-m", "integration_api", "serve", "--host", "127.0.0.1", "--port", str(port)),
        *("--egress-policy", "open", "--log-format", "json"),
    ]
    # No HTTP proxy of the environment: it is this machine's own service that is asked.
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.enable_http_proxy", 0),)) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def ready() -> bool:
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        async with running("the service", command, cache.log("service"), ready=ready, within=30) as child:
            yield child, channel


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Asks whether a URL answers with 200."""

    async def ask() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return ask


async def busy_slots(url: str) -> int:
    """How many slots of llama.cpp's server at `url` are generating."""
    headers = {"Authorization": f"Bearer {LLAMA_KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{url}/slots") as response:
        return sum(bool(slot["is_processing"]) for slot in await response.json())
