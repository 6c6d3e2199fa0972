"""The standard health service, `grpc.health.v1.Health`: who serves, and a word to watchers when that changes.

grpc's own servicer writes to a watcher while it holds the lock that setting a status needs: one client that does not
read would keep the service from saying NOT_SERVING. Here setting never waits. It knows names and statuses only.
"""

import asyncio
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

NAME = "grpc.health.v1.Health"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """The statuses of the services of this process; '' is the process itself. Nothing serves until it is set."""

    def __init__(self, *services: str) -> None:
        self._statuses = dict.fromkeys(("", NAME, *services), NOT_SERVING)
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def services(self) -> list[str]:
        """The names, without the process itself."""
        return [name for name in self._statuses if name]

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def set(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        """What every service is from now on."""
        self._statuses = dict.fromkeys(self._statuses, status)
        self._tell()

    def close(self) -> None:
        """Watchers hear the last status, and their streams end."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # grpc's types are its own
        """The status of one service; NOT_FOUND for a name that is none."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, _: Any, __: grpc.aio.ServicerContext) -> Any:
        """The statuses of all services."""
        return health_pb2.HealthListResponse(
            statuses={name: health_pb2.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        )

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        """The status of one service now, and whenever it changes, until the shutdown is over."""
        last = None
        with suppress(grpc.aio.BaseError):  # a watcher that is gone
            while not (self._closed and last == self._statuses.get(request.service, _UNKNOWN)):
                changed, status = self._changed, self._statuses.get(request.service, _UNKNOWN)
                if status != last:
                    last = status
                    await context.write(health_pb2.HealthCheckResponse(status=status))
                else:
                    await changed.wait()
