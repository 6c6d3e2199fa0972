"""Providers by name: what is known of one that differs by its base URL, the header of its key and what it refuses.

A row is what a credential need not say. A provider that needs code of its own is no row. `provider_table` holds ours;
operators add rows, or replace them, in a file (`providers_file`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from caller.credentials import ApiCompatibility, CredentialDefaults

CUSTOM = "custom-llm"
NO_DEMANDS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Provider:
    """One row.

    `defaults` complete a credential. `demands` are what the provider refuses or wants otherwise, in the points and
    forms that its rejections would teach; they hold for the row's own API shape.
    """

    id: str
    defaults: CredentialDefaults
    documentation_url: str = ""
    demands: Mapping[str, str] = field(default_factory=lambda: NO_DEMANDS)

    def demands_of(self, api: ApiCompatibility) -> Mapping[str, str]:
        """What a request in this API shape is made with."""
        return self.demands if api is self.defaults.api else NO_DEMANDS


Providers = Mapping[str, Provider]


def by_id(rows: Iterable[Provider]) -> Providers:
    """A table of rows by their ids, which are lower case; the later of two with one id holds."""
    return MappingProxyType({row.id: row for row in rows})


NO_PROVIDERS: Providers = by_id(())
