"""What is asked of which server: one target for every API shape and model of a server, with what may be expected there.

Rule: plain values. A deviation that a server is known for stands here, beside its reason, as what is expected instead:
it is checked like everything else, so that it is noticed when the server loses it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from types import MappingProxyType

from acceptance.live.servers import LITELLM_KEY, LLAMA_KEY, MOCK_TEXT, MODEL, busy_slots

Json = Mapping[str, object]

CHAT = "openai_chat_completions"
COMPATIBLE = "openai_compatible"
RESPONSES = "openai_responses"
MESSAGES = "anthropic_messages"
GEMINI = "gemini_generate_content"
SHAPES = (CHAT, COMPATIBLE, RESPONSES, MESSAGES, GEMINI)

# Every check by its name, in the order in which they are made.
CHECKS = (
    "models",
    "verify",
    "chat",
    "stream",
    "length",
    "tool",
    "tool-stream",
    "tool-result",
    "no-route",
    "too-long",
    "no-key",
    "cancel",
)
# Also a small model goes on with a series.
_ENDLESS = f"Write all numbers: {' '.join(map(str, range(1, 35)))} and so on."
# What any chat server should do; the rest depends on the server.
_ANYWHERE = frozenset(CHECKS) - {"too-long", "no-key"}


class Trait(Enum):
    """What answers of a server lack, in words."""

    NAMELESS = "answers do not name the model"
    STREAMS_UNCOUNTED = "streams report a usage of zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One API shape of one server.

    `checks` are those that are made; `note` says what was left out, and why. `expected_errors` are checks that this
    server can only answer with an error: its reason, and why. `says` are words that must be in the text of a check's
    answer. `length_finish` is how an answer ends that was cut at a limit. `endless` asks for an answer that is long
    enough to be cancelled; `busy` counts what the model is generating, and must be 0 within `release` seconds after
    that. `steady`: the same question always gets the same answer.
    """

    server: str
    shape: str
    base_url: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Json = field(default_factory=lambda: MappingProxyType({"temperature": 0, "max_tokens": 96}))
    checks: frozenset[str] = _ANYWHERE
    note: str = ""
    traits: frozenset[Trait] = frozenset()
    expected_errors: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    says: Mapping[str, str] = field(default_factory=dict)
    length_finish: str = "LENGTH"
    endless: str = _ENDLESS
    busy: Callable[[], Awaitable[int]] | None = None
    release: float = 2.0
    steady: bool = False

    @property
    def name(self) -> str:
        """The server and the shape."""
        return f"{self.server} {self.shape}"


def llama_targets(url: str) -> list[Target]:
    """The shapes of llama.cpp's server."""
    base = _target("llama.cpp", f"{url}/v1", MODEL, LLAMA_KEY, behind=url)
    cut = "an answer that ended at the limit is said to be completed"
    return [
        base,
        replace(base, shape=COMPATIBLE),
        replace(base, shape=RESPONSES, length_finish="STOP", note=cut),
        replace(base, shape=MESSAGES, headers={"x-api-key": LLAMA_KEY}),
    ]


def litellm_targets(url: str, behind: str) -> list[Target]:
    """The shapes of LiteLLM's proxy, before llama.cpp's server at `behind` and with its own mock."""
    ours = _target("LiteLLM→llama.cpp", f"{url}/v1", "gemma", LITELLM_KEY, behind=behind)
    base = replace(ours, release=15.0)  # the proxy hangs up on llama.cpp in its own time; an answer would take longer
    cut = "it asks llama.cpp's Responses, where an answer that ended at the limit is said to be completed"
    responses = replace(base, shape=RESPONSES, length_finish="STOP", note=cut)
    messages = replace(base, shape=MESSAGES, headers={"x-api-key": LITELLM_KEY})
    gemini = replace(
        base,
        shape=GEMINI,
        base_url=url,
        headers={"x-goog-api-key": LITELLM_KEY},
        traits=frozenset({Trait.NAMELESS, Trait.STREAMS_UNCOUNTED}),
        expected_errors={"models": ("ENDPOINT_NOT_FOUND", "the Gemini route has no list of models")},
    )
    no_stream = {"stream": ("ENDPOINT_ERROR", "it cannot stream its mock as Responses: a TypeError of its own")}
    mocks = [
        _mock(base),
        _mock(replace(base, shape=COMPATIBLE)),
        replace(_mock(responses), expected_errors=no_stream),
        _mock(messages),
        _mock(gemini),
    ]
    return [
        base,
        replace(base, shape=COMPATIBLE),
        responses,
        replace(messages, length_finish="STOP", note=cut),
        replace(messages, server="LiteLLM→/v1/messages", model="gemma-messages"),
        gemini,
        *mocks,
    ]


def other_targets(
    base_url: str, model: str, headers: Mapping[str, str], shapes: tuple[str, ...], parameters: Json
) -> list[Target]:
    """The shapes of a server that somebody else runs, of which nothing is known."""
    base = Target(server="server", shape=COMPATIBLE, base_url=base_url, model=model, headers=headers)
    merged = {**base.parameters, **parameters}
    return [replace(base, shape=shape, parameters=merged) for shape in shapes]


def _target(server: str, base_url: str, model: str, key: str, *, behind: str) -> Target:
    """All checks, with what Gemma says and llama.cpp's server at `behind` tells."""
    return Target(
        server=server,
        shape=CHAT,
        base_url=base_url,
        model=model,
        headers={"Authorization": f"Bearer {key}"},
        checks=frozenset(CHECKS),
        says={"chat": "Paris", "stream": "Paris", "tool-result": "21"},
        busy=partial(busy_slots, behind),
        steady=True,
    )


def _mock(target: Target) -> Target:
    return replace(
        target,
        server="LiteLLM mock",
        model="mock",
        checks=frozenset({"verify", "chat", "stream"}),
        says={"chat": MOCK_TEXT, "stream": MOCK_TEXT},
        busy=None,
        steady=False,
        note="the mock says one text: no tools, no limit; it makes up the usage, differently when it streams",
    )
