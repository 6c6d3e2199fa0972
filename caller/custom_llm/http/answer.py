"""The answer to a request that left in one write: its head, its body as aiohttp reads it, and whose connection it has.

Rule: it stands where aiohttp has a `ClientResponse` and a `Connection`, which know much that our requests never have
(sessions, cookies, redirects, writers, timers). How the body is read is `response`'s.
"""

from collections.abc import Callable

from aiohttp import ClientConnectionError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy

from caller.custom_llm.http.protocol import EndpointProtocol

# Gives a connection back: kept for another request if it is clean, and closed at once where nothing more is wanted.
GiveBack = Callable[[EndpointProtocol, bool], None]


class Answer:
    """An answer whose head is here. Its connection is given back when the body has come in whole, at the latest when
    the answer is released or closed.

    `status` is HTTP's, `headers` are found in any case, `content` is the body.
    """

    __slots__ = ("_give_back", "_protocol", "content", "headers", "status")

    def __init__(
        self, protocol: EndpointProtocol, message: RawResponseMessage, content: StreamReader, give_back: GiveBack
    ) -> None:
        self._protocol: EndpointProtocol | None = protocol
        self._give_back = give_back
        self.status: int = message.code
        self.headers: CIMultiDictProxy[str] = message.headers
        self.content = content
        if not protocol.upgraded:
            content.on_eof(self._given_back)

    @property
    def closed(self) -> bool:
        """Whether its connection was given back."""
        return self._protocol is None

    def release(self) -> None:
        """Nothing more is wanted of an answer that is complete."""
        if self._protocol is not None:
            self._given_back()

    def close(self) -> None:
        """Nothing more is wanted of it: its connection is closed at once, if it is still its own."""
        if self.content.exception() is None:
            # A new one each time: it keeps the frames that it is raised through.
            self.content.set_exception(ClientConnectionError("the answer was closed"))
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._give_back(protocol, True)

    def _given_back(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._give_back(protocol, False)
