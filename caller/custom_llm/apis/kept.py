"""The bound on what is kept beside the text of an answer: content that must go back unread, and what has no field.

Text, reasoning and arguments are bounded where an answer is folded. Signatures, pictures, encrypted reasoning and items
of an endpoint's own reach nobody as text, so every decoder that keeps them counts them here. No I/O.
"""

from typing import Final

import msgspec

from caller.errors import ResponseTooLarge
from caller.json_types import JsonValue

# Bytes of JSON, of one choice of an answer.
MAX_KEPT: Final = 32 * 1024 * 1024


class KeptBudget:
    """How much may still be kept."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_KEPT

    def consume(self, kept: JsonValue) -> None:
        """Count a value that is kept.

        Raises:
            ResponseTooLarge: past the bound.
        """
        self.consume_bytes(len(msgspec.json.encode(kept)))

    def consume_bytes(self, size: int) -> None:
        """The same for a size that is known.

        Raises:
            ResponseTooLarge: past the bound.
        """
        self._left -= size
        if self._left < 0:
            raise ResponseTooLarge(f"the answer holds more than {MAX_KEPT} bytes that are not text")
