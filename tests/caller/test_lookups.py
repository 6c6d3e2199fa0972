"""Name lookups: no client fills them, nothing of them outlives the process, and what they answer is remembered."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest
from aiohttp.abc import ResolveResult

from caller.custom_llm.http.exchange import CURRENT, Exchange
from caller.custom_llm.http.lookups import ThreadedLookup
from caller.custom_llm.http.names import Names
from tests.caller.guarded_world import Dns
from tests.edge.loopback import until
from tests.patience import within

Infos = Sequence[tuple[int, int, int, str, tuple[object, ...]]]
ADDRESS: Infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


async def as_client(lookup: ThreadedLookup, client: str, host: str) -> list[ResolveResult]:
    CURRENT.set(Exchange(client))  # of this task
    return await lookup.resolve(host, 80)


async def test_one_clients_slow_names_leave_threads_for_others() -> None:
    """Forty lookups that are never answered, and given up: another client's good name is answered at once."""
    released = threading.Event()
    started: list[str] = []

    def look_up(host: str, port: int, family: int) -> Infos:
        del port, family
        if host.startswith("slow"):
            started.append(host)
            released.wait(30)
        return ADDRESS

    lookup = ThreadedLookup(threads=8, timeout=0.2, look_up=look_up)
    try:
        slow = [asyncio.create_task(as_client(lookup, "a", f"slow{n}.test")) for n in range(40)]
        failures = await asyncio.gather(*slow, return_exceptions=True)
        again = asyncio.create_task(as_client(lookup, "a", "good.test"))
        good = await asyncio.create_task(as_client(lookup, "b", "good.test"))

        assert all(isinstance(failure, socket.gaierror) for failure in failures)
        assert len(started) == 4  # half of the threads, also when nobody waits for them any more
        assert [answer["host"] for answer in good] == ["127.0.0.1"]
        with pytest.raises(socket.gaierror):
            await again
        released.set()
        assert [answer["host"] for answer in await asyncio.create_task(as_client(lookup, "a", "good.test"))]
        assert len(started) == 4  # what nobody waited for was never asked
    finally:
        released.set()
        await lookup.close()


def test_a_silent_name_server_does_not_hold_the_process() -> None:
    """The threads of lookups are not waited for at the end."""
    program = (
        "import asyncio, time\n"
        "from caller.custom_llm.http.lookups import ThreadedLookup\n"
        "async def main():\n"
        "    lookup = ThreadedLookup(look_up=lambda *_: time.sleep(60), timeout=0.1)\n"
        "    await asyncio.gather(*(lookup.resolve(f'{n}.test') for n in range(4)), return_exceptions=True)\n"
        "    await lookup.close()\n"
        "asyncio.run(main())\n"
        "print('done', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        began = time.monotonic()
        assert process.wait(10) == 0
    assert time.monotonic() - began < within(1.5)


async def test_a_lookup_is_shared_by_one_client_only() -> None:
    """Behind another client's lookup of the same name nobody waits."""
    release = asyncio.Event()
    asked: list[str] = []

    class Slow(Dns):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            asked.append(host)
            await release.wait()
            return await super().resolve(host, port, family)

    dns = Slow()
    dns.says("x.test", ["127.0.0.1"])
    names = Names(dns)
    waits = [asyncio.create_task(names.addresses("x.test", 80, client)) for client in ("a", "a", "b")]
    await until(lambda: len(asked) == 2)
    waits[0].cancel()
    release.set()

    assert [one["host"] for one in await waits[1]] == ["127.0.0.1"]
    assert [one["host"] for one in await waits[2]] == ["127.0.0.1"]
    assert len(asked) == 2
    await names.close()


async def test_an_address_that_did_not_answer_stands_behind_the_others() -> None:
    """The others take turns at being the first; once it answers again it takes part."""
    dns = Dns()
    dns.says("x.test", ["::1", "127.0.0.1", "127.0.0.2"])
    names = Names(dns)

    async def first() -> str:
        return (await names.addresses("x.test", 80, ""))[0]["host"]

    assert [await first() for _ in range(4)] == ["::1", "127.0.0.1", "127.0.0.2", "::1"]
    names.note("x.test", ["::1", "127.0.0.1"], "127.0.0.1")
    assert {await first() for _ in range(6)} == {"127.0.0.1", "127.0.0.2"}
    names.note("x.test", ["::1"], "::1")
    assert "::1" in {await first() for _ in range(3)}
    await names.close()


async def test_what_is_remembered_of_names_is_bounded() -> None:
    """A thousand names, whoever makes them up."""
    dns = Dns()
    names = Names(dns)
    for number in range(1100):
        dns.says(f"{number}.test", ["127.0.0.1"])
        await names.addresses(f"{number}.test", 80, "")
        names.note(f"{number}.test", ["::1", "127.0.0.1"], "127.0.0.1")
    asked_before = dict(dns.answers)
    dns.answers.clear()

    assert await names.addresses("1099.test", 80, "")
    with pytest.raises(socket.gaierror):
        await names.addresses("0.test", 80, "")
    assert len(asked_before) == 1100
    await names.close()


async def test_an_answer_that_came_while_the_process_was_away_counts() -> None:
    """Its time passed while nothing of ours ran."""

    def look_up(host: str, port: int, family: int) -> Infos:
        del host, port, family
        time.sleep(0.1)
        return ADDRESS

    lookup = ThreadedLookup(timeout=0.2, look_up=look_up)
    asyncio.get_running_loop().call_soon(time.sleep, 0.5)
    assert (await lookup.resolve("here.test", 80))[0]["host"] == "127.0.0.1"
    await lookup.close()
