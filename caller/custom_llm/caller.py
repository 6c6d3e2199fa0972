"""The caller of `custom-llm` and of all providers' rows: makes calls ready for any endpoint that speaks one of the API
shapes.

It knows adapters and the transport by their types; it knows no wire format, and no gRPC. Making ready is pure: what
cannot work is refused before anything waits.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from caller.call import CallReport, Destination
from caller.credentials import parse_credential
from caller.custom_llm.adapter import Adapter, HttpRequest, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.attempt import Attempt, Work, first_output_due
from caller.custom_llm.body.silence import DEFAULT_SILENCE, SilenceLimits
from caller.custom_llm.check.inspection import EndpointCheck
from caller.custom_llm.demands import MAX_LESSONS, Demands, taught
from caller.custom_llm.http.transport import Transport
from caller.custom_llm.warming import EndpointWarming
from caller.deadline import DeadlineTimer
from caller.errors import CallerError
from caller.events import Event
from caller.parameters import merge_parameters
from caller.providers import NO_DEMANDS, NO_PROVIDERS, Providers
from caller.target import Ask, Target


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is read of one answer: the bytes of an event or of a page of a model list, and what holds no
    output."""

    max_event_bytes: int
    silence: SilenceLimits = DEFAULT_SILENCE


class CustomLLMCaller:
    """Makes calls ready. One instance serves all calls."""

    def __init__(
        self, transport: Transport, limits: Limits, providers: Callable[[], Providers] = lambda: NO_PROVIDERS
    ) -> None:
        """`providers` gives the rows that targets may name; they complete the credentials of these."""
        self._transport = transport
        self._limits = limits
        self._providers = providers
        self._demands = Demands()

    @property
    def demands_learned(self) -> int:
        """How often the rejections of an endpoint taught what it wants."""
        return self._demands.learned

    def destination(self, target: Target) -> Destination:
        """Where a target leads to.

        Raises:
            ClientError: its credential or its parameters are malformed.
        """
        row = self._providers().get(target.provider.lower())
        credential = parse_credential(target.credential, row.defaults if row else None, target.credential_path)
        model = merge_parameters(target.parameters, target.typed_parameters).model
        return Destination(credential.endpoint, model, partial(self._demands.key, credential, model))

    def prepare(self, target: Target, ask: Ask, *, stream: bool) -> "PreparedCall":
        """The call with its credential parsed, its parameters merged, and its HTTP request built.

        Raises:
            ClientError: what is wrong with it.
        """
        row = self._providers().get(target.provider.lower())
        credential = parse_credential(target.credential, row.defaults if row else None, target.credential_path)
        call = ResolvedCall(
            credential=credential,
            parameters=merge_parameters(target.parameters, target.typed_parameters),
            messages=ask.messages,
            tools=ask.tools,
            parse_think_tags=ask.parse_think_tags,
            returns_state=ask.returns_state,
            demands=row.demands_of(credential.api) if row else NO_DEMANDS,
        )
        return PreparedCall(
            target,
            call,
            self._transport,
            self._demands,
            limits=self._limits,
            stream=stream,
        )

    def inspect(self, target: Target) -> EndpointCheck:
        """The check of a target's credential.

        Raises:
            CredentialInvalid: it is malformed.
        """
        row = self._providers().get(target.provider.lower())
        credential = parse_credential(target.credential, row.defaults if row else None, target.credential_path)
        return EndpointCheck(
            self._transport,
            target,
            credential,
            ADAPTERS[credential.api],
            self._demands,
            known=row.demands_of(credential.api) if row else NO_DEMANDS,
            max_bytes=self._limits.max_event_bytes,
        )

    def warming(self, target: Target) -> EndpointWarming:
        """The connections to a target's endpoint.

        Raises:
            CredentialInvalid: its credential is malformed.
        """
        row = self._providers().get(target.provider.lower())
        credential = parse_credential(target.credential, row.defaults if row else None, target.credential_path)
        return EndpointWarming(self._transport, credential, target.timeouts.connect)


class PreparedCall:
    """A call that is ready to be sent. It keeps its inputs until the first output: a field that the endpoint refuses
    makes a new request of them."""

    def __init__(
        self,
        target: Target,
        call: ResolvedCall,
        transport: Transport,
        memory: Demands,
        *,
        limits: Limits,
        stream: bool,
    ) -> None:
        """Build the request.

        Raises:
            ClientError: the API shape cannot carry the call, or a parameter cannot be read.
        """
        credential, self.model = call.credential, call.parameters.model
        self.target = target
        self.api: str = credential.api._value_  # `value` is two calls of Python's
        self.endpoint = credential.endpoint
        self._adapter: Adapter = ADAPTERS[credential.api]
        self._transport = transport
        self._memory = memory
        self._limits = limits
        self._stream = stream
        self._call = call
        self._bare: ResolvedCall | None = None
        self._key = b""
        self._lessons: dict[str, str] = {}  # taught by rejections of this call, kept once a changed request succeeded
        self._taken = 0
        self._last: Attempt | None = None
        self._timer: DeadlineTimer | None = None  # of the attempt that answers
        self._request: HttpRequest | None = self._built()

    @property
    def destination(self) -> Destination:
        """Where it leads to."""
        return Destination(self.endpoint, self.model, partial(self._memory.key, self._call.credential, self.model))

    def first_output_due(self, report: CallReport) -> float:
        """When the first output must be there; a whole answer has the call's time."""
        return first_output_due(self.target.timeouts, report, stream=self._stream)

    def attempt(self, report: CallReport) -> AsyncGenerator[Sequence[Event], None]:
        """One HTTP exchange."""
        if self._request is None:
            raise RuntimeError("a released call has no further attempt")
        work = Work(
            self._adapter,
            self._without_conversation(),
            self._request,
            self._stream,
            self.target.timeouts,
            self._limits.max_event_bytes,
            self._limits.silence,
        )
        self._last = Attempt(work, self._transport, report)
        return self._last.batches()

    def amended(self, error: CallerError) -> bool:
        """Whether a rejection taught how the endpoint wants the request: the next one is made so."""
        if self._last is None or self._request is None or self._taken >= MAX_LESSONS:
            return False
        call = self._demanded()
        lesson = taught(self._adapter, call, self._request, error, self._last.refusal, stream=self._stream)
        if lesson is None:
            return False
        self._taken += 1
        self._lessons |= [lesson]
        self._request = self._built()
        return True

    def answered(self) -> None:
        """Keep what the rejections taught; let go of the conversation and of the request's bytes."""
        if self._lessons:
            self._memory.learn(self._memory_key(), self._lessons)
        if self._last is not None:
            self._timer = self._last.timer
        self._request = self._last = None
        self._call = self._without_conversation()

    def continued(self) -> None:
        """The current task reads the rest."""
        if self._timer is not None:
            self._timer.follow()

    def _without_conversation(self) -> ResolvedCall:
        """The call as decoders read it; made once."""
        if self._bare is None:
            self._bare = self._call.without_conversation()
        return self._bare

    def _built(self) -> HttpRequest:
        return self._adapter.request(self._demanded(), self._stream)

    def _demanded(self) -> ResolvedCall:
        """The call with what the endpoint is known to demand."""
        if not (self._memory.learned or self._lessons):
            return self._call
        learned = self._memory.known(self._memory_key())
        return replace(self._call, demands={**self._call.demands, **learned, **self._lessons})

    def _memory_key(self) -> bytes:
        if not self._key:
            self._key = self._memory.key(self._call.credential, self._call.parameters.model)
        return self._key
