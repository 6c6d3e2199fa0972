"""Chaos: an endpoint that fails at random, clients that give up at random; every call must end as documented.

Two sandboxes let 30 % of their answers go wrong in seventeen ways. Two hundred clients ask for a minute, with Chat and
StreamChat; one in seven cancels, one in seven has a short deadline; half of the calls have a fallback or two, and race
them. It fails when

* an answer is wrong: not the words that were asked for, or after a failure not a beginning of them;
* a call ends with a status and reason that are not in the error table, or does not end;
* descriptors or tasks of the service do not come back to where they were;
* its memory grows by more than 5 % over the last half.

A call that has not ended some seconds after its time makes the service dump all its tasks into its log, which is kept.

    python -m acceptance.chaos [SECONDS] [--seed SEED]
"""

import argparse
import asyncio
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import grpc

from bench.processes import Process, channels, chat_request, raise_descriptor_limit, reason_of, started
from integration_api.rpc.status import TABLE
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub

CLIENTS = 200
CHANNELS = 8
RACING = 0.5
HANGS = 10.0  # seconds within which the slowest answer of the sandbox has ended
LATE = 5.0  # seconds after a call's time when it counts as one that does not end
GROWTH = 0.05
DOCUMENTED = {(code.name, reason) for code, reason in TABLE.values()}
OWN = {"cancel": "CANCELLED", "deadline": "DEADLINE_EXCEEDED"}
# What needs a look although the table has it: a bug of ours, or a limit that this run must not reach.
NOT_HERE = {"INTERNAL", "SERVICE_OVERLOADED", "SERVICE_DRAINING", "EGRESS_DENIED"}


class Run:
    """What happened."""

    def __init__(self, server: Process) -> None:
        self._server = server
        self.endings: Counter[tuple[str, str, str]] = Counter()
        self.attempts: Counter[tuple[int, str]] = Counter()
        self.wrong: list[str] = []

    async def call(self, stub: ChatServiceStub, ports: tuple[int, int], rng: random.Random) -> None:
        """One call, in a manner of its own: to its end, cancelled, or with a short deadline."""
        words = " ".join(str(rng.randrange(10_000)) for _ in range(rng.randint(3, 12)))
        request = chat_request(ports[0], "chaos:percent=30", words)
        if rng.random() < RACING:
            _add_fallbacks(request, ports, rng)
        request.request_id = f"chaos-{rng.getrandbits(64):x}"
        manner = rng.choices(("to the end", "cancel", "deadline"), (5, 1, 1))[0]
        stream = rng.random() < 0.7
        timeout = rng.uniform(0.005, 0.4) if manner == "deadline" else None
        call = stub.StreamChat(request, timeout=timeout) if stream else stub.Chat(request, timeout=timeout)
        if manner == "cancel":
            timeout = rng.uniform(0, 0.3)
            asyncio.get_running_loop().call_later(timeout, call.cancel)
        received: list[str] = []
        try:
            async with asyncio.timeout((HANGS if timeout is None else timeout) + LATE):
                answer = await _read(call, received) if stream else await call
            self._well(manner, words, answer, "".join(received) if stream else None)
        except TimeoutError:
            self._server.process.send_signal(signal.SIGUSR2)
            self.wrong.append(
                f"{request.request_id} did not end: {manner}, stream {stream}, received {len(received)} of {words!r}"
            )
        except asyncio.CancelledError:
            if manner != "cancel":
                raise
            self._ended(manner, "CANCELLED", "", words, received)
        except grpc.aio.AioRpcError as error:
            self._ended(manner, error.code().name, reason_of(error), words, received)

    def _well(self, manner: str, words: str, answer: pb.ChatResponse, received: str | None) -> None:
        choice = answer.choices[0]
        text = choice.message.text
        # A whole answer that breaks off without saying why it ended is the endpoint's word; a stream must say it.
        broken_off = received is None and choice.finish_reason == msg.FINISH_REASON_UNSPECIFIED
        right = words.startswith(text) if broken_off else text == words
        if not right or received not in (None, words):
            self.wrong.append(f"asked for {words!r}, received {received!r}, got {text!r}")
        self.endings[manner, "OK", "broken off" if broken_off else ""] += 1
        for attempt in answer.timing.attempts_made:
            self.attempts[attempt.target, attempt.reason] += 1
        if sum(not attempt.reason for attempt in answer.timing.attempts_made) > 1:
            self.wrong.append(f"two attempts answered: {answer.timing.attempts_made}")

    def _ended(self, manner: str, status: str, reason: str, words: str, received: list[str]) -> None:
        self.endings[manner, status, reason] += 1
        if not words.startswith("".join(received)):
            self.wrong.append(f"asked for {words!r}, received {''.join(received)!r}, then {status}")
        # A client that gives up keeps its own status, even where ours has just arrived behind it.
        if status == OWN.get(manner):
            return
        if (status, reason) not in DOCUMENTED or reason in NOT_HERE:
            self.wrong.append(f"undocumented ending: {manner}, {status}, {reason or 'no reason'}")


def _add_fallbacks(request: pb.ChatRequest, ports: tuple[int, int], rng: random.Random) -> None:
    """One or two targets more, raced nearly always."""
    for number in range(rng.randint(1, 2)):
        other = chat_request(ports[1 - number], "chaos:percent=30")
        request.fallbacks.add(
            provider_id=other.provider_id, credential=other.credential, model_parameters=other.model_parameters
        )
    if rng.random() < 0.9:
        request.options.hedge_after.FromMilliseconds(rng.randint(1, 100))


async def _read(
    call: "grpc.aio.UnaryStreamCall[pb.ChatRequest, pb.StreamChatResponse]", received: list[str]
) -> pb.ChatResponse:
    last = pb.StreamChatResponse()
    async for frame in call:
        received.append(frame.text_delta.text)
        last = frame
    if last.WhichOneof("event") != "completed":
        raise AssertionError("a stream ended well without `completed`")
    return last.completed


async def client(run: Run, stubs: list[ChatServiceStub], ports: tuple[int, int], seed: int, until: float) -> None:
    """One client, call after call."""
    rng = random.Random(seed)  # noqa: S311 -- faults at random, no secrets
    while time.monotonic() < until:
        await run.call(rng.choice(stubs), ports, rng)


async def sampled(server: Process, until: float) -> list[int]:
    """The memory of the service, once a second."""
    samples = []
    while time.monotonic() < until:
        samples.append(server.resident)
        await asyncio.sleep(1.0)
    return samples


async def tasks_of(server: Process) -> tuple[int, int]:
    """How many tasks and calls the service has."""
    before = server.log.read_text("utf-8").count('"event": "tasks"')
    server.process.send_signal(signal.SIGUSR1)
    async with asyncio.timeout(5):
        while True:
            counts = [line for line in server.log.read_text("utf-8").splitlines() if '"event": "tasks"' in line]
            if len(counts) > before:
                found = json.loads(counts[-1])
                return found["tasks"], found["running"]
            await asyncio.sleep(0.05)


async def settled(server: Process, tasks: int, descriptors: int, seconds: float = 10.0) -> tuple[int, int, int]:
    """Tasks, running calls and descriptors, once they are back to where they were or time is over."""
    end = time.monotonic() + seconds
    while True:
        now, running = await tasks_of(server)
        held = server.descriptors
        if (now <= tasks and held <= descriptors and not running) or time.monotonic() > end:
            return now, running, held
        await asyncio.sleep(0.5)


async def main(seconds: float, first_seed: int) -> int:
    """The exit code: 0 when nothing was wrong."""
    raise_descriptor_limit()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    async with (
        started(folder / "sandbox.log", "integration_api", "sandbox", "--port", "0") as sandbox,
        started(folder / "spare.log", "integration_api", "sandbox", "--port", "0") as spare,
        started(folder / "serve.log", "acceptance.watched") as server,
    ):
        run, opened = Run(server), channels(server.port, CHANNELS)
        stubs = [ChatServiceStub(channel) for channel in opened]
        for stub in stubs:
            await stub.Chat(chat_request(sandbox.port, "echo"))
            await stub.Chat(chat_request(spare.port, "echo"))
        await asyncio.sleep(6.0)  # kept connections have ended
        tasks, _ = await tasks_of(server)
        descriptors = server.descriptors
        until = time.monotonic() + seconds
        ports = (sandbox.port, spare.port)
        clients = [client(run, stubs, ports, first_seed * CLIENTS + number, until) for number in range(CLIENTS)]
        sampling = asyncio.create_task(sampled(server, until))
        await asyncio.gather(*clients)
        samples = await sampling
        left = await settled(server, tasks, descriptors)
        await asyncio.gather(*(channel.close() for channel in opened))
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            code = await server.process.wait()
    if run.wrong:
        print(f"the logs are kept in {folder}")
    return report(run, samples, (tasks, 0, descriptors), left, code)


def report(
    run: Run, samples: list[int], before: tuple[int, int, int], left: tuple[int, int, int], code: int | None
) -> int:
    """Print the numbers; the exit code."""
    for (manner, status, reason), number in sorted(run.endings.items()):
        print(f"{number:8}  {manner:10} {status:20} {reason}")
    for (target, reason), number in sorted(run.attempts.items()):
        print(f"{number:8}  attempt of good calls with target {target} {reason or '(answered)'}")
    calls = sum(run.endings.values())
    tenth = max(1, len(samples) // 10)
    half = statistics.median(samples[len(samples) // 2 :][:tenth])
    end = statistics.median(samples[-tenth:])
    growth = end / half - 1
    print(f"{calls} calls, {calls / len(samples):.0f} a second; exit code {code}")
    print(f"tasks {before[0]} -> {left[0]}, running calls {left[1]}, descriptors {before[2]} -> {left[2]}")
    print(
        f"memory {samples[0] / 2**20:.1f} MiB, at half {half / 2**20:.1f}, at the end {end / 2**20:.1f} ({growth:+.1%})"
    )
    leaked = [
        f"{name} {now}, were {was}"
        for name, was, now in zip(("tasks", "calls", "descriptors"), before, left, strict=True)
        if now > was
    ]
    faults = [*run.wrong[:20], *leaked]
    if growth > GROWTH:
        faults.append(f"memory grew by {growth:.1%} over the last half")
    if code:
        faults.append(f"the service ended with {code}")
    for fault in faults:
        print(f"WRONG: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m acceptance.chaos")
    parser.add_argument("seconds", type=float, nargs="?", default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.seconds, given.seed)))
