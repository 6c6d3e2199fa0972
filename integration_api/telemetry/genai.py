"""The OpenTelemetry conventions for GenAI clients, as of their version 1.4x: names of what spans and metrics say of a
call. No name of ours is among them; tests hold them against the package of the conventions. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from caller.api_facts import FACTS
from caller.call import Completion
from caller.errors import clipped
from caller.events import Usage
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

CHAT: Final = "chat"
# A provider of another name is called by it.
_VENDORS: Final[Mapping[str, str]] = {api.value: facts.vendor for api, facts in FACTS.items()}
# How much of an endpoint's id and name for its answer is kept.
_MAX_WORD: Final = 128
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


def response_attributes(completion: Completion, redactor: Callable[[str], str]) -> dict[str, str | Sequence[str]]:
    """What answered, and why it ended: the endpoint's words, without the secrets that `redactor` knows."""
    known: dict[str, str | Sequence[str]] = {
        RESPONSE_ID: clipped(redactor(completion.response_id), _MAX_WORD),
        RESPONSE_MODEL: clipped(redactor(completion.model), _MAX_WORD),
        FINISH_REASONS: [choice.finish_reason.name.lower() for choice in completion.choices],
    }
    return {name: value for name, value in known.items() if value}


def usage_attributes(usage: Usage | None) -> dict[str, int]:
    """The tokens that were reported."""
    if usage is None:
        return {}
    known = {
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_input,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }
    return {name: count for name, count in known.items() if count is not None}
