"""What Chat and a turn of StreamChat of Rapida's contract share: how they read requests and measure answers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message
from msgspec.structs import replace

from caller.call import CallReport
from caller.errors import CallerError, RequestInvalid, UnknownProvider, clipped
from caller.events import Usage
from caller.json_types import JsonObject
from caller.target import Fallbacks, Target
from integration_api import unified_messages_pb2 as msg
from integration_api import unified_provider_pb2 as pb
from integration_api.calls.calls import Calls, Question
from integration_api.calls.limits import CallLimits
from integration_api.files.credential_store import CredentialStore, not_found
from integration_api.rapida.auth import names_of
from integration_api.rapida.request import ask_of, credential_value, stored_name, turns_wait
from integration_api.rapida.response import Timings, timings
from integration_api.rapida.upstream import own_providers
from integration_api.settings import Settings


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """One that the server holds, by its name, for a client of this identity."""

    name: str
    identity: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """How turns reach their provider. The credential was found to be usable; it may hold secrets."""

    provider: str
    credential: JsonObject | StoredCredential
    turns_wait: bool

    def __repr__(self) -> str:
        return f"Configuration({self.provider!r})"


class RapidaCalls:
    """Calls in the contract's terms. One instance serves all."""

    def __init__(self, calls: Calls, settings: Settings, credentials: CredentialStore | None = None) -> None:
        """`credentials`: those that clients may name; None where the server holds none."""
        self.calls = calls
        self._credentials = credentials
        self._limits = CallLimits.of(settings)
        self._upper_case = settings.rapida_upper_case_metrics
        self._own = own_providers(settings)
        self._passes_on = bool(settings.rapida_upstream.strip())

    def chat(self, request: pb.ChatRequest, report: CallReport, identity: str) -> Question:
        """What a request asks, and of whom. `identity` is the client's.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(request.providerName, report)
        credential = _credential(request.credential, request.connectionOptions, provider, identity)
        return self._question(request, provider, credential)

    def turn(self, question: pb.StreamChatInput, configuration: Configuration, report: CallReport) -> Question:
        """What a turn asks, and of whom.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(question.providerName or configuration.provider, report)
        return self._question(question, provider, configuration.credential)

    def _question(
        self, request: pb.ChatRequest | pb.StreamChatInput, provider: str, credential: JsonObject | StoredCredential
    ) -> Question:
        target = self._target(provider, credential)
        ask, parameters = ask_of(request)
        target = replace(target, parameters=parameters)
        return ask, target, self._fallbacks(credential, target)

    def _fallbacks(self, credential: JsonObject | StoredCredential, own: Target) -> Fallbacks | None:
        """Those of a stored credential."""
        if self._credentials is None or not isinstance(credential, StoredCredential):
            return None
        return self._credentials.fallbacks(credential.name, names_of(credential.identity), own)

    def verification(self, provider: str, credential: msg.Credential, report: CallReport, identity: str) -> Target:
        """Whose credential is checked.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(provider, report)
        return self._target(provider, _credential(credential, {}, provider, identity))

    def configuration(self, wire: pb.StreamChatConfiguration, identity: str) -> Configuration:
        """What a stream is configured to.

        Raises:
            ClientError: what is wrong with it.
        """
        provider = self._known(wire.providerName)
        credential = _credential(wire.credential, wire.connectionOptions, provider, identity)
        self.calls.check(self._target(provider, credential))
        return Configuration(provider.lower(), credential, turns_wait(wire.connectionOptions))

    async def warm(self, client: str, configuration: Configuration) -> CallerError | None:
        """Have connections ready for a stream's turns, its stored credential's fallbacks among them; what stands in the
        way of its own. Raises nothing."""
        try:
            target = self._target(configuration.provider, configuration.credential)
        except CallerError as error:
            return error.with_traceback(None)
        fallbacks = self._fallbacks(configuration.credential, target)
        beside = () if fallbacks is None else [read() for read in fallbacks.targets]
        targets = (target, *(each for each in beside if isinstance(each, Target)))
        return (await asyncio.gather(*(self.calls.warm(client, each) for each in targets)))[0].error

    def _target(self, provider: str, credential: JsonObject | StoredCredential) -> Target:
        if isinstance(credential, StoredCredential):
            if self._credentials is None:
                raise not_found(credential.name)
            value = self._credentials.find(credential.name, names_of(credential.identity), provider)
        else:
            value = credential
        return Target(provider, value, self._limits.timeouts, {}, self._limits.max_attempts)

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

    def timings(self, request_id: str, report: CallReport, usage: Usage | None = None) -> Timings:
        """What was measured, up to now."""
        return timings(request_id, report, usage or report.usage, now(), upper_case=self._upper_case)

    def bounded(self, answer: Message) -> int:
        """The size of an answer, encoded; one that gRPC clients would refuse is refused here.

        Raises:
            ResponseTooLarge: it is larger than the setting allows.
        """
        size = answer.ByteSize()
        self._limits.check_answer(size)
        return size


def _credential(
    wire: msg.Credential, options: Mapping[str, str], provider: str, identity: str
) -> JsonObject | StoredCredential:
    """The credential, or the name of one that the server holds, which is used as a whole: no option changes it."""
    name = stored_name(wire)
    return StoredCredential(name, identity) if name else credential_value(wire, options, provider)


def unsupported(kind: str, provider: str) -> UnknownProvider:
    """The contract's words for a provider that cannot do this."""
    return UnknownProvider(f"unsupported {kind} provider: {clipped(provider.lower(), 100)}")


def now() -> float:
    """The event loop's time in seconds."""
    return asyncio.get_running_loop().time()
