"""The registry: provider id to caller. A provider that needs code of its own is a caller; all others are rows.

A row (`caller.providers`) is served by the caller of `custom-llm`, which completes credentials with it.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from caller.call import Caller
from caller.errors import UnknownProvider, Violation, clipped
from caller.providers import NO_PROVIDERS, Provider, Providers

_MOST_NEAREST = 3
_MAX_CHARS = 64


class Registry:
    """Finds callers by provider id, in any case."""

    def __init__(
        self,
        callers: Mapping[str, Caller],
        rows: Callable[[], Providers] = lambda: NO_PROVIDERS,
        row_caller: Caller | None = None,
    ) -> None:
        """`rows` gives the providers' rows that hold now; `row_caller` serves them."""
        self._callers = {provider_id.lower(): caller for provider_id, caller in callers.items()}
        self._rows = rows
        self._row_caller = row_caller

    def rows(self) -> tuple[Provider, ...]:
        """The providers that are known by name."""
        return tuple(self._rows().values())

    def resolve(self, provider_id: str) -> Caller:
        """The caller of a provider.

        Raises:
            UnknownProvider: no caller answers to it; the nearest ids are named.
        """
        if provider_id in self._callers:
            return self._callers[provider_id]
        name = provider_id.lower()
        caller = self._callers.get(name) or (self._row_caller if name in self._rows() else None)
        if caller is None:
            advice = _advice(provider_id, sorted({*self._callers, *self._rows()}))
            printable = clipped(provider_id, _MAX_CHARS) if provider_id.isprintable() else "…"
            raise UnknownProvider(
                f"unknown provider {printable!r}; {advice}", violations=[Violation("provider_id", advice)]
            )
        return caller


def _advice(provider_id: str, known: Sequence[str]) -> str:
    """What may have been meant; everything that is known where nothing is near."""
    near = nearest(provider_id, known)
    if not near:
        return f"must be one of: {', '.join(known)}"
    return f"did you mean {' or '.join(near)}? ListProviders lists all"


def nearest(provider_id: str, known: Sequence[str]) -> list[str]:
    """The ids that a mistyped one may stand for, the likely first."""
    typed = provider_id[:_MAX_CHARS].lower().strip()
    inside = [name for name in known if typed and (name in typed or typed in name)]
    close = get_close_matches(typed, known, n=_MOST_NEAREST)
    return list(dict.fromkeys([*close, *inside]))[:_MOST_NEAREST]
