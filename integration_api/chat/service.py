"""`integration_api.v1.ChatService`: a thin face over the callers."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

import structlog

from caller.call import Caller, CallReport, ChatCall, Timeouts
from caller.credentials import endpoint_of
from caller.errors import CallerError, ResponseTooLarge, clipped
from caller.events import OUTPUT, Event
from caller.fold import Folder
from caller.json_types import JsonObject
from caller.registry import Registry
from integration_api.calls.admission import Admission
from integration_api.chat import request as v1_request
from integration_api.chat import response as v1_response
from integration_api.files.credential_store import CredentialStore, not_found
from integration_api.rpc.rpc import Rpc
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

NAME = "integration_api.v1.ChatService"
_log = structlog.get_logger("integration_api.chat")
# What the one small chat of VerifyCredential asks.
_PROBE = msg.Message(user=msg.UserMessage(content=[msg.ContentPart(text="Say OK.")]))


class ChatService:
    """Each method takes the request and its `Rpc`, and raises `CallerError`s."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        admission: Admission,
        credentials: CredentialStore | None = None,
    ) -> None:
        """`credentials`: those that requests may name; None where the server holds none."""
        self._registry = registry
        self._admission = admission
        self._credentials = credentials
        self._timeouts = Timeouts(
            connect=settings.connect_timeout,
            first_output=settings.first_output_timeout,
            between_outputs=settings.between_outputs_timeout,
            total=settings.total_timeout,
        )
        self._max_attempts = settings.max_attempts
        self._max_answer = settings.max_answer_bytes

    async def chat(self, request: pb.ChatRequest, rpc: Rpc) -> pb.ChatResponse:
        """One whole answer."""
        with _named(request.provider_id):
            caller, call, report = self._begin(request, rpc)
            async with self._place(call, rpc):
                completion = await caller.chat(call, report)
        _trail(rpc, report)
        return self._answer(v1_response.chat_response(rpc.request_id, completion, report, _now()))

    async def stream_chat(self, request: pb.ChatRequest, rpc: Rpc) -> None:
        """The same answer, as it comes. Nothing leaves before the first output or the good end."""
        with _named(request.provider_id):
            caller, call, report = self._begin(request, rpc)
            async with self._place(call, rpc):
                await self._stream(caller, call, report, rpc)

    async def _stream(self, caller: Caller, call: ChatCall, report: CallReport, rpc: Rpc) -> None:
        folder = Folder(self._max_answer)
        async with aclosing(caller.stream_chat(call, report)) as batches:
            async for batch in batches:
                events = v1_response.coalesced(batch)
                for event in events:
                    folder.feed(event)
                await self._write(events, folder, rpc)
        if not rpc.spoke:
            await rpc.write(v1_response.started(rpc.request_id, folder.completion()))
        _trail(rpc, report)
        answer = self._answer(v1_response.chat_response(rpc.request_id, folder.completion(), report, _now()))
        await rpc.write(pb.StreamChatResponse(completed=answer))

    async def verify_credential(self, request: pb.VerifyCredentialRequest, rpc: Rpc) -> pb.VerifyCredentialResponse:
        """Whether a credential is usable."""
        probe = _probe(request.provider_id, request.credential)
        if request.model:
            probe.model_parameters["model.name"] = request.model
        with _named(request.provider_id):
            caller, call, report = self._begin(probe, rpc)
            async with self._place(call, rpc):
                found = await caller.verify(call, report)
        return v1_response.verification(found)

    async def list_models(self, request: pb.ListModelsRequest, rpc: Rpc) -> pb.ListModelsResponse:
        """What the endpoint offers."""
        with _named(request.provider_id):
            caller, call, report = self._begin(_probe(request.provider_id, request.credential), rpc)
            async with self._place(call, rpc):
                return v1_response.models(await caller.list_models(call, report))

    def _place(self, call: ChatCall, rpc: Rpc) -> AbstractAsyncContextManager[None]:
        """A place among the running calls; waiting for one takes from the call's total time."""
        return self._admission.admit(rpc.identity, endpoint_of(call.credential), call.timeouts.total)

    def _begin(self, request: pb.ChatRequest, rpc: Rpc) -> tuple[Caller, ChatCall, CallReport]:
        rpc.name(request.request_id)
        caller = self._registry.resolve(request.provider_id)
        call = v1_request.chat_call(
            request, rpc.request_id, self._credential(request.credential, rpc), self._timeouts, self._max_attempts
        )
        call = replace(call, identity=rpc.identity)
        left = rpc.time_left()
        if left is not None and left < call.timeouts.total:
            call = replace(call, timeouts=replace(call.timeouts, total=left))
        rpc.deadline = rpc.started + call.timeouts.total
        rpc.report = CallReport(started=rpc.started)
        return caller, call, rpc.report

    def _credential(self, credential: msg.Credential, rpc: Rpc) -> JsonObject:
        if credential.WhichOneof("source") == "name":
            if self._credentials is None:
                raise not_found(credential.name)
            return self._credentials.find(credential.name, rpc.identity)
        return v1_request.credential_value(credential)

    async def _write(self, events: Sequence[Event], folder: Folder, rpc: Rpc) -> None:
        if not rpc.spoke and any(isinstance(event, OUTPUT) for event in events):
            await rpc.write(v1_response.started(rpc.request_id, folder.completion()))
        for event in events:
            frame = v1_response.frame(event)
            if frame is not None:
                await rpc.write(frame)

    def _answer(self, response: pb.ChatResponse) -> pb.ChatResponse:
        if response.ByteSize() > self._max_answer:
            raise ResponseTooLarge(
                f"the answer is larger than the server's max_answer_bytes ({self._max_answer}); "
                "ask for less, or raise it together with the client's own limit"
            )
        return response


class _named:  # noqa: N801 -- reads as a statement
    """Names the provider in the errors that pass."""

    def __init__(self, provider_id: str) -> None:
        self._provider_id = clipped(provider_id.lower(), 64)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CallerError):
            error.provider_id = self._provider_id


def _probe(provider_id: str, credential: msg.Credential) -> pb.ChatRequest:
    return pb.ChatRequest(provider_id=provider_id, credential=credential, messages=[_PROBE])


def _trail(rpc: Rpc, report: CallReport) -> None:
    if report.left_out:
        _log.debug("call.left_out", request_id=rpc.request_id, url=report.url, fields=report.left_out)
    if report.adapted:
        _log.debug("call.adapted", request_id=rpc.request_id, url=report.url, changes=report.adapted)
    rpc.context.set_trailing_metadata((("x-request-id", rpc.request_id), ("x-attempts", str(report.attempts))))


def _now() -> float:
    return asyncio.get_running_loop().time()
