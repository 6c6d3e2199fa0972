"""The calls: Chat, StreamChat and what helps with credentials, over one or several connections.

Rule: a call has one deadline, which its retries share. A retry is made where the service invites one (its trailer
`grpc-retry-pushback-ms`) and never after output. Whoever stops reading a stream ends it: the service lets go of the
endpoint at once. A failed call leaves nothing behind: its error is kept in no variable of a frame that its traceback
holds, and neither holds the call, with which gRPC would keep the connection beyond `close`.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from types import AsyncGeneratorType, TracebackType
from typing import Self, TypeVar, cast

import grpc

from integration_api.client.errors import IncompleteAnswer, ServiceError, retry_delay, service_error
from integration_api.client.requests import targets_of
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

Event = (
    pb.Started | pb.TextDelta | pb.ReasoningDelta | pb.ToolCallDelta | pb.RefusalDelta | pb.ChatResponse
)  # the last one is always the whole answer
_Answer = TypeVar("_Answer")
# A retry policy from DNS would come on top of ours; what gRPC sends again by itself are calls that no server has seen,
# such as one that crosses a GOAWAY on its way. Pings keep addresses alive in NATs that forget after 30 s.
_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)


class Client:
    """A client of one address.

    Args:
        address: `host:port`, or any name that gRPC resolves, such as `dns:///service:9004`.
        token: the bearer token that says who calls, or a function that gives it for each call.
        tls: the channel's credentials, as `grpc.ssl_channel_credentials()` makes them; None speaks plain text.
        timeout: the deadline of a call in seconds, where it gives none of its own; None waits as long as the service.
        max_attempts: how often a call is sent at most, the first time included.
        connections: how many connections share the calls. A connection stays with one worker of the service, so
            several spread over its workers. A call takes the one with the fewest calls, and none that is broken
            while another is not.
        options: further channel arguments of gRPC; they win over ours.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | Callable[[], str] = "",
        tls: grpc.ChannelCredentials | None = None,
        timeout: float | None = None,
        max_attempts: int = 3,
        connections: int = 1,
        options: Sequence[tuple[str, str | int]] = (),
    ) -> None:
        made = [
            grpc.aio.secure_channel(address, tls, options=(*_OPTIONS, *options))
            if tls is not None
            else grpc.aio.insecure_channel(address, options=(*_OPTIONS, *options))
            for _ in range(max(1, connections))
        ]
        self._lines = [_Line(channel) for channel in made]
        self._turns = itertools.count(1)
        self._token = token
        self._timeout = timeout
        self._max_attempts = max_attempts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls that still run on them raise ServiceError (CANCELLED)."""
        await asyncio.gather(*(line.channel.close() for line in self._lines))

    async def chat(self, request: pb.ChatRequest, *, timeout: float | None = None) -> pb.ChatResponse:  # noqa: ASYNC109 -- a gRPC deadline, which the service sees
        """The whole answer.

        Raises:
            ServiceError: the call failed.
        """
        return await self._unary(lambda stub: stub.Chat, request, timeout)

    def stream_chat(self, request: pb.ChatRequest, *, timeout: float | None = None) -> "ChatStream":
        """The answer as it comes: `async for event in client.stream_chat(request)`.

        Iterating raises ServiceError when the call fails. Leaving the loop, cancelling the task, leaving `async with`
        or `cancel` ends the call, and the service closes its connection to the endpoint.
        """
        stop = _Stop()
        return ChatStream(self._events(request, self._deadline(timeout), stop), stop)

    async def verify_credential(
        self,
        credential: msg.Credential,
        *,
        model: str = "",
        provider: str = "custom-llm",
        checks: Sequence[str] = (),
        timeout: float | None = None,  # noqa: ASYNC109 -- a gRPC deadline, which the service sees
    ) -> pb.VerifyCredentialResponse:
        """Whether an endpoint can be used with a credential, check by check.

        Raises:
            ServiceError: the call failed; a credential that does not work is an answer, not a failure.
        """
        request = pb.VerifyCredentialRequest(provider_id=provider, credential=credential, model=model, checks=checks)
        return await self._unary(lambda stub: stub.VerifyCredential, request, timeout)

    async def list_models(
        self,
        credential: msg.Credential,
        *,
        provider: str = "custom-llm",
        timeout: float | None = None,  # noqa: ASYNC109 -- a gRPC deadline, which the service sees
    ) -> Sequence[pb.Model]:
        """The models that an endpoint offers.

        Raises:
            ServiceError: the call failed.
        """
        request = pb.ListModelsRequest(provider_id=provider, credential=credential)
        answer: pb.ListModelsResponse = await self._unary(lambda stub: stub.ListModels, request, timeout)
        return answer.models

    async def list_providers(self, *, timeout: float | None = None) -> Sequence[pb.Provider]:  # noqa: ASYNC109 -- as above
        """The providers that the service knows by name.

        Raises:
            ServiceError: the call failed.
        """
        answer: pb.ListProvidersResponse = await self._unary(
            lambda stub: stub.ListProviders, pb.ListProvidersRequest(), timeout
        )
        return answer.providers

    async def prewarm(
        self,
        request: pb.ChatRequest,
        *,
        connections: int = 1,
        timeout: float | None = None,  # noqa: ASYNC109 -- a gRPC deadline, which the service sees
    ) -> Sequence[pb.PrewarmResult]:
        """Have the service open connections for chats like this one, which is not made: to its endpoint, and to those
        of its fallbacks. A result for each; over several connections of ours, which may end at several workers, one
        that is not ok where there is one.

        Raises:
            ServiceError: the call failed; an endpoint that cannot be reached is a result, not a failure.
        """
        asked = pb.PrewarmRequest(targets=targets_of(request), connections=connections)
        answers = await asyncio.gather(
            *(self._unary(lambda stub: stub.Prewarm, asked, timeout, line) for line in self._lines)
        )
        return [min(results, key=_is_ok) for results in zip(*(answer.results for answer in answers), strict=True)]

    async def _unary(
        self,
        method: Callable[[ChatServiceStub], Callable[..., Awaitable[_Answer]]],
        request: object,
        timeout: float | None,  # noqa: ASYNC109 -- a gRPC deadline, which the service sees
        line: "_Line | None" = None,
    ) -> _Answer:
        deadline = self._deadline(timeout)
        attempt = 0
        while True:
            attempt += 1
            with line or self._line() as used:
                try:
                    return await method(used.stub)(request, timeout=_left(deadline), metadata=self._metadata())
                except grpc.aio.AioRpcError as error:
                    delay = self._pause(error, attempt, deadline)
                    if delay is None:
                        raise service_error(error) from None
                except asyncio.CancelledError:
                    _closed()
                    raise
            await asyncio.sleep(delay)

    async def _events(
        self, request: pb.ChatRequest, deadline: float | None, stop: "_Stop"
    ) -> AsyncGenerator[Event, None]:
        attempt = 0
        begun = False
        while not stop.wanted.is_set():
            attempt += 1
            with self._line() as line:
                call = stop.call = line.stub.StreamChat(request, timeout=_left(deadline), metadata=self._metadata())
                try:
                    async for frame in call:
                        begun = True
                        if (event := _event(frame)) is not None:
                            yield event
                            if isinstance(event, pb.ChatResponse):
                                return
                    raise IncompleteAnswer(grpc.StatusCode.UNKNOWN, "the stream ended without its `completed` frame")
                except grpc.aio.AioRpcError as error:
                    delay = self._pause(error, attempt, deadline)
                    if begun or delay is None:
                        raise service_error(error) from None
                except asyncio.CancelledError:
                    if stop.wanted.is_set() and not _is_cancelled():
                        return
                    _closed()
                    raise
                finally:
                    call.cancel()  # does nothing to a call that is over
                    stop.call = None
                    del call
            await stop.wait(delay)

    def _pause(self, error: grpc.aio.AioRpcError, attempt: int, deadline: float | None) -> float | None:
        """Seconds to the next attempt; None where none is invited, or would come too late."""
        error.__traceback__ = None  # its frames hold the call
        delay = retry_delay(error)
        if delay is None or attempt >= self._max_attempts:
            return None
        if deadline is not None and asyncio.get_running_loop().time() + delay >= deadline:
            return None
        return delay

    def _deadline(self, timeout: float | None) -> float | None:
        seconds = self._timeout if timeout is None else timeout
        return None if seconds is None else asyncio.get_running_loop().time() + seconds

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._token if isinstance(self._token, str) else self._token()
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _line(self) -> "_Line":
        chosen = min(self._lines, key=_Line.rank)
        chosen.turn = next(self._turns)
        return chosen


class ChatStream:
    """The events of one answer; an async iterator, and a context manager that ends the call when it is left."""

    def __init__(self, events: AsyncGenerator[Event, None], stop: "_Stop") -> None:
        self._events = cast("AsyncGeneratorType[Event, None]", events)  # only that says whether it is being read
        self._stop = stop

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def cancel(self) -> None:
        """End the call, if it still runs; from any task. The loop that reads ends there, without the whole answer."""
        self._stop.want()

    async def aclose(self) -> None:
        """As `cancel`. The call is over when it returns, unless another task is reading, whose loop ends then."""
        self._stop.want()
        if not self._events.ag_running:
            await self._events.aclose()


class _Stop:
    """That the end of a stream is wanted, and the call that is to be cancelled then."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.call: grpc.aio.Call | None = None

    def want(self) -> None:
        self.wanted.set()
        if self.call is not None:
            self.call.cancel()

    async def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the end is wanted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wanted.wait()


class _Line:
    """A connection, and how many calls run on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = ChatServiceStub(channel)
        self.running = 0
        self.turn = 0

    def rank(self) -> tuple[bool, int, int]:
        """Which connection a call takes: the smallest. A broken one fails its calls at once, so that it would have the
        fewest, and draw all others to it."""
        broken = self.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        return broken, self.running, self.turn

    def __enter__(self) -> Self:
        self.running += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running -= 1


def _event(frame: pb.StreamChatResponse) -> Event | None:
    """What a frame holds; None for a kind that this client does not know yet."""
    kind = frame.WhichOneof("event")
    event: Event | None = None if kind is None else getattr(frame, kind)
    return event


def _closed() -> None:
    """Raise ServiceError where a CancelledError of gRPC's means the end of the channel, and not of the task."""
    if not _is_cancelled():
        raise ServiceError(grpc.StatusCode.CANCELLED, "the client was closed while the call ran") from None


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _is_ok(result: pb.PrewarmResult) -> bool:
    return result.ok


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
