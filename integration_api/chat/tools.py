"""The tools of chat requests: read and checked at their first sight, and kept as their translations afterwards.

What is kept is JSON text of definitions and nothing else: no message, no parameter, no credential. Tools that the
endpoint runs itself, and those with options of the endpoint's own, are not kept: they can hold keys. An entry is for
one client, known by a digest of the client and of the tools' bytes that means nothing outside of this process. What is
wrong with tools is found each time: they are kept once an API shape has translated them.

Bounded: in bytes, in entries, and in time; what was used longest ago goes first.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from google.protobuf.message import DecodeError

from caller.errors import RequestInvalid, Violation
from caller.json_types import JsonObject
from caller.messages import ToolDefinition
from caller.parameters import object_from_text
from caller.tools import KeptTools, Translations
from integration_api.chat.fields import need, struct_object
from integration_api.codec.bounds import MAX_SCHEMA_BYTES, MAX_TOOL_NAME_CHARS, MAX_TOOLS, Violations
from integration_api.v1 import chat_service_pb2 as pb
from integration_api.v1 import messages_pb2 as msg

MAX_BYTES = 32 * 1024 * 1024
MAX_ENTRIES = 4096
LIFETIME = 3600.0  # seconds
# What an entry takes beside its texts.
ENTRY_BYTES = 1024
# No entry may take more of the whole than one part in so many.
_PARTS = 16


class _Entry(msgspec.Struct):
    """Tools that were found good. `values` and `texts` are what they take of a request's budgets."""

    due: float
    values: int
    texts: int
    size: int
    known: Translations


class ToolCache:
    """Reads tools. `clock` gives seconds that never go back."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.bytes = 0
        """What the entries take."""

    def __len__(self) -> int:
        return len(self._entries)

    def tools(self, client: str, wire: Sequence[bytes], violations: Violations) -> Sequence[ToolDefinition]:
        """The tools of a request. `client` is the key under which it shares with others.

        Raises:
            RequestInvalid: they are no tools.
        """
        if not wire:
            return ()
        if len(wire) > MAX_TOOLS:
            violations.append(Violation("tools", f"must be at most {MAX_TOOLS}"))
            return ()
        given = tuple(wire)
        packed = msgspec.msgpack.encode((client, given))
        key = hashlib.blake2b(packed, key=self._secret, digest_size=16).digest()
        entry = self._entries.get(key)
        if entry is not None and self._counts(key, entry, violations):
            return KeptTools(
                len(given), partial(_read, given, Violations()), entry.known, partial(self._keep, key, entry)
            )
        values, texts = violations.budget.left, violations.texts.left
        definitions = _read(given, violations)
        if any(tool.hosted is not None or tool.options for tool in definitions):
            return definitions
        entry = _Entry(0.0, values - violations.budget.left, texts - violations.texts.left, ENTRY_BYTES, {})
        return KeptTools(len(given), partial(tuple, definitions), entry.known, partial(self._keep, key, entry))

    def _counts(self, key: bytes, entry: _Entry, violations: Violations) -> bool:
        """Whether an entry holds still; it takes what its tools took at their first sight."""
        if entry.due <= self._clock():
            self._forget(key)
            return False
        if entry.values > violations.budget.left or entry.texts > violations.texts.left:
            return False  # read in full, they are refused
        violations.budget.consume(entry.values)
        violations.texts.consume(entry.texts)
        self._entries.move_to_end(key)
        return True

    def _keep(self, key: bytes, entry: _Entry, form: str, text: msgspec.Raw) -> None:
        """A shape has translated the tools of an entry."""
        if key in self._entries:
            self._forget(key)
        size = entry.size + len(memoryview(text)) + len(form)
        if size > self._max_bytes // _PARTS:
            return
        entry.known[form] = text
        entry.size = size
        entry.due = self._clock() + LIFETIME
        self._entries[key] = entry
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._entries) > self._max_entries:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: bytes) -> None:
        self.bytes -= self._entries.pop(key).size


def _read(wire: Sequence[bytes], violations: Violations) -> tuple[ToolDefinition, ...]:
    return tuple([_tool(number, raw, violations) for number, raw in enumerate(wire)])


def _tool(number: int, raw: bytes, violations: Violations) -> ToolDefinition:
    try:
        wire = msg.ToolDefinition.FromString(raw)
    except DecodeError:
        raise RequestInvalid(f"the request is not a {pb.ChatRequest.DESCRIPTOR.full_name}") from None
    path = f"tools[{number}]"
    hosted = _hosted(path, wire, violations) if wire.HasField("hosted") else None
    if hosted is None:
        need(wire.name, f"{path}.name", violations)
    if len(wire.name) > MAX_TOOL_NAME_CHARS:
        violations.append(Violation(f"{path}.name", f"must be at most {MAX_TOOL_NAME_CHARS} characters"))
    parameters: JsonObject | None = None
    match wire.WhichOneof("schema"):
        case "parameters":
            parameters = struct_object(f"{path}.parameters", wire.parameters, violations)
        case "parameters_json":
            text = wire.parameters_json
            if len(text) <= MAX_SCHEMA_BYTES:
                text = violations.json_text(f"{path}.parameters_json", text)
            parameters = object_from_text(text) if len(text) <= MAX_SCHEMA_BYTES else None
            if len(text) > MAX_SCHEMA_BYTES:
                violations.append(Violation(f"{path}.parameters_json", f"must be at most {MAX_SCHEMA_BYTES} bytes"))
            elif parameters is None:
                violations.append(Violation(f"{path}.parameters_json", "must be JSON text of an object"))
        case _:
            pass  # a tool without arguments
    return ToolDefinition(
        name=wire.name,
        description=wire.description,
        parameters=parameters,
        strict=wire.strict if wire.HasField("strict") else None,
        hosted=hosted,
        options=struct_object(f"{path}.provider_options", wire.provider_options, violations),
    )


def _hosted(path: str, wire: msg.ToolDefinition, violations: Violations) -> JsonObject:
    if wire.description or wire.WhichOneof("schema") or wire.HasField("strict"):
        violations.append(Violation(f"{path}.hosted", "must stand without description, schema and strict"))
    if not wire.hosted.fields:
        violations.append(Violation(f"{path}.hosted", "must not be empty"))
    return struct_object(f"{path}.hosted", wire.hosted, violations)
