"""What an adapter is: the pure translation of one API shape, as a value. No I/O, no `async`.

A further shape is one folder under `apis/` with one `Adapter`, and the entries that CONTRIBUTING lists, place by place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from caller.credentials import ApiCompatibility, Credential
from caller.events import Event
from caller.json_types import JsonObject
from caller.messages import Message, ToolDefinition
from caller.parameters import Parameters
from caller.printing import PartlyPrinted
from caller.tools import names
from caller.verification import Model


class ResolvedCall(PartlyPrinted, msgspec.Struct, frozen=True):
    """A call whose credential and parameters are valid.

    `demands` is what this endpoint is known to demand: the form of a point of the request (`system_messages`:
    `joined`), or the name of an optional field that is left out (`stream_options`: empty). An adapter leaves out only
    what it added by itself; what the client gave is joined, moved or renamed. See `custom_llm.demands`.
    `returns_state`: see `caller.target.Ask`. `tool_names` is what decoders, who get no tools, know of them.
    """

    HIDDEN = frozenset({"messages"})

    credential: Credential
    parameters: Parameters
    messages: tuple[Message, ...]
    tools: Sequence[ToolDefinition] = ()
    tool_names: frozenset[str] = frozenset()
    parse_think_tags: bool = False
    returns_state: bool = True
    demands: Mapping[str, str] = msgspec.field(default_factory=dict)

    def without_conversation(self) -> "ResolvedCall":
        """The call as decoders read it."""
        return ResolvedCall(
            self.credential,
            self.parameters,
            (),
            tool_names=names(self.tools),
            parse_think_tags=self.parse_think_tags,
            returns_state=self.returns_state,
            demands=self.demands,
        )


class HttpRequest(PartlyPrinted, msgspec.Struct, frozen=True):
    """One HTTP request. Its URL may hold a key in the query, its headers do hold keys: neither is shown.

    `added` names the optional fields that the adapter added by itself and could do without, `left_out` those that it
    did without because the endpoint refuses them. `adapted` names what was changed in what the client gave: a point and
    its form (`system_messages: joined`).
    """

    HIDDEN = frozenset({"url", "headers", "body"})

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    added: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    adapted: frozenset[str] = frozenset()

    def with_headers(self, more: Mapping[str, str]) -> "HttpRequest":
        """The same with further headers; of a name that it has its own stays."""
        own = {name.lower() for name in self.headers}
        added = {name: value for name, value in more.items() if name not in own}
        return replace(self, headers={**self.headers, **added}) if added else self

    def without_body(self) -> "HttpRequest":
        """What is left to know of it once it was sent."""
        return HttpRequest(self.method, self.url, self.headers, b"", self.added, self.left_out, self.adapted)


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One page of a model list; `next` is the token of the next page, empty at the end."""

    models: tuple[Model, ...]
    next: str = ""


class Frame(NamedTuple):
    """One event of an endpoint's stream: its name (empty when it has none) and its data."""

    event: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Repeat:
    """How the chunks of a stream may differ and still mean the same, but for their text.

    Attributes:
        path: where the text stands in a chunk.
        more: the events of the next texts, none of which is empty, in their order; those of one kind may be one.
            Raises `CallerError`.
        free: members of a chunk that may have any value.
    """

    path: tuple[str | int, ...]
    more: Callable[[Sequence[str]], Sequence[Event]]
    free: tuple[str, ...] = ()


class AnswerDecoder(Protocol):
    """Reads one answer of one call, as a stream or as a whole. Raises `CallerError`s only."""

    @property
    def complete(self) -> bool:
        """True once all of the answer is said, so that only a late usage can come: silence ends it then. False again
        where more of the answer comes."""
        ...

    @property
    def done(self) -> bool:
        """True once the endpoint said that nothing more comes (`[DONE]`, `message_stop`)."""
        ...

    def feed(self, frame: Frame) -> Sequence[Event]:
        """The events of one frame.

        Raises:
            CallerError: the frame is an error of the endpoint, or cannot be understood.
        """
        ...

    def repeated(self, chunk: JsonObject, event: str) -> Repeat | None:
        """What further chunks like this one mean, which was read just now under the event's name; None where that is
        not only their text. It holds until another frame is read."""
        ...

    def close(self) -> Sequence[Event]:
        """The stream ended: the events that only its end makes certain.

        Raises:
            StreamInterrupted: it ended without its terminal sign.
        """
        ...

    def whole(self, body: bytes) -> Sequence[Event]:
        """The events of a whole JSON answer (status 2xx): the same as its stream would give.

        Raises:
            CallerError: an error inside the answer, or not an answer of this shape.
        """
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """One API shape.

    Attributes:
        api: the shape's name in credentials.
        parameters: the known parameters that it has, each with the path of its field in the body.
        request: a call to its HTTP request; `stream` asks for a stream. Raises `NotSupportedByApi`.
        decoder: a new decoder for one answer of a call, streamed or whole.
        models_request: the request for one page of the model list; the page's token, empty for the first.
        decode_models: one page.
    """

    api: ApiCompatibility
    parameters: Mapping[str, str]
    request: Callable[[ResolvedCall, bool], HttpRequest]
    decoder: Callable[[ResolvedCall], AnswerDecoder]
    models_request: Callable[[Credential, str], HttpRequest]
    decode_models: Callable[[bytes], ModelPage]
