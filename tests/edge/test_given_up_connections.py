"""A connection that is given up while it is made leaves no connected socket to its destructor, in whichever turn of the
loop that is: between socket and transport it could be closed twice, and its number be somebody else's by then."""

import asyncio
import gc
import warnings
from collections.abc import Callable
from contextlib import suppress

import pytest
import uvloop

from caller.custom_llm.adapter import HttpRequest
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.transport import Transport, TransportSettings

_TURNS = 24
_TIMES = 3


async def given_up_in_every_turn() -> list[str]:
    """What is said of sockets that nobody closed."""

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    transport = Transport(TransportSettings(EgressPolicy.parse("open")))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for turns in [*range(_TURNS)] * _TIMES:
            opening = transport.open_ahead(HttpRequest("POST", url, {}), 5.0, f"client-{turns}", 1_000)
            connecting = asyncio.ensure_future(opening)
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            with suppress(asyncio.CancelledError):
                await connecting
            del connecting, opening
            gc.collect(1)  # what is young; all of it takes long among other tests
        await transport.close()
        gc.collect(1)
    server.close()
    # A socket that was never connected is left to its destructor by the library that races addresses.
    return [text for warning in told if "laddr=('0.0.0.0', 0)" not in (text := str(warning.message))]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_connection_that_is_given_up_leaves_no_socket(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        assert not runner.run(given_up_in_every_turn())
