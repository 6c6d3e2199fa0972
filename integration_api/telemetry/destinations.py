"""Which endpoints and models become labels of metrics: bounded, since both are words of clients. Pure."""

from typing import Final

OTHER: Final = ("other", "other")


class Destinations:
    """The first pairs of endpoint and model keep their names; what comes behind the bounds is `other`.

    `per_client`: pairs that one client may bring; `in_all`: pairs of all of them.
    """

    def __init__(self, per_client: int = 10, in_all: int = 200) -> None:
        self._per_client = per_client
        self._in_all = in_all
        self._known: set[tuple[str, str]] = set()
        self._brought: dict[str, int] = {}  # by client; no more entries than pairs

    def of(self, client: str, endpoint: str, model: str) -> tuple[str, str]:
        """The pair as labels."""
        pair = (endpoint, model)
        if pair in self._known:
            return pair
        brought = self._brought.get(client, 0)
        if brought >= self._per_client or len(self._known) >= self._in_all:
            return OTHER
        self._brought[client] = brought + 1
        self._known.add(pair)
        return pair
