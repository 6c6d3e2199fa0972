"""Name servers that never answer: they hold neither the calls of others nor the end of the process."""

import asyncio
import signal
import sys
import time

import grpc
import pytest

from integration_api.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.asking import chat_request
from tests.edge.processes import ROOT, environment
from tests.patience import within

pytestmark = pytest.mark.usefixtures("watched_loop")

_PROGRAM = """
import asyncio, os, signal, time
from caller.custom_llm.http.connector import make_connector
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.lookups import ThreadedLookup
from caller.custom_llm.http.transport import Transport
from integration_api import log
from integration_api.server import Server, transport_settings
from integration_api.settings import Settings

def never(host, port, family):
    os.write(1, b"asked\\n")  # one piece, from several threads
    time.sleep(60)

async def main():
    log.configure("error", "json")
    settings = Settings(port=0, shutdown_grace=1.0)
    connector = make_connector(EgressPolicy.parse("open"), resolver=ThreadedLookup(look_up=never))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Server(settings, transport=Transport(transport_settings(settings), connector=connector)) as server:
        print(server.port, flush=True)
        await stop.wait()

asyncio.run(main())
"""


async def test_silent_name_servers_do_not_hold_the_end_of_the_process() -> None:
    """SIGTERM with a grace of one second: gone soon after it, with twenty lookups under way."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM), cwd=ROOT, env=environment(None), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    try:
        port = int(await program.stdout.readline())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = ChatServiceStub(channel)
            calls = [asyncio.ensure_future(stub.Chat(chat_request(f"http://{n}.test", "m"))) for n in range(20)]
            for _ in range(16):  # half of the threads
                assert await program.stdout.readline() == b"asked\n"
            program.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert await asyncio.wait_for(program.wait(), within(10)) == 0
            assert time.monotonic() - began < within(2.5)
            for call in calls:
                with pytest.raises(grpc.aio.AioRpcError):
                    await call
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
