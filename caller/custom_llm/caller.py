"""The caller of `custom-llm`: validates a call, makes its attempts, and folds or hands on the events.

It knows adapters and the transport by their types; it knows no wire format, and no gRPC.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from caller.call import CallReport, ChatCall, Completion, Model, Verification
from caller.credentials import ApiCompatibility, parse_credential
from caller.custom_llm.adapter import Adapter, ResolvedCall
from caller.custom_llm.apis import ADAPTERS
from caller.custom_llm.attempt import Attempt, Work
from caller.custom_llm.body.silence import DEFAULT_SILENCE, SilenceLimits
from caller.custom_llm.check import Discovery
from caller.custom_llm.demands import MAX_LESSONS, Demands, taught
from caller.custom_llm.errors.redaction import redacted
from caller.custom_llm.http.transport import Transport
from caller.custom_llm.retry import FailedAttempt, pause_before_retry
from caller.errors import CallerError, LostReusedConnection, NotSupportedByApi, ResponseTooLarge
from caller.events import Event
from caller.fold import Folder
from caller.parameters import merge_parameters


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is read of one answer: one event, all its text together (characters), what holds no output."""

    max_event_bytes: int
    max_answer_chars: int
    silence: SilenceLimits = DEFAULT_SILENCE


class CustomLLMCaller:
    """Calls any endpoint that speaks one of the API shapes. One instance serves all calls."""

    def __init__(
        self,
        transport: Transport,
        limits: Limits,
        adapters: Mapping[ApiCompatibility, Adapter] = ADAPTERS,
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._adapters = adapters
        self._demands = Demands()

    async def chat(self, call: ChatCall, report: CallReport) -> Completion:
        """One whole answer: the fold of its events."""
        folder = Folder(self._limits.max_answer_chars)
        try:
            async with aclosing(self._events(call, report, stream=False)) as batches:
                async for batch in batches:
                    for event in batch:
                        folder.feed(event)
        except ResponseTooLarge as error:
            _describe(error, report, ())
            raise
        return folder.completion()

    def stream_chat(self, call: ChatCall, report: CallReport) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as it comes, one batch of events per network read."""
        return self._events(call, report, stream=True)

    async def verify(self, call: ChatCall, report: CallReport) -> Verification:
        """The checks of a credential."""
        credential = parse_credential(call.credential)
        report.api = credential.api.value
        discovery = Discovery(self._transport, self._adapter(credential.api), call, self._limits.max_event_bytes)
        return await discovery.verify(credential, self, report)

    async def list_models(self, call: ChatCall, report: CallReport) -> tuple[Model, ...]:
        """What the endpoint offers, all pages within a bound."""
        credential = parse_credential(call.credential)
        report.api = credential.api.value
        try:
            discovery = Discovery(self._transport, self._adapter(credential.api), call, self._limits.max_event_bytes)
            return await discovery.models(credential, report)
        except CallerError as error:
            _describe(error, report, credential.secrets)
            raise

    def _adapter(self, api: ApiCompatibility) -> Adapter:
        adapter = self._adapters.get(api)
        if adapter is None:
            raise NotSupportedByApi(f"{api.value} cannot be called by this build")
        return adapter

    async def _events(
        self, call: ChatCall, report: CallReport, *, stream: bool
    ) -> AsyncGenerator[Sequence[Event], None]:
        credential = parse_credential(call.credential)
        report.api = credential.api.value
        resolved = ResolvedCall(
            credential=credential,
            parameters=merge_parameters(call.parameters),
            messages=call.messages,
            tools=call.tools,
            parse_think_tags=call.parse_think_tags,
        )
        work = Work(
            adapter=self._adapter(credential.api),
            call=resolved,
            stream=stream,
            timeouts=call.timeouts,
            started=report.started,
            deadline=report.started + call.timeouts.total,
            max_event_bytes=self._limits.max_event_bytes,
            silence=self._limits.silence,
            client=call.identity,
        )
        try:
            async with aclosing(self._attempts(work, call.max_attempts, report)) as batches:
                async for batch in batches:
                    yield batch
        except CallerError as error:
            _describe(error, report, credential.secrets)
            raise

    async def _attempts(
        self, work: Work, max_attempts: int, report: CallReport
    ) -> AsyncGenerator[Sequence[Event], None]:
        loop = asyncio.get_running_loop()
        fresh_start = True
        lessons: dict[str, str] = {}  # taught by refusals of this call, kept once a changed request succeeded
        taken = 0
        while True:
            if self._demands or lessons:
                known = self._demands.known(self._key(work))
                work = replace(work, call=replace(work.call, demands={**known, **lessons}))
            attempt = Attempt(work, self._transport, report)
            report.attempts += 1
            try:
                async with aclosing(attempt.batches()) as batches:
                    async for batch in batches:
                        if lessons:
                            self._demands.learn(self._key(work), lessons)
                            lessons = {}
                        yield batch
            except CallerError as error:
                lesson = self._lesson(work, attempt, error) if max_attempts > 1 and taken < MAX_LESSONS else None
                if lesson is not None:
                    lessons |= [lesson]
                    taken += 1
                    continue
                failed = FailedAttempt(
                    report.attempts - taken, max_attempts, work.first_output_due - loop.time(), fresh_start
                )
                pause = pause_before_retry(error, failed)
                if pause is None:
                    raise
                fresh_start = fresh_start and not isinstance(error, LostReusedConnection)
            else:
                return
            await asyncio.sleep(pause)

    def _lesson(self, work: Work, attempt: Attempt, error: CallerError) -> tuple[str, str] | None:
        return taught(work.adapter, work.call, attempt.request, error, attempt.refusal, stream=work.stream)

    def _key(self, work: Work) -> bytes:
        return self._demands.key(work.call.credential, work.call.parameters.model)


def _describe(error: CallerError, report: CallReport, secrets: Iterable[str]) -> None:
    """What the call knows of its failure. The text may repeat what the endpoint said: our secrets are taken out."""
    error.api = report.api
    error.attempts = report.attempts
    known = tuple(secrets)
    error.args = (redacted(error.message, known),)
    error.endpoint_code = redacted(error.endpoint_code, known)
    error.endpoint_request_id = redacted(error.endpoint_request_id, known)
