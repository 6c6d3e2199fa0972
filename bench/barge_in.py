"""Barge-in: how long after a new chat frame the endpoint sees the older turn's connection closed, and how long until
the newer turn's first delta comes.

    python -m bench.barge_in [--rounds 100] [--most 100]

The service runs in a process of its own; the client and the sandbox, whose script talks for 30 s, in this one, so that
both look at one clock. Fails when any round takes longer than `--most` milliseconds.
"""

import argparse
import asyncio
import statistics
import sys
from pathlib import Path

import grpc
from google.protobuf import any_pb2, wrappers_pb2

from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.sandbox import Sandbox

_METHOD = "/integration_api.UnifiedProviderService/StreamChat"
_TALKS = "tokens:n=1500,gap=20ms"
_PATIENCE = 5.0


def chat(request_id: str, model: str) -> pb.StreamChatRequest:
    """A turn."""
    name = any_pb2.Any()
    name.Pack(wrappers_pb2.StringValue(value=model))
    said = msg.Message(role="user", user=msg.UserMessage(content="Talk to me"))
    question = pb.StreamChatInput(requestId=request_id, conversations=[said], modelParameters={"model.name": name})
    return pb.StreamChatRequest(chat=question)


def configuration(endpoint: str) -> pb.StreamChatRequest:
    """The first frame."""
    credential = msg.Credential()
    credential.value["base_url"] = f"{endpoint}/v1"
    return pb.StreamChatRequest(
        configuration=pb.StreamChatConfiguration(credential=credential, providerName="custom-llm")
    )


def open_stream(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall:
    """A stream of the service."""
    return channel.stream_stream(
        _METHOD,
        request_serializer=pb.StreamChatRequest.SerializeToString,
        response_deserializer=pb.StreamChatResponse.FromString,
    )()


async def interrupt(call: grpc.aio.StreamStreamCall, sandbox: Sandbox, number: int) -> tuple[float, float]:
    """One round: milliseconds to the closed connection, and to the first delta of the newer turn."""
    loop = asyncio.get_running_loop()
    await call.write(chat(f"old-{number}", _TALKS))
    while (await call.read()).chat.requestId != f"old-{number}":
        pass
    await asyncio.sleep(0.03)  # somewhere between two tokens
    sent = loop.time()
    await call.write(chat(f"new-{number}", "tokens:n=3"))
    hangup = asyncio.create_task(sandbox.wait_for_hangup(_PATIENCE))
    while True:
        frame = (await call.read()).chat
        if frame.requestId == f"new-{number}":
            break
    first_delta = loop.time() - sent
    closed = await hangup - sent
    while not frame.metrics:
        frame = (await call.read()).chat
    assert frame.finishReason == "stop", frame
    return closed * 1000, first_delta * 1000


async def measure(rounds: int, most: float) -> bool:
    """Print both times; whether all rounds stayed below the bound."""
    program = [sys.executable, str(Path(__file__).with_name("ours.py"))]
    service = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert service.stdout is not None
    try:
        port = int(await service.stdout.readline())
        async with Sandbox() as sandbox, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = open_stream(channel)
            await call.write(configuration(sandbox.url))
            assert (await call.read()).configuration.success
            found = [await interrupt(call, sandbox, number) for number in range(rounds)]
            call.cancel()
    finally:
        service.kill()
        await service.wait()
    good = True
    for name, times in zip(
        ("old connection closed", "first delta of the new turn"), zip(*found, strict=True), strict=True
    ):
        print(f"{name:28} median {statistics.median(times):6.1f} ms   worst {max(times):6.1f} ms   of {rounds} rounds")
        good = good and max(times) <= most
    return good


def main() -> None:
    """Ends with 1 when a round was too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--most", type=float, default=100.0, help="milliseconds")
    given = parser.parse_args()
    if not asyncio.run(measure(given.rounds, given.most)):
        sys.exit(f"a round took longer than {given.most:g} ms")


if __name__ == "__main__":
    main()
