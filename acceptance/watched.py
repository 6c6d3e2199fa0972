"""Our service as a program that also reports its tasks: on SIGUSR1 it writes to its log how many there are, on SIGUSR2
where each of them stands."""

import asyncio
import json
import signal
import sys

from integration_api import log
from integration_api.commands.loop import run
from integration_api.server import Server, tune_process
from integration_api.settings import Settings


async def main() -> None:
    """Serve until SIGTERM."""
    log.configure("info", "json")
    tune_process()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    # What is left behind a run must differ from connections that are kept.
    async with Server(Settings(port=0, shutdown_grace=5.0, endpoint_keepalive=4.0)) as server:

        def report() -> None:
            counts = {"event": "tasks", "tasks": len(asyncio.all_tasks()), "running": server.guard.running}
            sys.stderr.write(json.dumps(counts) + "\n")
            sys.stderr.flush()

        def dump() -> None:
            for task in asyncio.all_tasks():
                print(f"--- {task.get_name()}: {task.get_coro()}", file=sys.stderr)
                task.print_stack(file=sys.stderr)
            print("--- end of tasks", file=sys.stderr, flush=True)

        loop.add_signal_handler(signal.SIGUSR1, report)
        loop.add_signal_handler(signal.SIGUSR2, dump)
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()


if __name__ == "__main__":
    run(main())
