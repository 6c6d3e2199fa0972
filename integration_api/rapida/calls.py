"""What Chat and a turn of StreamChat of Rapida's contract share: how they read requests and measure answers."""

import asyncio
from dataclasses import dataclass

from google.protobuf.message import Message

from caller.call import CallReport
from caller.errors import CallerError, RequestInvalid, ResponseTooLarge, UnknownProvider, clipped
from caller.events import Usage
from caller.json_types import JsonObject
from caller.target import Target, Timeouts
from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.calls.calls import Calls, Question
from integration_api.rapida.request import ask_of, credential_value, turns_wait
from integration_api.rapida.response import Measured, measured
from integration_api.rapida.upstream import own_providers
from integration_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Configuration:
    """How turns reach their provider. The credential was found to be well-formed; it holds secrets."""

    provider: str
    credential: JsonObject
    turns_wait: bool

    def __repr__(self) -> str:
        return f"Configuration({self.provider!r})"


class RapidaCalls:
    """Calls in the contract's terms. One instance serves all."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self.calls = calls
        self._timeouts = Timeouts(
            connect=settings.connect_timeout,
            first_output=settings.first_output_timeout,
            between_outputs=settings.between_outputs_timeout,
            total=settings.total_timeout,
        )
        self._max_attempts = settings.max_attempts
        self._max_answer = settings.max_answer_bytes
        self._upper_case = settings.rapida_upper_case_metrics
        self._own = own_providers(settings)
        self._passes_on = bool(settings.rapida_upstream.strip())

    def chat(self, request: pb.ChatRequest, report: CallReport) -> Question:
        """What a request asks, and of whom.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(request.providerName, report)
        credential = credential_value(request.credential, request.connectionOptions, provider)
        ask, parameters = ask_of(request)
        return ask, self._target(provider, credential, parameters), None

    def turn(self, question: pb.StreamChatInput, configuration: Configuration, report: CallReport) -> Question:
        """What a turn asks, and of whom.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(question.providerName or configuration.provider, report)
        ask, parameters = ask_of(question)
        return ask, self._target(provider, configuration.credential, parameters), None

    def verification(self, provider: str, credential: msg.Credential, report: CallReport) -> Target:
        """Whose credential is looked at.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(provider, report)
        return self._target(provider, credential_value(credential, {}, provider), {})

    def configuration(self, wire: pb.StreamChatConfiguration) -> Configuration:
        """What a stream is configured to.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(wire.providerName)
        credential = credential_value(wire.credential, wire.connectionOptions, provider)
        self.calls.check(self._target(provider, credential, {}))
        return Configuration(provider.lower(), credential, turns_wait(wire.connectionOptions))

    async def warm(self, client: str, configuration: Configuration) -> CallerError | None:
        """Have a connection ready for a stream's turns; what stands in the way. Raises nothing."""
        target = self._target(configuration.provider, configuration.credential, {})
        return (await self.calls.warm(client, target)).error

    def _target(self, provider: str, credential: JsonObject, parameters: JsonObject) -> Target:
        return Target(provider, credential, self._timeouts, parameters, self._max_attempts)

    def elsewhere(self, provider: str) -> bool:
        """Whether a provider is answered by the original integration-api."""
        return self._passes_on and provider.lower() not in self._own

    def _known(self, provider: str, report: CallReport | None = None) -> str:
        if self.elsewhere(provider):  # of a turn: everything else is passed on before it is read
            name = clipped(provider.lower(), 100)
            raise RequestInvalid(f"provider {name} is answered elsewhere: configure a stream of its own for it")
        if provider.lower() not in self._own:
            raise unsupported("chat", provider)
        try:
            self.calls.require(provider, report)
        except UnknownProvider as error:
            raise unsupported("chat", provider) from error
        return provider

    def measured(self, request_id: str, report: CallReport, usage: Usage | None = None) -> Measured:
        """What was measured, up to now."""
        return measured(request_id, report, usage or report.usage, now(), upper_case=self._upper_case)

    def bounded(self, answer: Message) -> int:
        """The size of an answer, encoded; one that gRPC clients would refuse is refused here.

        Raises:
            ResponseTooLarge: it is larger than the setting allows.
        """
        size = answer.ByteSize()
        if size > self._max_answer:
            raise ResponseTooLarge(f"the answer is larger than the server's max_answer_bytes ({self._max_answer})")
        return size


def unsupported(kind: str, provider: str) -> UnknownProvider:
    """The contract's words for a provider that cannot do this."""
    return UnknownProvider(f"unsupported {kind} provider: {clipped(provider.lower(), 100)}")


def now() -> float:
    """The event loop's time in seconds."""
    return asyncio.get_running_loop().time()
