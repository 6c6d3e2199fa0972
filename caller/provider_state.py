"""Provider state: what a model must get back unread, as one opaque value per assistant message.

It holds the shape's name, the native content in its order, and a digest of the message's text and tool calls.
Sent back on the same shape with text and calls unchanged, the native content is replayed byte-exact; otherwise
the message is rebuilt from its fields. The value is not a secret and not trusted: it is only ever parsed as JSON.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from caller.json_types import JsonObject, JsonValue
from caller.messages import AssistantMessage, ToolCall

_VERSION = 1


def digest(text: str, tool_calls: Iterable[ToolCall]) -> str:
    """A digest of what the model said: 16 bytes in hex."""
    encoded = msgspec.json.encode([text, [[call.id, call.name, call.arguments] for call in tool_calls]])
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def seal(shape: str, content: JsonObject, text: str, tool_calls: Iterable[ToolCall]) -> bytes:
    """The opaque value for a message that said `text` and `tool_calls`."""
    return msgspec.json.encode({"v": _VERSION, "shape": shape, "digest": digest(text, tool_calls), "content": content})


def unseal(shape: str, message: AssistantMessage) -> JsonObject | None:
    """The native content to replay, or None: no state, another shape's, a changed message, or not ours at all."""
    if not message.provider_state:
        return None
    try:
        envelope: JsonValue = msgspec.json.decode(message.provider_state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(envelope, dict) or (envelope.get("v"), envelope.get("shape")) != (_VERSION, shape):
        return None
    content = envelope.get("content")
    if not isinstance(content, dict) or envelope.get("digest") != digest(message.text, message.tool_calls):
        return None
    return content
