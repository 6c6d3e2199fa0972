"""What bounds each call, as the settings say, for both faces."""

from dataclasses import dataclass

from caller.errors import ResponseTooLarge
from caller.target import Timeouts
from integration_api.settings import Settings


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The times and the attempts of a call whose request says nothing of them, and the upper bounds of what it says;
    the most bytes of an answer, encoded."""

    timeouts: Timeouts
    max_attempts: int
    max_answer_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "CallLimits":
        """Those of the settings."""
        timeouts = Timeouts(
            connect=settings.connect_timeout,
            first_output=settings.first_output_timeout,
            between_outputs=settings.between_outputs_timeout,
            total=settings.total_timeout,
        )
        return cls(timeouts, settings.max_attempts, settings.max_answer_bytes)

    def check_answer(self, size: int) -> None:
        """Refuse an answer of so many bytes where gRPC clients would refuse it.

        Raises:
            ResponseTooLarge: it is above the bound.
        """
        if size > self.max_answer_bytes:
            raise ResponseTooLarge(
                f"the answer is larger than the server's max_answer_bytes ({self.max_answer_bytes}); "
                "ask for less, or raise it together with the client's own limit"
            )
