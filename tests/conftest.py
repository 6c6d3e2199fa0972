"""What all tests share: a sandbox behind, a server of ours before it, and a real gRPC channel in front."""

import asyncio
import gc
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from integration_api.sandbox import Sandbox
from integration_api.server import Server
from integration_api.settings import Settings
from integration_api.v1 import chat_service_pb2_grpc as stubs
from tests.loop_watch import LONGEST, LoopWatch, loop_watch
from tests.patience import within

# How fast examples are made, and how long one takes, says how busy the machine is, and nothing of us.
hypothesis_settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any machine")

if os.environ.get("TEST_LOOP") == "uvloop":  # the loop that `serve` uses; else asyncio's own

    def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Every test on uvloop."""
        import uvloop

        return {"uvloop": uvloop.new_event_loop}


# No test needs the system's authorities: their file is not read, which is 22 ms for each server that starts.
os.environ["SSL_CERT_FILE"] = os.devnull

# Files of tests that take long, by their folder or name: they are begun first, so that none is left for the end, which
# one process would work at alone. xdist's own order goes by how many tests a file has.
_LONG = (
    "workers",
    "test_short_way",
    "test_recordings",
    "test_expressions",
    "edge",
    "commands",
    "telemetry",
    "rapida",
    "cases",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, else as they were."""

    def rank(item: pytest.Item) -> int:
        names = (item.path.parent.name, item.path.stem)
        return next((number for number, name in enumerate(_LONG) if name in names), len(_LONG))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """What is there before the first test is not searched by tests that let the garbage collector run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def event_loop_never_blocks() -> Iterator[None]:
    """A test in which the event loop waits for a file, a socket or a sleep fails."""
    guard = BlockBuster(scanned_modules=["caller", "integration_api"])
    for name in ("io.TextIOWrapper.read", "io.BufferedReader.read"):  # /proc and /sys are no disk
        guard.functions[name].can_block_in("integration_api/rpc/memory.py", {"resident_bytes", "_container_limit"})
    for name, function in guard.functions.items():
        if not name.startswith("threading."):  # grpc.aio joins a thread of its own when it shuts down
            function.activate()
    yield
    for function in guard.functions.values():
        function.deactivate()


@pytest.fixture(autouse=True, scope="session")
def no_socket_leaves_loopback() -> Iterator[None]:
    """A test that connects to another machine fails."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked(inner: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
        def guarded(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                host = ipaddress.ip_address(address[0].partition("%")[0])
                plain = getattr(host, "ipv4_mapped", None) or host
                assert plain.is_loopback, f"a test connects to {address}"
            return inner(self, address)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked(connect))
        patch.setattr(socket.socket, "connect_ex", checked(connect_ex))
        yield


_WATCH = pytest.StashKey[LoopWatch]()


@pytest.fixture
async def watched_loop(request: pytest.FixtureRequest) -> AsyncIterator[LoopWatch]:
    """The test fails where its loop was away for longer than a hostile case may keep it, see `loop_watch`."""
    async with loop_watch() as watch:
        request.node.stash[_WATCH] = watch
        yield watch


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """What is watched is the test, not the fixtures around it."""
    watch = item.stash.get(_WATCH, None)
    if watch is None:
        return (yield)
    watch.restart()
    result = yield
    watch.look()
    mark = item.get_closest_marker("away")
    longest = LONGEST if mark is None else mark.args[0]
    assert watch.longest < within(longest), f"the loop was away for {watch.longest:.3f} s of processor time"
    return result


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
def settings() -> Settings:
    return Settings(port=0, shutdown_grace=2.0)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    async with Server(settings) as running:
        yield running


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as open_channel:
        yield open_channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> stubs.ChatServiceStub:
    return stubs.ChatServiceStub(channel)
