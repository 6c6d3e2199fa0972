"""One call of `Chat` or `StreamChat` as a client makes it, printed as it comes: what `chat` and `demo` share."""

import grpc

from integration_api.commands.connection import token_metadata
from integration_api.commands.printing import Printer
from integration_api.commands.spinner import Spinner
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import chat_service_pb2_grpc as stubs


async def ask(
    channel: grpc.aio.Channel,
    request: pb.ChatRequest,
    printer: Printer,
    *,
    unary: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109 -- a gRPC deadline, which the server sees too
    token: str = "",
) -> None:
    """Asks and prints the answer. `timeout` in seconds.

    Raises:
        grpc.aio.AioRpcError: the call failed; what came before is printed.
        IncompleteError: the stream ended well without its last event.
    """
    stub = stubs.ChatServiceStub(channel)
    metadata = token_metadata(token)
    try:
        with Spinner() as spinner:
            if unary:
                answer = await stub.Chat(request, timeout=timeout, metadata=metadata)
                spinner.stop()
                printer.response(answer)
            else:
                async for frame in stub.StreamChat(request, timeout=timeout, metadata=metadata):
                    spinner.stop()
                    printer.frame(frame)
    finally:
        printer.end()
    printer.summary()
