"""Our service as a program for measuring what is seen of it: prints its port and serves until it is killed.

`BENCH_OBSERVED` says how much: `off` (warnings only, no metrics), `seen` (a line for every call, and metrics), `traced`
(that, and traces of every call to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names). Lines go to /dev/null.
"""

import asyncio
import os
import socket

import uvloop

from integration_api import log
from integration_api.server import Server, tune_process
from integration_api.settings import Settings


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def serve() -> None:
    """Serve on a free port."""
    how = os.environ["BENCH_OBSERVED"]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    log.configure("warning" if how == "off" else "info", "json")
    tune_process()
    admin = 0 if how == "off" else _free_port()
    async with Server(Settings(port=0, reflection=False, admin_port=admin, otel=how == "traced")) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
