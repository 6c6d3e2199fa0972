"""A bare grpc.aio server, to measure beside ours: what a storm of calls costs gRPC itself, whatever the service does.

    python -m acceptance.hostile.bare --port PORT

It answers calls with the honest client's token, and Health, with fixed bytes. Calls with the other client's token
are read and then refused, all others at the headers.
Its channel options are ours: with gRPC's own 1,000 calls wait, further ones are cancelled at random, honest ones too.
"""

import argparse

import grpc
import uvloop
from grpc_health.v1 import health_pb2

from acceptance.hostile.rows import CHAT, GREEDY, HEALTH, HONEST
from integration_api.rpc.channel_options import channel_options
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb


class _Everything(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """One handler for all methods: a stream, as ours are."""

    def __init__(self) -> None:
        answer = pb.ChatResponse()
        answer.choices.add().message.text = "honest"
        healthy = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        self._answers = {CHAT: answer.SerializeToString(), HEALTH: healthy.SerializeToString()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata or ())
        token = metadata.get("authorization")
        honest = method == HEALTH or token == f"Bearer {HONEST}"
        greedy = token == f"Bearer {GREEDY}"
        answer = self._answers.get(method, b"") if honest else None

        async def served(_: object, context: grpc.aio.ServicerContext) -> None:
            if answer is None:
                if greedy:
                    await context.read()
                context.set_code(grpc.StatusCode.UNAVAILABLE)
                return
            await context.read()
            await context.write(answer)

        return grpc.stream_stream_rpc_method_handler(served)


async def main(port: int) -> None:
    """Until it is ended."""
    server = grpc.aio.server(options=channel_options(Settings()))
    server.add_generic_rpc_handlers((_Everything(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(main(parser.parse_args().port))
