"""The guard on a real server, around handlers made by hand: whatever they do ends as a documented status."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from structlog.testing import capture_logs

from caller.errors import EndpointRejected, StreamCut
from integration_api.rpc.guard import Guard
from integration_api.rpc.rpc import Rpc
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.edge.loopback import NARROW, CuttableProxy, until
from tests.edge.reading import Failure, failure_of
from tests.patience import within

SECRET = "sk-secret-4711"
SERVICE = "test.Service"

Handler = Callable[[pb.ChatRequest, Rpc], Awaitable[Any]]


class Client:
    """Calls the two methods with raw bytes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.unary = channel.unary_unary(f"/{SERVICE}/Unary")
        self.stream = channel.unary_stream(f"/{SERVICE}/Stream")

    async def fails(self, *, stream: bool, raw: bytes = b"", timeout: float = 5.0) -> Failure:  # noqa: ASYNC109 -- gRPC's own deadline
        """How a call fails; what it says before is thrown away."""
        try:
            if stream:
                async for _ in self.stream(raw, timeout=timeout):
                    pass
            else:
                await self.unary(raw, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        raise AssertionError("it went well")


@asynccontextmanager
async def guarded(handler: Handler, write_timeout: float = 30.0) -> AsyncIterator[tuple[Guard, Client, int]]:
    """A server with this handler behind both methods, and a client that takes little at a time."""
    guard = Guard(write_timeout)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {
        "Unary": guard.unary("Unary", pb.ChatRequest, handler),
        "Stream": guard.server_stream("Stream", pb.ChatRequest, handler),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=NARROW) as channel:
            yield guard, Client(channel), port
    finally:
        await server.stop(0)


def raising(error: BaseException) -> Handler:
    async def handler(_: pb.ChatRequest, __: Rpc) -> None:
        raise error

    return handler


BOTH = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])


@BOTH
@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"Bearer {SECRET}"),
        KeyError(SECRET),
        RuntimeError(SECRET),
        TimeoutError(SECRET),
        RecursionError(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
        StopAsyncIteration(SECRET),
        UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET),
        grpc.aio.UsageError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_text_of_a_bug_stays_with_us(error: Exception, stream: bool) -> None:
    """The client gets INTERNAL and the request id, which the log has beside the exception."""
    async with guarded(raising(error)) as (guard, client, _):
        with capture_logs() as logs:
            failure = await client.fails(stream=stream)
        await until(lambda: guard.running == 0)

    assert failure.said == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert SECRET not in repr(failure)
    info = failure.details["RequestInfo"]
    assert isinstance(info, error_details_pb2.RequestInfo)
    assert info.request_id
    assert failure.message == f"internal error, request id {info.request_id}"
    bug = next(line for line in logs if line["event"] == "call.bug")
    assert bug["request_id"] == info.request_id
    assert bug["exc_info"] is error


@BOTH
async def test_a_cancellation_that_nobody_asked_for_is_a_bug(stream: bool) -> None:
    """A client without a deadline would wait for ever; it gets INTERNAL."""

    async def handler(_: pb.ChatRequest, __: Rpc) -> None:
        child = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(child.cancel)
        await child

    async with guarded(handler) as (_, client, _port):
        failure = await client.fails(stream=stream)

    assert failure.said == (grpc.StatusCode.INTERNAL, "INTERNAL")


@BOTH
@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"\x0a\xff\x01", b"\x0a\x02\xff\xfe", b"\x00" * 64])
async def test_bytes_that_are_no_request_are_refused(raw: bytes, stream: bool) -> None:
    """A garbled message, and text that is not UTF-8, are the client's fault and say so."""
    async with guarded(raising(AssertionError("the handler was reached"))) as (_, client, _port):
        failure = await client.fails(stream=stream, raw=raw)

    assert failure.said == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert failure.message == "the request is not a integration_api.v1.ChatRequest"
    assert failure.trailers["grpc-retry-pushback-ms"] == "-1"


@BOTH
async def test_an_abort_of_the_handlers_own_passes(stream: bool) -> None:
    """Its status reaches the client as it was given."""

    async def handler(_: pb.ChatRequest, rpc: Rpc) -> None:
        await rpc.context.abort(grpc.StatusCode.ALREADY_EXISTS, "as it was given")

    async with guarded(handler) as (_, client, _port):
        failure = await client.fails(stream=stream)

    assert (failure.code, failure.message) == (grpc.StatusCode.ALREADY_EXISTS, "as it was given")


@BOTH
async def test_a_huge_error_still_arrives(stream: bool) -> None:
    """Details share the client's limit for trailers: ten kilobytes of text are cut, not turned into another error."""
    error = EndpointRejected("é" * 10_000, endpoint_code="c" * 10_000, endpoint_request_id="r" * 10_000)
    async with guarded(raising(error)) as (_, client, _port):
        failure = await client.fails(stream=stream)

    assert failure.said == (grpc.StatusCode.INVALID_ARGUMENT, "ENDPOINT_REJECTED")
    assert len(failure.message.encode()) <= 1024


async def test_an_error_after_output_follows_it() -> None:
    """The frames arrive, then the status."""

    async def handler(_: pb.ChatRequest, rpc: Rpc) -> None:
        for _number in range(3):
            await rpc.write(pb.StreamChatResponse())
        raise StreamCut("in the middle")

    async with guarded(handler) as (_, client, _port):
        call = client.stream(b"", timeout=5)
        frames = [await call.read() for _ in range(3)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    assert frames == [b""] * 3
    assert failure_of(caught.value).said == (grpc.StatusCode.ABORTED, "STREAM_INTERRUPTED")


def endless(ended: asyncio.Event) -> Handler:
    """Writes until it is stopped, and tells when its own cleaning up has happened."""

    async def handler(_: pb.ChatRequest, rpc: Rpc) -> None:
        frame = pb.StreamChatResponse()
        frame.text_delta.text = "x" * 4096
        try:
            while True:
                await rpc.write(frame)
        finally:
            ended.set()

    return handler


@pytest.mark.parametrize("cause", ["cancel", "hang-up"])
async def test_a_client_that_is_gone_ends_the_writing(cause: str, caplog: pytest.LogCaptureFixture) -> None:
    """Blocked or not, the handler is ended at once, as an ordinary thing: no bug, no word of grpc's logger."""
    ended = asyncio.Event()
    async with guarded(endless(ended)) as (guard, _, port), CuttableProxy(port) as cable:
        with capture_logs() as logs, caplog.at_level(logging.WARNING, logger="grpc"):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{cable.port}", options=NARROW) as channel:
                call = Client(channel).stream(b"")
                assert await call.read()
                if cause == "cancel":
                    call.cancel()
                else:
                    cable.cut()
                async with asyncio.timeout(within(1.0)):
                    await ended.wait()
                    await guard.idle()

    assert {line["event"] for line in logs} <= {"call.cancelled", "call.client_gone"}
    assert len(logs) == 1
    assert not [record for record in caplog.records if record.name.startswith("grpc")]


async def test_a_client_that_does_not_read_is_given_up_on(caplog: pytest.LogCaptureFixture) -> None:
    """After the write timeout the handler ends; the status waits for the client behind what it did not read."""
    ended = asyncio.Event()
    async with guarded(endless(ended), write_timeout=0.3) as (guard, client, _):
        with caplog.at_level(logging.WARNING, logger="grpc"):
            call = client.stream(b"")
            assert await call.read()
            async with asyncio.timeout(within(1.3)):
                await ended.wait()
            async with asyncio.timeout(within(1.5)):
                await guard.idle()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _read_on(call)

    assert failure_of(caught.value).said == (grpc.StatusCode.DEADLINE_EXCEEDED, "TOTAL_TIMEOUT")
    assert not [record for record in caplog.records if record.name.startswith("grpc")]


async def _read_on(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


@BOTH
async def test_a_call_that_is_cut_gets_its_status(stream: bool) -> None:
    """Shutdown in its middle: SERVICE_DRAINING, which says whether a retry is safe."""
    entered = asyncio.Event()

    async def handler(_: pb.ChatRequest, rpc: Rpc) -> None:
        if stream:
            await rpc.write(pb.StreamChatResponse())
        entered.set()
        await asyncio.sleep(60)

    async with guarded(handler) as (guard, client, _):
        failing = asyncio.ensure_future(client.fails(stream=stream))
        await entered.wait()
        guard.drain()
        refused = await client.fails(stream=stream)
        assert guard.running == 1
        guard.cut()
        await guard.idle()
        cut = await failing

    assert refused.said == (grpc.StatusCode.UNAVAILABLE, "SERVICE_DRAINING")
    assert cut.said == (grpc.StatusCode.ABORTED if stream else grpc.StatusCode.UNAVAILABLE, "SERVICE_DRAINING")
    # Another instance answers at once: a call that can be repeated is invited to come within a tenth of a second.
    pushback = int(cut.trailers["grpc-retry-pushback-ms"])
    assert pushback == -1 if stream else 0 <= pushback <= 100


async def test_a_burst_of_calls_is_answered_by_us(stub: ChatServiceStub) -> None:
    """Three thousand calls in one moment: each gets its status from us, none is dropped by grpc on the way."""
    calls = [stub.Chat(pb.ChatRequest(provider_id="nobody")) for _ in range(3000)]
    codes = Counter([await call.code() for call in calls])

    assert codes == {grpc.StatusCode.INVALID_ARGUMENT: 3000}
