"""A bounded thing that clients share: bytes being read, bytes that wait to be read, open streams, running calls.

The rule of sharing, the same for all of them: no client holds more than its share while others hold some, and a client
that is alone leaves an eighth free, so that whoever comes next finds some at once and need not wait for calls that
never end. Who holds nothing may always have one. It knows numbers and keys only.
"""

from collections.abc import Mapping

_RESERVE = 8  # one part in so many stays free of a client that is alone


class Shares:
    """What each client holds of `limit`; 0 means no limit. `share` is the part that one client may hold while others
    hold some; 1 means all of it, and no reserve. A key that holds nothing leaves no entry."""

    __slots__ = ("_alone", "_held", "_limit", "_share", "total")

    def __init__(self, limit: int, share: float) -> None:
        self.total = 0
        self._limit = limit
        self._held: dict[str, int] = {}
        self._share = max(1, int(limit * share))
        self._alone = limit if share >= 1 else max(1, limit - max(1, limit // _RESERVE))

    @property
    def held(self) -> Mapping[str, int]:
        """What each client holds."""
        return self._held

    @property
    def full(self) -> bool:
        """Whether nothing is left for anybody."""
        return bool(self._limit) and self.total >= self._limit

    def allows(self, client: str, amount: int = 1, *, wanted: bool = False) -> bool:
        """Whether a client may have so much more now; one thing above the limit may be held alone. `wanted`: others are
        known to want some, though they hold none."""
        limit = self._limit
        if not limit:
            return True
        if self.total + amount > limit and self.total:
            return False
        if client not in self._held:
            return True
        others = wanted or len(self._held) > 1
        return self._held[client] + amount <= (self._share if others else self._alone)

    def acquire(self, client: str, amount: int = 1) -> None:
        """Let a client hold so much more."""
        self.total += amount
        if client in self._held:
            self._held[client] += amount
        else:
            self._held[client] = amount

    def release(self, client: str, amount: int = 1) -> None:
        """Let it hold so much less."""
        self.total -= amount
        left = self._held[client] - amount
        if left > 0:
            self._held[client] = left
        else:
            del self._held[client]
