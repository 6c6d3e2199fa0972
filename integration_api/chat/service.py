"""`integration_api.v1.ChatService`: a thin face over `Calls`."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial

from caller.call import CallReport, Completion
from caller.errors import CallerError
from caller.events import OUTPUT, Event
from caller.fold import Folder
from caller.heavy import HeavyWork
from caller.json_types import JsonObject
from caller.target import Fallbacks, Target
from integration_api.calls.calls import Calls, Question
from integration_api.calls.limits import CallLimits
from integration_api.calls.prewarm import Wanted
from integration_api.chat import request as v1_request
from integration_api.chat import response as v1_response
from integration_api.chat import targets as v1_targets
from integration_api.chat.tools import ToolCache
from integration_api.chat.view import ChatRequest
from integration_api.files.credential_store import CredentialStore, not_found
from integration_api.rpc.rpc import Rpc
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

NAME = "integration_api.v1.ChatService"
# Tokens whose log probabilities are made in one go: with twenty alternatives each a few milliseconds.
_SLICE = 256


class ChatService:
    """Each method takes the request and its `Rpc`, and raises `CallerError`s."""

    def __init__(self, calls: Calls, settings: Settings, credentials: CredentialStore | None = None) -> None:
        """`credentials`: those that requests may name; None where the server holds none."""
        self._calls = calls
        self._credentials = credentials
        self._tools = ToolCache()
        self._fallbacks = v1_targets.FallbackReader(calls.check_fallback)
        self._limits = CallLimits.of(settings)

    def chat(self, request: ChatRequest, rpc: Rpc) -> Awaitable[None]:
        """One whole answer."""
        report = rpc.new_report(request.request_id)
        sink = _WholeAnswer(rpc, report, self._limits, self._calls.heavy)
        return self._calls.run(rpc, report, partial(self._read, request, rpc), sink)

    def stream_chat(self, request: ChatRequest, rpc: Rpc) -> Awaitable[None]:
        """The same answer, as it comes. Nothing leaves before the first output or the good end."""
        report = rpc.new_report(request.request_id)
        sink = _Frames(rpc, report, self._limits, self._calls.heavy)
        return self._calls.run(rpc, report, partial(self._read, request, rpc), sink)

    async def verify_credential(self, request: pb.VerifyCredentialRequest, rpc: Rpc) -> pb.VerifyCredentialResponse:
        """Whether a credential is usable."""
        read = partial(self._target, request.provider_id, request.credential, rpc, request.model)
        found = await self._calls.verify(rpc, rpc.new_report(), read, frozenset(request.checks))
        return v1_response.verification(found)

    async def list_models(self, request: pb.ListModelsRequest, rpc: Rpc) -> pb.ListModelsResponse:
        """What the endpoint offers."""
        read = partial(self._target, request.provider_id, request.credential, rpc)
        return v1_response.models(await self._calls.list_models(rpc, rpc.new_report(), read))

    async def list_providers(self, request: pb.ListProvidersRequest, rpc: Rpc) -> pb.ListProvidersResponse:
        """The providers that are known by name."""
        del request, rpc
        return v1_response.providers(self._calls.providers())

    async def prewarm(self, request: pb.PrewarmRequest, rpc: Rpc) -> pb.PrewarmResponse:
        """Connections that are ready for later calls."""
        found = await self._calls.prewarm(rpc, rpc.new_report(), partial(self._wanted, request, rpc))
        return v1_response.prewarmed(found)

    def _wanted(self, request: pb.PrewarmRequest, rpc: Rpc) -> Wanted:
        connections = v1_request.prewarm_connections(request)
        targets = [self._target_or_error(each, rpc) for each in request.targets]
        pairs = zip(request.targets, targets, strict=True)
        stored = [self._stored_fallbacks(wire.credential, own, rpc) for wire, own in pairs if isinstance(own, Target)]
        beside = [each for found in stored if found for read in found.targets if isinstance(each := read(), Target)]
        return Wanted(targets, connections, beside)

    def _target_or_error(self, wire: msg.Target, rpc: Rpc) -> Target | CallerError:
        try:
            return self._target(wire.provider_id, wire.credential, rpc)
        except CallerError as error:
            return error.with_traceback(None)  # it holds the credential

    def _read(self, request: ChatRequest, rpc: Rpc) -> Question:
        self._calls.require(request.provider_id, rpc.report)
        credential = self._credential(request.credential, request.provider_id, rpc)
        read_tools = partial(self._tools.tools, rpc.client)
        ask, target = v1_request.chat_call(request, credential, read_tools, self._limits)
        if request.fallbacks:
            find = partial(self._credential, rpc=rpc)
            return ask, target, self._fallbacks.fallbacks(request, target, rpc.client, find)
        stored = self._stored_fallbacks(request.credential, target, rpc)
        return ask, target, None if stored is None else v1_targets.stored_fallbacks(request, stored)

    def _stored_fallbacks(self, credential: msg.Credential, own: Target, rpc: Rpc) -> Fallbacks | None:
        """Those of the stored credential that is named, if one is."""
        if self._credentials is None or credential.WhichOneof("source") != "name":
            return None
        return self._credentials.fallbacks(credential.name, _who(rpc), own)

    def _target(self, provider: str, credential: msg.Credential, rpc: Rpc, model: str = "") -> Target:
        self._calls.require(provider, rpc.report)
        parameters: JsonObject = {"model.name": model} if model else {}
        value = self._credential(credential, provider, rpc)
        path = v1_request.credential_path(credential)
        return Target(
            provider, value, self._limits.timeouts, parameters, self._limits.max_attempts, credential_path=path
        )

    def _credential(self, credential: msg.Credential, provider: str, rpc: Rpc) -> JsonObject:
        source = credential.WhichOneof("source")
        if source == "name":
            if self._credentials is None:
                raise not_found(credential.name)
            return self._credentials.find(credential.name, _who(rpc), provider)
        return v1_request.credential_value(credential, source)


class _WholeAnswer:
    """Writes the one answer of Chat."""

    stream = False

    def __init__(self, rpc: Rpc, report: CallReport, limits: CallLimits, heavy: HeavyWork) -> None:
        self._rpc = rpc
        self._report = report
        self._limits = limits
        self._heavy = heavy

    def events(self, events: Sequence[Event], folder: Folder) -> None:
        """Nothing: a whole answer leaves at its end."""

    def completed(self, completion: Completion) -> Awaitable[None] | None:
        """The answer and its trailers."""
        self._rpc.set_trailers(self._report)
        if self._report.large:
            return self._give_large(completion)
        response = v1_response.chat_response(completion, self._report, asyncio.get_running_loop().time())
        self._limits.check_answer(response.ByteSize())
        self._rpc.give(response)
        return None

    async def _give_large(self, completion: Completion) -> None:
        response = await _made_in_turns(completion, self._report, self._heavy)
        self._limits.check_answer(response.ByteSize())
        self._rpc.give(response)


class _Frames:
    """Writes the frames of StreamChat."""

    stream = True

    def __init__(self, rpc: Rpc, report: CallReport, limits: CallLimits, heavy: HeavyWork) -> None:
        self._rpc = rpc
        self._report = report
        self._limits = limits
        self._heavy = heavy

    def events(self, events: Sequence[Event], folder: Folder) -> Awaitable[None] | None:
        """The frames of one network read: one, nearly always."""
        match events:
            case (event,) if self._rpc.output_started:
                frame = v1_response.frame(event)
                return None if frame is None else self._rpc.write(frame)
            case _:
                return self._write(events, folder)

    async def _write(self, events: Sequence[Event], folder: Folder) -> None:
        rpc = self._rpc
        if not rpc.output_started and any(isinstance(event, OUTPUT) for event in events):
            await self._start(folder.completion())
        for event in events:
            frame = v1_response.frame(event)
            if frame is not None:
                await rpc.write(frame)

    async def completed(self, completion: Completion) -> None:
        """The last frame, and the trailers behind it."""
        if not self._rpc.output_started:
            await self._start(completion)
        self._rpc.set_trailers(self._report)
        if self._report.large:
            answer = await _made_in_turns(completion, self._report, self._heavy)
        else:
            answer = v1_response.chat_response(completion, self._report, asyncio.get_running_loop().time())
        self._limits.check_answer(answer.ByteSize())
        await self._rpc.write(pb.StreamChatResponse(completed=answer))

    async def _start(self, completion: Completion) -> None:
        await self._rpc.write(v1_response.started(self._report, completion))


async def _made_in_turns(completion: Completion, report: CallReport, heavy: HeavyWork) -> pb.ChatResponse:
    """A large answer, in slices: log probabilities are many small messages. A turn was given for the first slice, and
    there is one for what is done with the answer."""
    response = v1_response.chat_response(completion, report, asyncio.get_running_loop().time(), logprobs=False)
    for choice, wire in zip(completion.choices, response.choices, strict=True):
        for at in range(0, len(choice.logprobs), _SLICE):
            await heavy.turn(report.client, further=True)
            v1_response.add_logprobs(wire.logprobs, choice.logprobs[at : at + _SLICE])
    await heavy.turn(report.client, further=True)
    return response


def _who(rpc: Rpc) -> tuple[str, ...]:
    return (rpc.identity,) if rpc.identity else ()
