"""The registry: provider id to caller. A provider that needs code of its own is a caller; there is no other switch."""

from collections.abc import Mapping

from caller.call import Caller
from caller.errors import UnknownProvider, Violation


class Registry:
    """Finds callers by provider id, in any case."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = {provider_id.lower(): caller for provider_id, caller in callers.items()}

    def resolve(self, provider_id: str) -> Caller:
        """The caller of a provider.

        Raises:
            UnknownProvider: no caller answers to it.
        """
        caller = self._callers.get(provider_id.lower())
        if caller is None:
            shown = provider_id[:64] if provider_id.isprintable() else "…"
            known = ", ".join(sorted(self._callers))
            raise UnknownProvider(
                f"unknown provider {shown!r}; known are: {known}",
                violations=[Violation("provider_id", f"must be one of: {known}")],
            )
        return caller
