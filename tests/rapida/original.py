"""A scripted original integration-api for tests: a gRPC server that answers bytes with bytes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import grpc

from tests.edge.certificates import Pair

Script = Callable[["Original", grpc.aio.ServicerContext], Awaitable[None]]


class Original(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no annotations
    """Plays `scripts` by the path of the call, and remembers what came: metadata by call, frames in their order."""

    def __init__(self, scripts: Mapping[str, Script], pair: Pair | None = None) -> None:
        """`pair` is the certificate with which it serves TLS."""
        self._scripts = scripts
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        if pair is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.metadata: list[dict[str, str | bytes]] = []
        self.frames: list[bytes] = []
        self.time_left: list[float | None] = []
        self.running = 0
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        script = self._scripts.get(handler_call_details.method)
        if script is None:
            return None

        async def played(_: object, context: grpc.aio.ServicerContext) -> None:
            self.metadata.append(dict(context.invocation_metadata() or ()))
            self.time_left.append(context.time_remaining())
            self.running += 1
            self.began.set()
            try:
                await script(self, context)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            finally:
                self.running -= 1

        return grpc.stream_stream_rpc_method_handler(played)

    async def read(self, context: grpc.aio.ServicerContext) -> bytes | None:
        """The next frame; None at the end."""
        raw: Any = await context.read()
        if raw is grpc.aio.EOF:
            return None
        self.frames.append(raw)
        return bytes(raw)
