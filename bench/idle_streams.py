"""Many bidirectional streams that are open and mostly idle, each with a turn now and then: none may be lost.

    python -m bench.idle_streams [--streams 1000] [--seconds 20] [--turns 3]

The service and the endpoint run in processes of their own; the memory is the service's. Fails when a stream or a turn
is lost.
"""

import argparse
import asyncio
import random
import statistics
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bench.barge_in import chat, configuration, open_stream

_CHANNELS = 10
_MODEL = "burst-20"


@dataclass
class Tally:
    """What the streams saw. Times in milliseconds."""

    turns: int = 0
    times: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


async def live(number: int, call: grpc.aio.StreamStreamCall, seconds: float, turns: int, tally: Tally) -> None:
    """One stream's life: idle but for some turns at moments of its own, and open at its end."""
    loop = asyncio.get_running_loop()
    moments = sorted(random.Random(number).uniform(0, seconds) for _ in range(turns))  # noqa: S311 -- no secret
    started = loop.time()
    for turn, moment in enumerate(moments):
        await asyncio.sleep(max(0.0, started + moment - loop.time()))
        request_id = f"{number}-{turn}"
        asked = loop.time()
        await call.write(chat(request_id, _MODEL))
        while True:
            frame = await call.read()
            if frame is grpc.aio.EOF or frame.chat.requestId != request_id or frame.chat.HasField("error"):
                tally.lost.append(f"{request_id}: {frame}")
                return
            if frame.chat.metrics:
                break
        tally.turns += 1
        tally.times.append((loop.time() - asked) * 1000)


def memory(process: int) -> float:
    """The resident memory of a process in MiB."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {process} has no VmRSS")


async def program(name: str, stack: AsyncExitStack) -> tuple[int, int]:
    """Start a program of this folder: its process id and its port."""
    command = [sys.executable, str(Path(__file__).with_name(name))]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    stack.push_async_callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    return process.pid, int(await process.stdout.readline())


async def measure(streams: int, seconds: float, turns: int) -> bool:
    """Print what was seen; whether nothing was lost."""
    tally = Tally()
    async with AsyncExitStack() as stack:
        service, port = await program("ours.py", stack)
        _, endpoint = await program("endpoint.py", stack)
        # A channel is one connection only when it does not share its subchannels with the others.
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options))
            for _ in range(_CHANNELS)
        ]
        warm = open_stream(channels[0])
        await warm.write(configuration(f"http://127.0.0.1:{endpoint}"))
        await warm.read()
        before = memory(service)
        calls = [open_stream(channels[number % _CHANNELS]) for number in range(streams)]
        for call in calls:
            await call.write(configuration(f"http://127.0.0.1:{endpoint}"))
        for call in calls:
            assert (await call.read()).configuration.success
        idle = memory(service)
        await asyncio.gather(*(live(number, call, seconds, turns, tally) for number, call in enumerate(calls)))
        after = memory(service)
        lost = [number for number, call in enumerate(calls) if call.done()]
        for call in (*calls, warm):
            call.cancel()
    print(f"{streams} streams open for {seconds:g} s, {tally.turns} turns of 20 tokens")
    print(f"lost: {len(lost)} streams, {len(tally.lost)} turns {tally.lost[:3] or ''}")
    print(f"a turn took {statistics.median(tally.times):.1f} ms in the median, {max(tally.times):.1f} ms at worst")
    print(
        f"service: {before:.0f} MiB before, {idle:.0f} MiB with all streams idle "
        f"({(idle - before) * 1024 / streams:.0f} KiB each), {after:.0f} MiB at the end"
    )
    return not lost and not tally.lost and tally.turns == streams * turns


def main() -> None:
    """Ends with 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--turns", type=int, default=3, help="per stream")
    given = parser.parse_args()
    if not asyncio.run(measure(given.streams, given.seconds, given.turns)):
        sys.exit("streams or turns were lost")


if __name__ == "__main__":
    main()
