"""What the checks of one endpoint share: each answer is asked for once, by whichever check needs it first.

Rule: it makes requests and remembers their answers; what they mean is the rows' business.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from caller.credentials import ApiCompatibility, Credential
from caller.custom_llm.adapter import Adapter, HttpRequest, ResolvedCall
from caller.custom_llm.base_url import without_query
from caller.custom_llm.check import probes
from caller.custom_llm.check.exchange import Answer, Exchanges
from caller.custom_llm.check.finding import Finding, blamed, skipped
from caller.custom_llm.check.probes import Probe
from caller.custom_llm.demands import MAX_LESSONS, Demands, taught
from caller.errors import CallerError, EndpointRejected, NotSupportedByApi
from caller.json_types import JsonValue
from caller.parameters import merge_parameters
from caller.target import Target
from caller.verification import Model
from caller.warming import ConnectionTimes

GIVE_MODEL = "give a model to try one small chat"
NO_LIST_URL = "exactUrl names the chat operation only: the model list's URL is not known"
MAX_PAGES = 50
MAX_MODELS = 10_000


@dataclass(frozen=True, slots=True)
class Listed:
    """The model list, or what asking for it failed with. `answer` is None where nothing was asked."""

    models: tuple[Model, ...] = ()
    error: CallerError | None = None
    answer: Answer | None = None


class Session:
    """The checks of one endpoint. `asked` are the ids of those that were asked for by name: the most specific of
    them reports a fault. `known` is what the provider's row demands.

    `picks`: where no model was given, one of the list is taken.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        adapter: Adapter,
        credential: Credential,
        target: Target,
        demands: Demands,
        *,
        known: Mapping[str, str],
        asked: frozenset[str],
        picks: bool = False,
    ) -> None:
        self.exchanges = exchanges
        self.adapter = adapter
        self.credential = credential
        self.asked = asked
        self.picked = False
        self.opened: ConnectionTimes | None = None  # what opening the first connection took
        self._target = target
        self._demands = demands
        self._known = known
        self._lessons: Mapping[str, str] = {}
        self._limited: bool | None = None  # None: not known yet whether the endpoint takes a limit
        self._picks = picks
        self._listed: Listed | None = None
        self._model: str | None = None
        self._answers: dict[tuple[Probe, bool], Answer] = {}

    @property
    def api(self) -> ApiCompatibility:
        """The API shape."""
        return self.credential.api

    async def models(self) -> Listed:
        """The model list; all pages, within a bound."""
        if self._listed is None:
            self._listed = await self._list()
        return self._listed

    async def model(self) -> str:
        """The model that is asked; empty for none."""
        if self._model is None:
            given = self._target.parameters.get("model.name")
            self._model = given if isinstance(given, str) else ""
            if not self._model and self._picks:
                names = [model.id for model in (await self.models()).models if model.id]
                self._model = next(iter([*filter(probes.chats, names), *names]), "")
                self.picked = bool(self._model)
        return self._model

    async def chat(self) -> Answer | None:
        """The answer to one small chat, whole; None without a model."""
        return await self.answer(probes.CHAT) if await self.model() else None

    @property
    def url(self) -> str:
        """What was called, without its query: of the chat where there was one."""
        answer = self._answers.get((probes.CHAT, False)) or (self._listed and self._listed.answer)
        return answer.url if answer else ""

    async def answer(self, probe: Probe, *, stream: bool = False) -> Answer:
        """The answer to a probe: asked for once."""
        key = (probe, stream)
        if key not in self._answers:
            self._answers[key] = await self.ask(probe, stream=stream)
        return self._answers[key]

    async def ask(self, probe: Probe, *, stream: bool = False, leave: bool = False, apart: str = "") -> Answer:
        """An answer of its own. A limit that the endpoint refuses is not the client's: it is left out."""
        answer = await self._amended(probe, stream=stream, leave=leave, apart=apart)
        if self._limited is None and isinstance(answer.error, EndpointRejected):
            self._limited = False
            return await self._amended(probe, stream=stream, leave=leave, apart=apart)
        if self._limited is None and answer.error is None:
            self._limited = True
        return answer

    async def request(self, probe: Probe, *, stream: bool = False) -> tuple[HttpRequest, ResolvedCall]:
        """The request of a probe, as calls of the service would make it.

        Raises:
            CallerError: the API shape cannot carry it.
        """
        call = await self._call(probe)
        return self.adapter.request(call, stream), call

    async def _amended(self, probe: Probe, *, stream: bool, leave: bool, apart: str) -> Answer:
        """The answer; what the endpoint's rejections teach is followed, as calls follow it."""
        left = MAX_LESSONS
        while True:
            try:
                request, call = await self.request(probe, stream=stream)
            except CallerError as error:
                return Answer("", stream, error=error)
            answer = await self.exchanges.ask(request, call, stream=stream, leave=leave, apart=apart)
            if answer.error is None:
                if self._lessons:
                    self._demands.learn(self._memory_key(), self._lessons)
                return answer
            rejection = bytes(answer.body) if answer.status >= 400 else b""
            lesson = taught(self.adapter, call, request, answer.error, rejection, stream=stream) if left else None
            if lesson is None:
                return answer
            left -= 1
            self._lessons = {**self._lessons, lesson[0]: lesson[1]}

    async def _call(self, probe: Probe) -> ResolvedCall:
        parameters: dict[str, JsonValue] = {**self._target.parameters, "model.name": await self.model()}
        parameters |= probe.parameters
        if self._limited is not False:
            parameters[probes.limit_name(self.api)] = probe.limit
        return ResolvedCall(
            credential=self.credential,
            parameters=merge_parameters(parameters),
            messages=probe.messages,
            tools=probe.tools,
            demands={**self._known, **self._demands.known(self._memory_key()), **self._lessons},
        )

    def _memory_key(self) -> bytes:
        return self._demands.key(self.credential, self._model or "")

    async def _list(self) -> Listed:
        if self.credential.exact_url:
            return Listed(error=NotSupportedByApi(NO_LIST_URL))
        request = self.adapter.models_request(self.credential, "")
        opened = await self.exchanges.connect(request)
        if isinstance(opened, CallerError):
            return Listed(error=opened, answer=Answer(without_query(request.url), error=opened))
        self.opened = opened
        return await listed(self.exchanges, self.adapter, self.credential)

    def wrong_key(self, value: str) -> Credential | None:
        """The credential with another key; None where it has none in a header that is known to hold one."""
        changed = {
            name: f"{scheme} {value}" if scheme else value
            for name, given in self.credential.headers.items()
            if name.lower() in KEY_NAMES
            for scheme in [given.partition(" ")[0] if " " in given else ""]
        }
        return replace(self.credential, headers={**self.credential.headers, **changed}) if changed else None


async def no_model(session: Session) -> Finding:
    """Why no chat was made: no model was given, or the list could not be read."""
    error = (await session.models()).error
    row = "" if error is None else blamed(error)
    if row in session.asked and row not in ("", "chat", "structure"):
        return skipped(f"see `{row}`")
    return skipped("no model was given", "" if error is None else GIVE_MODEL)


# Where keys travel, in lower case.
KEY_NAMES = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


async def listed(exchanges: Exchanges, adapter: Adapter, credential: Credential) -> Listed:
    """The model list of an endpoint: all pages, within a bound."""
    models: list[Model] = []
    page, first = "", None
    for _ in range(MAX_PAGES):
        answer = await exchanges.get(adapter.models_request(credential, page))
        first = first or answer
        try:
            if answer.error is not None:
                raise answer.error
            found = adapter.decode_models(bytes(answer.body))
        except CallerError as error:
            error.conceal(exchanges.redacted)
            return Listed(error=error.with_traceback(None), answer=first)
        finally:
            answer.body.clear()
        models += found.models
        page = found.next
        if not page or len(models) >= MAX_MODELS:
            break
    return Listed(tuple(models[:MAX_MODELS]), answer=first)
