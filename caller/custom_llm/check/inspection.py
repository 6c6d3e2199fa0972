"""The check of one endpoint: its rows in their order, as they are found. See `table` for what they are."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from msgspec.structs import replace

from caller.call import CallReport
from caller.credentials import Credential
from caller.custom_llm.adapter import Adapter
from caller.custom_llm.check.basics import unreached
from caller.custom_llm.check.exchange import Exchanges
from caller.custom_llm.check.finding import Finding, skipped
from caller.custom_llm.check.session import NO_LIST_URL, Session, listed, no_model
from caller.custom_llm.check.table import ALL, BASE, IMPLIED, ROWS, WITHOUT_ANSWER, asked_for
from caller.custom_llm.demands import Demands
from caller.custom_llm.http.transport import Transport
from caller.errors import NotSupportedByApi, RequestInvalid, Violation
from caller.target import Target
from caller.verification import Check, Model, Verification

# The results have to leave before the client's own deadline: a part of the call's time, at most so many seconds.
_RESERVE = 0.1
_MAX_RESERVE = 1.0


class EndpointCheck:
    """Asks one endpoint about itself."""

    def __init__(
        self,
        transport: Transport,
        target: Target,
        credential: Credential,
        adapter: Adapter,
        demands: Demands,
        *,
        known: Mapping[str, str],
        max_bytes: int,
    ) -> None:
        """`known` is what the provider's row demands, `demands` what rejections taught."""
        self._transport = transport
        self._target = target
        self._credential = credential
        self._adapter = adapter
        self._demands = demands
        self._known = known
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
        if self._credential.exact_url:
            raise NotSupportedByApi(NO_LIST_URL)
        found = await listed(self._exchanges(self._target, report), self._adapter, self._credential)
        if found.error is not None:
            raise found.error
        return found.models

    async def verify(self, report: CallReport, checks: frozenset[str] = frozenset()) -> Verification:
        """The base checks and those that are asked for (ids, or `all`). A check that takes too long has failed, and
        those before it keep their results.

        Raises:
            RequestInvalid: an id is unknown.
        """
        unknown = sorted(checks - ROWS.keys() - {ALL})
        if unknown:
            known = f"known are {ALL}, {', '.join(ROWS)}"
            raise RequestInvalid("checks: " + known, violations=[Violation("checks", f"unknown check; {known}")])
        timeouts = self._target.timeouts
        total = timeouts.total - min(timeouts.total * _RESERVE, _MAX_RESERVE)
        target = replace(self._target, timeouts=replace(timeouts, total=total))
        session = self.session(target, report, asked_for(checks))
        found = [check async for check in self.rows(session)]
        return Verification(tuple(found), self.api, session.url)

    def session(
        self, target: Target, report: CallReport, asked: frozenset[str], *, own_time: bool = False, picks: bool = False
    ) -> Session:
        """What the checks of `asked` share. `own_time`: each request has the target's total time; `picks`: a model is
        taken from the list where none was given."""
        exchanges = self._exchanges(target, report, own_time=own_time)
        return Session(
            exchanges,
            self._adapter,
            self._credential,
            target,
            self._demands,
            known=self._known,
            asked=asked,
            picks=picks,
        )

    async def rows(self, session: Session) -> AsyncIterator[Check]:
        """The checks, one by one as they are found."""
        clock = asyncio.get_running_loop().time
        for name in ROWS:
            implied = name in IMPLIED and name not in session.asked
            if not implied and name not in BASE and name not in session.asked:
                continue
            started = clock()
            finding = skipped("no time was left") if session.exchanges.late else await self._found(session, name)
            if implied and finding.status == "SKIP":
                continue
            took = clock() - started if finding.took is None else finding.took
            redacted = session.exchanges.redacted
            yield Check(name, finding.status, redacted(finding.observed), redacted(finding.remedy), took)

    async def _found(self, session: Session, name: str) -> Finding:
        row = ROWS[name]
        if name not in WITHOUT_ANSWER and await unreached(session) is not None:
            return skipped("not reached")
        if row.chats:
            answer = await session.chat()
            if answer is None:
                return await no_model(session)
            if answer.error is not None:
                return skipped("no small chat was answered")
        return await row.run(session)

    def _exchanges(self, target: Target, report: CallReport, *, own_time: bool = False) -> Exchanges:
        return Exchanges(
            self._transport,
            self._adapter,
            self._credential.secrets,
            target.timeouts,
            report,
            max_bytes=self._max_bytes,
            own_time=own_time,
        )
