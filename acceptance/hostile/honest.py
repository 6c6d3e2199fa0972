"""The honest client as a process of its own, so that no attack slows its clock: small Chat calls to an honest
endpoint and Health checks, one after the other, until its standard input ends. Then it prints what it saw, as JSON.

    python -m acceptance.hostile.honest --port PORT --pid PID [--token TOKEN] [--host NAME]

`{number}` in the host becomes another number for every call, and so another name to be looked up.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass, field

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from acceptance.hostile.endpoints import answer, serve
from acceptance.hostile.requests import chat
from bench.processes import reason_of
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

_PAUSE = 0.01
_LONGEST = 30.0  # seconds after which a call counts as one that does not end
_WARM_UP = 20
_TICK = 0.005


@dataclass
class Seen:
    """What the honest client saw. Times in milliseconds."""

    calls: int = 0
    chat: float = 0.0
    health: float = 0.0
    busy: float = 0.0  # the most processor time that the server used during one call, of a chat or of health
    own: float = 0.0  # the longest absence of this process itself: what no server can be blamed for
    failures: list[str] = field(default_factory=list)


class Client:
    """One honest client."""

    def __init__(self, channel: grpc.aio.Channel, endpoint: str, token: str, server: int) -> None:
        self.seen = Seen()
        self.ending = False
        self._clock = (~server << 3) | 2  # clock_getcpuclockid(3): the processor time of another process
        self._numbers = itertools.count()
        self._chat = ChatServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._endpoint = endpoint
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    async def ask(self) -> None:
        """One call, and how long it took."""
        request = chat(self._endpoint.format(number=next(self._numbers)))
        began, used = time.monotonic(), time.clock_gettime(self._clock)
        try:
            answered = await self._chat.Chat(request, timeout=_LONGEST, metadata=self._metadata)
            if answered.choices[0].message.text != "honest":
                self.seen.failures.append(f"got {answered.choices[0].message.text[:40]!r}")
        except grpc.aio.AioRpcError as error:
            self.seen.failures.append(f"{error.code().name} {reason_of(error)} {(error.details() or '')[:120]}")
        self.seen.calls += 1
        self.seen.busy = max(self.seen.busy, (time.clock_gettime(self._clock) - used) * 1000)
        self.seen.chat = max(self.seen.chat, (time.monotonic() - began) * 1000)

    async def probe(self) -> None:
        """One health check, and how long it took."""
        began, used = time.monotonic(), time.clock_gettime(self._clock)
        try:
            await self._health.Check(health_pb2.HealthCheckRequest(), timeout=_LONGEST)
        except grpc.aio.AioRpcError as error:
            self.seen.failures.append(f"health: {error.code().name} {(error.details() or '')[:120]}")
        self.seen.busy = max(self.seen.busy, (time.clock_gettime(self._clock) - used) * 1000)
        self.seen.health = max(self.seen.health, (time.monotonic() - began) * 1000)

    async def calls(self) -> None:
        while not self.ending:
            await self.ask()
            await asyncio.sleep(_PAUSE)

    async def probes(self) -> None:
        while not self.ending:
            await self.probe()
            await asyncio.sleep(_PAUSE)

    async def own_absence(self) -> None:
        while not self.ending:
            began = time.monotonic()
            await asyncio.sleep(_TICK)
            self.seen.own = max(self.seen.own, (time.monotonic() - began - _TICK) * 1000)


async def main(port: int, token: str, host: str, server: int) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with (
        serve(answer("honest")) as endpoint,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        client = Client(channel, f"http://{host}:{endpoint}", token, server)
        for _ in range(_WARM_UP):
            await client.ask()
            await client.probe()
        early, client.seen = client.seen, Seen()
        client.seen.failures += early.failures
        print(json.dumps({"endpoint": endpoint}), flush=True)
        ended = loop.run_in_executor(None, sys.stdin.read)
        running = [asyncio.ensure_future(work()) for work in (client.calls, client.probes, client.own_absence)]
        await ended
        client.ending = True
        await asyncio.gather(*running)
        print(json.dumps(asdict(client.seen)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--host", default="127.0.0.1")
    given = parser.parse_args()
    asyncio.run(main(given.port, given.token, given.host, given.pid))
