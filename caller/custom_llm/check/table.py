"""All checks in their order: the one table of ids."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from caller.custom_llm.check import basics, features
from caller.custom_llm.check.finding import Finding
from caller.custom_llm.check.session import Session


@dataclass(frozen=True, slots=True)
class Row:
    """One check. `chats`: it is made only where a small chat was answered. `deep`: it costs many tokens, or time."""

    run: Callable[[Session], Awaitable[Finding]]
    chats: bool = True
    deep: bool = False


ROWS: Final[Mapping[str, Row]] = MappingProxyType(
    {
        "credential": Row(basics.credential, chats=False),
        "reach": Row(basics.reach, chats=False),
        "models": Row(basics.models, chats=False),
        "chat": Row(basics.chat, chats=False),
        "tls": Row(basics.tls, chats=False),
        "path": Row(basics.path, chats=False),
        "auth": Row(basics.auth, chats=False),
        "auth_refused": Row(basics.auth_refused),
        "model": Row(basics.model, chats=False),
        "structure": Row(features.structure, chats=False),
        "usage": Row(features.usage),
        "parameters": Row(features.parameters),
        "stream": Row(features.stream),
        "stream_end": Row(features.stream_end),
        "tools": Row(features.tools),
        "tools_stream": Row(features.tools_stream),
        "tool_result": Row(features.tool_result),
        "structured_output": Row(features.structured_output),
        "images": Row(features.images, deep=True),
        "errors": Row(features.errors),
        "unicode": Row(features.unicode),
        "latency": Row(features.latency, deep=True),
        "cancel": Row(features.cancel, deep=True),  # the last: it may leave the endpoint stuck
    }
)
# Always made, whatever else is asked for.
BASE: Final = ("credential", "reach", "models", "chat")
# They have something to say where nothing answers.
WITHOUT_ANSWER: Final = frozenset({"credential", "reach", "tls"})
# Reported as well where the answers to the base checks imply them.
IMPLIED: Final = ("tls", "path", "auth")
ALL: Final = "all"
# A wrong key is sent only where somebody asks for it by name: it may count as an attack.
_BY_NAME: Final = frozenset({"auth_refused"})


def asked_for(words: frozenset[str]) -> frozenset[str]:
    """The ids that these words mean: ids, or `all`."""
    return words - {ALL} | (ROWS.keys() - _BY_NAME if ALL in words else frozenset())


def usual(*, deep: bool) -> frozenset[str]:
    """What the command makes: everything, the dear ones on request."""
    return frozenset(name for name, row in ROWS.items() if deep or not row.deep)
