"""What an endpoint offers, and whether a credential is usable. Small requests of their own, no retries."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from caller.attempts import attempts
from caller.call import CallReport, Check, Completion, Model, Prepared, Verification
from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Adapter, HttpRequest
from caller.custom_llm.attempt import total_timeout
from caller.custom_llm.base_url import without_query
from caller.custom_llm.errors.endpoint_errors import endpoint_error
from caller.custom_llm.errors.redaction import Redactor
from caller.custom_llm.http.transport import Response, Transport
from caller.deadline import DeadlineTimer
from caller.errors import (
    CallerError,
    ConnectTimeout,
    EgressDenied,
    EndpointForbidden,
    EndpointRejected,
    EndpointTls,
    EndpointUnauthenticated,
    EndpointUnreachable,
    LostReusedConnection,
    NotSupportedByApi,
    ResponseTooLarge,
    TotalTimeout,
)
from caller.events import FinishReason
from caller.fold import Folder
from caller.remedies import remedy_of
from caller.target import Target, Timeouts

MAX_PAGES = 50
MAX_MODELS = 10_000
# What a model that was asked to say OK may say.
MAX_PROBE_CHARS = 1 << 20
# Errors that say: no HTTP answer came from there.
_NOT_REACHED = (EndpointUnreachable, ConnectTimeout, EndpointTls, EgressDenied)
_SHOWN_MODELS = 5
# What the small chat may cost. Reasoning models think before they answer, and some APIs refuse smaller limits.
_CHAT_TOKENS = 256
_LIMITS = ("model.max_tokens", "model.max_completion_tokens", "model.max_output_tokens")
# The results have to leave before the client's own deadline: a part of the call's time, at most so many seconds.
_RESERVE = 0.1
_MAX_RESERVE = 1.0


class EndpointCheck:
    """Asks one endpoint about itself. `small_chat` makes the one chat of `verify` ready."""

    def __init__(
        self,
        transport: Transport,
        target: Target,
        credential: Credential,
        adapter: Adapter,
        *,
        small_chat: Callable[[Target], Prepared],
        max_bytes: int,
    ) -> None:
        self._transport = transport
        self._adapter = adapter
        self._credential = credential
        self._target = target
        self._small_chat = small_chat
        self._max_bytes = max_bytes

    @property
    def api(self) -> str:
        """The API shape."""
        return self._credential.api.value

    @property
    def endpoint(self) -> str:
        """Host and port."""
        return self._credential.endpoint

    async def list_models(self, report: CallReport) -> tuple[Model, ...]:
        """All pages of the model list, within a bound.

        Raises:
            CallerError: the endpoint cannot be asked, or does not answer with a model list.
        """
        return await self._listed(report, self._target.timeouts)

    async def _listed(self, report: CallReport, timeouts: Timeouts) -> tuple[Model, ...]:
        try:
            return await self._models(report, timeouts)
        except CallerError as error:
            error.conceal(Redactor(self._credential.secrets))
            raise

    async def _models(self, report: CallReport, timeouts: Timeouts) -> tuple[Model, ...]:
        if self._credential.exact_url:
            raise NotSupportedByApi("exactUrl names the chat operation only: the model list's URL is not known")
        models: list[Model] = []
        page = ""
        for _ in range(MAX_PAGES):
            async with DeadlineTimer() as timer:
                timer.arm(report.started + timeouts.total, partial(total_timeout, timeouts))
                answer = self._adapter.decode_models(await self._get(page, report))
            models += answer.models
            page = answer.next
            if not page or len(models) >= MAX_MODELS:
                break
        return tuple(models[:MAX_MODELS])

    async def _get(self, page: str, report: CallReport) -> bytes:
        request = self._adapter.models_request(self._credential, page)
        report.url = without_query(request.url)
        report.attempts += 1
        async with await self._sent(request, report) as response:
            if not 200 <= response.status < 300:
                raise endpoint_error(response.status, response.headers, await response.read_error(), url=request.url)
            body = bytearray()
            while chunk := await response.read():
                body += chunk
                if len(body) > self._max_bytes:
                    raise ResponseTooLarge(f"the model list is larger than {self._max_bytes} bytes")
            return bytes(body)

    async def _sent(self, request: HttpRequest, report: CallReport) -> Response:
        """A kept connection that turns out to be lost is made anew once."""
        connect = self._target.timeouts.connect
        try:
            return await self._transport.send(request, connect, report.client)
        except LostReusedConnection:
            report.attempts += 1
            return await self._transport.send(request, connect, report.client)

    async def verify(self, report: CallReport) -> Verification:
        """Every check in its order; a later one is skipped when an earlier one made it pointless. A check that takes
        too long has failed, and those before it keep their results."""
        timeouts = self._target.timeouts
        total = timeouts.total - min(timeouts.total * _RESERVE, _MAX_RESERVE)
        timeouts = replace(timeouts, total=total)
        target = replace(self._target, timeouts=timeouts)
        clock = asyncio.get_running_loop().time
        checks = [Check("credential", "PASS", f"{self.api}, {len(self._credential.headers)} headers")]
        started = clock()
        try:
            models: tuple[Model, ...] | CallerError = await self._listed(report, timeouts)
        except CallerError as error:
            models = error.with_traceback(None)
        checks += _reach_and_models(models, report.url, clock() - started)
        if checks[1].status == "FAIL":
            checks.append(Check("chat", "SKIP", "not reached"))
        elif target.parameters.get("model.name"):
            checks.append(await self._chat(target, report))
        else:
            advice = "give a model to try one small chat" if isinstance(models, CallerError) else ""
            checks.append(Check("chat", "SKIP", "no model was given", advice))
        return Verification(tuple(checks), self.api, report.url)

    async def _chat(self, target: Target, report: CallReport) -> Check:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            answer = await self._answer(target, report)
        except CallerError as error:
            return Check("chat", "FAIL", error.message, remedy_of(error), clock() - started)
        took = clock() - started
        said = sum(len(choice.message.text) + len(choice.message.reasoning) for choice in answer.choices)
        if not said and any(choice.finish_reason is FinishReason.LENGTH for choice in answer.choices):
            return Check("chat", "PASS", f"the model used up the {_CHAT_TOKENS} tokens of this check", "", took)
        if not said:
            return Check(
                "chat", "WARN", "the model answered without text", "try another model or a longer answer", took
            )
        return Check("chat", "PASS", f"the model answered with {said} characters", "", took)

    async def _answer(self, target: Target, report: CallReport) -> Completion:
        """One small chat, within the time of all checks. A limit that the endpoint refuses is not the client's."""
        if not any(map(target.parameters.get, _LIMITS)):
            limited = replace(target, parameters={**target.parameters, self._limit: _CHAT_TOKENS})
            try:
                return await self._folded(limited, report)
            except EndpointRejected:
                pass
        return await self._folded(target, report)

    async def _folded(self, target: Target, report: CallReport) -> Completion:
        folder = Folder(MAX_PROBE_CHARS)
        # One total time for all checks; the attempts of the chat are not those of the check.
        own = CallReport(started=report.started, client=report.client)
        async with aclosing(attempts(self._small_chat(target), own)) as batches:
            async for batch in batches:
                for event in batch:
                    folder.feed(event)
        return folder.completion()

    @property
    def _limit(self) -> str:
        """OpenAI's own API refuses the older name for its newer models."""
        openai = self._adapter.api is ApiCompatibility.OPENAI_CHAT_COMPLETIONS
        return "model.max_completion_tokens" if openai else "model.max_tokens"


def _reach_and_models(models: tuple[Model, ...] | CallerError, url: str, took: float) -> tuple[Check, Check]:
    if not isinstance(models, CallerError):
        names = ", ".join(model.id for model in models[:_SHOWN_MODELS])
        more = f", … ({len(models)} in all)" if len(models) > _SHOWN_MODELS else ""
        listed = (
            Check("models", "PASS", names + more)
            if models
            else Check("models", "WARN", "the endpoint lists no models", "load a model, or ignore this")
        )
        return Check("reach", "PASS", f"{url} answered", "", took), listed
    observed = models.message
    if isinstance(models, NotSupportedByApi):
        return Check("reach", "SKIP", observed), Check("models", "SKIP", observed)
    if isinstance(models, (*_NOT_REACHED, TotalTimeout)):
        return Check("reach", "FAIL", observed, remedy_of(models), took), Check("models", "SKIP", "not reached")
    reached = Check("reach", "PASS", f"{url} answered", "", took)
    if isinstance(models, EndpointUnauthenticated | EndpointForbidden):
        return reached, Check("models", "FAIL", observed, remedy_of(models))
    # Many good endpoints have no model list: only a chat tells whether they work.
    return reached, Check("models", "WARN", observed, "give a model to try one small chat")
