"""Rapida's `integration_api.UnifiedProviderService`: a thin face over the callers.

Methods raise `CallerError`s; the guard asks their `…_failed` twin for the answer that holds the error, as the contract
wants it. StreamChat is `unified_turns`.
"""

import secrets
from collections.abc import Mapping

import grpc
import structlog
from google.protobuf.message import DecodeError

from caller.call import CallReport
from caller.errors import CallerError
from caller.registry import Registry
from integration_api import unified_provider_pb2 as pb
from integration_api.auth.authenticator import Authenticate
from integration_api.calls.admission import Admission
from integration_api.rapida import response as unified_response
from integration_api.rapida.auth import authenticate_rapida, origin
from integration_api.rapida.calls import Calls, unsupported
from integration_api.rapida.conversation import Conversation
from integration_api.rapida.request import credential_value
from integration_api.rpc.guard import Guard
from integration_api.rpc.rpc import Rpc
from integration_api.rpc.streams import OpenStream
from integration_api.settings import Settings

NAME = "integration_api.UnifiedProviderService"


class UnifiedProviderService:
    """The five methods, and their answers to failures."""

    def __init__(self, registry: Registry, settings: Settings, admission: Admission) -> None:
        self._calls = Calls(registry, settings, admission)
        self._idle_timeout = settings.stream_idle_timeout
        self._authenticate = _authenticate(settings.rapida_jwt_secret)

    def handlers(self, guard: Guard) -> Mapping[str, grpc.RpcMethodHandler]:
        """The guarded methods by their names."""
        who = self._authenticate
        return {
            "Chat": guard.unary("Chat", pb.ChatRequest, self.chat, in_body=self.chat_failed, authenticate=who),
            "StreamChat": guard.bidi("StreamChat", pb.StreamChatRequest, self.stream_chat, authenticate=who),
            "Embedding": guard.unary(
                "Embedding", pb.EmbeddingRequest, self.embedding, in_body=self.embedding_failed, authenticate=who
            ),
            "Reranking": guard.unary(
                "Reranking", pb.RerankingRequest, self.reranking, in_body=self.reranking_failed, authenticate=who
            ),
            "VerifyCredential": guard.unary(
                "VerifyCredential",
                pb.VerifyCredentialRequest,
                self.verify_credential,
                in_body=self.verify_credential_failed,
                authenticate=who,
            ),
        }

    async def chat(self, request: pb.ChatRequest, rpc: Rpc) -> pb.ChatResponse:
        """One whole answer."""
        _remember_origin(rpc)
        rpc.name(request.requestId)
        caller = self._calls.caller(request.providerName)
        credential = credential_value(request.credential, request.connectionOptions)
        report = CallReport(started=rpc.started)
        call = self._calls.call(request, credential, rpc)
        async with self._calls.place(call):
            completion = await caller.chat(call, report)
        found = self._calls.measured(request.requestId or rpc.request_id, report, completion.usage)
        answer = unified_response.chat_response(request.requestId, completion, found)
        self._calls.bounded(answer)
        return answer

    def chat_failed(self, error: CallerError, raw: bytes, rpc: Rpc) -> pb.ChatResponse:
        """The answer that says why there is none."""
        try:
            request_id = pb.ChatRequest.FromString(raw).requestId
        except DecodeError:
            request_id = ""
        found = self._calls.measured(request_id or rpc.request_id, CallReport(started=rpc.started), error.usage)
        return unified_response.failed_chat(request_id, error, found)

    async def stream_chat(self, stream: OpenStream[pb.StreamChatRequest]) -> None:
        """A conversation, turn by turn."""
        _remember_origin(stream.rpc)
        await Conversation(stream, self._calls, self._idle_timeout).run()

    async def verify_credential(self, request: pb.VerifyCredentialRequest, rpc: Rpc) -> pb.VerifyCredentialResponse:
        """Whether a credential is usable."""
        _remember_origin(rpc)
        number = _number(rpc)
        caller = self._calls.caller(request.providerName)
        probe = self._calls.probe(request.credential, rpc)
        async with self._calls.place(probe):
            found = await caller.verify(probe, CallReport(started=rpc.started))
        return unified_response.verified(number, found)

    def verify_credential_failed(self, error: CallerError, raw: bytes, rpc: Rpc) -> pb.VerifyCredentialResponse:
        """The answer that says why the credential was not looked at."""
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
        found = self._calls.measured(rpc.request_id, CallReport(started=rpc.started), error.usage)
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
        found = self._calls.measured(rpc.request_id, CallReport(started=rpc.started), error.usage)
        return unified_response.no_reranking(number, error, found)


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
    """The number under which the call stands in the logs: these requests bring no id of their own."""
    if not rpc.request_id.isdecimal():
        rpc.name(str(secrets.randbits(53)))
    return int(rpc.request_id)
