"""What an endpoint may send without any output: comments, pings, empty events, endless unknown fields. Pure.

Each has to be read, and nothing of it makes an answer: a bound on bytes and on lines is what ends a stream of nothing.
An event that is not complete does not count: it has a bound of its own.
"""

from dataclasses import dataclass

from caller.custom_llm.body.sniff import BodyDecoder
from caller.errors import ResponseTooLarge


@dataclass(frozen=True, slots=True)
class SilenceLimits:
    """The most bytes, and the most lines of an event stream, from one output to the next. Ten minutes of ten
    keep-alive comments a second are 12,000 lines of 180 KB."""

    max_bytes: int = 8 * 1024 * 1024
    max_events: int = 50_000


DEFAULT_SILENCE = SilenceLimits()


class Silence:
    """Counts what came since the last output.

    It costs a token nothing: whoever sees output sets everything back. Whoever sees none adds to `bytes`, and asks from
    a few kilobytes on.
    """

    __slots__ = ("_limits", "bytes", "events")

    def __init__(self, limits: SilenceLimits) -> None:
        self._limits = limits
        self.bytes = 0
        self.events = 0

    def check(self, chunk: bytes, body: BodyDecoder, frames: int, held: int) -> None:
        """Count the events of a chunk that held no output, once `body` has taken it and found so many frames in it;
        `held` bytes of an event that is not complete wait outside of it.

        Raises:
            ResponseTooLarge: past a bound.
        """
        self.events += max(frames, body.lines(chunk))
        if self.bytes - body.pending - held > self._limits.max_bytes:
            raise ResponseTooLarge(f"the endpoint sent more than {self._limits.max_bytes} bytes without any output")
        if self.events - body.pending_lines > self._limits.max_events:
            raise ResponseTooLarge(f"the endpoint sent more than {self._limits.max_events} events without any output")
