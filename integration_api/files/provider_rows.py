"""Operators' rows of providers: a JSON file (`providers_file`) from provider ids to what is known of each.

    {"house-llm": {"baseUrl": "https://llm.internal/v1",
                   "apiCompatibility": "openai_compatible",
                   "keyHeader": "X-Api-Key", "keyScheme": "",
                   "demands": {"stream_options": ""},
                   "documentationUrl": "https://wiki.internal/llm"}}

All but `baseUrl` may be left out; that may be "" where every credential brings its own. Without `keyHeader` a key goes
where the API's own provider has it. A row replaces ours of the same id. It knows files and domain values, no gRPC.
"""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from caller.api_facts import FACTS
from caller.credentials import DEFAULT_API, ApiCompatibility, CredentialDefaults, parse_credential
from caller.custom_llm.demand_table import POINTS
from caller.errors import CredentialInvalid
from caller.provider_table import PROVIDERS
from caller.providers import CUSTOM, Provider, Providers, by_id
from integration_api.files.reload import FileWatcher, Found, Reloaded, readable

MAX_ROWS = 1000
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class _Row(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A row as the file has it."""

    base_url: str
    api_compatibility: ApiCompatibility = DEFAULT_API
    key_header: str = ""
    key_scheme: str = ""
    demands: dict[str, str] = {}
    documentation_url: str = ""


def reloaded_providers(path: str, files: FileWatcher) -> Callable[[], Providers]:
    """What gives the rows that hold now: ours and the operator's. The watcher has to be loaded first."""
    if not path:
        return lambda: PROVIDERS
    file = Path(path)

    def parse(found: Found) -> Providers:
        return by_id([*PROVIDERS.values(), *parse_rows(readable(found[file]))])

    reloaded = files.add(Reloaded("providers_file", lambda: (file,), parse))
    return lambda: reloaded.value


def read_providers(path: str) -> Providers:
    """The rows of now: ours and, where `path` is not empty, the operator's. Reads a file.

    Raises:
        ValueError: it cannot be read, or makes no sense.
    """
    files = FileWatcher()
    providers = reloaded_providers(path, files)
    files.load()
    return providers()


def parse_rows(raw: bytes) -> list[Provider]:
    """Read a file of rows.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        rows = msgspec.json.decode(raw, type=dict[str, _Row])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is not a JSON object of rows: {error}") from None
    if len(rows) > MAX_ROWS:
        raise ValueError(f"holds more than {MAX_ROWS} rows")
    return [_provider(provider_id, row) for provider_id, row in rows.items()]


def _provider(provider_id: str, row: _Row) -> Provider:
    if not _ID.fullmatch(provider_id):
        raise ValueError(
            f"{provider_id[:64]!r} is no provider's id: small letters, digits, dots, underscores and hyphens"
        )
    if provider_id == CUSTOM:
        raise ValueError(f"{CUSTOM} is no row: its credentials say everything themselves")
    unknown = sorted(row.demands.keys() - POINTS)
    if unknown:
        raise ValueError(
            f"{provider_id}: nothing is known of demands.{unknown[0][:64]}; known: {', '.join(sorted(POINTS))}"
        )
    header = (row.key_header, row.key_scheme) if row.key_header else FACTS[row.api_compatibility].key_header
    defaults = CredentialDefaults(row.api_compatibility, row.base_url, *header)
    try:  # as a client's credential would be read
        parse_credential({"key": "k", "baseUrl": row.base_url or "http://localhost"}, defaults)
    except CredentialInvalid as error:
        field = error.violations[0].field.rpartition(".")[2].replace("key", "keyHeader")
        raise ValueError(f"{provider_id}: {field} {error.violations[0].description}") from None
    return Provider(provider_id, defaults, row.documentation_url, row.demands)
