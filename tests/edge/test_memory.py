"""Near its memory limit a server takes no new calls, and goes on with those that it has."""

import asyncio
import platform
import sys
from pathlib import Path

import grpc
import pytest

from integration_api.rpc.memory import MemoryGuard, resident_bytes
from integration_api.sandbox import Sandbox
from tests.asking import chat_request
from tests.edge.access_world import FULL, serving
from tests.edge.loopback import until
from tests.edge.reading import fail

MIB = 1024 * 1024


def test_above_its_part_of_the_limit_it_refuses_until_it_falls() -> None:
    """85 % and not a byte less."""
    resident = [0]
    guard = MemoryGuard(100, lambda: resident[0])
    for resident[0], short in ((85, False), (86, True), (100, True), (85, False)):
        guard.measure()
        assert bool(guard.overloaded()) is short


def test_without_a_limit_it_never_refuses() -> None:
    """Zero is none."""
    guard = MemoryGuard(0, lambda: MIB)
    guard.start()
    assert guard.overloaded() == ""


# Two workers of one parent; one of them says what it counts, for itself and for all.
_WORKERS = """
import subprocess, sys
one = "import sys; held = bytearray(b'x' * 60_000_000); print(1, flush=True); sys.stdin.read()"
with subprocess.Popen([sys.executable, "-c", one], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
    worker.stdout.readline()
    other = "from integration_api.rpc.memory import *; print(resident_of_workers() - resident_bytes())"
    print(subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True).stdout)
    worker.stdin.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it reads files of Linux")
async def test_workers_count_the_memory_of_all() -> None:
    """Also what another worker of the same parent holds."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WORKERS, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate()

    assert child.returncode == 0
    assert 60_000_000 < int(printed) < 120_000_000


async def test_new_calls_are_refused_and_running_ones_go_on(sandbox: Sandbox) -> None:
    """The memory of the server grows above its limit while a call runs: the next is refused, the first ends well."""
    async with serving(memory_limit_bytes=int((resident_bytes() + 100 * MIB) / 0.85)) as (server, stub):
        call = stub.StreamChat(chat_request(sandbox.url, "tokens:n=4,gap=500ms"), timeout=20)
        assert await call.read()
        ballast = b"x" * (200 * MIB)
        await until(lambda: bool(server.memory.overloaded()))
        assert (await fail(stub.Chat(chat_request(sandbox.url, "echo"), timeout=10))).said == FULL
        last = None
        while (frame := await call.read()) is not grpc.aio.EOF:
            last = frame
        assert last is not None
        assert last.HasField("completed")
        del ballast
        await until(lambda: not server.memory.overloaded())
        answer = await stub.Chat(chat_request(sandbox.url, "echo", "here"), timeout=10)
        assert answer.choices[0].message.text == "here"


# Blocks of 300 KB, a small one behind each; then the large ones are freed.
_STORM = """
import sys
from integration_api.rpc.memory import resident_bytes, return_large_blocks
if sys.argv[1] == "tuned" and not return_large_blocks():
    sys.exit(3)
del sys.argv[:]
whole = bytes(bytearray(20_000_000))
del whole  # glibc takes blocks up to this size out of its heap now
before = resident_bytes()
large, small = [], []
for number in range(200):
    large.append(bytes(bytearray(300_000)))
    small.append(bytes(bytearray(2_000)))
large.clear()
print((resident_bytes() - before) // 1_000_000)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in another way")
async def test_what_is_freed_of_large_blocks_goes_back() -> None:
    """Sixty megabytes of requests are gone with their calls, of which a third stays where nothing is set."""

    async def left(how: str) -> int:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _STORM, how), stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": str(Path.cwd())}
        )
        out, _ = await child.communicate()
        assert child.returncode == 0
        return int(out)

    assert await left("tuned") < 5
    assert await left("as it is") > 10


# Holds every second of many small blocks, lets go of the others, and says how much memory they leave, without and with
# what gives it back.
_FREED = """
import asyncio, ctypes
from integration_api.rpc.memory import HeapTrimmer, resident_bytes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
async def main():
    blocks = [libc.malloc(16_384) for _ in range(20_000)]
    for block in blocks:
        ctypes.memset(block, 1, 16_384)
    for number, block in enumerate(blocks):
        if number % 20:
            libc.free(block)
    before = resident_bytes()
    trimmer = HeapTrimmer()
    trimmer.start()
    for _ in range(400):
        await asyncio.sleep(0.05)
        if before - resident_bytes() > 200_000_000:
            break
    trimmer.stop()
    print(before - resident_bytes())
asyncio.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other ways")
async def test_what_is_free_inside_of_the_heap_goes_back() -> None:
    """Pages between blocks that stay."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FREED, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate()
    assert child.returncode == 0
    assert int(printed) > 200_000_000
