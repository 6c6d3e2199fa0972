"""Rapida's `integration_api.UnifiedProviderService`: a thin face over `Calls`.

Methods raise `CallerError`s; the guard asks their `…_failed` twin for the answer that holds the error, as the contract
wants it. StreamChat is `conversation`; what is answered elsewhere is `upstream`'s.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from caller.call import CallReport, Completion
from caller.errors import CallerError
from caller.events import Event
from caller.fold import Folder
from integration_api import unified_provider_pb2 as pb
from integration_api.auth.authenticator import Authenticate
from integration_api.calls.calls import Calls
from integration_api.files.credential_store import CredentialStore
from integration_api.rapida import response as unified_response
from integration_api.rapida.auth import authenticate_rapida, origin
from integration_api.rapida.calls import RapidaCalls, unsupported
from integration_api.rapida.conversation import STOPPING, Conversation
from integration_api.rapida.request import repeated_id
from integration_api.rapida.upstream import UnknownServices, Upstream, UpstreamSettings
from integration_api.rpc.guard import Guard, InBody
from integration_api.rpc.rpc import Frame, Rpc
from integration_api.rpc.streams import OpenStream
from integration_api.settings import Settings

NAME = "integration_api.UnifiedProviderService"
# Every number of so many digits fits into the answers' uint64.
_MAX_NUMBER_DIGITS = 19

_Request = TypeVar("_Request", pb.ChatRequest, pb.EmbeddingRequest, pb.RerankingRequest, pb.VerifyCredentialRequest)
_Method: TypeAlias = Callable[[_Request, Rpc], Awaitable[Frame | None]]


class UnifiedProviderService:
    """The five methods, and their answers to failures."""

    def __init__(self, calls: Calls, settings: Settings, credentials: CredentialStore | None = None) -> None:
        """`credentials`: those that clients may name; None where the server holds none."""
        self._calls = RapidaCalls(calls, settings, credentials)
        self._idle_timeout = settings.stream_idle_timeout
        self._authenticate = _authenticate(settings.rapida_jwt_secret)
        self._upstream_settings = UpstreamSettings.of(settings)
        self._upstream: Upstream | None = None

    async def start(self) -> None:
        """Open the channel to the original, if there is one.

        Raises:
            ValueError: the file of its authorities cannot be used.
        """
        if self._upstream_settings is not None:
            credentials = await asyncio.to_thread(self._upstream_settings.credentials)
            self._upstream = Upstream(self._upstream_settings, credentials)

    async def close(self) -> None:
        """Close the channel to the original, if there is one."""
        if self._upstream is not None:
            await self._upstream.close()

    def generic_handlers(self, guard: Guard) -> tuple[grpc.GenericRpcHandler, ...]:
        """What a gRPC server is to serve."""
        handlers: list[grpc.GenericRpcHandler] = [grpc.method_handlers_generic_handler(NAME, self._handlers(guard))]
        if self._upstream is not None:
            handlers.append(UnknownServices(self._upstream, guard, self._authenticate))
        return tuple(handlers)

    def _handlers(self, guard: Guard) -> Mapping[str, grpc.RpcMethodHandler]:
        """The guarded methods by their names."""
        who = self._authenticate
        handlers = {
            "StreamChat": guard.bidi(f"{NAME}/StreamChat", pb.StreamChatRequest, self.stream_chat, authenticate=who)
        }

        def unary(name: str, request: type[_Request], method: _Method[_Request], failed: InBody) -> None:
            here = self._here(method)
            handlers[name] = guard.unary(f"{NAME}/{name}", request, here, in_body=failed, authenticate=who)

        unary("Chat", pb.ChatRequest, self.chat, self.chat_failed)
        unary("Embedding", pb.EmbeddingRequest, self.embedding, self.embedding_failed)
        unary("Reranking", pb.RerankingRequest, self.reranking, self.reranking_failed)
        unary("VerifyCredential", pb.VerifyCredentialRequest, self.verify_credential, self.verify_credential_failed)
        return handlers

    def _here(self, method: _Method[_Request]) -> _Method[_Request]:
        """The method for providers that are answered here; calls for others are passed on, as running calls of
        ours."""
        upstream = self._upstream
        if upstream is None:
            return method

        async def here_or_there(request: _Request, rpc: Rpc) -> Frame | None:
            if not self._calls.elsewhere(request.providerName):
                return await method(request, rpc)
            _remember_origin(rpc)
            del request  # the call holds its bytes
            async with self._calls.calls.slot(rpc.client, upstream.address, rpc.time_left()):
                return await upstream.ask(f"/{NAME}/{rpc.method}", rpc)

        return here_or_there

    async def chat(self, request: pb.ChatRequest, rpc: Rpc) -> None:
        """One whole answer."""
        _remember_origin(rpc)
        report = rpc.new_report(request.requestId)
        sink = _WholeAnswer(repeated_id(request), rpc, report, self._calls)
        running = self._calls.calls.run(rpc, report, partial(self._calls.chat, request, report, rpc.identity), sink)
        del request  # the call lets go of it once it is read
        await running

    def chat_failed(self, error: CallerError, raw: bytes, rpc: Rpc) -> pb.ChatResponse:
        """The answer that says why there is none."""
        try:
            request_id = repeated_id(pb.ChatRequest.FromString(raw))
        except DecodeError:
            request_id = ""
        report = _report(rpc)
        rpc.set_trailers(report)
        found = self._calls.timings(request_id or rpc.request_id, report)
        return unified_response.failed_chat(request_id, error, found)

    async def stream_chat(self, stream: OpenStream[pb.StreamChatRequest]) -> None:
        """A conversation, turn by turn."""
        _remember_origin(stream.rpc)
        first = await Conversation(stream, self._calls, self._idle_timeout).run()
        if first is not None and self._upstream is not None:
            closed = unified_response.closed(STOPPING)
            await self._upstream.carry(f"/{NAME}/StreamChat", stream, first, closed)

    async def verify_credential(self, request: pb.VerifyCredentialRequest, rpc: Rpc) -> pb.VerifyCredentialResponse:
        """Whether a credential is usable."""
        _remember_origin(rpc)
        number = _number(rpc)
        report = rpc.new_report(rpc.request_id)
        read = partial(self._calls.verification, request.providerName, request.credential, report, rpc.identity)
        found = await self._calls.calls.verify(rpc, report, read)
        return unified_response.verified(number, found)

    def verify_credential_failed(self, error: CallerError, raw: bytes, rpc: Rpc) -> pb.VerifyCredentialResponse:
        """The answer that says why the credential was not checked."""
        del raw
        return unified_response.not_verified(_number(rpc), error)

    async def embedding(self, request: pb.EmbeddingRequest, rpc: Rpc) -> pb.EmbeddingResponse:
        """Embeddings: no caller has them yet."""
        _remember_origin(rpc)
        _number(rpc)
        raise unsupported("embedding", request.providerName)

    def embedding_failed(self, error: CallerError, raw: bytes, rpc: Rpc) -> pb.EmbeddingResponse:
        """The answer that says why there are none."""
        del raw
        number = _number(rpc)
        found = self._calls.timings(rpc.request_id, _report(rpc))
        return unified_response.no_embeddings(number, error, found)

    async def reranking(self, request: pb.RerankingRequest, rpc: Rpc) -> pb.RerankingResponse:
        """Reranking: no caller has it yet."""
        _remember_origin(rpc)
        _number(rpc)
        raise unsupported("reranking", request.providerName)

    def reranking_failed(self, error: CallerError, raw: bytes, rpc: Rpc) -> pb.RerankingResponse:
        """The answer that says why there is none."""
        del raw
        number = _number(rpc)
        found = self._calls.timings(rpc.request_id, _report(rpc))
        return unified_response.no_reranking(number, error, found)


class _WholeAnswer:
    """Writes the one answer of Chat."""

    stream = False

    def __init__(self, request_id: str, rpc: Rpc, report: CallReport, calls: RapidaCalls) -> None:
        self._request_id = request_id
        self._rpc = rpc
        self._report = report
        self._calls = calls

    def events(self, events: Sequence[Event], folder: Folder) -> None:
        """Nothing: a whole answer leaves at its end."""

    def completed(self, completion: Completion) -> None:
        """The answer and its trailers."""
        self._rpc.set_trailers(self._report)
        found = self._calls.timings(self._request_id or self._report.request_id, self._report, completion.usage)
        response = unified_response.chat_response(self._request_id, completion, found)
        self._calls.bounded(response)
        self._rpc.give(response)


def _report(rpc: Rpc) -> CallReport:
    """The record of the call, or an empty one where none was made."""
    return rpc.report or CallReport(started=rpc.started)


def _authenticate(secret: str) -> Authenticate | None:
    """The platform's own way to say who calls; None leaves it to the native one."""
    if not secret:
        return None

    def authenticate(context: grpc.aio.ServicerContext) -> str:
        return authenticate_rapida(context.invocation_metadata(), secret)

    return authenticate


def _remember_origin(rpc: Rpc) -> None:
    """Put what the platform says of itself into every log line of this call."""
    structlog.contextvars.bind_contextvars(**origin(rpc.context.invocation_metadata()))


def _number(rpc: Rpc) -> int:
    """The number under which the call stands in the logs: these requests bring no id of their own, but for one in the
    metadata that is such a number."""
    if not rpc.request_id.isdecimal() or len(rpc.request_id) > _MAX_NUMBER_DIGITS:
        rpc.name(str(secrets.randbits(53)))
    return int(rpc.request_id)
