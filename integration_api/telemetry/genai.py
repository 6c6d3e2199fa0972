"""The OpenTelemetry conventions for GenAI clients, as of their version 1.4x: names of what spans and metrics say of a
call. No name of ours is among them; tests hold them against the package of the conventions. Pure.
"""

from collections.abc import Mapping
from typing import Final

from caller.api_facts import FACTS
from caller.providers import CUSTOM

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 -- of the model
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"
RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"

INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

CHAT: Final = "chat"
# A provider of another name is called by it.
_VENDORS: Final[Mapping[str, str]] = {api.value: facts.vendor for api, facts in FACTS.items()}
# gRPC's statuses that are an error of the server that answers with them.
SERVER_ERRORS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)


def provider_name(provider: str, api: str) -> str:
    """Who is asked: the provider's own name, or that of its API shape where it has none."""
    return _VENDORS.get(api, api) if provider == CUSTOM else provider


def request_attributes(provider: str, api: str, endpoint: str, model: str) -> dict[str, str | int | float | bool]:
    """What is asked, and of whom."""
    host, _, port = endpoint.rpartition(":")
    known: dict[str, str | int | float | bool] = {
        OPERATION: CHAT,
        PROVIDER: provider_name(provider, api),
        REQUEST_MODEL: model,
        SERVER_ADDRESS: host.strip("[]"),
    }
    if port.isdecimal():
        known[SERVER_PORT] = int(port)
    return known
