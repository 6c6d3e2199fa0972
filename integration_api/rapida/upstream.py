"""The original integration-api behind this service: what is not answered here is passed on to it, as bytes.

So one address serves the platform for everything. A call goes on with its metadata, the client's token among it, with
its deadline and its cancellation; its answer comes back with metadata, status and details. Nothing is parsed on the
way, and one frame is on its way in each direction: whoever does not read holds up whoever writes.

The address is the operator's: it is not under the egress policy. Only clients that say who they are get through. A call
that was passed on once is not passed on again.
"""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import structlog
from cryptography import x509
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from caller.errors import CallerUnauthenticated, ServiceStopped, clipped
from caller.providers import CUSTOM
from integration_api.auth.authenticator import Authenticate
from integration_api.rpc.guard import Guard
from integration_api.rpc.rpc import ClientGoneError, Metadata, Rpc
from integration_api.rpc.streams import OpenStream
from integration_api.settings import Settings

HOP: Final = "x-integration-api-hop"
_PACKAGE: Final = "integration_api"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_LOOP: Final = "this call was passed on once already: rapida_upstream leads back to this service"
# What belongs to one connection, or is made anew on the next; binary ones of grpc's (`grpc-status-details-bin`) go on.
_HOP_BY_HOP: Final = frozenset({"user-agent", "content-type", "te", "host", "accept-encoding", HOP})
_MAX_PATH_CHARS = 128
_OPTIONS: Final = (
    # Retries are the client's, so none comes from DNS; gRPC itself sends again only what no server has seen.
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_http_proxy", 0),  # the environment decides nothing
    # One that is started again is found soon.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 32 * 1024),
)

_Call: TypeAlias = grpc.aio.Call


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as it came."""

    raw: bytes

    def SerializeToString(self) -> bytes:
        """The bytes."""
        return self.raw


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Where the original is. `ca_file`: authorities that its certificate must come from; empty: the system's."""

    address: str
    tls: bool
    ca_file: str
    max_message_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "UpstreamSettings | None":
        """None where there is no original.

        Raises:
            ValueError: the settings cannot be used.
        """
        address = settings.rapida_upstream.strip()
        if not address:
            return None
        found = _ADDRESS.fullmatch(address)
        if found is None or not 0 < int(found[2]) < 65536:
            raise ValueError("rapida_upstream must be HOST:PORT, such as integration-api.platform:9004")
        if settings.rapida_upstream_ca_file and not settings.rapida_upstream_tls:
            raise ValueError("rapida_upstream_ca_file needs rapida_upstream_tls")
        return cls(address, settings.rapida_upstream_tls, settings.rapida_upstream_ca_file, settings.max_request_bytes)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For the channel; None without TLS. Reads a file.

        Raises:
            ValueError: it cannot be used.
        """
        if not self.tls:
            return None
        if not self.ca_file:
            return grpc.ssl_channel_credentials()
        try:
            authorities = Path(self.ca_file).read_bytes()
            x509.load_pem_x509_certificates(authorities)
        except OSError as error:
            raise ValueError(f"cannot read rapida_upstream_ca_file: {error.strerror}") from None
        except ValueError:
            raise ValueError("rapida_upstream_ca_file holds no certificate in PEM") from None
        return grpc.ssl_channel_credentials(authorities)


def own_providers(settings: Settings) -> frozenset[str]:
    """Names of the providers that are answered here, in lower case."""
    listed = (name.strip().lower() for name in settings.rapida_own_providers.split(","))
    return frozenset({CUSTOM, *filter(None, listed)})


def check_passing_on(rpc: Rpc) -> None:
    """Refuse to pass on a call of somebody who did not say who calls.

    Raises:
        CallerUnauthenticated: it is anonymous.
    """
    if not rpc.identity:
        raise CallerUnauthenticated("calls are passed on to the original integration-api for known clients only")


class Upstream:
    """Passes calls on. One instance serves all, over one channel."""

    def __init__(self, settings: UpstreamSettings, credentials: grpc.ChannelCredentials | None) -> None:
        """Make it inside the running event loop; `credentials` are the settings' own."""
        self.address = settings.address
        options = [*_OPTIONS, ("grpc.max_receive_message_length", settings.max_message_bytes)]
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(settings.address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(settings.address, credentials, options=options)
        self._log = structlog.get_logger("integration_api.upstream")

    async def close(self) -> None:
        """Close the channel; what is still on its way ends."""
        await self._channel.close()

    async def ask(self, path: str, rpc: Rpc) -> Raw:
        """The answer to a call of one request, which is `rpc.raw`.

        Raises:
            CallerUnauthenticated: nobody said who calls.
            grpc.aio.AbortError: the original's status, if it is not OK.
        """
        metadata = await self._onward(rpc)
        call = self._channel.unary_unary(path)(rpc.raw, timeout=rpc.time_left(), metadata=metadata)
        try:
            raw = bytes(await call)
        except (grpc.RpcError, asyncio.CancelledError):
            if _cancelled():
                raise
            await self._abort(path, call, rpc)
        rpc.initial_metadata = _passed(await call.initial_metadata())
        await self._end(path, call, rpc)
        return Raw(raw)

    async def carry(
        self, path: str, stream: OpenStream[Any], first: bytes | None = None, last: Message | None = None
    ) -> None:
        """Pass on frames both ways until the original ends the call. `first` is a frame that was read already; `last`
        is written when this instance stops and waits no longer, in place of a status.

        Raises:
            CallerUnauthenticated: nobody said who calls.
            ServiceStopped: this instance stops, and there is no `last`.
            grpc.aio.AbortError: the original's status, if it is not OK.
        """
        rpc = stream.rpc
        if first is None and _was_passed_on(rpc):
            await stream.receive()  # grpc.aio makes an INTERNAL of a status that crosses the first message
        metadata = await self._onward(rpc)
        call = self._channel.stream_stream(path)(timeout=rpc.time_left(), metadata=metadata)
        stream.when_cut(call.cancel)
        sending = asyncio.create_task(_send(stream, call, first))
        try:
            while (raw := await call.read()) is not grpc.aio.EOF:
                if not rpc.output_started:
                    rpc.initial_metadata = _passed(await call.initial_metadata())
                await rpc.write(Raw(raw))
        except (grpc.RpcError, asyncio.CancelledError):
            if _cancelled():
                raise
            if not stream.cutting:
                await self._abort(path, call, rpc)
            if last is None:
                raise ServiceStopped("this instance is stopping") from None
            await rpc.write(last)
        else:
            await self._end(path, call, rpc)
        finally:
            call.cancel()
            sending.cancel()
            await asyncio.wait({sending})

    async def _onward(self, rpc: Rpc) -> Metadata:
        """The metadata with which a call goes on."""
        check_passing_on(rpc)
        given = rpc.context.invocation_metadata() or ()
        if _was_passed_on(rpc):
            await rpc.context.abort(grpc.StatusCode.FAILED_PRECONDITION, _LOOP)
        return (*_passed(given), (HOP, "1"))

    async def _end(self, path: str, call: _Call, rpc: Rpc) -> None:
        rpc.context.set_trailing_metadata(_passed(await call.trailing_metadata()))
        self._note(path, grpc.StatusCode.OK, rpc)

    async def _abort(self, path: str, call: _Call, rpc: Rpc) -> NoReturn:
        """End the call as the original did."""
        code = await call.code()
        self._note(path, code, rpc)
        details, trailers = await call.details(), _passed(await call.trailing_metadata())
        await rpc.context.abort(code, details or "", trailers)
        raise AssertionError("abort raises")

    def _note(self, path: str, code: grpc.StatusCode, rpc: Rpc) -> None:
        took = round(asyncio.get_running_loop().time() - rpc.started, 6)
        fields = {"identity": rpc.identity, "status": code.name, "took": took}
        self._log.info("upstream.ended", path=clipped(path, _MAX_PATH_CHARS), **fields)


class UnknownServices(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Methods of the original's package that this service does not have: added behind those that it has."""

    def __init__(self, upstream: Upstream, guard: Guard, authenticate: Authenticate | None) -> None:
        self._upstream = upstream
        self._guard = guard
        self._authenticate = authenticate

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of one call; None for other packages."""
        path = handler_call_details.method
        service = path.removeprefix("/").rpartition("/")[0]
        if service.rpartition(".")[0] != _PACKAGE:
            return None

        async def passed_on(stream: OpenStream[Empty]) -> None:
            await self._upstream.carry(path, stream)

        return self._guard.bidi("passed on", Empty, passed_on, authenticate=self._authenticate)


async def _send(stream: OpenStream[Any], call: Any, first: bytes | None) -> None:
    """The client's frames to the original, one after the other, until either of them ends."""
    # Either side is gone: the call's status says why.
    with suppress(ClientGoneError, grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        raw = await stream.receive() if first is None else first
        while raw is not None:
            await call.write(raw)
            raw = await stream.receive()
        await call.done_writing()


def _was_passed_on(rpc: Rpc) -> bool:
    """Whether another instance, or this one, has passed the call on already."""
    return any(key == HOP for key, _ in rpc.context.invocation_metadata() or ())


def _passed(metadata: Sequence[tuple[str, str | bytes]] | None) -> Metadata:
    """What of a hop's metadata is for the next one."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _HOP_BY_HOP and (not key.startswith((":", "grpc-")) or key.endswith("-bin"))
    )


def _cancelled() -> bool:
    """Whether somebody ends the current call, in contrast to a status that says so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
