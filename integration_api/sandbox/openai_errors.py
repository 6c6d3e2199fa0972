"""Errors and headers that OpenAI's two APIs share.

Rule: the error object of the OpenAI API reference; inside a Chat stream the code is the status as a number, as vLLM
sends it, because nothing else there says it.
"""

import secrets
from collections.abc import Mapping

from integration_api.sandbox.scenario import HttpError
from integration_api.sandbox.wire import Json, JsonObject


def kind(http_error: HttpError) -> str:
    """The word in an error's `type`."""
    if http_error.code == "insufficient_quota":
        return "insufficient_quota"
    if http_error.status == 429:
        return "requests"
    return "server_error" if http_error.status >= 500 else "invalid_request_error"


def code(http_error: HttpError) -> str | None:
    """The word in an error's `code`."""
    return http_error.code or {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(http_error.status)


def error(http_error: HttpError, *, in_stream: bool = False) -> JsonObject:
    """The body of an error."""
    number: Json = http_error.status if in_stream and http_error.code is None else code(http_error)
    return {
        "error": {"message": http_error.message, "type": kind(http_error), "param": http_error.param, "code": number}
    }


def headers() -> Mapping[str, str]:
    """Headers that every answer has."""
    return {
        "x-request-id": f"req_{secrets.token_hex(16)}",
        "openai-processing-ms": "1",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
    }
