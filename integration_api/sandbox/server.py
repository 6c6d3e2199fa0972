"""The sandbox on the network: an aiohttp.web application that records what it is asked and notices who hangs up.

Rule: routes, keys and connections. What is answered is decided in `builders` and rendered by the API formats.
"""

import asyncio
import hashlib
import hmac
import json
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from integration_api.sandbox import models
from integration_api.sandbox.api_format import ApiFormat, RawRequest
from integration_api.sandbox.builders import build
from integration_api.sandbox.building import Context
from integration_api.sandbox.check import Fields, RefusedError, refuse
from integration_api.sandbox.delivery import close, deliver, error_response, json_response
from integration_api.sandbox.faults import SOUND, Fault
from integration_api.sandbox.formats import FORMATS
from integration_api.sandbox.record import Feed, Recorded
from integration_api.sandbox.scenario import HttpError, Scenario
from integration_api.sandbox.script import help_text
from integration_api.sandbox.wire import JsonObject

_MOST_BODY: Final = 64 * 1024 * 1024
_MOST_COUNTED: Final = 10_000
_TARGET: Final = "{target:.+}"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sandbox:
    """A chat endpoint whose models are scripts; serves between `async with` and its end.

    `port` 0 takes a free one. `require_key`: a key that every script needs. `remember`: how many requests are kept,
    bodies and headers included. `seed` makes `chaos` repeatable. `fault` is what is wrong with the endpoint as a whole.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        require_key: str = "",
        *,
        remember: int = 1000,
        seed: int | None = None,
        fault: Fault = SOUND,
    ) -> None:
        self.requests: deque[Recorded] = deque(maxlen=remember)
        self._host, self._port, self._require_key = host, port, require_key
        self._arrivals: Feed[Recorded] = Feed(remember)
        self._hangups: Feed[float] = Feed(max(remember, 1))
        self._answering: set[asyncio.Task[object]] = set()
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._random = random.Random(seed)  # noqa: S311 -- faults at random, no secrets
        self._fault = fault
        self._stuck = False
        self._closing = False
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[self._around], client_max_size=_MOST_BODY)
        application.add_routes(self._routes())
        # Without handler_cancellation a silent script would not notice that its client is gone.
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=4096).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self._port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for task in tuple(self._answering):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def open_requests(self) -> int:
        """Number of requests that are being answered now."""
        return len(self._answering)

    @property
    def connections(self) -> int:
        """Number of client connections that are open now."""
        server = self._runner.server if self._runner is not None else None
        return len(server.connections) if server is not None else 0

    async def wait_for_request(self, timeout: float = 5.0) -> Recorded:  # noqa: ASYNC109 -- see Feed
        """The next request that nobody waited for yet, in the order of arrival. Raises TimeoutError."""
        return await self._arrivals.next(timeout)

    async def wait_for_hangup(self, timeout: float = 5.0) -> float:  # noqa: ASYNC109 -- see Feed
        """When (event loop's time) a client closed its connection before its answer ended: the next such moment that
        nobody waited for yet. Raises TimeoutError.
        """
        return await self._hangups.next(timeout)

    def _routes(self) -> list[web.RouteDef]:
        root = self._fault.prefix
        return [
            *(web.post(root + path, self._posted(each)) for each in FORMATS for path in each.place.operations),
            *self._lists(root),
            web.get("/healthz", self._health),
            web.get("/", self._about),
        ]

    def _lists(self, root: str) -> list[web.RouteDef]:
        if not self._fault.lists:
            return []
        paths = [root + path for path in _list_paths()]
        return [
            *(web.get(path, self._list) for path in paths),
            *(web.get(path + "/{model:.+}", self._model) for path in paths),
        ]

    @web.middleware
    async def _around(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Records the request, counts it as open, notices a hang-up, and gives errors of routing the API's format."""
        loop = asyncio.get_running_loop()
        started, task = loop.time(), asyncio.current_task()
        if task is not None:
            self._answering.add(task)
        try:
            await self._record(request, started)
            if self._fault.drops:
                return close(request, web.Response())
            return await handler(request)
        except web.HTTPException as error:
            return self._refusal(self._format_of(request), _routing_http_error_of(request, error))
        except asyncio.CancelledError:
            if not self._closing:
                self._hung_up(loop.time())
            raise
        except ConnectionError:
            self._hung_up(loop.time())
            return web.Response()  # nobody reads it
        finally:
            if task is not None:
                self._answering.discard(task)

    def _hung_up(self, now: float) -> None:
        self._hangups.put(now)
        self._stuck = self._fault.sticks

    def _refusal(self, api_format: ApiFormat, http_error: HttpError) -> web.Response:
        if self._fault.vague and http_error.status == 400:
            return web.Response(status=500, text="Internal Server Error")
        return error_response(api_format, http_error)

    async def _record(self, request: web.Request, started: float) -> None:
        body = await request.read()
        recorded = Recorded(
            method=request.method,
            path=request.path,
            raw_path=request.raw_path,
            query=request.query,
            headers=request.headers.copy(),
            body=body,
            started=started,
            peer=request.remote or "",
        )
        self.requests.append(recorded)
        self._arrivals.put(recorded)

    def _posted(self, api_format: ApiFormat) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if "target" not in request.match_info:
                return await self._answer(api_format, request)
            model, _, method = request.match_info["target"].rpartition(":")
            if not model or method not in api_format.place.methods:
                return self._refusal(api_format, _routing_http_error_of(request, web.HTTPNotFound()))
            return await self._answer(api_format, request, model, stream=api_format.place.methods[method])

        return handle

    async def _answer(
        self, api_format: ApiFormat, request: web.Request, model: str = "", *, stream: bool = False
    ) -> web.StreamResponse:
        raw = await request.read()
        try:
            self._check_key(api_format, request, self._require_key)
            body = Fields(_parsed(raw))
            parsed = api_format.read(RawRequest(body, request.headers, request.query, model, stream))
            if parsed.script.name == "key":
                self._check_key(api_format, request, parsed.script.text("value"))
        except RefusedError as refused:
            return self._refusal(api_format, refused.http_error)
        earlier = self._count(_key(api_format, request), parsed.model)
        fault = self._fault
        reply = fault.instead(parsed, raw) or build(Context(parsed, earlier, self._random.random()))
        if isinstance(reply, Scenario):
            reply = fault.changed(parsed, reply)
        whole = api_format.whole
        changed = replace(api_format, whole=lambda asked, scenario: fault.whole(api_format, whole(asked, scenario)))
        return await deliver(request, changed, parsed, reply)

    def _check_key(self, api_format: ApiFormat, request: web.Request, wanted: str) -> None:
        given = _key(api_format, request)
        # The hang-up and the next request may be noticed in any order.
        if self._stuck or (self._fault.sticks and self.open_requests > 1):
            raise refuse("Another answer is still being made.", status=503)
        if self._fault.keys is not None:
            wanted = "" if self._fault.keys else f"{given}, another one"
        if wanted and not hmac.compare_digest(_bytes(given), _bytes(wanted)):
            raise refuse("Incorrect API key provided." if given else "You didn't provide an API key.", status=401)

    def _count(self, key: str, model: str) -> int:
        """How many requests came before with this key for this model. Bounded: the longest unused are forgotten."""
        counted = (hashlib.sha256(_bytes(key)).hexdigest(), model)
        earlier = self._counts.pop(counted, 0)
        self._counts[counted] = earlier + 1
        if len(self._counts) > _MOST_COUNTED:
            self._counts.popitem(last=False)
        return earlier

    async def _list(self, request: web.Request) -> web.StreamResponse:
        api_format = self._format_of(request)
        try:
            self._check_key(api_format, request, self._require_key)
            return json_response(api_format.models.page(request.query), headers=api_format.headers())
        except RefusedError as refused:
            return self._refusal(api_format, refused.http_error)

    async def _model(self, request: web.Request) -> web.StreamResponse:
        api_format, name = self._format_of(request), request.match_info["model"]
        try:
            self._check_key(api_format, request, self._require_key)
        except RefusedError as refused:
            return self._refusal(api_format, refused.http_error)
        if not models.known(name):
            http_error = HttpError(404, f"The model '{name}' does not exist.", "model_not_found", "model")
            return self._refusal(api_format, http_error)
        return json_response(api_format.models.one(name), headers=api_format.headers())

    def _format_of(self, request: web.Request) -> ApiFormat:
        """The API that a path belongs to, where no route says it."""
        path = request.path.removeprefix(self._fault.prefix)
        by_path = [each for each in FORMATS if path.startswith(each.place.own)]
        by_header = [each for each in FORMATS if each.place.header and each.place.header in request.headers]
        return (*by_path, *by_header, FORMATS[0])[0]

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return json_response({"status": "ok"})

    async def _about(self, _: web.Request) -> web.StreamResponse:
        about = "This is the sandbox of integration-api: a chat endpoint with scripted answers, no model behind it."
        posts = [
            f"POST {path.replace(_TARGET, '{model}:' + method)}"
            for each in FORMATS
            for path in each.place.operations
            for method in each.place.methods or ("",)
        ]
        routes = "\n".join([*posts, *(f"GET {path}" for path in (*_list_paths(), "/healthz"))])
        return web.Response(text=f"{about}\n\n{routes}\n\n{help_text()}\n")


def _list_paths() -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.place.models for each in FORMATS))


def _parsed(body: bytes) -> JsonObject:
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise refuse("We could not parse the JSON body of your request.") from None
    if not isinstance(parsed, dict):
        raise refuse("The body of your request is not a JSON object.")
    return parsed


def _bytes(header: str) -> bytes:
    return header.encode("utf-8", "surrogateescape")  # how aiohttp decodes headers


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _key(api_format: ApiFormat, request: web.Request) -> str:
    """The key that a request carries, '' for none."""
    for name in api_format.key_headers:
        value = request.headers.get(name, "")
        if name == "authorization":
            scheme, _, value = value.partition(" ")
            value = value.strip() if scheme.lower() == "bearer" else ""
        if value:
            return value
    return request.query.get(api_format.key_parameter, "")


def _routing_http_error_of(request: web.Request, error: web.HTTPException) -> HttpError:
    if error.status == 404:
        return HttpError(404, f"Invalid URL ({request.method} {request.path})")
    if error.status == 405:
        return HttpError(405, f"Not allowed to {request.method} on {request.path}.")
    return HttpError(error.status, error.reason)
