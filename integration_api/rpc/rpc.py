"""One running RPC, as services see it: who calls, how long there is, and how a frame is written.

It wraps grpc's context, so that services and the guard know one small thing instead of a large one.
"""

import asyncio
import math
import os
import re

import grpc
from google.protobuf.message import Message

from caller.call import CallReport
from caller.deadline import DeadlineTimer
from caller.errors import TotalTimeout

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class ClientGoneError(Exception):
    """The client hung up or reset the stream while a frame was written to it."""


class Rpc:
    """One call. `identity` is who calls, empty when nobody said; `spoke` turns True with the first frame; `deadline`
    is the end of the call's total time, in `loop.time()`; `report` is what is known of it at the endpoint, once it is
    on its way there."""

    __slots__ = (
        "_clock",
        "_timer",
        "_write_timeout",
        "context",
        "deadline",
        "identity",
        "method",
        "report",
        "request_id",
        "spoke",
        "started",
    )

    def __init__(
        self, context: grpc.aio.ServicerContext, method: str, write_timeout: float, timer: DeadlineTimer
    ) -> None:
        self.context = context
        self.method = method
        self.request_id = ""
        self.identity = ""
        self.spoke = False
        self._clock = asyncio.get_running_loop().time
        self.started = self._clock()
        self.deadline = math.inf
        self.report: CallReport | None = None
        self._timer = timer
        self._write_timeout = write_timeout

    def name(self, request_id: str) -> str:
        """Give the call its id: the client's own where it can be a header's value, else a new one."""
        self.request_id = request_id if _REQUEST_ID.fullmatch(request_id) else os.urandom(16).hex()
        return self.request_id

    def time_left(self) -> float | None:
        """Seconds to the client's deadline; None when it set none."""
        left: float | None = self.context.time_remaining()
        return left

    async def write(self, frame: Message) -> None:
        """Write one frame; waits while the client does not read, up to the write timeout and the call's total time.

        Raises:
            ClientGoneError: it hung up.
            TotalTimeout: it stopped reading.
        """
        due = self._clock() + self._write_timeout
        if due < self.deadline:
            self._timer.arm(due, self._stuck)
        else:
            self._timer.arm(self.deadline, self._over)
        try:
            await self.context.write(frame.SerializeToString())
        except grpc.aio.BaseError as error:  # ExecuteBatchError and its like: the call is dead
            raise ClientGoneError from error
        self.spoke = True
        self._timer.disarm()

    def _stuck(self) -> TotalTimeout:
        return TotalTimeout(f"the client read nothing for {self._write_timeout:g} s")

    def _over(self) -> TotalTimeout:
        return TotalTimeout("the call's total timeout passed while the client did not read")
