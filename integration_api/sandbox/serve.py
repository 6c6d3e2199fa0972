"""The sandbox as a program of its own: it serves until a signal ends it.

Rule: signals and the one line that is printed; all else is the server's.
"""

import asyncio
import signal
import sys

from integration_api.sandbox.faults import SOUND, Fault
from integration_api.sandbox.server import Sandbox


async def run(host: str, port: int, require_key: str = "", fault: Fault = SOUND) -> None:
    """Serves until SIGTERM or SIGINT; prints one line with the URL and an example when it is ready.

    Raises OSError when the port cannot be had.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with Sandbox(host, port, require_key, remember=0, fault=fault) as sandbox:
            key = "-H 'Authorization: Bearer …' " if require_key else ""
            body = '{"model":"tokens:n=20,gap=50ms","stream":true,"messages":[{"role":"user","content":"hi"}]}'
            sys.stdout.write(
                f"sandbox: {sandbox.url}  try: curl -N {sandbox.url}/v1/chat/completions {key}-d '{body}'\n"
            )
            sys.stdout.flush()
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
