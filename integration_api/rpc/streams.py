"""An open bidirectional stream, as its service sees it: frames in, turns that count as calls, and a notice of its end.

A stream can be somebody's phone call: while this instance drains it stays open and takes turns, until its client ends
it or the grace is over.

It knows no contract: what a frame means, and when a turn begins, is the service's.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from caller.errors import RequestInvalid
from integration_api.rpc.rpc import ClientGoneError, Rpc

Request = TypeVar("Request", bound=Message)


class OpenStream(Generic[Request]):
    """One stream. `rpc` writes its frames; `cutting` turns True when this instance stops and waits no longer."""

    __slots__ = ("_count", "_notify", "_request", "cutting", "rpc")

    def __init__(self, rpc: Rpc, request: type[Request], count: Callable[[Rpc], AbstractContextManager[None]]) -> None:
        self.rpc = rpc
        self.cutting = False
        self._request = request
        self._count = count
        self._notify: Callable[[], None] | None = None

    async def receive(self) -> bytes | None:
        """The bytes of the next frame; None when the client sends no more.

        One task reads, for the stream's whole life, and is not cancelled to read again later: a cancelled read of
        grpc.aio swallows the frame that comes next.

        Raises:
            ClientGoneError: it hung up.
        """
        try:
            raw = await self.rpc.context.read()
        except grpc.aio.BaseError as error:
            raise ClientGoneError from error
        return None if raw is grpc.aio.EOF else bytes(raw)

    def parsed(self, raw: bytes) -> Request:
        """The bytes as a frame.

        Raises:
            RequestInvalid: they are none.
        """
        return parsed(self._request, raw)

    def turn(self) -> AbstractContextManager[None]:
        """Count the current task as a running call while a turn is answered.

        Raises:
            CallerError: no further turn is admitted now.
        """
        return self._count(self.rpc)

    def when_cut(self, notify: Callable[[], None]) -> None:
        """Call `notify` once this instance waits no longer: at once, if that is so already."""
        self._notify = notify
        if self.cutting:
            notify()

    def cut(self) -> None:
        """Notify the service that this instance waits no longer."""
        self.cutting = True
        if self._notify is not None:
            self._notify()


def parsed(request: type[Request], raw: bytes) -> Request:
    """The bytes as a message.

    Raises:
        RequestInvalid: they are none.
    """
    try:
        return request.FromString(raw)
    except DecodeError:
        raise RequestInvalid(f"the request is not a {request.DESCRIPTOR.full_name}") from None
