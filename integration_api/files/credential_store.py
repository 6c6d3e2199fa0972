"""Credentials that the server itself holds: a directory of JSON files, one per name, as Kubernetes mounts secrets.

`openai.json` is the credential `openai`: the object that clients would send, and optionally who may use it:

    {"baseUrl": "https://api.openai.com/v1",
     "headers": {"Authorization": "Bearer sk-…"},
     "allowed_callers": ["billing"]}

With `"provider": "openai"` it is one for that provider only, and may hold a `key` instead of `baseUrl` and `headers`.
Without `allowed_callers` every client may. It may name its own fallbacks, other credentials of this directory, and how
long the first output may take until the next one is asked, too:

     "fallbacks": ["spare", {"name": "other", "model": "small-model"}], "hedge_after": "0.3s"

Each has to be for the same client, and its own fallbacks are not followed. A named credential is used as a whole: its
base URL comes from the same file as its keys, so a request can choose the name and nothing else. Names are looked up in
a table; no path is ever made of one. It knows files and domain values, no gRPC.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from caller.credentials import parse_credential
from caller.errors import CredentialForbidden, CredentialInvalid, CredentialNotFound, Violation
from caller.json_types import JsonObject, JsonValue
from caller.parameters import overridden
from caller.providers import CUSTOM, NO_PROVIDERS, Providers
from caller.target import MAX_FALLBACKS, Fallbacks, Target, Unusable
from integration_api.files.reload import FileWatcher, Found, Reloaded, readable

MAX_CREDENTIALS = 4096
MAX_FILE_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SUFFIX = ".json"
_PATH = "credential.name"
_SECONDS = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)s")


@dataclass(frozen=True, slots=True)
class _Stored:
    """`fallbacks` are names, each with the model to ask there; empty: the call's own."""

    value: JsonObject = field(repr=False)
    allowed: frozenset[str] | None
    provider: str
    fallbacks: tuple[tuple[str, str], ...] = ()
    hedge_after: float | None = None


class CredentialStore:
    """Finds credentials by name. Made with a watcher, which keeps it current."""

    def __init__(
        self, directory: str, files: FileWatcher, providers: Callable[[], Providers] = lambda: NO_PROVIDERS
    ) -> None:
        """`providers` gives the rows that credentials may be for: a credential that came before its row is found once
        the row is there."""
        self._directory = Path(directory)
        self._providers = providers
        self._log = structlog.get_logger("integration_api.credentials")
        self._good: Mapping[str, _Stored] = {}
        self._stored: Reloaded[Mapping[str, _Stored]] = files.add(
            Reloaded("credentials_dir", self._files, self._parse, MAX_FILE_BYTES, depends=providers)
        )

    def find(self, name: str, who: Collection[str], provider: str = CUSTOM) -> JsonObject:
        """The credential of this name, for this client and this provider. `who`: the names by which the client may be
        meant, none for an anonymous one.

        Raises:
            CredentialInvalid: the name cannot be one, or it is one of another provider.
            CredentialNotFound, CredentialForbidden: see there.
        """
        if not _NAME.fullmatch(name):
            advice = "must be 1 to 128 letters, digits, dots, underscores and hyphens"
            raise CredentialInvalid(f"{_PATH}: {advice}", violations=[Violation(_PATH, advice)])
        stored = self._allowed(name, who)
        if stored.provider and stored.provider != provider.lower():
            # A key would otherwise go wherever the row leads that the request names.
            advice = f"is a credential for the provider {stored.provider}: name that one"
            raise CredentialInvalid(f"{_PATH}: {advice}", violations=[Violation("provider_id", advice)])
        return dict(stored.value)

    def fallbacks(self, name: str, who: Collection[str], own: Target) -> Fallbacks | None:
        """Whom a call asks beside its `own` target, which has the credential of this name; None: nobody."""
        stored = self._stored.value.get(name)
        if stored is None or not stored.fallbacks:
            return None
        targets = [partial(self._fallback, other, model, who, own) for other, model in stored.fallbacks]
        return Fallbacks(tuple(targets), stored.hedge_after)

    def _fallback(self, name: str, model: str, who: Collection[str], own: Target) -> Target | Unusable:
        try:
            stored = self._allowed(name, who)
        except (CredentialNotFound, CredentialForbidden) as error:
            return Unusable(error.with_traceback(None), name)
        return replace(
            own,
            provider=stored.provider or CUSTOM,
            credential=dict(stored.value),
            parameters=overridden(own.parameters, {"model.name": model} if model else {}),
            label=name,
        )

    def _allowed(self, name: str, who: Collection[str]) -> _Stored:
        stored = self._stored.value.get(name)
        if stored is None:
            raise not_found(name)
        if stored.allowed is not None and stored.allowed.isdisjoint(who):
            first = next(iter(who), "")
            client = f"the client {first!r}" if first else "a client that does not say who it is"
            raise CredentialForbidden(f"the credential {name!r} is not for {client}")
        return stored

    def _files(self) -> Sequence[Path]:
        """The files of credentials, in the order of their names. What begins with two dots is Kubernetes' own."""
        found = sorted(
            path
            for path in self._directory.iterdir()
            if path.suffix == _SUFFIX and not path.name.startswith(".") and path.is_file()
        )
        return found[:MAX_CREDENTIALS]

    def _parse(self, found: Found) -> Mapping[str, _Stored]:
        """All that can be used. A file that cannot leaves what it said before in force; others are not held up."""
        stored: dict[str, _Stored] = {}
        for path, raw in found.items():
            name = path.name.removesuffix(_SUFFIX)
            try:
                stored[name] = _parsed(name, raw, self._providers())
            except (ValueError, OSError) as error:
                self._log.error("credential.broken", name=name, error=str(error))
                if name in self._good:
                    stored[name] = self._good[name]
        if len(found) >= MAX_CREDENTIALS:
            self._log.error("credentials.too_many", most=MAX_CREDENTIALS)
        self._good = stored
        return stored


def not_found(name: str) -> CredentialNotFound:
    """The error for a name that nothing stands behind."""
    advice = "the server holds no usable credential of this name; send the credential's value, or ask its operator"
    return CredentialNotFound(f"{_PATH}: {name[:128]!r}: {advice}", violations=[Violation(_PATH, advice)])


def _parsed(name: str, raw: bytes | OSError, providers: Providers) -> _Stored:
    """One file.

    Raises:
        ValueError: in words that hold nothing of its content.
        OSError: it cannot be read.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("the name holds more than letters, digits, dots, underscores and hyphens, or is too long")
    value = _object(readable(raw))
    allowed = value.pop("allowed_callers", None)
    fallbacks, hedge_after = _fallbacks(value.pop("fallbacks", None)), _seconds(value.pop("hedge_after", None))
    provider = value.pop("provider", CUSTOM)
    named = provider.lower() if isinstance(provider, str) else ""
    if named != CUSTOM and named not in providers:
        raise ValueError("provider must be the id of a provider that this service knows by name")
    row = providers.get(named)
    try:
        parse_credential(value, row.defaults if row else None)
    except CredentialInvalid as error:
        raise ValueError(error.message) from None
    return _Stored(value, _names(allowed), named if row else "", fallbacks, hedge_after)


def _object(raw: bytes) -> JsonObject:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("is not a JSON object") from None


def _names(value: JsonValue) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValueError("allowed_callers must be a list of names")
    return frozenset(str(name) for name in value)


def _fallbacks(value: JsonValue) -> tuple[tuple[str, str], ...]:
    """Names and models."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_FALLBACKS:
        raise ValueError(f"fallbacks must be a list of at most {MAX_FALLBACKS}")
    return tuple(_named_fallback(each) for each in value)


def _named_fallback(value: JsonValue) -> tuple[str, str]:
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not given.keys() <= {"name", "model"}:
        raise ValueError('each of fallbacks must be a name, or {"name": "…", "model": "…"}')
    name, model = given.get("name"), given.get("model", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(model, str):
        raise ValueError("each of fallbacks must name another credential, and may name a model")
    return name, model


def _seconds(value: JsonValue) -> float | None:
    if value is None:
        return None
    found = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    if found is None or not float(found[1]):
        raise ValueError('hedge_after must be a time, for example "0.3s"')
    return float(found[1])
