"""Two thousand open streams on one process, and SIGTERM in the middle.

A third of the streams can end within the grace, a third goes on too long, a third has no output yet. It prints who
ended how, and fails when somebody ended otherwise than documented: the first third well, the others with
SERVICE_DRAINING (ABORTED after output, UNAVAILABLE before), the process with 0.

    python -m acceptance.drain [STREAMS]
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import grpc

from bench.processes import channels, chat_request, raise_descriptor_limit, reason_of, started
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

GRACE = 10
# Kind of stream, its script, and how it must end.
KINDS = {
    "ends within the grace": ("stall:after=2,for=8s", ("OK", "completed")),
    "goes on too long": ("tokens:n=1000,gap=1s", ("ABORTED", "SERVICE_DRAINING")),
    "has no output": ("silence:for=120s", ("UNAVAILABLE", "SERVICE_DRAINING")),
}


class Crowd:
    """The streams, and how they ended."""

    def __init__(self) -> None:
        self.started = 0
        self.endings: Counter[tuple[str, str, str]] = Counter()

    async def read(self, stub: ChatServiceStub, port: int, kind: str) -> None:
        """One stream, to its end."""
        last = ""
        try:
            async for frame in stub.StreamChat(chat_request(port, KINDS[kind][0], "a b c d")):
                last = frame.WhichOneof("event")
                self.started += last == "started"
            self.endings[kind, "OK", last] += 1
        except grpc.aio.AioRpcError as error:
            self.endings[kind, error.code().name, reason_of(error) or error.details() or ""] += 1


async def main(streams: int) -> int:
    """The exit code: 0 when every stream and the process ended as documented."""
    raise_descriptor_limit()
    folder = Path(tempfile.mkdtemp(prefix="drain-"))
    serve = ("serve", "--port", "0", "--log-format", "json", "--shutdown-grace", str(GRACE))
    async with (
        started(folder / "sandbox.log", "integration_api", "sandbox", "--port", "0") as sandbox,
        started(folder / "serve.log", "integration_api", *serve) as server,
    ):
        crowd, opened = Crowd(), channels(server.port, 8)
        stubs = [ChatServiceStub(channel) for channel in opened]
        began = time.monotonic()
        kinds = [list(KINDS)[number % 3] for number in range(streams)]
        reading = [
            asyncio.ensure_future(crowd.read(stubs[number % 8], sandbox.port, kind))
            for number, kind in enumerate(kinds)
        ]
        with_output = sum(kind != "has no output" for kind in kinds)
        try:
            async with asyncio.timeout(60):
                while crowd.started < with_output:  # noqa: ASYNC110 -- two thousand streams, one number
                    await asyncio.sleep(0.05)
        except TimeoutError:
            print(f"only {crowd.started} of {with_output} streams began; so far ended: {dict(crowd.endings)}")
            return 1
        print(f"{streams} streams open after {time.monotonic() - began:.1f} s, {server.resident / 2**20:.0f} MiB")
        server.process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        async with asyncio.timeout(GRACE + 20):
            await asyncio.gather(*reading)
            took = time.monotonic() - sent
            code = await server.process.wait()
        print(f"SIGTERM; the last stream ended after {took:.1f} s, the process after {time.monotonic() - sent:.1f} s")
        await asyncio.gather(*(channel.close() for channel in opened))
    for (kind, status, reason), number in sorted(crowd.endings.items()):
        print(f"{number:6}  {kind:22} {status:12} {reason}")
    print(f"exit code {code}")
    wanted = Counter((kind, *KINDS[kind][1]) for kind in kinds)
    return 0 if code == 0 and crowd.endings == wanted else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)))
