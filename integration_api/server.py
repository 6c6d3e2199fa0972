"""Builds the gRPC server, runs it, and ends it politely.

It wires the parts together and knows their order; it decides nothing about chats.
"""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Self

import grpc
import structlog

from caller.breaker import Breaker, BreakerLimits
from caller.custom_llm.body.silence import SilenceLimits
from caller.custom_llm.caller import CustomLLMCaller, Limits
from caller.custom_llm.http.egress_policy import EgressPolicy
from caller.custom_llm.http.idle_pool import PoolLimits
from caller.custom_llm.http.transport import Transport, TransportSettings
from caller.history import HedgeBudget, TargetHistory
from caller.providers import CUSTOM
from caller.registry import Registry
from integration_api import __version__
from integration_api.admin import Admin
from integration_api.auth import tls
from integration_api.auth.access import clear_text, make_access
from integration_api.calls.admission import Admission, AdmissionLimits
from integration_api.calls.calls import Calls
from integration_api.calls.observer import Observer
from integration_api.chat import service as chat
from integration_api.chat.service import ChatService
from integration_api.chat.view import ChatRequest
from integration_api.rapida import service as unified_provider
from integration_api.rapida.service import UnifiedProviderService
from integration_api.rapida.upstream import UpstreamSettings
from integration_api.rpc import health, reflection
from integration_api.rpc.channel_options import channel_options
from integration_api.rpc.guard import Guard, GuardLimits
from integration_api.rpc.memory import (
    HeapTrimmer,
    MemoryGuard,
    memory_limit,
    resident_bytes,
    resident_of_workers,
    return_large_blocks,
)
from integration_api.rpc.receiving import ReceiveLimits
from integration_api.rpc.strangers import Strangers
from integration_api.settings import Settings, effective
from integration_api.telemetry import readings
from integration_api.telemetry.metrics import Metrics
from integration_api.telemetry.observers import Observers
from integration_api.v1 import chat_service_pb2 as pb

# How long one step of the shutdown may take, and how long health watchers have to get the last status.
_BOUND = 2.5
_LAST_WORDS = 0.2
# grpc's own grace ends behind ours: it would end calls without a status of ours.
_SPARE = 60.0


class Server:
    """One gRPC server in this process. An async context manager: started inside, stopped at its end."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport | None = None,
        observers: Sequence[Observer] = (),
        *,
        workers: int = 1,
    ) -> None:
        """Make it inside the running event loop. `transport` stands in for the own one in tests of egress; `observers`
        watch every call beside the log lines. One of several `workers` shares the port and the limits with the others,
        and leaves the admin port to their supervisor.

        Raises:
            ValueError: settings that do not go together.
        """
        self._settings = settings
        self._workers = workers
        self._log = structlog.get_logger("integration_api.server")
        self._access = make_access(settings)
        self._transport = transport or Transport(transport_settings(settings))
        self.admission = Admission(AdmissionLimits.of(settings, workers), workers)
        self.memory = MemoryGuard(
            memory_limit(settings.memory_limit_bytes), resident_bytes if workers == 1 else resident_of_workers
        )
        self._heap = HeapTrimmer()
        self.guard = Guard(
            settings.write_timeout,
            guard_limits(settings),
            identify=self._access.identify,
            overloaded=self.memory.overloaded,
            heavy=self._transport.heavy,
            help_page=settings.error_docs_url,
        )
        self._calls = self._make_calls(observers)
        self._unified_provider = UnifiedProviderService(self._calls, settings, self._access.credentials)
        self._health = health.Health(chat.NAME, unified_provider.NAME)
        self._admin: Admin | None = None
        self._server = grpc.aio.server(options=channel_options(settings, workers))
        self._stop_forced = asyncio.Event()
        self.port = 0

    def _make_calls(self, observers: Sequence[Observer]) -> Calls:
        """What makes calls, and the observers that it has beside those that are given."""
        settings = self._settings
        silence = SilenceLimits(settings.max_silent_bytes, settings.max_silent_events)
        limits = Limits(max_event_bytes=settings.max_event_bytes, silence=silence)
        custom_llm = CustomLLMCaller(self._transport, limits, self._access.providers)
        history = target_history(settings)
        self._observers = Observers(
            settings,
            (
                *readings.of_clients(self.guard, self.admission),
                *readings.of_endpoints(self._transport, custom_llm, history),
            ),
        )
        return Calls(
            Registry({CUSTOM: custom_llm}, self._access.providers, custom_llm),
            self.admission,
            (*self._observers.all, *observers),
            settings.max_answer_bytes,
            history,
            client_share=settings.max_client_share,
            heavy=self._transport.heavy,
        )

    async def start(self) -> None:
        """Listen; SERVING afterwards.

        Raises:
            OSError: the address is taken, or cannot be listened on.
            ValueError: a file of tokens, keys, certificates or credentials cannot be used.
        """
        settings = self._settings
        await asyncio.to_thread(self._access.files.load)
        await self._observers.open()
        self._add_chat()
        await self._unified_provider.start()
        self._server.add_generic_rpc_handlers(self._unified_provider.generic_handlers(self.guard))
        strangers = Strangers(settings.error_docs_url)
        self._health.add_to(self._server, strangers)
        if settings.reflection:
            reflection.enable(self._server, self._health.services, strangers)
        address = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
        try:
            self.port = self._listen(address)
        except RuntimeError:
            raise OSError(f"cannot listen on {address}: the address is taken, or is not one of this machine") from None
        if self._observers.metrics is not None and self._workers == 1:
            await self._start_admin(self._observers.metrics)
        await self._server.start()
        self._health.set(health.SERVING)
        self.memory.start()
        self._heap.start()
        self._access.files.start()
        if self._workers == 1:
            announce(settings, self.port)
        else:
            self._log.info("worker.started")

    async def stop(self) -> None:
        """Health off, wait for balancers to notice, send connections away, let the running calls end, end the rest.

        grpc's own stop begins as soon as draining does: it closes the listener and sends GOAWAY, so that clients take
        their next calls elsewhere at once, while running calls and open streams go on where they are, new turns of
        these streams included, for as long as the grace is.
        """
        settings = self._settings
        self._health.set(health.NOT_SERVING)
        await self._until_forced(asyncio.sleep(settings.drain_delay))
        self.guard.drain()
        leaving = asyncio.ensure_future(self._server.stop(settings.shutdown_grace + _SPARE))
        self._log.info("server.draining", **self._open(), grace=settings.shutdown_grace)
        await self._until_forced(self.guard.idle(), settings.shutdown_grace)
        if self.guard.running or self.guard.open_streams:
            self._log.warning("server.cutting", **self._open())
        self.guard.cut()
        await _bounded(self.guard.idle())  # cut calls, and statuses on their way
        self.memory.stop()
        self._heap.stop()
        self._health.close()
        await _bounded(self._server.stop(_LAST_WORDS))
        await _bounded(leaving)
        await _bounded(self._calls.close())
        await _bounded(self._unified_provider.close())
        await _bounded(self._transport.close())
        await _bounded(asyncio.to_thread(self._access.files.stop))
        await _bounded(self._stop_admin())
        await _bounded(self._observers.close())
        self._log.info("server.stopped")

    def _open(self) -> dict[str, int]:
        """What a stop waits for, as fields of log lines."""
        return {"running": self.guard.running, "open_streams": self.guard.open_streams}

    def force_stop(self) -> None:
        """Let `stop` wait for nothing: running calls are cut now."""
        self._stop_forced.set()

    @property
    def ready(self) -> bool:
        """Whether new calls are admitted."""
        return self._health.serving

    async def metrics_text(self) -> bytes:
        """What is counted, as Prometheus reads it; empty where nothing is."""
        return b"" if self._observers.metrics is None else await self._observers.metrics.text()

    @property
    def stop_forced(self) -> bool:
        """Whether `force_stop` was called: somebody could not wait."""
        return self._stop_forced.is_set()

    async def _until_forced(self, work: Coroutine[object, object, None], seconds: float | None = None) -> None:
        """Wait for something, at most so long, and no longer once there is a force_stop."""
        waits = {asyncio.ensure_future(work), asyncio.ensure_future(self._stop_forced.wait())}
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.abandon()
            raise
        return self

    async def abandon(self) -> None:
        """Close everything after a start that failed."""
        await self._server.stop(0)
        await self._calls.close()
        await self._unified_provider.close()
        await self._transport.close()
        await self._stop_admin()
        await _bounded(self._observers.close())

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _listen(self, address: str) -> int:
        certificates = self._access.certificates
        if certificates is None:
            return int(self._server.add_insecure_port(address))
        required = bool(self._settings.tls_client_ca_file)
        credentials = tls.credentials(certificates, client_certificates=required)
        return int(self._server.add_secure_port(address, credentials))

    async def _start_admin(self, metrics: Metrics) -> None:
        host, port = self._settings.admin_host, self._settings.admin_port
        admin = Admin(host, port, metrics=metrics.text, ready=lambda: self.ready, version=__version__)
        await admin.start()
        self._admin = admin

    async def _stop_admin(self) -> None:
        if self._admin is not None:
            await self._admin.stop()

    def _add_chat(self) -> None:
        service = ChatService(self._calls, self._settings, self._access.credentials)
        guard = self.guard
        handlers = {
            "Chat": guard.unary(f"{chat.NAME}/Chat", ChatRequest, service.chat),
            "StreamChat": guard.server_stream(f"{chat.NAME}/StreamChat", ChatRequest, service.stream_chat),
            "VerifyCredential": guard.unary(
                f"{chat.NAME}/VerifyCredential", pb.VerifyCredentialRequest, service.verify_credential
            ),
            "ListModels": guard.unary(f"{chat.NAME}/ListModels", pb.ListModelsRequest, service.list_models),
            "ListProviders": guard.unary(f"{chat.NAME}/ListProviders", pb.ListProvidersRequest, service.list_providers),
            "Prewarm": guard.unary(f"{chat.NAME}/Prewarm", pb.PrewarmRequest, service.prewarm),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(chat.NAME, handlers),))


def announce(settings: Settings, port: int, **fields: object) -> None:
    """The log lines of a service that has started."""
    logger = structlog.get_logger("integration_api.server")
    logger.info("server.started", host=settings.host, port=port, **fields)
    different = effective(settings, defaults=settings.log_level == "debug")
    if different:
        logger.info("server.settings", **different)
    if clear_text(settings):
        advice = "clients' tokens arrive in clear text: set tls_cert_file and tls_key_file, or end TLS in front"
        logger.warning("server.no_tls", advice=advice)


async def _bounded(work: Awaitable[object]) -> None:
    """Wait for one step of the shutdown, not for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_BOUND):
            await work


def tune_process() -> None:
    """Once, before the first call: what is loaded by now stays, and the collector need not visit it for every few
    hundred objects that tokens make. Calls themselves hold no cycles."""
    return_large_blocks()
    gc.collect()
    gc.freeze()
    # The middle generation is what stops the loop while streams open: 20,000 objects are 6 ms, and the 400,000 that
    # thresholds of 20,000 and 20 let gather some 180 ms (Python 3.11). The oldest is collected as seldom as with those.
    gc.set_threshold(2_000, 10, 1_000)


async def serve(settings: Settings, on_started: Callable[[int], None] = lambda _: None) -> None:
    """Run a server until SIGTERM or SIGINT; a second signal ends at once. `on_started` is given the port.

    Raises:
        asyncio.CancelledError: there was a second signal.
        OSError, ValueError: see `Server`.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = Server(settings)

    def on_signal() -> None:
        if stopping.is_set():
            server.force_stop()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    tune_process()
    async with server:
        on_started(server.port)
        await stopping.wait()
    if server.stop_forced:
        raise asyncio.CancelledError


def check_upstream(settings: Settings) -> None:
    """Refuse settings of the original integration-api that cannot be used. Reads a file.

    Raises:
        ValueError: what is wrong with them.
    """
    upstream = UpstreamSettings.of(settings)
    if upstream is not None:
        upstream.credentials()


def transport_settings(settings: Settings) -> TransportSettings:
    """How endpoints are reached, from the settings."""
    allow = [entry.strip() for entry in settings.egress_allow.split(",") if entry.strip()]
    return TransportSettings(
        egress=EgressPolicy.parse(settings.egress_policy, allow),
        ca_file=settings.endpoint_ca_file,
        tls_strict=settings.endpoint_tls_strict,
        pool=PoolLimits(
            total=settings.max_idle_connections,
            per_origin=settings.max_idle_per_endpoint,
            idle_seconds=settings.endpoint_keepalive,
        ),
        proxy=settings.endpoint_proxy,
    )


def target_history(settings: Settings) -> TargetHistory:
    """What is remembered of targets, from the settings."""
    limits = BreakerLimits(settings.breaker_failures, settings.breaker_window, settings.breaker_open)
    return TargetHistory(Breaker(limits), HedgeBudget(settings.max_hedge_ratio))


def guard_limits(settings: Settings) -> GuardLimits:
    """What the guard bounds, from the settings."""
    messages = max(1, settings.max_receiving_bytes // settings.max_request_bytes)
    return GuardLimits(
        open_streams=settings.max_open_streams,
        unread_bytes=settings.max_unread_bytes,
        receiving=ReceiveLimits(messages, settings.max_client_share, settings.request_timeout),
        share=settings.max_client_share,
    )
