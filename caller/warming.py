"""Connections that are opened before they are needed. Provider-neutral; what one is, is the provider's business."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ConnectionTimes:
    """What opening one connection took, in seconds: its name's lookup, TCP with what a proxy wants, and TLS. What was
    not needed is 0, or close to it."""

    resolve: float
    connect: float
    tls: float

    @property
    def total(self) -> float:
        """All of it together, in seconds."""
        return self.resolve + self.connect + self.tls


class Warming(Protocol):
    """A target that was found well-formed, whose connections can be opened ahead."""

    def ready(self, client: str) -> int:
        """How many idle connections are kept for the target's calls by this client, those apart that end soon."""
        ...

    async def open(self, client: str, number: int) -> ConnectionTimes | None:
        """Open one connection, unless `number` of them are ready, or none would be kept: None then. No request is sent.

        Raises:
            CallerError: there is none.
        """
        ...
