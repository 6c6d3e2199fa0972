"""The APIs that the sandbox speaks. Rule: this table is the only place that lists them."""

from typing import Final

from integration_api.sandbox import chat, gemini, messages, responses
from integration_api.sandbox.api_format import ApiFormat

# The first is what a request is taken for that says no other; one with headers of two APIs is the earlier one's.
FORMATS: Final[tuple[ApiFormat, ...]] = (chat.FORMAT, responses.FORMAT, gemini.FORMAT, messages.FORMAT)
