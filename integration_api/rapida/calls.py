"""What Chat and a turn of StreamChat of Rapida's contract share: provider, credential and call, made from the wire."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from google.protobuf.message import Message

from caller.call import Caller, CallReport, ChatCall, Timeouts
from caller.credentials import endpoint_of, parse_credential
from caller.errors import ResponseTooLarge, UnknownProvider, clipped
from caller.events import Usage
from caller.json_types import JsonObject
from caller.registry import Registry
from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.calls.admission import Admission
from integration_api.rapida.request import chat_call, credential_value, turns_wait
from integration_api.rapida.response import Measured, measured
from integration_api.rpc.rpc import Rpc
from integration_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Configuration:
    """How turns reach their provider. The credential was found to be well-formed; it holds secrets."""

    provider: str
    credential: JsonObject
    turns_wait: bool

    def __repr__(self) -> str:
        return f"Configuration({self.provider!r})"


class Calls:
    """Makes calls of requests. One instance serves all."""

    def __init__(self, registry: Registry, settings: Settings, admission: Admission) -> None:
        self._registry = registry
        self._admission = admission
        self._timeouts = Timeouts(
            connect=settings.connect_timeout,
            first_output=settings.first_output_timeout,
            between_outputs=settings.between_outputs_timeout,
            total=settings.total_timeout,
        )
        self._max_attempts = settings.max_attempts
        self.max_answer = settings.max_answer_bytes
        self._upper_case = settings.rapida_upper_case_metrics

    def caller(self, provider: str, kind: str = "chat") -> Caller:
        """The caller of a provider.

        Raises:
            UnknownProvider: in the contract's words.
        """
        try:
            return self._registry.resolve(provider)
        except UnknownProvider as error:
            raise unsupported(kind, provider) from error

    def configuration(self, wire: pb.StreamChatConfiguration) -> Configuration:
        """What a stream is configured to.

        Raises:
            CallerError: what is wrong with it.
        """
        self.caller(wire.providerName)
        credential = credential_value(wire.credential, wire.connectionOptions)
        parse_credential(credential)
        return Configuration(wire.providerName.lower(), credential, turns_wait(wire.connectionOptions))

    def call(self, request: pb.ChatRequest | pb.StreamChatInput, credential: JsonObject, rpc: Rpc) -> ChatCall:
        """The call that a request asks for; its total time ends with the client's deadline.

        Raises:
            RequestInvalid: what is wrong with it.
        """
        timeouts = self._timeouts
        left = rpc.time_left()
        if left is not None and left < timeouts.total:
            timeouts = replace(timeouts, total=left)
        request_id = rpc.name(request.requestId)
        return chat_call(request, request_id, credential, timeouts, self._max_attempts, identity=rpc.identity)

    def probe(self, credential: msg.Credential, rpc: Rpc) -> ChatCall:
        """The call that asks about a credential only.

        Raises:
            CredentialInvalid: it is malformed.
        """
        return ChatCall(
            request_id=rpc.request_id,
            credential=credential_value(credential, {}),
            messages=(),
            parameters={},
            timeouts=self._timeouts,
            max_attempts=self._max_attempts,
            identity=rpc.identity,
        )

    def place(self, call: ChatCall) -> AbstractAsyncContextManager[None]:
        """A place among the running calls; waiting for one takes from the call's total time."""
        return self._admission.admit(call.identity, endpoint_of(call.credential), call.timeouts.total)

    def measured(self, request_id: str, report: CallReport, usage: Usage | None) -> Measured:
        """What was measured, up to now."""
        return measured(request_id, report, usage, now(), upper_case=self._upper_case)

    def bounded(self, answer: Message) -> None:
        """Refuse an answer that gRPC clients would refuse.

        Raises:
            ResponseTooLarge: it is larger than the setting allows.
        """
        if answer.ByteSize() > self.max_answer:
            raise ResponseTooLarge(f"the answer is larger than the server's max_answer_bytes ({self.max_answer})")


def unsupported(kind: str, provider: str) -> UnknownProvider:
    """The contract's words for a provider that cannot do this."""
    return UnknownProvider(f"unsupported {kind} provider: {clipped(provider.lower(), 100)}")


def now() -> float:
    """The event loop's time in seconds."""
    return asyncio.get_running_loop().time()
