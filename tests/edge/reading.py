"""Reading what a gRPC call gave: its frames, its status and the details of it."""

from dataclasses import dataclass, field

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from integration_api.client.errors import detail, status_of
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

_KNOWN = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.RequestInfo,
    msg.PartialUsage,
    msg.FailedAttempts,
)


@dataclass
class Failure:
    """How a call failed, as a client sees it."""

    code: grpc.StatusCode
    message: str
    details: dict[str, Message]
    trailers: dict[str, str]

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        info = self.details["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        return info

    @property
    def reason(self) -> str:
        return self.info.reason

    @property
    def fields(self) -> list[str]:
        bad = self.details.get("BadRequest")
        assert isinstance(bad, error_details_pb2.BadRequest)
        return [violation.field for violation in bad.field_violations]

    @property
    def attempts(self) -> list[msg.Attempt]:
        failed = self.details["FailedAttempts"]
        assert isinstance(failed, msg.FailedAttempts)
        return list(failed.attempts)

    @property
    def said(self) -> tuple[grpc.StatusCode, str]:
        return self.code, self.reason


@dataclass
class Received:
    """What a stream gave: its frames, and how it failed, if it did."""

    frames: list[pb.StreamChatResponse] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def text(self) -> str:
        return "".join(frame.text_delta.text for frame in self.frames)

    @property
    def kinds(self) -> list[str]:
        return [frame.WhichOneof("event") for frame in self.frames]

    @property
    def completed(self) -> pb.ChatResponse:
        assert self.failure is None, self.failure
        assert self.kinds[-1] == "completed"
        assert self.kinds.count("completed") == 1
        return self.frames[-1].completed


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """The failure that an RpcError tells of."""
    trailers = dict(tuple(error.trailing_metadata() or ()))
    status = status_of(trailers)
    given = {packed.TypeName() for packed in status.details}
    details: dict[str, Message] = {
        kind.DESCRIPTOR.name: detail(status, kind()) for kind in _KNOWN if kind.DESCRIPTOR.full_name in given
    }
    return Failure(
        error.code(), error.details() or "", details, {k: v for k, v in trailers.items() if isinstance(v, str)}
    )


async def listen(call: grpc.aio.UnaryStreamCall) -> Received:
    """Read a stream to its end, good or bad."""
    received = Received()
    try:
        async for frame in call:
            received.frames.append(frame)
    except grpc.aio.AioRpcError as error:
        received.failure = failure_of(error)
    return received


async def fail(call: grpc.aio.UnaryUnaryCall) -> Failure:
    """Wait for a call that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError(f"it answered: {answer}")
