"""How much of one endpoint's bytes is worked on in one turn of the event loop. Pure: it knows neither loop nor clock.

What bytes cost is the endpoint's choice: 64 KiB of text are read in a millisecond, 64 KiB of empty events in thirty. So
the size of a piece follows from what the piece before it took.
"""

from collections.abc import Iterator

import msgspec

MOST = 64 * 1024
# Less is never cut, and not worth measuring.
LEAST = 4 * 1024
_FIRST = 32 * 1024
_LONGEST = 0.004  # seconds that a piece may take
_QUICK = 0.001  # seconds; so much later may the output of one piece leave, together with the next one's


class TurnBudget(msgspec.Struct, eq=False):
    """The bytes of one answer that may be worked on before others run.

    `size` is the most bytes of the next piece, `given` the size of the last one; who hands pieces out keeps it. `left`
    are the bytes of the same read that come next, `quick` says that the last piece took next to no time.
    """

    size: int = _FIRST
    given: int = 0
    left: int = 0
    quick: bool = False

    def worked(self, seconds: float) -> None:
        """The last piece took so many seconds: the next one is larger or smaller for it."""
        self.quick = seconds < _QUICK
        fitting = int(self.given * _LONGEST / seconds) if seconds > 0 else MOST
        self.size = max(LEAST, min(fitting, 2 * self.size, MOST))

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """The chunk, one piece at a time."""
        at = 0
        while at < len(chunk):
            piece = chunk[at : at + self.size]
            at += len(piece)
            self.left = len(chunk) - at
            yield piece
