"""The fallbacks of a request to domain values. Pure, but for the stored credentials that they name.

A malformed one is refused before anything is asked, so all are read at their first sight; but most calls need none, and
a conversation brings the same ones on every turn. So of what was found well-formed a digest is kept, of the client and
the fallbacks' bytes, which means nothing outside of this process, and such fallbacks are read when it is their turn.
Bounded in entries: what was used longest ago goes first.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import msgspec
from google.protobuf.message import DecodeError

from caller.errors import (
    ClientError,
    CredentialForbidden,
    CredentialInvalid,
    CredentialNotFound,
    RequestInvalid,
    Violation,
)
from caller.json_types import JsonObject
from caller.parameters import overridden
from caller.target import MAX_FALLBACKS, Fallbacks, Target, Unusable
from integration_api.chat.request import credential_path, parameters_of
from integration_api.chat.view import ChatRequest
from integration_api.codec.bounds import Violations, refuse
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

MAX_LABEL_CHARS = 128
MAX_ENTRIES = 4096
_PERCENTILES = range(50, 100)
# Finds a credential's value for a provider, and raises where there is none.
FindCredential: TypeAlias = Callable[[msg.Credential, str], JsonObject]


class FallbackReader:
    """Reads fallbacks; `check` refuses a target that is malformed."""

    def __init__(self, check: Callable[[Target], None], max_entries: int = MAX_ENTRIES) -> None:
        self._check = check
        self._max_entries = max_entries
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def fallbacks(self, request: ChatRequest, own: Target, client: str, credential: FindCredential) -> Fallbacks:
        """Whom a request of a client asks beside its own target.

        Raises:
            ClientError: with the path of what is malformed.
        """
        given = tuple(request.fallbacks)
        packed = msgspec.msgpack.encode((client, own.provider, given))
        key = hashlib.blake2b(packed, key=self._secret, digest_size=16).digest()
        violations: list[Violation] = []
        if key in self._known:
            self._known.move_to_end(key)
        else:
            violations = self._checked(given, own, credential, key)
        targets = tuple([partial(_read, number, wire, own, credential) for number, wire in enumerate(given)])
        return _hedged(Fallbacks(targets), request.options, violations)

    def _checked(
        self, given: tuple[bytes, ...], own: Target, credential: FindCredential, key: bytes
    ) -> list[Violation]:
        """What is wrong with fallbacks. They are known from now on where nothing is, and none lacks its stored
        credential: that may be there another time, and is checked then."""
        violations = Violations()
        if len(given) > MAX_FALLBACKS:
            violations.append(Violation("fallbacks", f"must be at most {MAX_FALLBACKS}"))
        targets = [
            _target(number, wire, own, credential, violations) for number, wire in enumerate(given[:MAX_FALLBACKS])
        ]
        for number, target in enumerate(targets):
            if isinstance(target, Target) and not violations:
                try:
                    self._check(target)
                except ClientError as error:
                    raise error.within(_path(number)) from None
        if not violations and not any(isinstance(target, Unusable) for target in targets):
            self._known[key] = None
            if len(self._known) > self._max_entries:
                self._known.popitem(last=False)
        return violations


def stored_fallbacks(request: ChatRequest, stored: Fallbacks) -> Fallbacks:
    """Those of a stored credential, hedged as the request wants it, where it wants something.

    Raises:
        RequestInvalid: with the path of what is malformed.
    """
    return _hedged(stored, request.options, [])


def _hedged(found: Fallbacks, options: pb.CallOptions, violations: list[Violation]) -> Fallbacks:
    hedge_after = found.hedge_after
    if options.HasField("hedge_after"):
        hedge_after = options.hedge_after.seconds + options.hedge_after.nanos / 1e9
        if hedge_after <= 0:
            violations.append(Violation("options.hedge_after", "must be more than zero"))
    percentile = options.hedge_percentile
    if percentile and percentile not in _PERCENTILES:
        violations.append(Violation("options.hedge_percentile", "must be from 50 to 99"))
    refuse(violations)
    return Fallbacks(found.targets, hedge_after, percentile or None)


def _path(number: int) -> str:
    return f"fallbacks[{number}]"


def _read(number: int, wire: bytes, own: Target, credential: FindCredential) -> Target | Unusable:
    """A fallback that was found good before.

    Raises:
        ClientError: it is not any more.
    """
    violations = Violations()
    target = _target(number, wire, own, credential, violations)
    refuse(violations)
    return target


def _target(
    number: int, raw: bytes, own: Target, credential: FindCredential, violations: Violations
) -> Target | Unusable:
    try:
        wire = msg.Target.FromString(raw)
    except DecodeError:
        raise RequestInvalid(f"the request is not a {pb.ChatRequest.DESCRIPTOR.full_name}") from None
    path = _path(number)
    if len(wire.label) > MAX_LABEL_CHARS:
        violations.append(Violation(f"{path}.label", f"must be at most {MAX_LABEL_CHARS} characters"))
    given, typed = parameters_of(f"{path}.model_parameters", wire, violations)
    provider = wire.provider_id or own.provider
    try:
        value = credential(wire.credential, provider)
    except CredentialInvalid as error:
        raise error.within(path) from None
    except (CredentialNotFound, CredentialForbidden) as error:
        return Unusable(error.with_traceback(None), wire.label)
    return Target(
        provider,
        value,
        own.timeouts,
        overridden(own.parameters, given),
        own.max_attempts,
        wire.label,
        credential_path(wire.credential),
        (own.typed_parameters - given.keys()) | typed,
    )
