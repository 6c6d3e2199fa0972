"""Our service as a program for measuring: prints its port and serves until it is killed. Logs warnings only."""

import asyncio

import uvloop

from integration_api import log
from integration_api.server import Server, tune_process
from integration_api.settings import Settings


async def serve() -> None:
    """Serve on a free port."""
    log.configure("warning", "json")
    tune_process()
    async with Server(Settings(port=0, reflection=False)) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
