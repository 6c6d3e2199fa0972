"""What an endpoint offers, and whether a credential is usable. Small requests of their own, no retries."""

import asyncio
from dataclasses import replace
from typing import Protocol

from caller.call import CallReport, ChatCall, Check, Completion, Model, Verification
from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Adapter, HttpRequest
from caller.custom_llm.base_url import without_query
from caller.custom_llm.errors.endpoint_errors import endpoint_error
from caller.custom_llm.errors.redaction import redacted
from caller.custom_llm.http.transport import Response, Transport
from caller.deadline import DeadlineTimer
from caller.errors import (
    CallerError,
    ConnectTimeout,
    EgressDenied,
    EndpointFailed,
    EndpointForbidden,
    EndpointNotFound,
    EndpointPrecondition,
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

MAX_PAGES = 50
MAX_MODELS = 10_000
# Errors that say: no HTTP answer came from there.
_NOT_REACHED = (EndpointUnreachable, ConnectTimeout, EndpointTls, EgressDenied)
_SHOWN_MODELS = 5
# What the small chat may cost. Reasoning models think before they answer, and some APIs refuse smaller limits.
_CHAT_TOKENS = 256
_LIMITS = ("model.max_tokens", "model.max_completion_tokens", "model.max_output_tokens")
# The results have to leave before the client's own deadline: a part of the call's time, at most so many seconds.
_RESERVE = 0.1
_MAX_RESERVE = 1.0


class ChatProbe(Protocol):
    """Whoever can make one whole chat."""

    async def chat(self, call: ChatCall, report: CallReport) -> Completion: ...


class Discovery:
    """Asks one endpoint about itself, for one call."""

    def __init__(self, transport: Transport, adapter: Adapter, call: ChatCall, max_bytes: int) -> None:
        self._transport = transport
        self._adapter = adapter
        self._call = call
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()

    async def models(self, credential: Credential, report: CallReport) -> tuple[Model, ...]:
        """All pages of the model list, within a bound.

        Raises:
            CallerError: the endpoint cannot be asked, or does not answer with a model list.
        """
        if credential.exact_url:
            raise NotSupportedByApi("exactUrl names the chat operation only: the model list's URL is not known")
        models: list[Model] = []
        page = ""
        deadline = report.started + self._call.timeouts.total
        for _ in range(MAX_PAGES):
            async with DeadlineTimer() as timer:
                timer.arm(deadline, lambda: TotalTimeout(f"no model list within {self._call.timeouts.total:g} s"))
                answer = self._adapter.decode_models(await self._get(credential, page, report))
            models += answer.models
            page = answer.next
            if not page or len(models) >= MAX_MODELS:
                break
        return tuple(models[:MAX_MODELS])

    async def _get(self, credential: Credential, page: str, report: CallReport) -> bytes:
        request = self._adapter.models_request(credential, page)
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
        try:
            return await self._transport.send(request, self._call.timeouts.connect, self._call.identity)
        except LostReusedConnection:
            report.attempts += 1
            return await self._transport.send(request, self._call.timeouts.connect, self._call.identity)

    async def verify(self, credential: Credential, probe: ChatProbe, report: CallReport) -> Verification:
        """Every check in its order; a later one is skipped when an earlier one made it pointless. A check that takes
        too long has failed, and those before it keep their results."""
        timeouts = self._call.timeouts
        total = timeouts.total - min(timeouts.total * _RESERVE, _MAX_RESERVE)
        self._call = replace(self._call, timeouts=replace(timeouts, total=total))
        checks = [Check("credential", "PASS", f"{credential.api.value}, {len(credential.headers)} headers")]
        started = self._loop.time()
        try:
            models: tuple[Model, ...] | CallerError = await self.models(credential, report)
        except CallerError as error:
            models = error
        took = self._loop.time() - started
        secrets = credential.secrets
        checks += _reach_and_models(models, report.url, took, secrets)
        reached = checks[1].status != "FAIL"
        chat = await self._chat(probe, models, secrets, report) if reached else Check("chat", "SKIP", "not reached")
        checks.append(chat)
        return Verification(tuple(checks), credential.api.value, report.url)

    async def _chat(
        self, probe: ChatProbe, models: tuple[Model, ...] | CallerError, secrets: tuple[str, ...], report: CallReport
    ) -> Check:
        if not self._call.parameters.get("model.name"):
            if isinstance(models, CallerError):
                return Check("chat", "SKIP", "no model was given", "give a model to try one small chat")
            return Check("chat", "SKIP", "no model was given")
        started = self._loop.time()
        try:
            answer = await self._answer(probe, report)
        except CallerError as error:
            took = self._loop.time() - started
            return Check("chat", "FAIL", redacted(error.message, secrets), _remedy(error), took)
        took = self._loop.time() - started
        said = sum(len(choice.message.text) + len(choice.message.reasoning) for choice in answer.choices)
        if not said and any(choice.finish_reason is FinishReason.LENGTH for choice in answer.choices):
            return Check("chat", "PASS", f"the model used up the {_CHAT_TOKENS} tokens of this check", "", took)
        if not said:
            return Check(
                "chat", "WARN", "the model answered without text", "try another model or a longer answer", took
            )
        return Check("chat", "PASS", f"the model answered with {said} characters", "", took)

    async def _answer(self, probe: ChatProbe, report: CallReport) -> Completion:
        """One small chat, within the time of all checks. A limit that the endpoint refuses is not the client's."""
        call = self._call
        if not any(map(call.parameters.get, _LIMITS)):
            limited = replace(call, parameters={**call.parameters, self._limit: _CHAT_TOKENS})
            try:
                return await probe.chat(limited, CallReport(started=report.started))
            except EndpointRejected:
                pass
        return await probe.chat(call, CallReport(started=report.started))

    @property
    def _limit(self) -> str:
        """OpenAI's own API refuses the older name for its newer models."""
        openai = self._adapter.api is ApiCompatibility.OPENAI_CHAT_COMPLETIONS
        return "model.max_completion_tokens" if openai else "model.max_tokens"


def _reach_and_models(
    models: tuple[Model, ...] | CallerError, url: str, took: float, secrets: tuple[str, ...]
) -> tuple[Check, Check]:
    if not isinstance(models, CallerError):
        names = ", ".join(model.id for model in models[:_SHOWN_MODELS])
        more = f", … ({len(models)} in all)" if len(models) > _SHOWN_MODELS else ""
        listed = (
            Check("models", "PASS", names + more)
            if models
            else Check("models", "WARN", "the endpoint lists no models", "load a model, or ignore this")
        )
        return Check("reach", "PASS", f"{url} answered", "", took), listed
    observed = redacted(models.message, secrets)
    if isinstance(models, NotSupportedByApi):
        return Check("reach", "SKIP", observed), Check("models", "SKIP", observed)
    if isinstance(models, (*_NOT_REACHED, TotalTimeout)):
        return Check("reach", "FAIL", observed, _remedy(models), took), Check("models", "SKIP", "not reached")
    reached = Check("reach", "PASS", f"{url} answered", "", took)
    if isinstance(models, EndpointUnauthenticated | EndpointForbidden):
        return reached, Check("models", "FAIL", observed, _remedy(models))
    # Many good endpoints have no model list: only a chat tells whether they work.
    return reached, Check("models", "WARN", observed, "give a model to try one small chat")


def _remedy(error: CallerError) -> str:
    """What to do, by the kind of the failure."""
    if isinstance(error, EndpointUnauthenticated | EndpointForbidden):
        return 'put the endpoint\'s key into the credential\'s headers, for example {"Authorization": "Bearer …"}'
    if isinstance(error, EndpointNotFound | EndpointPrecondition):
        return "check baseUrl: it is the API's root, for example http://localhost:8000/v1"
    if isinstance(error, EndpointTls):
        return "use a certificate of a known authority, or set endpoint_ca_file"
    if isinstance(error, EgressDenied):
        return "ask the operator to allow the address (egress_policy, egress_allow)"
    if isinstance(error, EndpointUnreachable | ConnectTimeout):
        return "check that the endpoint runs and that baseUrl names its host and port"
    if isinstance(error, EndpointFailed):
        return "look into the endpoint's own log"
    return "see the text"
