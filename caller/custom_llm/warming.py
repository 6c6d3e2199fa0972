"""Opens connections to one endpoint ahead of its calls. It sends nothing, and knows no answer.

A connection is for the calls that have the same client, the same secrets and the same origin (see `http.partition`).
All of that stands in the credential; what adapters add to a request keeps none apart.
"""

from caller.credentials import Credential
from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.base_url import without_fragment
from caller.custom_llm.errors.redaction import Redactor
from caller.custom_llm.http.transport import Transport
from caller.errors import CallerError
from caller.warming import ConnectionTimes


class EndpointWarming:
    """The connections of one credential; `connect_timeout` in seconds."""

    def __init__(self, transport: Transport, credential: Credential, connect_timeout: float) -> None:
        self._transport = transport
        self._credential = credential
        self._connect_timeout = connect_timeout
        self._like = HttpRequest("GET", without_fragment(credential.base_url), credential.headers)

    def ready(self, client: str) -> int:
        """How many idle connections are kept, those apart that end soon."""
        return self._transport.ready(self._like, client)

    async def open(self, client: str, number: int) -> ConnectionTimes | None:
        """Open one, unless `number` of them are ready.

        Raises:
            CallerError: there is none.
        """
        try:
            return await self._transport.open_ahead(self._like, self._connect_timeout, client, number)
        except CallerError as error:
            error.conceal(Redactor(self._credential.secrets))
            raise
