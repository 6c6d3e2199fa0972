"""One running RPC, as services see it: who calls, how long there is, and how a frame is written.

It wraps grpc's context, so that services and the guard know one small thing instead of a large one.
"""

import asyncio
import math
import os
import re
from collections.abc import Callable
from time import monotonic
from typing import Protocol, TypeAlias

import grpc
import msgspec

from caller.call import CallReport, Waits
from caller.deadline import DeadlineTimer
from caller.errors import (
    CallerError,
    ClientTimeout,
    InternalError,
    ServiceDraining,
    ServiceOverloaded,
    ServiceStopped,
)
from caller.printing import Unprinted
from integration_api.rpc.shares import Shares

# What passes between us and a client takes its time where the client, or the way to it, does not take or give more: on
# a busy machine gRPC itself needs milliseconds for it, too. So much fits into what HTTP/2 and TCP let pass at once.
_FREE_BYTES = 32 * 1024
PROMPT = 0.002
_PROMPT_WHERE_FREE = 0.25
# Frames up to this size are not counted among what waits to be read: few bytes, and most of all frames.
_UNCOUNTED_BYTES = 64 * 1024
_REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


class Frame(Protocol):
    """What can be written: a message, or bytes that were one."""

    def SerializeToString(self) -> bytes:
        """The bytes."""
        ...


def waited(took: float, size: int) -> float:
    """The seconds that a write or read was waiting for the client, of those that it took; `size`: bytes of the call
    that went that way by now."""
    return took if took > PROMPT and (size > _FREE_BYTES or took > _PROMPT_WHERE_FREE) else 0.0


class ClientGoneError(Exception):
    """The client hung up or reset the stream while a frame was written to it."""


class Rpc(Unprinted, msgspec.Struct, eq=False):
    """One call. `path` is its method's name, behind the service's and a slash. `identity` is who calls, empty when
    nobody said; `client` is the key under which it shares with other clients: its identity, or its address;
    `initial_metadata` leaves with the first frame; `timer` ends the call with an error; `raw` is the request, for
    whoever answers failures in a body; `large`: so large that work on it takes turns with others.

    `answer` is the one answer of a method that is `unary`, once it is known; gRPC gets it with the status. Of a method
    that writes frames `writing` is the size of the one that was given to gRPC and has not left it, and `left_behind`
    that the call ended in front of it; `output_started` turns True with the first. Of either, `counted` bytes are
    counted in `unread`.
    `waited` is in seconds, for the client to send its request; `deadline` is the end of the call's total time, in
    `loop.time()`; `report` is the record of the call that it makes, once it makes one; `cutting` turns True when this
    instance stops and waits no longer."""

    context: grpc.aio.ServicerContext
    path: str
    timer: DeadlineTimer
    unread: Shares
    _write_timeout: float
    _clock: Callable[[], float]  # `loop.time`
    started: float
    client: str = ""
    identity: str = ""
    unary: bool = False
    request_id: str = ""
    initial_metadata: Metadata = ()
    output_started: bool = False
    cutting: bool = False
    writing: int = 0
    counted: int = 0
    left_behind: bool = False
    large: bool = False
    answer: bytes | None = None
    raw: bytes = b""
    began: float = msgspec.field(default_factory=monotonic)
    waited: float = 0.0
    deadline: float = math.inf
    report: CallReport | None = None

    @property
    def service(self) -> str:
        """The service's name."""
        return self.path.rpartition("/")[0]

    @property
    def method(self) -> str:
        """The method's name, without the service's."""
        return self.path.rpartition("/")[2]

    def name(self, request_id: str) -> str:
        """Give the call its id: the client's own, or its metadata's `x-request-id`, where it can be a header's value,
        else a new one."""
        if not request_id:
            for key, value in self.context.invocation_metadata() or ():
                if key == _REQUEST_ID_KEY and isinstance(value, str):
                    request_id = value
        known = request_id and _REQUEST_ID.fullmatch(request_id)
        self.request_id = request_id if known else os.urandom(16).hex()
        return self.request_id

    def time_left(self) -> float | None:
        """Seconds to the client's deadline; None when it set none."""
        left: float | None = self.context.time_remaining()
        return left

    def new_report(self, request_id: str = "") -> CallReport:
        """Name the RPC, and begin the record of the call that it makes."""
        service, _, method = self.path.rpartition("/")
        self.report = CallReport(
            started=self.started,
            service=service,
            method=method,
            request_id=self.name(request_id),
            client=self.client,
            began=self.began,
            waits=Waits(self.waited),
            large=self.large,
            metadata=self.context.invocation_metadata,  # no method of self: this object has the record
        )
        return self.report

    def interruption(self) -> CallerError | None:
        """The error that a cancellation of the current task means: this instance stops, a write took too long, or
        nobody asked for it. None: the client gave the call up."""
        if self.cutting and self.time_left() != 0:
            return (ServiceStopped if self.output_started else ServiceDraining)("this instance is stopping")
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return InternalError(f"internal error, request id {self.request_id}")
        return self.timer.error

    def set_trailers(self, report: CallReport) -> None:
        """What stands behind an answer that is no gRPC error."""
        trailers = ((_REQUEST_ID_KEY, self.request_id), ("x-attempts", str(report.attempts)))
        self.context.set_trailing_metadata(trailers)

    def give(self, frame: Frame) -> None:
        """Have the one answer of the call: it leaves when the handler has returned.

        Raises:
            ServiceOverloaded: clients leave too much unread.
        """
        raw = frame.SerializeToString()
        size = len(raw)
        if self.counted:
            self.release()
        if size > _UNCOUNTED_BYTES:
            self._count(size)
        self.answer = raw
        report = self.report
        if report is not None and report.ended is None:
            report.frames = 1
            report.sent_bytes = size

    async def write(self, frame: Frame) -> None:
        """Write one frame; waits while the client does not read, up to the write timeout and the call's total time.

        Raises:
            ClientGoneError: it hung up.
            ServiceOverloaded: clients leave too much unread.
            ClientTimeout: it stopped reading.
        """
        raw = frame.SerializeToString()
        self.writing = size = len(raw)
        if size > _UNCOUNTED_BYTES:
            self._count(size)
        begun = self._clock()
        due = begun + self._write_timeout
        timer, on_expire = self.timer, self._stuck
        if due > self.deadline:
            due, on_expire = self.deadline, self._over
        if due < timer.fires_at:
            timer.arm(due, on_expire)
        else:  # the same, without a call
            timer.due, timer.on_expire = due, on_expire
        try:
            if not self.output_started:
                # By itself: after a write that was given up gRPC would send it again in front of the status, and fail.
                await self.context.send_initial_metadata(self.initial_metadata)
            await self.context.write(raw)
        except grpc.aio.BaseError as error:  # ExecuteBatchError and its like: the call is dead
            raise ClientGoneError from error
        finally:
            report, took = self.report, self._clock() - begun
            if report is not None and report.ended is None:
                report.frames += 1
                report.sent_bytes += size
                if took > PROMPT:
                    report.waits.seconds += waited(took, report.sent_bytes)
        self.output_started = True
        timer.due = None
        self.writing = 0
        if self.counted:
            self.release()

    def release(self) -> None:
        """The frame that was counted has left, or went with its stream."""
        counted, self.counted = self.counted, 0
        if counted:
            self.unread.release(self.client, counted)

    def _count(self, size: int) -> None:
        if not self.unread.allows(self.client, size):
            self.writing = 0
            full = ServiceOverloaded("answers wait unread, of this client or of all (max_unread_bytes)")
            full.after_output = self.output_started
            raise full
        self.unread.acquire(self.client, size)
        self.counted = size

    def _stuck(self) -> ClientTimeout:
        return ClientTimeout(f"the client read nothing for {self._write_timeout:g} s")

    def _over(self) -> ClientTimeout:
        report = self.report
        seconds = "" if report is None else f" of {round(self.deadline - report.started, 3):g} s"
        return ClientTimeout(f"the call's total timeout{seconds} passed while the client did not read")
