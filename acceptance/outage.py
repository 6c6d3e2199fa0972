"""An outage: the first target is dead in one way or another, and then it is back; the service is as it is by default.

For each way (503, nobody listens, broken TLS, silence) sixty calls, four at a time, by StreamChat and by Rapida's
StreamChat, both with a stored credential that names its fallback and its time to hedge by. It fails when

* a call is not answered by the spare, or its answer takes longer than five seconds to begin;
* the dead target is asked more than fifteen times;
* it is not answering again within fifteen seconds of its return (where its TLS is not what is broken).

    python -m acceptance.outage
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
from google.protobuf import json_format

from bench.processes import channels, free_port, started
from integration_api import unified_provider_pb2 as rapida
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.rapida import talk

CALLS = 60
AT_ONCE = 4
MOST_REQUESTS = 15
LONGEST = 5.0  # seconds to a first output
BACK = 15.0  # seconds
WAYS = ("503", "refused", "TLS", "silent")
SPARE = "tokens:n=3"
_HEAD = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
_MAIN = (
    b'data: {"choices":[{"index":0,"delta":{"content":"main"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)

# One call: its text, and the seconds to its first output.
Call = Callable[[], Awaitable[tuple[str, float]]]


class Endpoint:
    """The first target: dead in its `way` until it is `well`."""

    def __init__(self, way: str) -> None:
        self.port = free_port()
        self.asked = 0
        self.way = way
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self.way == 'TLS' else 'http'}://127.0.0.1:{self.port}/v1"

    async def listen(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def close(self) -> None:
        """Take none any more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                if self.way == "TLS":
                    await reader.readexactly(1)
                    self.asked += 1
                    break
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length.split(b":")[1]))
                self.asked += 1
                if self.way == "silent":
                    await reader.read()
                    break
                body, status, kind = (b"{}", b"503 Service Unavailable", b"application/json")
                if self.way == "well":
                    body, status, kind = (_MAIN, b"200 OK", b"text/event-stream")
                writer.write(_HEAD % (status, kind, len(body)) + body)
        writer.transport.abort()


def by_name(channel: grpc.aio.Channel, name: str) -> Call:
    """A StreamChat with a stored credential."""
    request = json_format.ParseDict(
        {
            "providerId": "custom-llm",
            "credential": {"name": name},
            "messages": [{"user": {"content": [{"text": "Hello"}]}}],
            "modelParameters": {"model.name": SPARE},
        },
        pb.ChatRequest(),
    )

    async def call() -> tuple[str, float]:
        began, first, text = time.monotonic(), 0.0, ""
        async for frame in ChatServiceStub(channel).StreamChat(request, timeout=90):
            if frame.text_delta.text:
                first = first or time.monotonic() - began
                text += frame.text_delta.text
        return text, first

    return call


def by_turn(channel: grpc.aio.Channel, name: str) -> Call:
    """A turn of a stream of Rapida's, which is configured with a stored credential."""
    configuration = rapida.StreamChatConfiguration(credential=talk.credential(name=name), providerName="custom-llm")

    async def call() -> tuple[str, float]:
        async with talk.talk(channel, timeout=90) as stream:
            await stream.send(configuration=configuration)
            answer: rapida.StreamChatResponse = await stream.read()
            assert answer.configuration.success
            began = time.monotonic()
            await stream.chat("turn", SPARE)
            frames = [await stream.output()]
            first = time.monotonic() - began
            while not frames[-1].metrics:
                frames.append(await stream.output())
            return talk.text_of(frames[-1]), first

    return call


async def judged(name: str, endpoint: Endpoint, call: Call) -> list[str]:
    """What was wrong in one outage."""
    if endpoint.way != "refused":
        await endpoint.listen()
    answers: list[tuple[str, float]] = []

    async def some() -> None:
        for _ in range(CALLS // AT_ONCE):
            answers.append(await call())  # noqa: PERF401 -- one after the other

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    asked, slowest = endpoint.asked, max(first for _, first in answers)
    answered = sum(bool(text) and text != "main" for text, _ in answers)
    wrong = [f"{answered} of {CALLS} answered by the spare"] if answered < CALLS else []
    # A configuration of Rapida's opens a connection ahead: a handshake that fails, and no request.
    counted = endpoint.way != "TLS" or not name.startswith("rapida")
    wrong += [f"asked {asked} times"] if asked > MOST_REQUESTS and counted else []
    wrong += [f"a first output after {slowest:.1f} s"] if slowest > LONGEST else []
    told = f"{answered} answered, the slowest after {slowest:.2f} s; asked {asked} times"
    if endpoint.way != "TLS":
        if endpoint.way == "refused":
            await endpoint.listen()
        endpoint.way, returned = "well", time.monotonic()
        for _ in range(int(10 * BACK)):
            if (await call())[0] == "main":
                break
            await asyncio.sleep(0.2)
        back = time.monotonic() - returned
        wrong += [f"back after {back:.1f} s"] if back > BACK else []
        told += f"; back after {back:.1f} s"
    endpoint.close()
    print(f"{name:16} {told}", flush=True)
    return [f"{name}: {each}" for each in wrong]


async def main() -> int:
    """The exit code: 0 when nothing was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="outage-"))
    stored = folder / "credentials"
    stored.mkdir()
    endpoints = {f"{face}-{way}": Endpoint(way) for face in ("v1", "rapida") for way in WAYS}
    arguments = ("--port", "0", "--log-format", "json", "--credentials-dir", str(stored))
    async with started(folder / "spare.log", "integration_api", "sandbox", "--port", "0") as spare:
        _keep(stored, "spare", f"http://127.0.0.1:{spare.port}/v1")
        for name, endpoint in endpoints.items():
            _keep(stored, name, endpoint.url, fallbacks=["spare"], hedge_after="0.3s")
        async with started(folder / "serve.log", "integration_api", "serve", *arguments) as server:
            (channel,) = channels(server.port, 1)
            faces = {"v1": by_name, "rapida": by_turn}
            wrong = await asyncio.gather(
                *(
                    judged(name, endpoint, faces[name.partition("-")[0]](channel, name))
                    for name, endpoint in endpoints.items()
                )
            )
            await channel.close()
    faults = [fault for each in wrong for fault in each]
    for fault in faults:
        print(f"WRONG: {fault}; the logs are kept in {folder}")
    return 1 if faults else 0


def _keep(stored: Path, name: str, url: str, **more: object) -> None:
    """A stored credential."""
    credential = {"apiCompatibility": "openai_compatible", "baseUrl": url, **more}
    (stored / f"{name}.json").write_text(json.dumps(credential), "utf-8")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
