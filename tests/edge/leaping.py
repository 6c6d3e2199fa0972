"""An event loop whose time can leap: pauses of minutes without waiting, for every timer of ours alike."""

import asyncio
from collections.abc import Callable, Coroutine

_TURNS = 20


class LeapingLoop(asyncio.SelectorEventLoop):
    """`leap` lets time pass at once: what was due in it happens in the next turn, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self._leapt = 0.0

    def time(self) -> float:
        return super().time() + self._leapt

    async def leap(self, seconds: float) -> None:
        """Let so many seconds pass, and give what they began a few turns."""
        self._leapt += seconds
        for _ in range(_TURNS):
            await asyncio.sleep(0)


def leaping(test: Callable[[LeapingLoop], Coroutine[object, object, None]]) -> None:
    """Run a test in such a loop."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, LeapingLoop)
        runner.run(test(loop))
