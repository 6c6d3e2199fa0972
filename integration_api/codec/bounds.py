"""Bounds on what a request may hold, for both faces, and the list of what was found wrong with it. Pure.

A request of many small things costs far more to read than its bytes say, and nothing else runs meanwhile: so their
counts are bounded before they are read, and so are the violations that are reported.
"""

from google.protobuf import struct_pb2

from caller.errors import RequestInvalid, Violation
from integration_api.codec.structs import Budget, NotJsonError

MAX_MESSAGES = 10_000
MAX_TOOLS = 1_024
MAX_PARTS = 1_024
# Parts and tool calls of all messages together.
MAX_PIECES = 20_000
MAX_PREWARM_TARGETS = 8
MAX_PREWARM_CONNECTIONS = 16  # for each target
MAX_TOOL_NAME_CHARS = 256
MAX_SCHEMA_BYTES = 1024 * 1024
MAX_LABELS = 64
MAX_LABEL_NAME_CHARS = 128
MAX_LABEL_CHARS = 1_024
# The headers that a credential may have, and as much again.
MAX_CREDENTIAL_VALUES = 256
MAX_CREDENTIAL_BYTES = 1024 * 1024
_MAX_VIOLATIONS = 32


class Violations(list[Violation]):
    """What was found wrong so far. Past a bound the request is refused with those: nobody reads a million of them.
    `budget` is what the request's Structs may hold together, `texts` the JSON texts of its conversation and tools,
    `pieces` how many parts and tool calls its messages may still have."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget()
        self.texts = Budget()
        self.pieces = MAX_PIECES

    def json_text(self, path: str, text: str) -> str:
        """The text, which may be read as JSON later; nothing of it where it holds too many values."""
        try:
            self.texts.consume_text(text)
        except NotJsonError as error:
            self.append(Violation(path, str(error)))
            return ""
        return text

    def append(self, violation: Violation) -> None:
        super().append(violation)
        if len(self) >= _MAX_VIOLATIONS:
            refuse(self)


def check_size(credential: struct_pb2.Struct) -> None:
    """Headers can be JSON text, which is one value of any length."""
    if credential.ByteSize() > MAX_CREDENTIAL_BYTES:
        raise NotJsonError(f"must be at most {MAX_CREDENTIAL_BYTES} bytes")


def refuse(violations: list[Violation]) -> None:
    """Refuse a request with violations; the text tells the first.

    Raises:
        RequestInvalid: there are any.
    """
    if violations:
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise RequestInvalid(f"{violations[0].field}: {violations[0].description}{more}", violations=violations)
