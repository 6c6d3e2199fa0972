"""Errors and headers that OpenAI's two APIs share.

Rule: the error object of the OpenAI API reference; inside a Chat stream the code is the status as a number, as vLLM
sends it, because nothing else there says it.
"""

import secrets
from collections.abc import Mapping

from integration_api.sandbox.story import Fault
from integration_api.sandbox.wire import Json, JsonObject


def kind(fault: Fault) -> str:
    """The word in an error's `type`."""
    if fault.code == "insufficient_quota":
        return "insufficient_quota"
    if fault.status == 429:
        return "requests"
    return "server_error" if fault.status >= 500 else "invalid_request_error"


def code(fault: Fault) -> str | None:
    """The word in an error's `code`."""
    return fault.code or {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(fault.status)


def error(fault: Fault, *, in_stream: bool = False) -> JsonObject:
    """The body of an error."""
    number: Json = fault.status if in_stream and fault.code is None else code(fault)
    return {"error": {"message": fault.message, "type": kind(fault), "param": fault.param, "code": number}}


def headers() -> Mapping[str, str]:
    """Headers that every answer has."""
    return {
        "x-request-id": f"req_{secrets.token_hex(16)}",
        "openai-processing-ms": "1",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
    }
