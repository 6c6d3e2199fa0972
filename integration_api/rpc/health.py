"""The standard health service, `grpc.health.v1.Health`: who serves, and messages to watchers when that changes.

grpc's own servicer writes to a watcher while it holds the lock that setting a status needs: one client that does not
read would keep the service from saying NOT_SERVING. Here setting never waits. Watchers are bounded: a stream costs
memory, and nobody asks who they are. It knows names and statuses only.
"""

import asyncio
from contextlib import suppress

import grpc
from grpc_health.v1 import health_pb2

from integration_api.rpc.rpc import ClientGoneError, Rpc
from integration_api.rpc.shares import Shares
from integration_api.rpc.strangers import Strangers

NAME = "grpc.health.v1.Health"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
# Streams of watchers, some 20 KB each, and the part of them that one address may have while others have some.
_MOST_WATCHERS = 2_000
_SHARE = 0.25


class Health:
    """The statuses of the services of this process; '' is the process itself. Nothing serves until it is set."""

    def __init__(self, *services: str, most_watchers: int = _MOST_WATCHERS) -> None:
        self._watchers = Shares(most_watchers, _SHARE)
        self._statuses = dict.fromkeys(("", NAME, *services), NOT_SERVING)
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def services(self) -> list[str]:
        """The names, without the process itself."""
        return [name for name in self._statuses if name]

    @property
    def serving(self) -> bool:
        """Whether the process itself is SERVING."""
        return bool(self._statuses[""] == SERVING)

    def add_to(self, server: grpc.aio.Server, strangers: Strangers) -> None:
        """Serve it."""
        handlers = {
            "Check": strangers.method("Health/Check", health_pb2.HealthCheckRequest, self._check),
            "Watch": strangers.method("Health/Watch", health_pb2.HealthCheckRequest, self._watch),
        }
        if hasattr(health_pb2, "HealthListRequest"):  # grpcio-health-checking has it since a version after our oldest
            handlers["List"] = strangers.method("Health/List", health_pb2.HealthListRequest, self._list)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))

    def set(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        """What every service is from now on."""
        self._statuses = dict.fromkeys(self._statuses, status)
        self._notify()

    def close(self) -> None:
        """Watchers get the last status, and their streams end."""
        self._closed = True
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _check(self, request: health_pb2.HealthCheckRequest, rpc: Rpc) -> None:
        """The status of one service; NOT_FOUND for a name that is none."""
        status = self._statuses.get(request.service)
        if status is None:
            await rpc.context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        await rpc.write(health_pb2.HealthCheckResponse(status=status))

    async def _list(self, _: "health_pb2.HealthListRequest", rpc: Rpc) -> None:
        """The statuses of all services."""
        statuses = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        await rpc.write(health_pb2.HealthListResponse(statuses=statuses))

    async def _watch(self, request: health_pb2.HealthCheckRequest, rpc: Rpc) -> None:
        """The status of one service now, and whenever it changes, until the shutdown is over."""
        if not self._watchers.allows(rpc.client):
            await rpc.context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watchers, of this client or of all")
        self._watchers.acquire(rpc.client)
        try:
            with suppress(ClientGoneError):
                await self._write_changes(request.service, rpc)
        finally:
            self._watchers.release(rpc.client)

    async def _write_changes(self, service: str, rpc: Rpc) -> None:
        last = None
        while not (self._closed and last == self._statuses.get(service, _UNKNOWN)):
            changed, status = self._changed, self._statuses.get(service, _UNKNOWN)
            if status != last:
                last = status
                await rpc.write(health_pb2.HealthCheckResponse(status=status))
            else:
                await changed.wait()
