"""The admin port: what operators and their machines ask of this process, over HTTP. GET only, nothing of it changes
anything, and nothing of it is of one call.

It knows no calls and no metrics: it is given what it answers.
"""

from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_MAX_BODY = 1024


class AdminPortError(OSError):
    """The admin port cannot be listened on."""


class Admin:
    """Answers `/metrics`, `/livez`, `/readyz` and `/version`. An async context manager: listens inside.

    `metrics` makes the text of the metrics, of this process or of several; `ready` says whether new calls are taken,
    `version` is the program's.
    """

    def __init__(
        self, host: str, port: int, *, metrics: Callable[[], Awaitable[bytes]], ready: Callable[[], bool], version: str
    ) -> None:
        self._host = host
        self._port = port
        self._metrics = metrics
        self._ready = ready
        self._version = version
        application = web.Application(client_max_size=_MAX_BODY)
        application.add_routes(
            [
                web.get("/metrics", self._show_metrics),
                web.get("/livez", self._live),
                web.get("/readyz", self._is_ready),
                web.get("/version", self._show_version),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises:
            AdminPortError: the address is taken, or cannot be listened on.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise AdminPortError(f"cannot listen on the admin port {self._port} of {self._host}") from error
        except BaseException:
            await self._runner.cleanup()
            raise

    async def stop(self) -> None:
        """Listen no longer."""
        await self._runner.cleanup()

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=await self._metrics(), headers={"Content-Type": _PROMETHEUS})

    async def _live(self, _: web.Request) -> web.Response:
        """The event loop answers: that is all it says."""
        return web.Response(text="LIVE\n")

    async def _is_ready(self, _: web.Request) -> web.Response:
        ready = self._ready()
        return web.Response(text="SERVING\n" if ready else "NOT_SERVING\n", status=200 if ready else 503)

    async def _show_version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": self._version})
